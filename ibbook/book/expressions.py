"""What must hold between records: arithmetic and comparisons, read without running any Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping

from ibbook.book.records import NAME

ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
COMPARISONS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS = {"abs": abs, "min": min, "max": max}


def names(expression: str) -> list[str]:
    """The records that an expression speaks of, in its order.

    >>> names("0 < vib.error < vib.error_plain + 0.3")
    ['vib.error', 'vib.error_plain']
    """
    found: dict[str, None] = {}
    _evaluate(_tree(expression), _Noted(found))
    return list(found)


def holds(expression: str, values: Mapping[str, float]) -> bool:
    """Whether an expression is true of some values.

    >>> holds("0 < vib.error < vib.plain or abs(vib.plain) > 9", {"vib.error": 1, "vib.plain": 2})
    True
    >>> holds("vib.error + 1", {"vib.error": 1})
    Traceback (most recent call last):
    ValueError: 'vib.error + 1' must compare numbers, it is one
    """
    value = _evaluate(_tree(expression), values)
    if not isinstance(value, bool):
        raise ValueError(f"{expression!r} must compare numbers, it is one")
    return value


def with_numbers(expression: str, values: Mapping[str, float]) -> str:
    """The expression with a value in place of each name.

    >>> with_numbers("vib.error < vib.plain + 0.3", {"vib.error": 1.31, "vib.plain": 1.72})
    '1.31 < 1.72 + 0.3'
    """
    return NAME.sub(lambda match: f"{values[match[0]]:g}", expression)


class _Noted(dict):
    """Stands for any values, and notes which were asked for."""

    def __init__(self, found: dict[str, None]) -> None:
        self.found = found

    def __getitem__(self, name: str) -> float:
        self.found[name] = None
        return 1.0


def _tree(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueError(f"{expression!r} is no expression over records") from None


def _evaluate(node: ast.expr, values: Mapping[str, float]) -> float | bool:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Attribute(value=ast.Name(id=chapter), attr=what):
            return values[f"{chapter}.{what}"]
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            try:
                return ARITHMETIC[type(op)](_evaluate(left, values), _evaluate(right, values))
            except ZeroDivisionError:
                return float("nan")
        case ast.UnaryOp(ast.Not(), operand):
            return not _evaluate(operand, values)
        case ast.UnaryOp(op, operand) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_evaluate(operand, values))
        case ast.BoolOp(op, parts):
            truths = [bool(_evaluate(part, values)) for part in parts]
            return all(truths) if isinstance(op, ast.And) else any(truths)
        case ast.Compare(left, ops, parts) if all(type(op) in COMPARISONS for op in ops):
            sides = [_evaluate(side, values) for side in (left, *parts)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            return all([COMPARISONS[type(op)](one, other) for op, one, other in pairs])
        case ast.Call(ast.Name(id=name), [_, *_] as parts, []) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_evaluate(part, values) for part in parts))
    raise ValueError(
        f"{ast.unparse(node)!r} is not understood: write numbers, names of records, + - * /, "
        "comparisons, and, or, not, abs, min, max"
    )
