"""Rounded zeros in text, whose sign is that of an error in the last bits."""

from __future__ import annotations

import re

NEGATIVE_ZERO = re.compile(r"(?<![\w.])-(?=0(\.0*)?(?![\d.eE]))")


def unsigned_zeros(text: str) -> str:
    """The text with 0.00 for each -0.00.

    >>> unsigned_zeros("slope -0.00, from -0.5 to -0")
    'slope 0.00, from -0.5 to 0'
    """
    return NEGATIVE_ZERO.sub("", text)
