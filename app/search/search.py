"""Similar images: all within a distance of one stored image, or of a picture that is not stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from PIL.Image import Image
from sqlalchemy import Connection, Engine

from app.catalog import images, session
from app.catalog.filters import Filter
from app.catalog.rows import AnyRow
from app.collection.replica import Replica
from app.cursors import decode_cursor, encode_cursor
from app.errors import NotFound, Unavailable
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import FINGERPRINTED, turned_to_bytes
from app.imaging import Fingerprinted
from app.matching.evidence import Evidence
from app.regions import RegionMatch
from app.search.query import Query
from app.search.searchers import Searcher

_FILLING_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Similar:
    """One image found: the row (image_id, claim_id, uploaded_at), its distance in bits, and the transform.

    The transform turns the query's picture into this one. `regions` are those that match, nearest first, where
    segments were searched, `evidence` and the `kind` of match where keypoints were: then the distance is that of
    keypoints that agree.
    """

    row: AnyRow
    distance: int
    transform: str
    regions: Sequence[RegionMatch] = ()
    evidence: Evidence | None = None
    kind: str | None = None


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """The picture that is asked about: what of it is searched for, if it is of use, and how a cursor knows it
    again."""

    status: str
    subject: bytes
    what: Any
    own_seq: int | None = None


class Search:
    """Searches what one process holds in memory, after bringing it up to date; by the name of each hash."""

    def __init__(self, engine: Engine, searchers: Mapping[str, Searcher[Any, Any]]):
        self._engine = engine
        self._searchers = searchers

    def by_image(self, image_id: UUID, query: Query) -> SimilarPage:
        """Find every other stored image within the distance of a stored one.

        Raises NotFound, InvalidCursor, and Unavailable while some images lack the hash that is asked for.
        """
        searcher = self._searchers[query.hash_name]
        with session.autocommit(self._engine) as connection:
            index = _caught_up(searcher, connection, query)
            row = images.live_by_id(connection, image_id)
            if row is None:
                raise NotFound(f"no image {image_id}", field="image_id")
            what = None
            if row.status == FINGERPRINTED:
                if searcher.lacks(row):
                    # Stored after the index was caught up, by an older version of the program.
                    raise _filling(1, query)
                what = searcher.of_image(connection, row)
            asked = _Asked(row.status, row.image_id.bytes, what, row.created_seq)
            return _page(connection, searcher, index, asked, query)

    def by_picture(self, fingerprinted: Fingerprinted, query: Query, picture: Image | None) -> SimilarPage:
        """Find every stored image within the distance of a picture that is not stored. Raises as `by_image`.

        `picture` is the normalised one, needed where keypoints are searched.
        """
        searcher, fingerprint = self._searchers[query.hash_name], fingerprinted.fingerprint
        with session.autocommit(self._engine) as connection:
            index = _caught_up(searcher, connection, query)
            what = searcher.of_picture(fingerprinted, picture)
            asked = _Asked(fingerprint.information, turned_to_bytes(fingerprint.turned), what)
            return _page(connection, searcher, index, asked, query)


def _caught_up(searcher: Searcher[Any, Any], connection: Connection, query: Query) -> Replica[Any]:
    """The index to search, with every image in it that was committed before. Raises Unavailable."""
    index: Replica[Any] = searcher.current.caught_up(connection)
    lacking = index.lacking(query.hash_name)
    if lacking:
        raise _filling(lacking, query)
    return index


def _filling(lacking: int, query: Query) -> Unavailable:
    return Unavailable(
        f"{lacking} images were stored before {query.hash_name} was introduced; a job is computing it for them",
        retry_after_seconds=_FILLING_SECONDS,
    )


def _page(
    connection: Connection, searcher: Searcher[Any, Any], index: Replica[Any], asked: _Asked, query: Query
) -> SimilarPage:
    last = index.last
    subject = _subject(query, asked.subject)
    as_of, after_distance, after_seq = (
        (last, -1, -1) if query.cursor is None else decode_cursor(query.cursor, subject, 3)
    )
    if asked.status != FINGERPRINTED:
        return SimilarPage(asked.status, [], 0, last, None)
    found = searcher.find(connection, index, asked.what, query)
    kept = found.seqs <= as_of
    if asked.own_seq is not None:
        kept &= found.seqs != asked.own_seq
    if query.wanted != Filter():
        kept &= np.isin(found.seqs, images.meant(connection, found.seqs[kept].tolist(), query.wanted))
    total = int(np.count_nonzero(kept))
    kept &= (found.distances > after_distance) | (
        (found.distances == after_distance) & (found.seqs > after_seq)
    )
    order = np.lexsort((found.seqs, found.distances))
    order = order[kept[order]]
    matches: list[Similar] = []
    position = 0
    # Rows deleted since the catch-up drop out: read on until the page is full.
    while len(matches) < query.limit and position < len(order):
        chosen = order[position : position + query.limit - len(matches)]
        rows = images.live_by_seq(connection, found.seqs[chosen].tolist())
        for place in chosen:
            seq = int(found.seqs[place])
            row = rows.get(seq)
            if row is None:
                total -= 1
            else:
                transform = TRANSFORMS[found.transforms[place]]
                matches.append(
                    Similar(
                        row,
                        int(found.distances[place]),
                        transform,
                        found.regions.get(seq, ()),
                        found.evidence.get(seq),
                        found.kinds.get(seq),
                    )
                )
        position += len(chosen)
    next_cursor = None
    if position < len(order) and matches:
        end = order[position - 1]
        next_cursor = encode_cursor(subject, as_of, int(found.distances[end]), int(found.seqs[end]))
    return SimilarPage(asked.status, matches, total, last, next_cursor)


def _subject(query: Query, subject: bytes) -> str:
    asked = f"{query.hash_name} {query.max_distance} {query.orientations} {query.wanted.json}"
    return f"similar {asked} {subject.hex()}"
