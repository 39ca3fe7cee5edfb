"""How each fingerprint is searched for: its index, what of a picture is asked for, and what is found."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from PIL.Image import Image
from sqlalchemy import Connection

from app.catalog import images
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
from app.collection.current import Current
from app.collection.replica import Replica
from app.errors import NotFound
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.fingerprints.value import (
    COLUMN_OF,
    WHOLE_IMAGE_HASHES,
    colour_code_from_bytes,
    turned_from_bytes,
)
from app.imaging import Fingerprinted
from app.index.live import LiveIndex
from app.matching.candidates import Candidates
from app.matching.evidence import Evidence
from app.matching.kinds import Rule, kind_of_part, nearest_transform
from app.partial_copies import (
    Look,
    agreeing_images,
    beside_layouts,
    look_of_image,
    partial_copies,
    propose_images,
)
from app.regions import Region, RegionMatch, matching_regions, regions_of_image, regions_of_segments
from app.search.query import AS_STORED, SEGMENTS, Query
from app.storage import Pictures

_NO_HASHES = np.zeros(0, np.uint64)

Index = TypeVar("Index", bound=Replica[Any])
Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class Found:
    """All images found: `seqs`, `distances`, `transforms` int64[n] belong together; regions, evidence and kinds by
    `seqs`."""

    seqs: np.ndarray
    distances: np.ndarray
    transforms: np.ndarray
    regions: Mapping[int, Sequence[RegionMatch]] = field(default_factory=dict)
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    kinds: Mapping[int, str | None] = field(default_factory=dict)


class Searcher(ABC, Generic[Index, Asked]):
    """Searches by one fingerprint, in an index that `current` keeps; what is asked for is its own affair."""

    def __init__(self, current: Current[Index]):
        self.current = current

    @abstractmethod
    def lacks(self, row: AnyRow) -> bool:
        """Whether the fingerprint of a stored image was not computed yet."""

    @abstractmethod
    def of_image(self, connection: Connection, row: AnyRow) -> Asked:
        """What is asked for of a stored image. Raises NotFound."""

    @abstractmethod
    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> Asked:
        """What is asked for of a picture that is not stored; its pixels are there where keypoints are searched."""

    @abstractmethod
    def find(self, connection: Connection, index: Index, asked: Asked, query: Query) -> Found:
        """All images within the distance."""


class ByHash(Searcher[TableIndex, np.ndarray]):
    """By a hash of whole images, uint64[8] in the order of TRANSFORMS."""

    def __init__(self, current: Collection, name: str):
        super().__init__(current)
        self.name = name

    def lacks(self, row: AnyRow) -> bool:
        """As `Searcher.lacks`."""
        return row.whash_db4 is None and self.name not in FIRST_HASHES

    def of_image(self, connection: Connection, row: AnyRow) -> np.ndarray:  # noqa: ARG002
        """As `Searcher.of_image`."""
        return turned_from_bytes(row.turned)[:, COLUMN_OF[self.name]]

    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> np.ndarray:  # noqa: ARG002
        """As `Searcher.of_picture`."""
        return fingerprinted.fingerprint.turned[:, COLUMN_OF[self.name]]

    def find(
        self,
        connection: Connection,  # noqa: ARG002
        index: TableIndex,
        asked: np.ndarray,
        query: Query,
    ) -> Found:
        """As `Searcher.find`."""
        return _nearest(index.indexes[self.name], asked, query)


class ByColours(ByHash):
    """By the code of colours, uint64[1, 2]: turned, a picture has the same."""

    def of_image(self, connection: Connection, row: AnyRow) -> np.ndarray:  # noqa: ARG002
        """As `Searcher.of_image`."""
        return colour_code_from_bytes(row.colour_code)[None]

    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> np.ndarray:  # noqa: ARG002
        """As `Searcher.of_picture`."""
        return fingerprinted.fingerprint.colour_code[None]


class ByPattern(Searcher[PatternIndex, np.ndarray]):
    """By the first word of the pattern of a whole surface, uint64[1]; none of one that has no texture."""

    def lacks(self, row: AnyRow) -> bool:
        """As `Searcher.lacks`."""
        return row.pattern is None

    def of_image(self, connection: Connection, row: AnyRow) -> np.ndarray:
        """As `Searcher.of_image`."""
        pattern = pattern_of(connection, row.created_seq)
        return _NO_HASHES if pattern is None or pattern.flat.all() else pattern.words[:1]

    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> np.ndarray:  # noqa: ARG002
        """As `Searcher.of_picture`."""
        pattern = fingerprinted.pattern
        return _NO_HASHES if pattern.flat.all() else pattern.words[:1]

    def find(
        self,
        connection: Connection,  # noqa: ARG002
        index: PatternIndex,
        asked: np.ndarray,
        query: Query,
    ) -> Found:
        """As `Searcher.find`."""
        return _nearest(index.indexes[query.hash_name], asked, query)


class BySegments(Searcher[SegmentIndex, Sequence[Region]]):
    """By regions: which of a picture look like which of an image."""

    def lacks(self, row: AnyRow) -> bool:
        """As `Searcher.lacks`."""
        return row.whash_db4 is None

    def of_image(self, connection: Connection, row: AnyRow) -> Sequence[Region]:
        """As `Searcher.of_image`."""
        return regions_of_image(connection, row.created_seq)

    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> Sequence[Region]:  # noqa: ARG002
        """As `Searcher.of_picture`."""
        return regions_of_segments(fingerprinted.fingerprint.segments)

    def find(
        self, connection: Connection, index: SegmentIndex, asked: Sequence[Region], query: Query
    ) -> Found:
        """As `Searcher.find`."""
        turned = query.orientations != AS_STORED
        matches = matching_regions(connection, index, asked, query.max_distance, turned=turned)
        return Found(
            np.array(list(matches), np.int64),
            np.array([match.regions[0].distance for match in matches.values()], np.int64),
            np.array([match.transform for match in matches.values()], np.int64),
            {seq: match.regions for seq, match in matches.items()},
        )


class ByKeypoints(Searcher[KeypointIndex, Look]):
    """By keypoints: images that have a part in common with the picture, by the rule a copy of it or one of the same
    scene."""

    def __init__(self, current: KeypointCollection, pictures: Pictures, rule: Rule):
        super().__init__(current)
        self._pictures = pictures
        self._rule = rule

    def lacks(self, row: AnyRow) -> bool:
        """As `Searcher.lacks`."""
        return row.keypoint_count is None

    def of_image(self, connection: Connection, row: AnyRow) -> Look:  # noqa: ARG002
        """As `Searcher.of_image`."""
        try:
            return look_of_image(self._pictures, row.image_id)
        except FileNotFoundError:
            # Deleted between the look-up and here, or lost.
            raise NotFound(
                f"no picture of image {row.image_id}: deleted, lost or damaged", field="image_id"
            ) from None

    def of_picture(self, fingerprinted: Fingerprinted, picture: Image | None) -> Look:
        """As `Searcher.of_picture`."""
        assert picture is not None  # noqa: S101 - for the type checker: who asks for keypoints sends it
        return Look(fingerprinted.keypoints, picture.size, lambda: picture.convert("L"))

    def find(self, connection: Connection, index: KeypointIndex, asked: Look, query: Query) -> Found:
        """As `Searcher.find`."""

        def propose(keypoints: Keypoints) -> Candidates:
            proposed = propose_images(index, keypoints)
            if query.wanted == Filter():
                return proposed
            meant = images.meant(connection, proposed.owners.tolist(), query.wanted)  # before some are chosen
            return proposed.taken(np.flatnonzero(np.isin(proposed.owners, meant)))

        [candidates] = agreeing_images(connection, [asked], [propose(asked.keypoints)])
        copies = partial_copies(connection, self._pictures, asked, candidates, self._rule)
        copies += beside_layouts(connection, self._pictures, asked, copies, self._rule, propose)
        copies = [copy for copy in copies if copy.evidence.bits <= query.max_distance]
        kinds = {copy.created_seq: kind_of_part(copy.evidence, self._rule) for copy in copies}
        copies = [copy for copy in copies if kinds[copy.created_seq] is not None]
        transforms = [nearest_transform(copy.evidence) for copy in copies]
        if query.orientations == AS_STORED:
            kept = [number for number, transform in enumerate(transforms) if transform == 0]
            copies, transforms = [copies[number] for number in kept], [transforms[number] for number in kept]
        return Found(
            np.array([copy.created_seq for copy in copies], np.int64),
            np.array([copy.evidence.bits for copy in copies], np.int64),
            np.array(transforms, np.int64),
            evidence={copy.created_seq: copy.evidence for copy in copies},
            kinds=kinds,
        )


def searchers_by_hash(
    collection: Collection,
    segments: SegmentCollection,
    patterns: PatternCollection,
    keypoints: KeypointCollection,
    pictures: Pictures,
    rule: Rule,
) -> dict[str, Searcher[Any, Any]]:
    """One for each of `query.HASHES`."""
    return {name: ByHash(collection, name) for name in WHOLE_IMAGE_HASHES} | {
        COLOURS: ByColours(collection, COLOURS),
        SEGMENTS: BySegments(segments),
        PATTERN: ByPattern(patterns),
        KEYPOINTS: ByKeypoints(keypoints, pictures, rule),
    }


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


def _nearest(index: LiveIndex, hashes: np.ndarray, query: Query) -> Found:
    asked = hashes[:1] if query.orientations == AS_STORED else hashes
    return Found(*nearest_per_image(index, asked, query.max_distance))
