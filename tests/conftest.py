"""What all tests share: no screen, one thread, repeatable examples."""

from __future__ import annotations

import matplotlib
import torch
from hypothesis import settings

matplotlib.use("Agg")
# The arrays of tests are small: a second thread mostly waits, and on a busy machine for long.
torch.set_num_threads(1)
# A failure must come from the change under test, so the examples are the same in every run;
# `make nightly` draws fresh ones.
settings.register_profile("ibbook", deadline=None, derandomize=True)
settings.register_profile("nightly", deadline=None, print_blob=True)
settings.load_profile("ibbook")
