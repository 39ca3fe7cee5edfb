"""Reading an audit: families worked out in arrays, then what is told of their images, batch by batch."""

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from app.audit.families import Audit, Family, Lie, Link, Member, Polygon
from app.catalog.audit import images_by_row_id, matches_by_later, one_moment
from app.catalog.copies import Copies, copies_seen
from app.catalog.filters import Filter
from app.catalog.rows import AnyRow
from app.imaging.normalise import normalised_size
from app.matching.evidence import Evidence
from app.matching.families import parts_of, strongest
from app.matching.kinds import COPIES

IMAGES_AT_ONCE = 2000

Size = tuple[int, int]


def read_audit(engine: Engine, wanted: Filter, alive: Callable[[], None] = lambda: None) -> Audit:
    """Read all families of copies among the images that the filter means, as of one moment.

    `alive` is called every now and then; what it raises ends the reading.
    """
    with one_moment(engine) as (connection, as_of):
        copies = copies_seen(connection, wanted, COPIES)
        alive()
        families = list(_families(connection, copies, alive))
    return Audit(
        as_of=as_of,
        wanted=wanted,
        images=len(copies.ids),
        not_compared_yet=sum(copies.left_out.values()),
        families=sorted(families, key=lambda family: family.order),
    )


def _families(connection: Connection, copies: Copies, alive: Callable[[], None]) -> Iterator[Family]:
    numbers = parts_of(len(copies.ids), copies.pairs)
    places = np.argsort(numbers, kind="stable")  # in upload order within a family
    places = places[np.bincount(numbers)[numbers[places]] > 1]
    numbers = numbers[places]
    rows = _rows(connection, copies, places, alive)
    for _, group in groupby(zip(numbers.tolist(), rows, strict=True), key=lambda pair: pair[0]):
        yield _family([row for _, row in group])


def _rows(
    connection: Connection, copies: Copies, places: NDArray[np.int64], alive: Callable[[], None]
) -> Iterator[tuple[AnyRow, AnyRow | None]]:
    """For the image at each place its row and that of its strongest match."""
    best = strongest(len(copies.ids), copies.pairs, copies.ranks, copies.nearest)
    for begin in range(0, len(places), IMAGES_AT_ONCE):
        some = places[begin : begin + IMAGES_AT_ONCE]
        ids = copies.ids[some].tolist()
        pairs = copies.ids[copies.pairs[best[some[best[some] >= 0]]]]
        images = images_by_row_id(connection, ids)
        matches = matches_by_later(connection, pairs[:, 0].tolist(), pairs[:, 1].tolist())
        alive()
        for row_id in ids:
            yield images[row_id], matches.get(row_id)


def _family(rows: list[tuple[AnyRow, AnyRow | None]]) -> Family:
    places: dict[int, int] = {}
    members: list[Member] = []
    for image, match in rows:
        size = normalised_size(image.width, image.height)
        link = None
        if match is not None:
            to = places[match.earlier_id]
            link = _link(match, to, size, members[to].size)
        places[image.id] = len(members)
        members.append(
            Member(
                image_id=image.image_id,
                claim_id=image.claim_id,
                sha256=bytes(image.sha256),
                file_name=image.file_name,
                source=image.source,
                uploaded_at=image.uploaded_at,
                taken_at=image.taken_at,
                day=image.day,
                labels=image.labels,
                size=size,
                link=link,
            )
        )
    return Family(members, len({member.claim_id for member in members}))


def _link(match: AnyRow, to: int, size: Size, other_size: Size) -> Link:
    lie = None if match.evidence is None else _lie(Evidence.from_json(match.evidence), size, other_size)
    return Link(to, match.kind, match.transform, match.nearest, match.distances, lie)


def _lie(evidence: Evidence, size: Size, other_size: Size) -> Lie:
    region, other_region = _corners(evidence.region), _corners(evidence.other_region)
    return Lie(
        scale=round(evidence.scale, 4),
        angle=round(evidence.angle, 2),
        mirrored=evidence.mirrored,
        negative=evidence.negative,
        region=region,
        other_region=other_region,
        share=_share(region, size),
        other_share=_share(other_region, other_size),
        inliers=evidence.inliers,
        close=evidence.close,
        score=evidence.score,
        shift=evidence.shift,
    )


def _corners(polygon: NDArray[np.float64]) -> Polygon:
    return [(x, y) for x, y in polygon.tolist()]


def _share(polygon: Polygon, size: Size) -> float:
    """The share of a picture that is inside a polygon, 0 to 1."""
    around = [*polygon[1:], *polygon[:1]]
    doubled = sum(x * below - right * y for (x, y), (right, below) in zip(polygon, around, strict=True))
    return round(min(1.0, abs(doubled) / 2 / (size[0] * size[1])), 3)
