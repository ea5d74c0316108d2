"""What makes a book of the package: chapters, their runs, the numbers they record, the site.

A chapter's cells need four names of it.
"""

from ibbook.book.folders import checkpoints
from ibbook.book.records import record
from ibbook.book.results import recorded, show_recorded

__all__ = ["checkpoints", "record", "recorded", "show_recorded"]
