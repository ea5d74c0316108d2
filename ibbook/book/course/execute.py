"""A notebook that one does not trust, run to its end whatever its cells do."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

from ibbook.book.course import sandbox
from ibbook.book.course.sandbox import Limits
from ibbook.book.processes import guard

SPOKEN = ("stream", "display_data", "execute_result", "error", "update_display_data")
# Errors that stand in for what a cell did not do, and what they say.
STOPS = {"NotRun", "Stopped", "Timeout", "TooMuchOutput"}
OURS = re.compile(
    "the kernel died|a cell did not stop when its time was over"
    "|the cell was stopped after [0-9.]+ s|the notebook took longer than [0-9.]+ s"
    "|said more than [0-9,]+ characters|something kept this test from running"
)
# Told in the cells' outputs, not on the teacher's screen.
SILENT = logging.getLogger(__name__)
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
MESSAGE = 32 << 20  # bytes of one message from a kernel; a longer one cuts the connection


class _Kernel(AsyncKernelManager):
    """A kernel behind `before`, the start of its command line, that ends when we do."""

    before: list[str]
    guards: list[Popen]

    @property
    def kernel_spec(self) -> KernelSpec:
        start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=[*self.before, *start], language="python", interrupt_mode="message")

    async def _async_post_start_kernel(self, **options: Any) -> None:
        self.guards.append(guard(self.provisioner.pgid))
        await super()._async_post_start_kernel(**options)


class _Client(NotebookClient):
    """Cuts a cell off that says more than `most` characters."""

    most: int
    said: int = 0

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        if msg["msg_type"] in SPOKEN:
            before, self.said = self.said, self.said + len(str(msg["content"]))
            if self.said > self.most:
                if before <= self.most:
                    self.stopping = asyncio.ensure_future(self.km.interrupt_kernel())
                return None
        return super().process_message(msg, cell, cell_index)


def execute(made: NotebookNode, limits: Limits, *, closed: bool, files: Path | None = None) -> None:
    """Run every cell of a notebook in place.

    A cell that is stopped or cannot run ends in an error output, as one that fails does; the cells
    before it keep their results. Test cells (`grade`, `locked`) prove that they ran.

    Args:
        closed: in a world of its own (`sandbox.closed`), or with limits only.
        files: a folder whose files, notebooks aside, lie where the kernel works.
    """
    with tempfile.TemporaryDirectory(prefix="ib-", ignore_cleanup_errors=True) as top:
        work, sockets = Path(top, "work"), Path(top, "k")
        sockets.mkdir()
        if files:
            shutil.copytree(files, work, ignore=shutil.ignore_patterns("*.ipynb"))
        else:
            work.mkdir()
        kernel = _Kernel(
            transport="ipc", connection_file=str(sockets / "c.json"), ip=str(sockets / "s")
        )
        kernel.before, kernel.guards = sandbox.command(work, sockets, limits, closed=closed), []
        kernel.context.maxmsgsize = MESSAGE
        client = _Client(
            made,
            kernel,
            timeout=limits.cell,
            allow_errors=True,
            interrupt_on_timeout=True,
            error_on_timeout={"ename": "Timeout", "evalue": "", "traceback": []},
            shutdown_kernel="immediate",
            raise_on_iopub_timeout=True,
            store_widget_state=False,
            coalesce_streams=True,
        )
        client.log, client.owns_km = SILENT, True
        client.most = limits.output
        try:
            with client.setup_kernel(cwd=str(work), stdout=DEVNULL, stderr=DEVNULL):
                client.reset_execution_trackers()
                end = time.monotonic() + limits.notebook
                stopped = ""
                for index, cell in enumerate(made.cells):
                    if cell.cell_type != "code" or not cell.source.strip():
                        continue
                    if not stopped and time.monotonic() > end:
                        stopped = f"the notebook took longer than {limits.notebook:g} s"
                    if stopped:
                        cell.outputs = [_error("NotRun", stopped)]
                        continue
                    stopped = _run(client, cell, index)
        finally:
            for waiting in kernel.guards:
                waiting.communicate()


def _run(client: _Client, cell: NotebookNode, index: int) -> str:
    """Run one cell; why nothing can run after it, or an empty string."""
    marks = cell.metadata.get("nbgrader", {})
    test = bool(marks.get("grade")) and not marks.get("solution")
    source, proof = cell.source, secrets.token_hex(16)
    if test:
        cell.source = f'print("{proof}")\n{source}'
    client.said, stopped, start = 0, "", time.monotonic()
    try:
        client.execute_cell(cell, index)
    except DeadKernelError:
        stopped = "the kernel died"
    except CellTimeoutError:
        stopped = "a cell did not stop when its time was over"
    finally:
        cell.source = source
    slow = f"the cell was stopped after {client.timeout:g} s"
    if time.monotonic() - start > client.timeout:
        cell.outputs = [_error("Timeout", slow)]
    if client.said > client.most:
        cell.outputs = [_error("TooMuchOutput", f"said more than {client.most:,} characters")]
    if stopped:
        cell.outputs = [_error("Stopped", stopped)]
    elif test:
        _tidy(cell, proof)
    return stopped


def _tidy(cell: NotebookNode, proof: str) -> None:
    """The outputs of a test cell, so that nbgrader reads the right grade off them.

    It takes whatever stands on stderr for a failure, and the first result for the grade.
    """
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    errors = [output for output in cell.outputs if output.output_type == "error"]
    results = [output for output in cell.outputs if output.output_type == "execute_result"]
    ran = any(proof in output.text for output in streams if output.name == "stdout")
    for output in streams:
        output.name, output.text = "stdout", output.text.replace(proof + "\n", "")
    last = ast.parse(cell.source).body[-1:]
    kept = results[-1:] if last and isinstance(last[0], ast.Expr) and not errors else []
    if not ran and not errors:
        errors = [_error("NotRun", "something kept this test from running")]
    cell.outputs = [*(o for o in streams if o.text.strip()), *errors[-1:], *kept]


def _error(name: str, message: str) -> NotebookNode:
    return new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])
