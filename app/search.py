"""Similar images: all within a distance of one stored image, or of a picture that is not stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Engine

from app.catalog import images, session
from app.catalog.rows import AnyRow
from app.collection import Collection
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidValue, NotFound
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import WHOLE_IMAGE_HASHES, Fingerprint
from app.index.live import LiveIndex

HASH_BITS = 64
MAX_LIMIT = 200
ORIENTATIONS = ("as_stored", "all")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: radius in bits (inclusive), which hash, one or all orientations, and the page."""

    max_distance: int = 10
    hash_name: str = "phash"
    orientations: str = "as_stored"
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidValue for a field out of range."""
        if not 0 <= self.max_distance <= HASH_BITS:
            raise InvalidValue(
                f"max_distance must be 0 to {HASH_BITS} bits", field="max_distance", limit=HASH_BITS
            )
        if self.hash_name not in WHOLE_IMAGE_HASHES:
            raise InvalidValue(f"hash must be one of {', '.join(WHOLE_IMAGE_HASHES)}", field="hash")
        if self.orientations not in ORIENTATIONS:
            raise InvalidValue(f"orientations must be one of {', '.join(ORIENTATIONS)}", field="orientations")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidValue(f"limit must be 1 to {MAX_LIMIT}", field="limit", limit=MAX_LIMIT)


@dataclass(frozen=True, slots=True)
class Similar:
    """One image found: the row (image_id, claim_id, uploaded_at), its distance in bits, and the transform.

    The transform turns the query's picture into this one.
    """

    row: AnyRow
    distance: int
    transform: str


@dataclass(frozen=True, slots=True)
class SimilarPage:
    """A page of similar images, nearest first, ties by upload order; `total` counts all pages.

    `index_seq` is the change stamp that the answer stands at; `next_cursor` None on the last page.
    """

    status: str
    matches: Sequence[Similar]
    total: int
    index_seq: int
    next_cursor: str | None


def similar_to_image(engine: Engine, collection: Collection, image_id: UUID, query: Query) -> SimilarPage:
    """Every other stored image within the distance of a stored one. Raises NotFound, InvalidCursor."""
    with session.autocommit(engine) as connection:
        index = collection.caught_up(connection)
        row = images.live_by_id(connection, image_id)
        if row is None:
            raise NotFound(f"no image {image_id}", field="image_id")
        fingerprint = Fingerprint.from_bytes(bytes(row.turned))
        return _page(
            connection,
            index,
            query,
            subject=_subject(query, image_id.bytes),
            turned=fingerprint.turned,
            status=row.status,
            own_seq=row.created_seq,
        )


def similar_to_picture(
    engine: Engine, collection: Collection, fingerprint: Fingerprint, status: str, query: Query
) -> SimilarPage:
    """Every stored image within the distance of a picture that is not stored. Raises InvalidCursor."""
    with session.autocommit(engine) as connection:
        index = collection.caught_up(connection)
        return _page(
            connection,
            index,
            query,
            subject=_subject(query, fingerprint.to_bytes()),
            turned=fingerprint.turned,
            status=status,
            own_seq=None,
        )


def _page(
    connection: Any,
    index: Any,
    query: Query,
    *,
    subject: str,
    turned: np.ndarray,
    status: str,
    own_seq: int | None,
) -> SimilarPage:
    last = index.last
    as_of, after_distance, after_seq = (
        (last, -1, -1) if query.cursor is None else decode_cursor(query.cursor, subject, 3)
    )
    if status != "fingerprinted":
        return SimilarPage(status, [], 0, last, None)
    column = turned[:, WHOLE_IMAGE_HASHES.index(query.hash_name)]
    ids, distances, transforms = nearest_per_image(
        index.indexes[query.hash_name],
        column if query.orientations == "all" else column[:1],
        query.max_distance,
    )
    kept = ids <= as_of
    if own_seq is not None:
        kept &= ids != own_seq
    ids, distances, transforms = ids[kept], distances[kept], transforms[kept]
    total = len(ids)
    later = (distances > after_distance) | ((distances == after_distance) & (ids > after_seq))
    ids, distances, transforms = ids[later], distances[later], transforms[later]
    order = np.lexsort((ids, distances))
    found: list[Similar] = []
    position = 0
    # Rows deleted since the catch-up drop out: read on until the page is full.
    while len(found) < query.limit and position < len(order):
        chosen = order[position : position + query.limit - len(found)]
        rows = images.live_by_seq(connection, ids[chosen].tolist())
        for place in chosen:
            row = rows.get(int(ids[place]))
            if row is None:
                total -= 1
            else:
                found.append(Similar(row, int(distances[place]), TRANSFORMS[transforms[place]]))
        position += len(chosen)
    next_cursor = None
    if position < len(order) and found:
        end = order[position - 1]
        next_cursor = encode_cursor(subject, as_of, int(distances[end]), int(ids[end]))
    return SimilarPage(status, found, total, last, next_cursor)


def nearest_per_image(
    index: LiveIndex, hashes: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search with one hash per transform (uint64[k], in TRANSFORMS order); keep each image's nearest.

    Returns ids int64[n], distances int64[n] in bits and transforms int64[n] (positions in TRANSFORMS); on a
    tie the earlier transform wins.
    """
    found = index.within_many(hashes, max_distance)
    ids, distances = found.ids, found.distances.astype(np.int64)
    transforms = found.queries.astype(np.int64)
    order = np.lexsort((transforms, distances, ids))
    ids, distances, transforms = ids[order], distances[order], transforms[order]
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    return ids[first], distances[first], transforms[first]


def _subject(query: Query, subject: bytes) -> str:
    return f"similar {query.hash_name} {query.max_distance} {query.orientations} {subject.hex()}"
