"""Data sets with known factors: rendered, bundled, or fetched once with a checksum."""

from ibbook.datasets._dataset import Dataset, Images

__all__ = ["Dataset", "Images"]
