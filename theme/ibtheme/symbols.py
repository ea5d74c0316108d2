"""Lists of symbols: tables whose first column is headed "symbol". Each row has a place."""

from __future__ import annotations

import re

from .context import Node


def is_list_of_symbols(table: Node) -> bool:
    """Whether a table explains symbols."""
    first = table["children"][0]["children"][0]
    return [part.get("value") for part in first.get("children", [])] == ["symbol"]


def ident(row: Node) -> str:
    """The id of the row that explains a symbol: the symbol and, as some have two, a first word.

    >>> symbol = {"type": "inlineMath", "value": r"\\hat x_j"}
    >>> cells = [[symbol], [{"type": "text", "value": "a reconstruction of "}, symbol]]
    >>> ident({"children": [{"type": "tableCell", "children": cell} for cell in cells]})
    'symbol-hat-x-j-a'
    """
    symbol, meaning = (
        " ".join(part.get("value", "") for part in cell.get("children", []))
        for cell in row["children"][:2]
    )
    words = re.findall(r"[^\W_]+", symbol) + re.findall(r"[^\W_]+", meaning)[:1]
    return "-".join(["symbol", *words])
