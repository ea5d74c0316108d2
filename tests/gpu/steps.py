"""The steps in their order, and what each of them is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Step:
    """A function `module:name` of a `Run`; it gets `seconds`, and is not started below `least`."""

    name: str
    function: str
    seconds: float
    least: float = 15.0


# On an H200 machine took 12 s and correctness 66. Not measured yet: all that is speed, some 140 to
# 200 s; results take the rest of the nine minutes.
STEPS = (
    Step("machine", "tests.gpu.speed:machine", 40),
    Step("correctness", "tests.gpu.correctness:correctness", 100),
    Step("speed-training", "tests.gpu.speed:training", 130),
    Step("profile", "tests.gpu.profile:steps", 40),
    Step("speed-sprites", "tests.gpu.speed:sprites", 40),
    Step("speed-solvers", "tests.gpu.speed:solvers", 60),
    Step("speed-metrics", "tests.gpu.speed:scores", 30),
    Step("results-1", "tests.gpu.results:first", 3600, 120),
    Step("results-2", "tests.gpu.results:second", 3600, 120),
)

# What ibbook imports and these steps do not use; a lent machine lacks the first two, and what a
# dry run must do without as well.
UNUSED = ("lightgbm", "platformdirs", "h5py", "requests")
ABSENT = ("IPython", "ipykernel", "jupytext", "nbclient", "nbformat", "nbval", "papermill")


@dataclass
class Run:
    """What a step is told: where it may write, how long it has, and on what it computes."""

    step: str
    folder: Path
    seconds: float
    dry: bool = False
    seed: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> str:
        """`$IBBOOK_GPU_DEVICE`, by default the GPU; a dry run takes the CPU where there is none."""
        device = os.environ.get("IBBOOK_GPU_DEVICE")
        if device is None:
            import torch  # seconds to import

            device = "cuda" if torch.cuda.is_available() else "cpu"
        if not self.dry and not device.startswith("cuda"):
            raise ValueError(f"device is {device!r}: no GPU was found; add --dry for tiny sizes")
        return device

    @property
    def left(self) -> float:
        """Seconds until this step is stopped."""
        return self.seconds - (time.monotonic() - self.started)

    def save(self, results: dict[str, Any], summary: str = "") -> None:
        """Write what is known so far: a step that is stopped leaves that."""
        said = {"step": self.step, "status": "running", "dry": self.dry, "device": self.device}
        write(self.folder / f"{self.step}.json", said | {"summary": summary, "results": results})

    def ceilings(self) -> dict[str, float]:
        """What the step `machine` measured; empty if it did not."""
        said = read(self.folder / "machine.json") or {}
        return said.get("results", {}).get("ceilings", {})


def write(path: Path, said: dict[str, Any]) -> None:
    """A JSON file, written whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


class Absent(MetaPathFinder):
    """Hides the packages of `ABSENT`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class StandIn(MetaPathFinder, Loader):
    """Finds the packages of `UNUSED` as modules that fail when they are used."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in UNUSED else None

    def exec_module(self, module: ModuleType) -> None:
        def missing(attribute: str) -> Callable[..., None]:
            if attribute.startswith("__"):
                raise AttributeError(attribute)

            def use(*_: Any, **__: Any) -> None:
                raise ImportError(f"{module.__name__} is not installed on this machine")

            return use

        module.__getattr__ = missing
