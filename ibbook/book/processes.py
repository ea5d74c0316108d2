"""Processes that we start: what they see of the caller's variables, and that they end with us."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection

# Of the variables of Python those that say where modules are; all others change what it does.
PLACES = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE")
PLACES += ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")


def plain(others: Collection[str]) -> dict[str, str]:
    """The caller's variables without `others`, and without the switches of Python.

    >>> {"PATH"} - plain([]).keys(), plain(["PATH"]).get("PATH")
    (set(), None)
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name not in others and (name in PLACES or not name.startswith("PYTHON"))
    }


def guard(group: int) -> subprocess.Popen:
    """A small process that waits until its input closes, then kills a group of processes.

    The input closes when we call `communicate`, and when we are gone.

    >>> sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    >>> _ = guard(sleeper.pid).communicate()
    >>> sleeper.wait()
    -9
    """
    return subprocess.Popen(
        ["sh", "-c", 'cat; kill -s KILL -- "-$1"', "sh", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
