"""Letter and next letter in English, counted in the help texts that ship with Python.

`pydoc_data.topics` holds the language reference that `help("if")` prints. It changes from one
release of Python to the next, so one count is kept in data/letters.csv for every reader to share.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64
from torch import Tensor

PAIRS = Path(__file__).parents[1] / "data" / "letters.csv"
PYTHON = "3.11.7"  # the release whose help texts were counted
ALPHABET = "␣abcdefghijklmnopqrstuvwxyz"  # ␣ stands for any run of characters that are not a to z


def count_letters(text: str) -> Int64[Tensor, "27 27"]:
    """How often each symbol of `ALPHABET` (row) is followed by each (column), in lower case.

    >>> counts = count_letters("The theory")
    >>> first, second = ALPHABET.index("t"), ALPHABET.index("h")
    >>> int(counts[first, second])
    2
    """
    letters = "".join(c if "a" <= c <= "z" else " " for c in text.lower())
    symbols = np.array([ALPHABET.index(c) for c in f"␣{'␣'.join(letters.split())}␣"])
    pairs = symbols[:-1] * len(ALPHABET) + symbols[1:]
    return torch.from_numpy(np.bincount(pairs, minlength=len(ALPHABET) ** 2)).reshape(27, 27)


def letter_pairs() -> Int64[Tensor, "27 27"]:
    """The counts kept in data/letters.csv, a row for each letter, a column for the next.

    >>> counts = letter_pairs()
    >>> ALPHABET[counts[ALPHABET.index("q")].argmax()]
    'u'
    """
    return torch.from_numpy(pd.read_csv(PAIRS, index_col=0).to_numpy(np.int64))
