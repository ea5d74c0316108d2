"""Text that stays in its place: what mystmd would drop or misread, and words made safe for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

FENCE = re.compile(r"(`{3,}|~{3,}|:{3,})")
DELIMITERS = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?\|?\s*")
TITLES = re.compile(r"(title|short_title|subtitle|description):(.*\$.*\$.*)")
BAR = "a bar within a cell of a table ends it; write \\|, or \\mid in a formula"
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def faults(text: str) -> Iterator[str]:
    """What a page would lose of a text without a word.

    >>> for fault in faults("| a | b |\\n|---|---|\\n| $p(x|y)$ | 1 |\\n"):
    ...     print(fault)
    line 3: a bar within a cell of a table ends it; write \\|, or \\mid in a formula
    >>> for fault in faults("---\\ntitle: The $b$-VAE\\n---\\n"):
    ...     print(fault)
    line 2: a formula in its title stays raw; write the letter, such as β
    """
    lines, top, code, cells = text.split("\n"), 0, "", 0
    for number, line in enumerate(lines, 1):
        if line.strip() == "---":
            top += 1
        if (match := FENCE.match(line.strip())) and match[1][0] != ":":
            code = "" if code and line.strip().startswith(code) else code or match[1]
        elif top < 4 and (match := TITLES.fullmatch(line)) and not code:
            what = f"a formula in its {match[1]} stays raw; write the letter, such as β"
            yield f"line {number}: {what}"
        if not code and line.startswith("%"):
            yield f"line {number}: it begins with %, so it is a comment that no page shows"
        if code or "|" not in line:
            cells = 0
        elif cells:
            if len(row := _cells(line)) > cells or any(map(_open, row)):
                yield f"line {number}: {BAR}"
        elif number > 1 and DELIMITERS.fullmatch(line):
            head, cells = lines[number - 2], len(_cells(line))
            if "|" in head and len(_cells(head)) != cells:
                yield f"line {number - 1}: {BAR}"


def _cells(row: str) -> list[str]:
    """The cells of a table's row, as mystmd finds them."""
    return re.split(r"(?<!\\)\|", re.sub(r"^\s*\||(?<!\\)\|\s*$", "", row))


def _open(part: str) -> bool:
    """Whether a formula or code begins in a cell and ends in the next."""
    return len(re.findall(r"(?<!\\)\$", part)) % 2 == 1 or part.count("`") % 2 == 1


def fenced(text: str) -> str:
    """Text in a block of its own that nothing in it can close, without colours and controls.

    >>> print(fenced("a\\n```\\nb"))
    ````text
    a
    ```
    b
    ````
    """
    plain = CONTROL.sub("", text)
    fence = longer("``", plain)
    return f"{fence}text\n{plain}\n{fence}"


def longer(marks: str, text: str, mark: str = "") -> str:
    """One mark more than the text has in a row, and than there are already.

    >>> longer(":::", "a :::: b"), longer("", "a", "`")
    (':::::', '`')
    """
    mark = mark or marks[0]
    runs = [marks, *re.findall(f"{mark}+", text)]
    return mark * (1 + max(map(len, runs)))


def cell(text: str) -> str:
    """Text as code in a cell of a table, where no bar, backtick, role or new line ends it.

    >>> cell("a|b"), cell("`x`"), cell("two\\nlines")
    ('`a\\\\|b`', '`` `x` ``', '`two lines`')
    """
    plain = CONTROL.sub("", " ".join(text.split())).replace("|", "\\|") or " "
    ticks = longer("", plain, "`")
    space = " " if "`" in plain else ""
    return f"{ticks}{space}{plain}{space}{ticks}"
