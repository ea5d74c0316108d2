"""Data sets with known factors: rendered, bundled, or fetched once with a checksum."""

from ibbook.datasets._dataset import Dataset
from ibbook.datasets._images import Images
from ibbook.datasets._load import load
from ibbook.datasets.folder import from_folder

__all__ = ["Dataset", "Images", "from_folder", "load"]
