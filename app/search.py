"""Similar images: all within a distance of one stored image, or of a picture that is not stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from PIL.Image import Image
from sqlalchemy import Connection, Engine

from app.catalog import images, session
from app.catalog.filters import Filter
from app.catalog.pattern_tiles import pattern_of
from app.catalog.rows import AnyRow
from app.catalog.stamps import FIRST_HASHES
from app.collection import (
    COLOURS,
    PATTERN,
    Collection,
    KeypointCollection,
    KeypointIndex,
    PatternCollection,
    PatternIndex,
    SegmentCollection,
    SegmentIndex,
    TableIndex,
)
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidValue, NotFound, Unavailable
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import (
    COLOUR_BITS,
    COLUMN_OF,
    FINGERPRINTED,
    WHOLE_IMAGE_HASHES,
    colour_code_from_bytes,
    turned_from_bytes,
    turned_to_bytes,
)
from app.imaging import Fingerprinted
from app.index.live import LiveIndex
from app.matching.candidates import Candidates
from app.matching.evidence import Evidence
from app.matching.kinds import Rule, kind_of_part, nearest_transform
from app.matching.overlaps import AGREEING_BITS
from app.matching.regions import WITHIN
from app.partial_copies import (
    Look,
    agreeing_images,
    beside_layouts,
    look_of_image,
    partial_copies,
    propose_images,
)
from app.regions import Region, RegionMatch, matching_regions, regions_of_image, regions_of_segments
from app.storage import Pictures

SEGMENTS = "segments"
# The largest distance that may be asked for: all there is, but among segments, where strangers crowd in before, and
# of keypoints that agree, of which none are more than so far apart.
MAX_DISTANCES = dict.fromkeys(WHOLE_IMAGE_HASHES, 64) | {
    COLOURS: COLOUR_BITS,
    SEGMENTS: 16,
    PATTERN: 64,
    KEYPOINTS: AGREEING_BITS,
}
HASHES = tuple(MAX_DISTANCES)
DEFAULT_DISTANCES = dict.fromkeys(HASHES, 10) | {
    SEGMENTS: WITHIN,
    PATTERN: 14,
    KEYPOINTS: AGREEING_BITS,
}
MAX_LIMIT = 200
AS_STORED = "as_stored"
ORIENTATIONS = (AS_STORED, "all")
FILLING_SECONDS = 30

Searched = TableIndex | SegmentIndex | PatternIndex | KeypointIndex


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: radius in bits (inclusive), hash, one or all orientations, which images, and the page."""

    max_distance: int = DEFAULT_DISTANCES["phash"]
    hash_name: str = "phash"
    orientations: str = AS_STORED
    limit: int = 50
    cursor: str | None = None
    wanted: Filter = field(default_factory=Filter)

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
    """The picture that is asked about: what of it is searched with, and how a cursor knows it again."""

    status: str
    subject: bytes
    hashes: np.ndarray
    """One for each orientation, that of the picture as it stands first; none where segments are searched."""
    regions: Sequence[Region] = ()
    look: Look | None = None
    own_seq: int | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """All images found: `seqs`, `distances`, `transforms` int64[n] belong together; regions, evidence and kinds by
    `seqs`."""

    seqs: np.ndarray
    distances: np.ndarray
    transforms: np.ndarray
    regions: Mapping[int, Sequence[RegionMatch]] = field(default_factory=dict)
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    kinds: Mapping[int, str | None] = field(default_factory=dict)


