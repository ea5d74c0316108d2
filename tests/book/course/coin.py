"""A tiny chapter of exercises, three that are graded by themselves and one that a person grades."""

from __future__ import annotations

from pathlib import Path

TOP = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

"""
NAME = "01-coin"
CHAPTER = TOP.replace("---\n\n", "ibbook: {minutes: 1, device: cpu}\n---\n\n") + "Toss it.\n"
PARAMETERS = "```{code-cell} ipython3\n:tags: [parameters]\nseed: int = 0\n```\n"
CELL = """
```{{code-cell}} ipython3
---
nbgrader:
  grade: {grade}
  grade_id: {name}
  locked: {locked}
{points}  schema_version: 3
  solution: {solution}
  task: false
---
{source}
```
"""
WHY = """
+++ {"nbgrader": {"grade": true, "grade_id": "fair-why", "locked": false, "points": 2, \
"schema_version": 3, "solution": true, "task": false}}

A fair coin keeps its secret.

+++
"""
# name, arguments, solution, a visible test, a hidden test, wrong answers
EXERCISES = [
    (
        "heads", "tosses", "return tosses.count('H')",
        "assert heads('HT') == 1", "assert heads('HHTHT' * 41) == 123, 'count the heads'",
        ["return tosses.count('T')", "return len(tosses)", "return 1"],
    ),
    (
        "share", "tosses", "return tosses.count('H') / len(tosses)",
        "assert share('HT') == 0.5", "assert share('HHHT' * 17) == 0.75, 'a share of all tosses'",
        ["return tosses.count('H')", "return 0.5", "return tosses.count('H') / 4"],
    ),
    (
        "runs", "tosses", "return 1 + sum(a != b for a, b in zip(tosses, tosses[1:]))",
        "assert runs('HHT') == 2", "assert runs('HTTTH' * 3) == 7, 'runs end where sides change'",
        ["return sum(map(str.__ne__, tosses, tosses[1:]))", "return 2", "return len(tosses)"],
    ),
]  # fmt: skip


def cell(name: str, source: str, points: int | None = None, *, solution: bool = False) -> str:
    """A cell with nbgrader's metadata."""
    return CELL.format(
        name=name,
        source=source,
        grade=str(points is not None).lower(),
        locked=str(not solution).lower(),
        points="" if points is None else f"  points: {points}\n",
        solution=str(solution).lower(),
    )


def answer(name: str, arguments: str, body: str) -> str:
    """The source of an answer's cell."""
    return f"def {name}({arguments}):\n    {body}"


def write(book: Path) -> Path:
    """A book with this chapter, its exercises and their bank."""
    bank = book / "tests" / "book" / "course" / "bank"
    for folder in (book / "chapters" / "exercises", bank, book / "data"):
        folder.mkdir(parents=True)
    (book / "chapters" / f"{NAME}.md").write_text(CHAPTER)
    cells, wrong = [TOP + "# Coins\n", PARAMETERS, cell("setup", "import math")], []
    for name, arguments, solution, test, hidden, mistakes in EXERCISES:
        body = f"### BEGIN SOLUTION\n    {solution}\n    ### END SOLUTION"
        cells += [
            f"\nWrite `{name}`.\n",
            cell(name, answer(name, arguments, body), solution=True),
            cell(f"{name}-test", test, 1),
            cell(f"{name}-hidden", f"### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS", 2),
        ]
        for row in mistakes:
            source = answer(name, arguments, row)
            told = f"exercise = '{name}'\nmistake = '''{row}'''\n"
            wrong.append(f"[[wrong]]\n{told}source = '''\n{source}\n'''\n")
    cells += ["\nWhy?\n", WHY]
    (book / "chapters" / "exercises" / f"{NAME}.md").write_text("".join(cells))
    (bank / f"{NAME}.toml").write_text("\n".join(wrong))
    return book


RIGHT = {name: answer(name, arguments, solution) for name, arguments, solution, *_ in EXERCISES}
