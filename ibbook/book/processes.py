"""Processes that end when we do, however we end."""

from __future__ import annotations

import subprocess


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