class Search:
    """Searches what one process holds in memory, after bringing it up to date."""

    def __init__(
        self,
        engine: Engine,
        collection: Collection,
        segments: SegmentCollection,
        patterns: PatternCollection,
        keypoints: KeypointCollection,
        pictures: Pictures,
        rule: Rule,
    ):
        self._engine = engine
        self._collection = collection
        self._segments = segments
        self._patterns = patterns
        self._keypoints = keypoints
        self._pictures = pictures
        self._rule = rule

    def by_image(self, image_id: UUID, query: Query) -> SimilarPage:
        """Find every other stored image within the distance of a stored one.

        Raises NotFound, InvalidCursor, and Unavailable while some images lack the hash that is asked for.
        """
        with session.autocommit(self._engine) as connection:
            replica = self._caught_up(connection, query)
            row = images.live_by_id(connection, image_id)
            if row is None:
                raise NotFound(f"no image {image_id}", field="image_id")
            return self._page(connection, replica, self._stored(connection, row, query), query)

    def by_picture(self, fingerprinted: Fingerprinted, query: Query, picture: Image | None) -> SimilarPage:
        """Find every stored image within the distance of a picture that is not stored. Raises as `by_image`.

        `picture` is the normalised one, needed where keypoints are searched.
        """
        with session.autocommit(self._engine) as connection:
            replica = self._caught_up(connection, query)
            return self._page(connection, replica, _sent(fingerprinted, query, picture), query)

    def _caught_up(self, connection: Connection, query: Query) -> Searched:
        """The replica to search, with every image in it that was committed before. Raises Unavailable."""
        replica: Searched
        if query.hash_name == SEGMENTS:
            replica = self._segments.caught_up(connection)
        elif query.hash_name == PATTERN:
            replica = self._patterns.caught_up(connection)
        elif query.hash_name == KEYPOINTS:
            replica = self._keypoints.caught_up(connection)
        else:
            replica = self._collection.caught_up(connection)
        lacking = replica.lacking(query.hash_name)
        if lacking:
            raise _filling(lacking, query)
        return replica

    def _stored(self, connection: Connection, row: AnyRow, query: Query) -> _Asked:
        name = query.hash_name
        subject, seq = row.image_id.bytes, row.created_seq
        if row.status != FINGERPRINTED:
            return _Asked(row.status, subject, _NO_HASHES)
        if _lacks(row, name):
            raise _filling(
                1, query
            )  # stored after the replica was caught up, by an older version of the program
        if name == KEYPOINTS:
            look = self._looked_at(row.image_id)
            return _Asked(row.status, subject, _NO_HASHES, look=look, own_seq=seq)
        if name == SEGMENTS:
            return _Asked(row.status, subject, _NO_HASHES, regions_of_image(connection, seq), own_seq=seq)
        if name == COLOURS:
            hashes = colour_code_from_bytes(row.colour_code)[None]
        elif name == PATTERN:
            pattern = pattern_of(connection, seq)
            hashes = _NO_HASHES if pattern is None or pattern.flat.all() else pattern.words[:1]
        else:
            hashes = turned_from_bytes(row.turned)[:, COLUMN_OF[name]]
        return _Asked(row.status, subject, hashes, own_seq=seq)

    def _looked_at(self, image_id: UUID) -> Look:
        try:
            return look_of_image(self._pictures, image_id)
        except FileNotFoundError:
            # Deleted between the look-up and here, or lost.
            raise NotFound(
                f"no picture of image {image_id}: deleted, lost or damaged", field="image_id"
            ) from None

    def _page(self, connection: Connection, replica: Searched, asked: _Asked, query: Query) -> SimilarPage:
        last = replica.last
        subject = _subject(query, asked.subject)
        as_of, after_distance, after_seq = (
            (last, -1, -1) if query.cursor is None else decode_cursor(query.cursor, subject, 3)
        )
        if asked.status != FINGERPRINTED:
            return SimilarPage(asked.status, [], 0, last, None)
        found = self._found(connection, replica, asked, query)
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

    def _found(self, connection: Connection, replica: Searched, asked: _Asked, query: Query) -> _Found:
        if isinstance(replica, SegmentIndex):
            matches = matching_regions(
                connection, replica, asked.regions, query.max_distance, turned=query.orientations != AS_STORED
            )
            return _Found(
                np.array(list(matches), np.int64),
                np.array([match.regions[0].distance for match in matches.values()], np.int64),
                np.array([match.transform for match in matches.values()], np.int64),
                {seq: match.regions for seq, match in matches.items()},
            )
        if isinstance(replica, KeypointIndex):
            return self._with_parts(connection, replica, asked, query)
        hashes = asked.hashes[:1] if query.orientations == AS_STORED else asked.hashes
        return _Found(*nearest_per_image(replica.indexes[query.hash_name], hashes, query.max_distance))

    def _with_parts(
        self, connection: Connection, replica: KeypointIndex, asked: _Asked, query: Query
    ) -> _Found:
        """Images that have a part in common with the picture, by the rule a copy of it or one of the same scene."""
        assert asked.look is not None  # noqa: S101 - for the type checker: keypoints are asked for

        def propose(keypoints: Keypoints) -> Candidates:
            proposed = propose_images(replica, keypoints)
            if query.wanted == Filter():
                return proposed
            meant = images.meant(connection, proposed.owners.tolist(), query.wanted)  # before some are chosen
            return proposed.taken(np.flatnonzero(np.isin(proposed.owners, meant)))

        [candidates] = agreeing_images(connection, [asked.look], [propose(asked.look.keypoints)])
        copies = partial_copies(connection, self._pictures, asked.look, candidates, self._rule)
        copies += beside_layouts(connection, self._pictures, asked.look, copies, self._rule, propose)
        copies = [copy for copy in copies if copy.evidence.bits <= query.max_distance]
        kinds = {copy.created_seq: kind_of_part(copy.evidence, self._rule) for copy in copies}
        copies = [copy for copy in copies if kinds[copy.created_seq] is not None]
        transforms = [nearest_transform(copy.evidence) for copy in copies]
        if query.orientations == AS_STORED:
            kept = [number for number, transform in enumerate(transforms) if transform == 0]
            copies, transforms = [copies[number] for number in kept], [transforms[number] for number in kept]
        return _Found(
            np.array([copy.created_seq for copy in copies], np.int64),
            np.array([copy.evidence.bits for copy in copies], np.int64),
            np.array(transforms, np.int64),
            evidence={copy.created_seq: copy.evidence for copy in copies},
            kinds=kinds,
        )


