"""Steps that end in every way, for `tests/test_gpu_dry_run.py`."""

from __future__ import annotations

import os
import time

from tests.gpu.steps import Run


def passes(run: Run) -> None:
    run.save({"found": 1}, "all is well")


def fails(run: Run) -> None:
    run.save({"found": 1})
    raise ValueError("steps must be positive, got 0")


def lacks(run: Run) -> None:
    import no_such_package  # noqa: F401


def mistyped(run: Run) -> None:
    import ibbook.no_such_module  # noqa: F401


def sleeps(run: Run) -> None:
    run.save({"found": 1})
    time.sleep(600)


def dies(run: Run) -> None:
    os.abort()
