"""Which regions of stored images look like regions of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from app.catalog.rows import AnyRow
from app.catalog.segments import segments_of
from app.collection.segments import SegmentIndex, ids_of
from app.fingerprints.value import Segment
from app.matching.regions import Box, alike_in_shape


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the picture asked about, with its hash."""

    hash: int
    box: Box


@dataclass(frozen=True, slots=True)
class RegionMatch:
    """Two regions that match: the boxes in both pictures' normalised pixels, and the distance in bits."""

    distance: int
    query_box: Box
    box: Box


def regions_of_segments(segments: Sequence[Segment]) -> list[Region]:
    """All regions of a fingerprint."""
    return [
        Region(each.hash, Box(each.left, each.top, each.right - each.left, each.bottom - each.top))
        for each in segments
    ]


def regions_of_image(connection: Connection, created_seq: int) -> list[Region]:
    """All regions of a stored image."""
    return [Region(row.hash % 2**64, _box(row)) for row in segments_of(connection, [created_seq])]


def matching_regions(
    connection: Connection, index: SegmentIndex, regions: Sequence[Region], max_distance: int
) -> dict[int, list[RegionMatch]]:
    """All images with a matching region, by `created_seq`; of each the matches, nearest first.

    Regions match within `max_distance` bits if both are searchable and of one shape. Images deleted since the
    index was caught up are left out.
    """
    regions = [region for region in regions if region.box.searchable]
    found = index.index.within_many(np.array([region.hash for region in regions], np.uint64), max_distance)
    rows = segments_of(connection, np.unique(index.images_of(found.ids)).tolist())
    if not rows:
        return {}
    columns = np.array([tuple(row) for row in rows], np.int64)
    stored_ids = ids_of(columns[:, 0], columns[:, 1])  # ascending, as the rows are
    places = np.minimum(np.searchsorted(stored_ids, found.ids), len(stored_ids) - 1)
    numbers = found.queries
    stored = columns[places]
    # The rows may be newer than the index: what they say counts.
    hashes = np.array([region.hash for region in regions], np.uint64)[numbers]
    bits = np.bitwise_count(stored[:, 2].copy().view(np.uint64) ^ hashes).astype(np.int64)
    sides = np.array([(region.box.width, region.box.height) for region in regions], np.int64)[numbers]
    matching = (
        (stored_ids[places] == found.ids)
        & (bits <= max_distance)
        & alike_in_shape(sides[:, 0], sides[:, 1], stored[:, 5], stored[:, 6])
    )
    matches: dict[int, list[RegionMatch]] = {}
    order = np.lexsort((numbers, stored[:, 1], bits))
    for place in order[matching[order]].tolist():
        row = rows[places[place]]
        match = RegionMatch(int(bits[place]), regions[numbers[place]].box, _box(row))
        matches.setdefault(row.created_seq, []).append(match)
    return matches


def _box(row: AnyRow) -> Box:
    return Box(row.x, row.y, row.width, row.height)
