"""The sources of the exercises: what their cells are, and what a student sees of them."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from ibbook.book import chapters
from ibbook.book.chapters import Chapter, either, first_line
from ibbook.book.folders import BookError, files, root

# How a grade_id ends, and what nbgrader's metadata say of such a cell: grade, locked, solution.
ANSWER, TEST, HIDDEN, WRITTEN = "", "-test", "-hidden", "-why"
KINDS = {TEST: (True, True, False), HIDDEN: (True, True, False), WRITTEN: (True, False, True)}
GIVEN, ANSWERED = (False, True, False), (False, False, True)
CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
SEED = "seed: int = 0"


def exercises(book: Path | None = None) -> list[Chapter]:
    """Every source in chapters/exercises, in reading order.

    >>> all(source.text.parent.name == "exercises" for source in exercises())
    True
    """
    texts = files(book or root(), "chapters/exercises/*.md")
    return [Chapter(text) for text in texts]


def find(name: str, book: Path | None = None) -> Chapter:
    """The exercises of a chapter, given as `chapters.find` takes it."""
    chapter = chapters.find(name, book)
    known = {source.name: source for source in exercises(book)}
    if chapter.name not in known:
        raise BookError(f"{chapter.name} has no exercises; {either(list(known)) or 'none'} has")
    return known[chapter.name]


def notebook(source: Chapter) -> NotebookNode:
    """The source as a notebook, solutions and hidden tests included.

    A cell's id is its grade_id, so that an answer is found again where a tool took the metadata.
    """
    made = chapters.notebook(source)
    for number, cell in enumerate(made.cells, 1):
        cell.id = grade_id(cell) or f"cell-{number}"
    return made


def grade_id(cell: NotebookNode) -> str:
    """The name under which nbgrader knows a cell; empty for others."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def kind(cell: NotebookNode) -> str | None:
    """ANSWER, TEST, HIDDEN or WRITTEN, or None for a cell that no one grades or fills in."""
    marks = cell.metadata.get("nbgrader", {})
    if not marks.get("grade") and not marks.get("solution"):
        return None
    ending = re.search(r"-(?:test|hidden|why)$", grade_id(cell))
    return ending[0] if ending else ANSWER


def answers(made: NotebookNode) -> list[str]:
    """The grade_ids of the answers that are code, in their order."""
    return [grade_id(cell) for cell in made.cells if kind(cell) == ANSWER]


def tests(made: NotebookNode, answer: str) -> list[str]:
    """The grade_ids of the cells that test an answer."""
    return [c for c in map(grade_id, made.cells) if c in (answer + TEST, answer + HIDDEN)]


def regions(source: str, name: str) -> list[str]:
    """The parts of a cell between `BEGIN name` and `END name`.

    >>> regions("a\\n### BEGIN SOLUTION\\nb\\n### END SOLUTION\\nc", "SOLUTION")
    ['b']
    """
    return re.findall(
        rf"^[^\n]*BEGIN {name}[^\n]*\n(.*?)\n?^[^\n]*END {name}[^\n]*$", source, re.M | re.S
    )


