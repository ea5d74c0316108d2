"""A chapter's cells, executed in a kernel of this Python, away from the caller's own settings."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import joblib
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook
from traitlets import default

from ibbook._paths import given
from ibbook.book.chapters import Chapter, first_line, read
from ibbook.book.folders import run_store
from ibbook.book.parameters import Value
from ibbook.book.processes import guard, plain

# Variables of the caller that would change what cells compute, print or draw.
OWN = ("FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "MPLBACKEND", "TORCH_LOGS")
# Starts a kernel without what this machine has IPython do in each.
ALONE = """\
from IPython.core import application
application.SYSTEM_CONFIG_DIRS.clear(), application.ENV_CONFIG_DIRS.clear()
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


# The guards of the kernels that each thread waits for.
_guards: dict[int, list[subprocess.Popen]] = {}


class ChapterError(RuntimeError):
    """A chapter that did not run to its end: which cell failed, and of what."""

    def __init__(self, chapter: str, cell: int, source: str, reason: str, traceback: str = ""):
        self.chapter, self.cell, self.reason, self.traceback = chapter, cell, reason, traceback
        super().__init__(
            f"{chapter} failed in code cell {cell} (`{first_line(source)}`): {reason}"
            if cell
            else f"{chapter} failed before its first cell: {reason}"
        )


def execute(
    chapter: Chapter,
    made: NotebookNode,
    output: Path,
    changed: Mapping[str, Value],
    cell_timeout: int | None,
    progress: bool,
) -> NotebookNode:
    """The executed notebook without papermill's and the kernel's timings and paths."""
    profile = output.with_name(".ipython")

    guards = _guards[threading.get_ident()] = []
    own = {"environment": _environment(chapter.book, profile), "guards": guards}
    kernel = type("Kernel", (_ThisInterpreter,), own)

    def attempt() -> NotebookNode:
        return execute_notebook(
            deepcopy(made),
            _literal(output),
            parameters=dict(changed),
            progress_bar=progress,
            cwd=str(chapter.text.parent),
            execution_timeout=cell_timeout,
            kernel_manager_class=kernel,
            shutdown_kernel="immediate",
        )

    try:
        try:
            result = attempt()
        except RuntimeError:
            if _last_started(output)[0]:
                raise
            result = attempt()  # on a busy machine a kernel may die before its first cell
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".strip(": ")
        raise _failure(chapter, output, reason, "\n".join(error.traceback)) from None
    except TimeoutError:
        reason = f"it ran longer than {cell_timeout} s (see --cell-timeout)"
        raise _failure(chapter, output, reason) from None
    except RuntimeError as error:
        raise _failure(chapter, output, f"its kernel stopped ({error})") from None
    finally:
        del _guards[threading.get_ident()]
        for waiting in guards:
            waiting.communicate()
        shutil.rmtree(profile, ignore_errors=True)
    for cell in result.cells:
        if cell.cell_type == "code":
            if cell.source.strip() and cell.execution_count is None:
                raise _failure(chapter, output, "it left the kernel, so later cells did not run")
            cell.outputs = joined(cell.outputs)
        for name in ("papermill", "execution", *(() if cell.metadata.get("tags") else ("tags",))):
            cell.metadata.pop(name, None)
    for name in ("papermill", "language_info"):
        result.metadata.pop(name, None)
    return result


def stop(thread: int) -> None:
    """End the kernels that a thread of this process waits for; its chapter then fails.

    >>> stop(0)
    """
    for waiting in _guards.get(thread, ()):
        waiting.stdin.close()


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Outputs in their order, where texts that follow each other are one, as a terminal shows them.

    >>> from nbformat.v4 import new_output
    >>> [part.text for part in joined([new_output("stream", text=t) for t in ("1 %\\r", "2 %")])]
    ['2 %']
    """
    made: list[NotebookNode] = []
    parts: list[list[str]] = []
    for output in outputs:
        if output.output_type != "stream":
            made.append(output)
            parts.append([])
        elif made and made[-1].output_type == "stream" and made[-1].name == output.name:
            parts[-1].append(output.text)
        else:
            made.append(output)
            parts.append([output.text])
    for output, texts in zip(made, parts, strict=True):
        if texts:
            output.text = _shown("".join(texts))
    return made


def _shown(text: str) -> str:
    """Text after its carriage returns and backspaces, in one pass."""
    lines = text.split("\n") if "\r" in text or "\b" in text else []
    for number, line in enumerate(lines):
        bare = line.rstrip("\r")
        line = bare.rpartition("\r")[2] + line[len(bare) :]
        kept: list[str] = []
        for letter in line if "\b" in line else ():
            if letter != "\b":
                kept.append(letter)
            elif kept:
                kept.pop()
        lines[number] = "".join(kept) if "\b" in line else line
    return "\n".join(lines) if lines else text


class _ThisInterpreter(AsyncKernelManager):
    """Starts kernels with the Python that runs this code, whatever kernels are registered.

    Each has a guard, which ends the kernel and all that the kernel started.
    """

    environment: Mapping[str, str]
    guards: list[subprocess.Popen]

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-P", "-c", ALONE, "-f", "{connection_file}"]
        return KernelSpec(**get_kernel_dict() | {"argv": command})

    @default("transport_encryption")
    def _encrypt(self) -> str:
        return "auto"

    async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
        return await super()._async_pre_start_kernel(**options | {"env": dict(self.environment)})

    async def _async_post_start_kernel(self, **options: Any) -> None:
        self.guards.append(guard(self.provisioner.pgid))
        await super()._async_post_start_kernel(**options)


def threads() -> int:
    """Threads of a kernel: what OMP_NUM_THREADS says, or the cores that this process may use.

    >>> threads() >= 1
    True
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if said.isdecimal() and int(said):
        return int(said)
    return joblib.cpu_count(only_physical_cores=True)


def _environment(book: Path, profile: Path) -> dict[str, str]:
    """The caller's variables, without those that change a run; folders as the caller means them."""
    made = plain(OWN)
    if path := made.get("PYTHONPATH"):
        made["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    for name in ("IBBOOK_DATA", "IBBOOK_CACHE"):
        if folder := given(name):
            made[name] = str(folder)
    made |= {"IBBOOK_ROOT": str(book), "IBBOOK_RUNS": str(run_store(book))}
    made["OMP_NUM_THREADS"] = str(threads())
    made |= {"IPYTHONDIR": str(profile), "PYTHONUTF8": "1"}
    if found := importlib.util.find_spec("matplotlib"):
        style = Path(found.origin).parent / "mpl-data" / "matplotlibrc"
        made["MATPLOTLIBRC"] = str(style)  # not that of the user's own configuration
    return made


def _literal(path: Path) -> str:
    """A path as papermill takes it, which would fill in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _last_started(output: Path) -> tuple[int, str]:
    """The last cell that papermill started: its number, as a reader counts, and its code."""
    number, source = 0, ""
    for cell in read(output).cells if output.exists() else ():
        if cell.cell_type != "code" or "injected-parameters" in cell.metadata.get("tags", ()):
            continue
        if not cell.metadata.get("papermill", {}).get("start_time"):
            break
        number, source = number + 1, cell.source
    return number, source


def _failure(chapter: Chapter, output: Path, reason: str, traceback: str = "") -> ChapterError:
    plain = re.compile(r"\x1b\[[0-9;]*m")
    told = (plain.sub("", text) for text in (reason, traceback))
    return ChapterError(chapter.name, *_last_started(output), *told)
