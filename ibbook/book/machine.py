"""What a run was made on, and the command that makes it again."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ibbook import _origin
from ibbook.book.parameters import Value

# Variables that change the last digits, as tests/second_arithmetic.env sets them, or the device.
ARITHMETIC = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")
ARITHMETIC += ("CUDA_VISIBLE_DEVICES",)


def machine() -> str:
    """The system, its cores, and its GPU where torch finds one.

    >>> " cores" in machine()
    True
    """
    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores"]
    found = _origin.device()
    return ", ".join(parts if found == platform.machine() else [*parts, found])


def vectors() -> str:
    """The instructions for many numbers at once that this processor has, as numpy finds them.

    >>> vectors().split() == list(dict.fromkeys(vectors().split()))
    True
    """
    found = np.show_config(mode="dicts")["SIMD Extensions"]
    return " ".join([*found.get("baseline", []), *found.get("found", [])])


def processor() -> str:
    """The processor's name, as its maker gave it; its kind where the system does not say.

    >>> processor() != ""
    True
    """
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            what, _, name = line.partition(":")
            if what.strip() == "model name":
                return " ".join(name.split())
    with suppress(OSError, subprocess.CalledProcessError):
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]  # a Mac
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def command(chapter: str, changed: Mapping[str, Value], threads: int) -> str:
    """The line for a shell that runs a chapter with those parameters, as it is run here.

    >>> command("05-beta-vae", {"beta": 8.0, "data": "my pictures"}, 2).partition("ibbook")[2]
    " run 05-beta-vae -p beta 8.0 -p data 'my pictures'"
    """
    words = [f"{name}={shlex.quote(os.environ[name])}" for name in ARITHMETIC if name in os.environ]
    words.insert(0, f"OMP_NUM_THREADS={threads}")
    words += ["ibbook", "run", shlex.quote(chapter)]
    for name, value in changed.items():
        words += ["-p", name, shlex.quote(str(value))]
    return " ".join(words)
