"""The image table in memory: what is searched, and how it keeps up with the table.

replica     some part of the table, at a change stamp; current: the one that answers, and its replacement
images      the hashes and verifiers of whole images
segments    the regions of images
"""

from app.collection.images import COLOURS, Collection, TableIndex
from app.collection.segments import SegmentCollection, SegmentIndex

__all__ = ["COLOURS", "Collection", "SegmentCollection", "SegmentIndex", "TableIndex"]
