"""The parameters and a cell of the chapter that tests write."""

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