def released(made: NotebookNode) -> NotebookNode:
    """What a student gets: no solution, no hidden test, no output. It is what nbgrader makes."""
    made = copy.deepcopy(made)
    for cell in made.cells:
        if kind(cell) == WRITTEN:
            cell.source = TEXT_STUB
        elif kind(cell) == ANSWER:
            cell.source = _without(cell.source, "SOLUTION", CODE_STUB)
        elif kind(cell):
            cell.source = _without(cell.source, "HIDDEN TESTS", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def _without(source: str, name: str, stub: str | None) -> str:
    """A cell without its region, in whose place an indented stub stands."""
    lines, inside = [], False
    for line in source.split("\n"):
        if f"BEGIN {name}" in line:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + row for row in stub.split("\n")] if stub else []
        elif f"END {name}" in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def faults(source: Chapter) -> Iterator[str]:
    """What keeps a source from being released and graded, one line each."""
    where = f"chapters/exercises/{source.text.name}"
    try:
        made = notebook(source)
    except BookError as error:
        yield f"{where}: {error}"
        return
    seen: set[str] = set()
    for cell in made.cells:
        label = f"{where}: cell `{grade_id(cell) or first_line(cell.source)[:40]}`"
        yield from (f"{label} {fault}" for fault in _cell_faults(cell))
        if grade_id(cell) in seen:
            yield f"{label} has the grade_id of another cell; rename one of them"
        seen |= {grade_id(cell)} - {""}
    declared = [c for c in made.cells if "parameters" in c.metadata.get("tags", ())]
    if len(declared) != 1 or not declared[0].source.startswith(SEED):
        yield f"{where}: needs one cell tagged parameters that begins with `{SEED}`"
    asked = {grade_id(c).removesuffix(WRITTEN) for c in made.cells if kind(c) in (ANSWER, WRITTEN)}
    if not 4 <= len(asked) <= 6:
        yield f"{where}: has {len(asked)} exercises; 4 to 6 are wanted"
    for answer in answers(made):
        for ending in (TEST, HIDDEN):
            if answer + ending not in seen:
                yield f"{where}: {answer} has no cell {answer}{ending}; add it"
    for name in sorted(seen):
        if name.endswith((TEST, HIDDEN)) and name.rpartition("-")[0] not in answers(made):
            yield f"{where}: {name} tests no answer; name it after one of {either(answers(made))}"


def _cell_faults(cell: NotebookNode) -> Iterator[str]:
    """What is wrong with one cell."""
    marks = cell.metadata.get("nbgrader")
    if marks is None:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", ()):
            yield "is code without nbgrader metadata; lock it (grade false, locked true)"
        yield from (f"holds BEGIN {word} but no one grades it" for word in _begun(cell.source))
        return
    if marks.get("schema_version") != 3 or marks.get("task") is not False:
        yield "must say `schema_version: 3` and `task: false`"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", grade_id(cell)):
        yield f"has grade_id {grade_id(cell)!r}; use letters, digits, - and _"
    says = tuple(marks.get(word) for word in ("grade", "locked", "solution"))
    ending = kind(cell)
    expected = (GIVEN, ANSWERED) if not ending else (KINDS[ending],)
    if says not in expected:
        wanted = either([f"{e[0]}, {e[1]}, {e[2]}".lower() for e in expected])
        yield f"must have grade, locked, solution = {wanted}, got {says}"
    if says[0] and not (isinstance(marks.get("points"), int | float) and marks["points"] > 0):
        yield f"must have points above 0, got {marks.get('points')!r}"
    if (cell.cell_type == "markdown") != (ending == WRITTEN) and says != GIVEN:
        yield f"is {cell.cell_type}; only a written answer (its name ends in -why) is markdown"
    wanted = {ANSWER: ["SOLUTION"], HIDDEN: ["HIDDEN TESTS"]}.get(ending, [])
    if _begun(cell.source) != wanted or any(len(regions(cell.source, w)) != 1 for w in wanted):
        yield f"must hold {wanted[0] if wanted else 'no'} region with BEGIN and END once"
    if ending in (TEST, HIDDEN) and re.search(r"\bseed\b", cell.source):
        yield "reads seed, which an answer can set; call the function with numbers of its own"
    if cell.cell_type == "code":
        try:
            ast.parse(cell.source)
            shown = ast.parse(_without(cell.source, "HIDDEN TESTS", None)).body
        except SyntaxError as error:
            yield f"is not Python: {error.msg} in line {error.lineno}"
            return
        if ending == HIDDEN and not all(isinstance(n, ast.Import | ast.ImportFrom) for n in shown):
            yield "shows more than imports outside its hidden region; move that to the -test cell"


def _begun(source: str) -> list[str]:
    return re.findall(r"BEGIN (SOLUTION|HIDDEN TESTS|MARK SCHEME)", source)
