"""The 1,797 handwritten digits, 8x8, that scikit-learn carries: no download."""

from __future__ import annotations

import numpy as np

from ibbook.datasets._dataset import Dataset


def dataset() -> Dataset:
    """Pixels 0 to 16, each the number of dark points in a 4x4 block, so `scale` is 16.

    >>> data = dataset()
    >>> data.images.shape, data.scale, data.labels[:3].tolist()
    ((1797, 1, 8, 8), 16, [0, 1, 2])
    """
    from sklearn.datasets import load_digits  # seconds to import, and only this set needs it

    digits = load_digits()
    return Dataset.from_arrays(
        digits.images.astype(np.uint8),
        labels=digits.target,
        scale=16,
        name="digits",
        source="scikit-learn",
    )
