"""The parameters and a cell of the chapter that tests write."""

from nbformat.v4 import new_output

from ibbook.book.records import MIME

PARAMETERS = """\
bias: float = 0.25  # chance of heads [0, 1]
flips: int = 3  # number of flips [1, 100]
fair: bool = False  # whether to use a fair coin instead
side: str = "heads"  # side to count {"heads", "tails"}
"""
RECORDING = """\
from ibbook.book import record
record("coin.bias", 0.5 if fair else bias, "Chance of heads", unit="", digits=3)
print("flips:", flips)
"""


def recorded_without_a_kernel(chapter, made, *_):
    """In place of `execute`: the notebook as if its last cell had recorded a number."""
    row = {"name": "coin.bias", "value": 0.25, "unit": "", "label": "Bias", "digits": 2}
    made.cells[-1].outputs = [new_output("display_data", {MIME: row})]
    return made
