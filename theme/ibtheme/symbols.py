"""Lists of symbols: tables whose first column is headed "symbol". Each row is a place of its own."""

from __future__ import annotations

import re

from .context import Node


def is_list_of_symbols(table: Node) -> bool:
    """Whether a table explains symbols."""
    first = table["children"][0]["children"][0]
    return [part.get("value") for part in first.get("children", [])] == ["symbol"]


def ident(row: Node) -> str:
    """The id of the row that explains a symbol.

    >>> cell = {"type": "tableCell", "children": [{"type": "inlineMath", "value": r"\\hat x_j"}]}
    >>> ident({"type": "tableRow", "children": [cell]})
    'symbol-hat-x-j'
    """
    source = "".join(part.get("value", "") for part in row["children"][0].get("children", []))
    return "-".join(["symbol", *re.findall(r"[^\W_]+", source)])