def _lacks(row: AnyRow, name: str) -> bool:
    """Whether a hash was not computed for an image yet."""
    if name == KEYPOINTS:
        return row.keypoint_count is None
    return row.pattern is None if name == PATTERN else row.whash_db4 is None and name not in FIRST_HASHES


def _sent(fingerprinted: Fingerprinted, query: Query, picture: Image | None) -> _Asked:
    name, fingerprint = query.hash_name, fingerprinted.fingerprint
    status, subject = fingerprint.information, turned_to_bytes(fingerprint.turned)
    if name == KEYPOINTS:
        assert picture is not None  # noqa: S101 - for the type checker: who asks for keypoints sends it
        look = Look(fingerprinted.keypoints, picture.size, lambda: picture.convert("L"))
        return _Asked(status, subject, _NO_HASHES, look=look)
    if name == SEGMENTS:
        return _Asked(status, subject, _NO_HASHES, regions_of_segments(fingerprint.segments))
    if name == PATTERN:
        pattern = fingerprinted.pattern
        return _Asked(status, subject, _NO_HASHES if pattern.flat.all() else pattern.words[:1])
    hashes = fingerprint.colour_code[None] if name == COLOURS else fingerprint.turned[:, COLUMN_OF[name]]
    return _Asked(status, subject, hashes)


_NO_HASHES = np.zeros(0, np.uint64)


def _filling(lacking: int, query: Query) -> Unavailable:
    return Unavailable(
        f"{lacking} images were stored before {query.hash_name} was introduced; a job is computing it for them",
        retry_after_seconds=FILLING_SECONDS,
    )


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
    asked = f"{query.hash_name} {query.max_distance} {query.orientations} {query.wanted.json}"
    return f"similar {asked} {subject.hex()}"
