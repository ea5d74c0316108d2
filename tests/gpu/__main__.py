"""`python -m tests.gpu [--dry]`: run the steps, and leave one JSON file and one log of each.

They lie in `_build/gpu`, and all together in `gpu.zip` beside them or, where it is set, in the
folder `$OUT`: a lent machine sends back only a few files. The exit status is 1 if a step failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.gpu.steps import STEPS, Step, read, write

ROOT = Path(__file__).parents[2]
BUDGET = 540.0  # seconds, of all steps together


def main(arguments: list[str] | None = None) -> int:
    asked = _asked(arguments)
    folder = (asked.out or ROOT / "_build" / "gpu").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    together = Path(os.environ.get("OUT") or folder).absolute() / "gpu.zip"
    deadline = time.monotonic() + asked.seconds
    failed = False
    for step in STEPS:
        if asked.only and step.name not in asked.only:
            continue
        (folder / f"{step.name}.json").unlink(missing_ok=True)  # of an earlier run
        left = deadline - time.monotonic()
        said = run(step, folder, left if asked.dry else min(step.seconds, left), asked)
        failed |= said["status"] in ("failed", "timed out")
        print(line(said), flush=True)
        pack(folder, together)
    print(f"all of it: {together}", flush=True)
    return int(failed)


def run(step: Step, folder: Path, seconds: float, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one step for at most `seconds`; what its JSON file then holds."""
    path, log = folder / f"{step.name}.json", folder / f"{step.name}.log"
    if seconds < step.least:
        said = {"step": step.name, "status": "not run", "why": "no time was left", "seconds": 0.0}
        write(path, said)
        return said
    command = [sys.executable, "-m", "tests.gpu.child", step.name, step.function]
    command += [str(folder), str(seconds), "--seed", str(asked.seed), *["--dry"] * asked.dry]
    # what is tiny is fastest on one thread
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if asked.dry else {})
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    said = read(path) or {"step": step.name, "results": {}}
    if code is None:
        said |= {"status": "timed out", "why": f"took more than {seconds:.0f} s"}
    elif code or said.get("status") == "running":
        said |= {"status": "failed"}
        said.setdefault("why", f"its process ended with status {code}; see {log.name}")
    said["seconds"] = round(time.monotonic() - start, 1)
    write(path, said)
    return said


def _end(process: subprocess.Popen) -> None:
    """End a step and whatever it started, such as the workers that compile."""
    with contextlib.suppress(ProcessLookupError):  # it ended by itself, and left nothing
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def line(said: dict[str, Any]) -> str:
    """One step in one line.

    >>> line({"step": "machine", "status": "passed", "seconds": 2.04, "summary": "one GPU"})
    'machine           passed        2.0 s  one GPU'
    """
    words = said.get("summary", "") if said["status"] == "passed" else said.get("why", "")
    return f"{said['step']:18}{said['status']:9}{said['seconds']:8.1f} s  {words}".rstrip()


def pack(folder: Path, together: Path) -> None:
    """All JSON files and logs of the folder in one file, written whole or not at all."""
    together.parent.mkdir(parents=True, exist_ok=True)
    part = together.with_name(f"{together.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted([*folder.glob("*.json"), *folder.glob("*.log"), *folder.glob("kept/*")]):
            archive.write(path, path.relative_to(folder))
    os.replace(part, together)


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on any machine")
    parser.add_argument("--out", type=Path, help="folder for what the steps write")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="for all steps together")
    parser.add_argument("--seed", type=int, default=0, help="of the first models that are kept")
    names = [step.name for step in STEPS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
