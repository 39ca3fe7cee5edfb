"""Similar images: all within a distance of one stored image, or of a picture that is not stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import images, session
from app.catalog.rows import AnyRow
from app.catalog.stamps import FIRST_HASHES
from app.collection import COLOURS, Collection, TableIndex
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidValue, NotFound, Unavailable
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import (
    COLOUR_BITS,
    COLUMN_OF,
    FINGERPRINTED,
    WHOLE_IMAGE_HASHES,
    Fingerprint,
    colour_code_from_bytes,
    turned_from_bytes,
    turned_to_bytes,
)
from app.index.live import LiveIndex

# The largest distance there is, by what can be searched.
MAX_DISTANCES = dict.fromkeys(WHOLE_IMAGE_HASHES, 64) | {COLOURS: COLOUR_BITS}
HASHES = tuple(MAX_DISTANCES)
MAX_LIMIT = 200
ORIENTATIONS = ("as_stored", "all")
FILLING_SECONDS = 30


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
        if self.hash_name not in HASHES:
            raise InvalidValue(f"hash must be one of {', '.join(HASHES)}", field="hash")
        most = MAX_DISTANCES[self.hash_name]
        if not 0 <= self.max_distance <= most:
            raise InvalidValue(
                f"max_distance must be 0 to {most} bits for {self.hash_name}",
                field="max_distance",
                limit=most,
            )
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
    """Every other stored image within the distance of a stored one.

    Raises NotFound, InvalidCursor, and Unavailable while some images lack the hash that is asked for.
    """
    with session.autocommit(engine) as connection:
        index = _complete(collection.caught_up(connection), query)
        row = images.live_by_id(connection, image_id)
        if row is None:
            raise NotFound(f"no image {image_id}", field="image_id")
        return _page(
            connection,
            index,
            query,
            subject=_subject(query, image_id.bytes),
            hashes=_stored_hashes(row, query.hash_name),
            status=row.status,
            own_seq=row.created_seq,
        )


def similar_to_picture(
    engine: Engine, collection: Collection, fingerprint: Fingerprint, status: str, query: Query
) -> SimilarPage:
    """Every stored image within the distance of a picture that is not stored. Raises as `similar_to_image`."""
    with session.autocommit(engine) as connection:
        index = _complete(collection.caught_up(connection), query)
        if query.hash_name == COLOURS:
            hashes = fingerprint.colour_code[None]
        else:
            hashes = fingerprint.turned[:, COLUMN_OF[query.hash_name]]
        return _page(
            connection,
            index,
            query,
            subject=_subject(query, turned_to_bytes(fingerprint.turned)),
            hashes=hashes,
            status=status,
            own_seq=None,
        )


def _stored_hashes(row: AnyRow, name: str) -> np.ndarray:
    """One hash of a stored image for each orientation; of colours, which turning leaves alone, one."""
    if row.status != FINGERPRINTED:
        return np.zeros(0, np.uint64)
    if row.whash_db4 is None and name not in FIRST_HASHES:
        raise _filling(1, name)  # stored after the index was caught up, by an older version of the program
    if name == COLOURS:
        return colour_code_from_bytes(row.colour_code)[None]
    return turned_from_bytes(row.turned)[:, COLUMN_OF[name]]


def _complete(index: TableIndex, query: Query) -> TableIndex:
    """The index, if every image can be found in it."""
    lacking = index.lacking(query.hash_name)
    if lacking:
        raise _filling(lacking, query.hash_name)
    return index


def _filling(lacking: int, name: str) -> Unavailable:
    return Unavailable(
        f"{lacking} images were stored before {name} was introduced; a job is computing it for them",
        retry_after_seconds=FILLING_SECONDS,
    )


def _page(
    connection: Connection,
    index: TableIndex,
    query: Query,
    *,
    subject: str,
    hashes: np.ndarray,
    status: str,
    own_seq: int | None,
) -> SimilarPage:
    """Search with `hashes`: one for each orientation, the picture as it stands first."""
    last = index.last
    as_of, after_distance, after_seq = (
        (last, -1, -1) if query.cursor is None else decode_cursor(query.cursor, subject, 3)
    )
    if status != FINGERPRINTED:
        return SimilarPage(status, [], 0, last, None)
    ids, distances, transforms = nearest_per_image(
        index.indexes[query.hash_name],
        hashes if query.orientations == "all" else hashes[:1],
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
    """Search with one hash per transform (uint64[k, ...], in TRANSFORMS order); keep each image's nearest.

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
