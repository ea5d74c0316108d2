"""Every test of `on_device.py`, on the device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gpu.steps import Run

HERE = Path(__file__).parent


class Outcomes:
    """A plugin that notes how each test ended, as soon as it has."""

    def __init__(self, run: Run) -> None:
        self.run, self.tests = run, {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.tests[report.nodeid.partition("::")[2]] = {
                "outcome": report.outcome,
                "seconds": round(report.duration, 2),
                "why": "" if report.passed else report.longreprtext[-1000:],
            }
            ended = [test["outcome"] for test in self.tests.values()]
            counts = {kind: ended.count(kind) for kind in sorted(set(ended))}
            summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            self.run.save({"tests": self.tests, "counts": counts}, summary)


def correctness(run: Run) -> None:
    """The settings above this folder need packages that a lent machine lacks; it has other plugins.

    Each test leaves its outcome as soon as it has ended.
    """
    os.environ |= {"IBBOOK_GPU_DEVICE": run.device, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    outcomes = Outcomes(run)
    # other versions of other packages warn of other things
    alone = [f"--confcutdir={HERE}", "-o", "filterwarnings=default", "--durations=0"]
    code = pytest.main([str(HERE / "on_device.py"), *alone], plugins=[outcomes])
    if code:
        bad = [name for name, test in outcomes.tests.items() if test["outcome"] == "failed"]
        raise AssertionError(f"pytest ended with {code!s}; failed: {', '.join(bad) or 'none'}")
