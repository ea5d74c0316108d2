"""Paths as people write them: `~` is their home, and a relative one starts where they are."""

from __future__ import annotations

import os
from pathlib import Path


class PathError(ValueError):
    """A path that cannot be made out; the message says what to write."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with the home folder for `~`.

    >>> expanded("~/data").parts[0] != "~", expanded("data").as_posix()
    (True, 'data')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PathError(
            f"~ in {os.fspath(path)!r} stands for a home folder that is not known here; "
            "write the whole path"
        ) from None


def given(variable: str) -> Path | None:
    """The path that an environment variable names, made whole, or None where it is not set.

    >>> given("IBBOOK_NO_SUCH_VARIABLE") is None
    True
    """
    path = os.environ.get(variable)
    return expanded(path).absolute() if path else None
