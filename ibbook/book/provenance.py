"""Where numbers come from, as pages: the runs of the chapters, and the long runs that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ibbook.book.markup import cell
from ibbook.book.results import kept, kept_files

Run = Mapping[str, Any]
# What a reader sees of a run beside its parameters, under the names that its file has for it.
SHOWN = {
    "chapter": "chapter",
    "commit": "commit",
    "command": "command",
    "seconds": "seconds",
    "finished": "finished (UTC)",
    "ibbook": "ibbook",
    "python": "Python",
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "platform": "system",
    "processor": "processor",
    "instructions": "instruction set",
    "threads": "threads",
    "device": "device",
    "key": "key of the run",
    "sha256": "sha256 of its notebook",
}
HASHED = {"text": "chapter's text", "package": "package's source", "data": "data"}


def facts(run: Run) -> list[tuple[str, str]]:
    """All that a run says of itself, name by name; what an older one did not note is left out.

    >>> facts({"commit": "9c9073def12", "dirty": True, "inputs": {"data": "ab12"}})
    [('commit', '9c9073def12 (with changes)'), ('sha256 of the data', 'ab12')]
    """
    rows = {what: str(run[name]) for name, what in SHOWN.items() if run.get(name) is not None}
    if run.get("dirty") and "commit" in rows:
        rows["commit"] += " (with changes)"
    for name, what in HASHED.items():
        if found := run.get("inputs", {}).get(name):
            rows[f"sha256 of the {what}"] = str(found)
    return list(rows.items())


def again(run: Run) -> str:
    """The lines for a shell, in a clone of the repository, that make a run again; "" if unknown.

    >>> print(again({"commit": "9c9073def12", "command": "ibbook run 05-beta-vae"}))
    git checkout 9c9073def12
    make .venv/book
    . .venv/bin/activate
    ibbook run 05-beta-vae
    """
    if not run.get("command"):
        return ""
    checkout = [f"git checkout {run['commit']}"] if run.get("commit") else []
    return "\n".join([*checkout, "make .venv/book", ". .venv/bin/activate", run["command"]])


def parameters(run: Run) -> str:
    """The parameters of a run, each as code.

    >>> parameters({"parameters": {"seed": 0, "images": ""}})
    '`seed = 0`, `images = ""`'
    """
    return ", ".join(cell(f"{name} = {_said(value)}") for name, value in run["parameters"].items())


def tables(runs: Mapping[str, Run]) -> str:
    """Run time, commit, versions, machine and parameters of every chapter, as Markdown.

    >>> run = {"seconds": 61.2, "finished": "2026-11-21T07:00:00Z", "commit": "9c9073def12",
    ...        "ibbook": "0.1.0", "python": "3.11.2", "torch": "2.9.0", "key": "0123456789ab",
    ...        "parameters": {"seed": 0}}
    >>> print(tables({"01-entropy": run}).splitlines()[5])
    | [](01-entropy.ipynb) | 61 s | 2026-11-21 07:00 | `9c9073def1` | `01234567` |
    """
    if not runs:
        return "\nNo chapter has been run.\n"
    made, versions, machines, settings, hashes = [], [], [], [], []
    for name, run in sorted(runs.items()):
        chapter = f"[]({name}.ipynb)"
        inputs = run.get("inputs", {})
        made.append((chapter, seconds(run), when(run), commit(run), f"`{run['key'][:8]}`"))
        versions.append((chapter, *(_plain(run, n) for n in ("ibbook", "python", "torch"))))
        versions[-1] += tuple(_plain(run, n) for n in ("numpy", "scipy"))
        machines.append((chapter, *(_plain(run, n) for n in ("processor", "instructions"))))
        machines[-1] += tuple(_plain(run, n) for n in ("threads", "device"))
        hashes.append((chapter, *(f"`{inputs.get(n, '')[:12]}`" for n in HASHED if inputs)))
        settings.append((chapter, parameters(run) or "none"))
    libraries = ["chapter", "ibbook", "Python", "torch", "numpy", "scipy"]
    parts = [
        _section("Runs", ["chapter", "run time", "finished (UTC)", "commit", "key"], made),
        _section("Versions", libraries, versions),
        _section(
            "Machines",
            ["chapter", "processor", "instruction set", "threads", "device"],
            machines,
        ),
    ]
    if all(len(row) > 1 for row in hashes):
        parts.append(_section("Hashes (sha256)", ["chapter", *HASHED.values()], hashes))
    return "".join([*parts, _section("Parameters", ["chapter", "parameters"], settings)])


def kept_runs(book: Path) -> str:
    """Every kept run of data/results: a row each, then all that its file holds, as Markdown."""
    paths = kept_files(book)
    if not paths:
        return "\nNo run is kept.\n"
    runs = {path.stem: kept(path) for path in paths}
    rows = [
        (
            f"[{name}](#{anchor(name)})",
            f"[]({run['chapter']}.ipynb)",
            when(run),
            seconds(run),
            cell(run["platform"]),
            parameters(run),
        )
        for name, run in runs.items()
    ]
    head = ["run", "chapter", "finished (UTC)", "run time", "machine", "parameters"]
    return "\n" + table(head, rows) + "".join(_kept(name, run) for name, run in runs.items())


def anchor(name: str) -> str:
    """Where the page of kept runs shows the run of that name."""
    return f"run-{name}"


def _kept(name: str, run: Run) -> str:
    """A section on one kept run: its numbers, and where they come from, folded."""
    said = [(cell(r["name"]), cell(f"{r['value']:g} {r['unit']}")) for r in run["records"]]
    about = [(what, cell(value)) for what, value in facts(run)]
    about += [(cell(n), cell(_said(value))) for n, value in run["parameters"].items()]
    numbers = _folded("Its numbers", table(["number", "value"], said))
    origin = _folded("Where they come from", table(["what", "value"], about))
    lines = again(run)
    origin += f"\nTo make it again:\n\n```bash\n{lines}\n```\n" if lines else ""
    return f"\n({anchor(name)})=\n## {name}\n{numbers}{origin}"


def _said(value: Any) -> str:
    """A parameter's value, where no text is seen as no text."""
    return str(value) or '""'


def _folded(title: str, text: str) -> str:
    return f"\n:::{{dropdown}} {title}\n\n{text}\n:::\n"


def _plain(run: Run, name: str) -> str:
    return cell(str(run[name])) if name in run else "not noted"


def seconds(run: Run) -> str:
    return f"{run['seconds']:.0f} s"


def when(run: Run) -> str:
    return run["finished"][:16].replace("T", " ")


def commit(run: Run) -> str:
    found = f"`{run['commit'][:10]}`" if run.get("commit") else "none"
    return found + (" (with changes)" if run.get("dirty") else "")


def _section(title: str, head: list[str], rows: list[tuple[str, ...]]) -> str:
    return f"\n## {title}\n\n{table(head, rows)}"


def table(head: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown.

    >>> print(table(["a"], [("1",)]))
    | a |
    | --- |
    | 1 |
    <BLANKLINE>
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
