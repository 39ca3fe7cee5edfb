"""Which regions of stored images look like regions of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from app.catalog.rows import AnyRow
from app.catalog.segments import segments_of
from app.collection.segments import SegmentIndex, ids_of
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import Segment
from app.matching.regions import Box, alike_in_shape

# Which transforms swap width and height.
_ON_THEIR_SIDE = np.isin(TRANSFORMS, ("rotate_90", "rotate_270", "transpose", "transverse"))


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the picture asked about, with its hash in each orientation."""

    turned: tuple[int, ...]
    box: Box

    @property
    def hash(self) -> int:
        """Of the region as it stands."""
        return self.turned[0]


@dataclass(frozen=True, slots=True)
class RegionMatch:
    """Two regions that match: the boxes in both pictures' normalised pixels, and the distance in bits."""

    distance: int
    query_box: Box
    box: Box


@dataclass(frozen=True, slots=True)
class ImageMatch:
    """The regions of one image that match under one transform, which turns the query; nearest first."""

    transform: int
    """Its place in TRANSFORMS."""
    regions: Sequence[RegionMatch]


def regions_of_segments(segments: Sequence[Segment]) -> list[Region]:
    """All regions of a fingerprint."""
    return [
        Region(each.turned, Box(each.left, each.top, each.right - each.left, each.bottom - each.top))
        for each in segments
    ]


def regions_of_image(connection: Connection, created_seq: int) -> list[Region]:
    """All regions of a stored image."""
    return [
        Region(tuple(np.frombuffer(row.turned, ">u8").tolist()), _box(row))
        for row in segments_of(connection, [created_seq])
    ]


def matching_regions(
    connection: Connection,
    index: SegmentIndex,
    regions: Sequence[Region],
    max_distance: int,
    *,
    turned: bool,
) -> dict[int, ImageMatch]:
    """All images with a matching region, by `created_seq`.

    Regions match within `max_distance` bits if both are searchable and of one shape, as the query stands or, if
    `turned`, in any orientation. Of several transforms that of the nearest pair counts, the earlier one on a tie.
    Images deleted since the index was caught up are left out.
    """
    regions = [region for region in regions if region.box.searchable]
    transforms = len(TRANSFORMS) if turned else 1
    hashes = np.array([region.turned[:transforms] for region in regions], np.uint64).reshape(-1)
    found = index.index.within_many(hashes, max_distance)
    rows = segments_of(connection, np.unique(index.images_of(found.ids)).tolist())
    if not rows:
        return {}
    stored = np.array([tuple(row)[:-1] for row in rows], np.int64)
    stored_ids = ids_of(stored[:, 0], stored[:, 1])  # ascending, as the rows are
    places = np.minimum(np.searchsorted(stored_ids, found.ids), len(stored_ids) - 1)
    stored = stored[places]
    numbers, asked = np.divmod(found.queries, transforms)
    # The rows may be newer than the index: what they say counts.
    bits = np.bitwise_count(stored[:, 2].copy().view(np.uint64) ^ hashes[found.queries]).astype(np.int64)
    sides = np.array([(region.box.width, region.box.height) for region in regions], np.int64)[numbers]
    sides = np.where(_ON_THEIR_SIDE[asked, None], sides[:, ::-1], sides)
    matching = (
        (stored_ids[places] == found.ids)
        & (bits <= max_distance)
        & alike_in_shape(sides[:, 0], sides[:, 1], stored[:, 5], stored[:, 6])
    )
    matches: dict[int, tuple[int, list[RegionMatch]]] = {}
    order = np.lexsort((numbers, stored[:, 1], asked, bits))
    for place in order[matching[order]].tolist():
        row, transform = rows[places[place]], int(asked[place])
        best, pairs = matches.setdefault(row.created_seq, (transform, []))
        if best == transform:
            pairs.append(RegionMatch(int(bits[place]), regions[numbers[place]].box, _box(row)))
    return {seq: ImageMatch(transform, pairs) for seq, (transform, pairs) in matches.items()}


def _box(row: AnyRow) -> Box:
    return Box(row.x, row.y, row.width, row.height)
