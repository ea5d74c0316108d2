"""Data sets with known factors: rendered, bundled, or fetched once with a checksum."""

from ibbook.datasets._dataset import Dataset
from ibbook.datasets._images import Images
from ibbook.datasets._load import load

__all__ = ["Dataset", "Images", "load"]
