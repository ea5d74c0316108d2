"""One step in its own process: `python -m tests.gpu.child NAME MODULE:FUNCTION FOLDER SECONDS`."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from tests.gpu.steps import Absent, Run, StandIn, read, write


def main() -> int:
    """Run the named step; its JSON file says how it ended, and its log why."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("function", help="module:name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.dry:  # as on a bare machine
        sys.meta_path[:0] = [StandIn(), Absent()]
    else:
        sys.meta_path.append(StandIn())  # after all others: only what is missing
    path, end = asked.folder / f"{asked.name}.json", {"status": "passed"}
    try:
        module, function = asked.function.split(":")
        run = Run(asked.name, asked.folder, asked.seconds, asked.dry, asked.seed)
        getattr(importlib.import_module(module), function)(run)
    except ModuleNotFoundError as error:
        traceback.print_exc()
        ours = (error.name or "").split(".")[0] in ("ibbook", "tests")
        end = {"status": "failed" if ours else "skipped", "why": str(error)}
    except Exception as error:  # whatever it is, the other steps go on
        traceback.print_exc()
        end = {"status": "failed", "why": f"{type(error).__name__}: {error}"[:500]}
    write(path, (read(path) or {"step": asked.name, "results": {}}) | end)
    return int(end["status"] == "failed")


if __name__ == "__main__":
    sys.exit(main())
