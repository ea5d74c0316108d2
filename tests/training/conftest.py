"""What the tests of the trainer share: one small data set."""

from __future__ import annotations

import pytest

from ibbook.datasets import load


@pytest.fixture(scope="session")
def digits():
    return load("digits")
