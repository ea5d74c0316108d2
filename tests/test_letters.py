from __future__ import annotations

import itertools
import platform
from pydoc_data.topics import topics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbook import letters

HELP = "\n".join(topics[name] for name in sorted(topics))


def test_the_kept_table_is_the_count_of_the_release_it_names():
    if platform.python_version() != letters.PYTHON:
        pytest.skip(f"counted in the help texts of Python {letters.PYTHON}")
    assert torch.equal(letters.count_letters(HELP), letters.letter_pairs())


def test_the_help_texts_of_every_release_give_nearly_the_same_joint_distribution():
    here, kept = letters.count_letters(HELP).double(), letters.letter_pairs().double()
    assert (here / here.sum() - kept / kept.sum()).abs().sum() / 2 < 0.03


def test_each_symbol_is_entered_as_often_as_it_is_left():
    counts = letters.letter_pairs()
    assert counts.shape == (27, 27)
    assert torch.equal(counts.sum(0), counts.sum(1))  # the text begins and ends with a space
    assert counts[0, 0] == 0  # runs of other characters are one symbol


def test_anything_but_a_to_z_is_one_space():
    counts = letters.count_letters("A-b, é b")
    pairs = {
        letters.ALPHABET[i] + letters.ALPHABET[j]: int(counts[i, j]) for i, j in counts.nonzero()
    }
    assert pairs == {"␣a": 1, "a␣": 1, "␣b": 2, "b␣": 2}


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="abzABZ -", max_size=40))
def test_counts_agree_with_pairs_read_off_one_by_one(text):
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    walk = "␣" + "".join(word + "␣" for word in words) if words else "␣␣"
    expected = torch.zeros(27, 27, dtype=torch.int64)
    for first, second in itertools.pairwise(walk):
        expected[letters.ALPHABET.index(first), letters.ALPHABET.index(second)] += 1
    assert torch.equal(letters.count_letters(text), expected)
