"""The image table in memory: what is searched, and how it keeps up with the table.

replica     some part of the table, at a change stamp; current: the one that answers, and its replacement
images      the hashes and verifiers of whole images
segments    the regions of images
patterns    the pattern fingerprints of whole images
keypoints   the keypoints of images
"""

from app.collection.images import COLOURS, Collection, TableIndex
from app.collection.keypoints import KeypointCollection, KeypointIndex
from app.collection.patterns import PATTERN, PatternCollection, PatternIndex
from app.collection.segments import SegmentCollection, SegmentIndex

__all__ = [
    "COLOURS",
    "PATTERN",
    "Collection",
    "KeypointCollection",
    "KeypointIndex",
    "PatternCollection",
    "PatternIndex",
    "SegmentCollection",
    "SegmentIndex",
    "TableIndex",
]
