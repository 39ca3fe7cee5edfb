"""Comparing stored images with all earlier ones, and reading what was found."""

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import images, matches, session
from app.catalog.rows import AnyRow
from app.catalog.template_matches import ShownTemplates, templates_of
from app.collection import Collection, KeypointCollection, KeypointIndex, TableIndex
from app.errors import Unavailable
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import (
    COLUMN_OF,
    FINGERPRINTED,
    VERIFIER,
    colour_code_from_bytes,
    turned_from_bytes,
)
from app.matching.candidates import Candidates
from app.matching.evidence import Evidence
from app.matching.kinds import KINDS, PROPOSING_HASHES, RULE_VERSION, Picture, Rule, compare_many
from app.partial_copies import (
    Look,
    PartialCopy,
    agreeing_images,
    beside_layouts,
    look_of_image,
    look_of_upload,
    partial_copies,
    propose_earlier,
)
from app.recognition import recognise
from app.storage import Pictures

log = logging.getLogger(__name__)

# Images that are searched for together: with more, little is gained, and more is in memory.
_SEARCHED_AT_ONCE = 40
_SCREENED_AGAIN = 3
MATCHES_IN_ANSWER = 100
# What matches images in more other claims than that is a hub: a logo, a form, a picture that everybody sends.
HUB_CLAIMS = 20
MATCHES_OF_HUB = 10  # in its answer, the best
# Verdicts beside the kinds of matching.kinds.
PENDING = "pending"
NO_VERDICT = "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of one stored image: its row, its matches best first, its verdict, and whether it is new."""

    row: AnyRow
    matches: matches.MatchPage
    verdict: str
    created: bool = False
    templates: ShownTemplates = field(default_factory=ShownTemplates)
    parts_pending: int = 0
    """Of an upload: images whose keypoints are yet to be found. It was not compared with their parts."""

    @property
    def hub(self) -> int | None:
        """In how many other claims there are matches, where these are so many that few are told."""
        return self.matches.claims if self.matches.claims > HUB_CLAIMS else None


@dataclass(frozen=True, slots=True)
class Screening:
    """What images are compared by: what is held in memory of the others, their renditions, and the rule."""

    collection: Collection
    keypoints: KeypointCollection
    pictures: Pictures
    rule: Rule


def screen(engine: Engine, screening: Screening, seqs: Sequence[int]) -> None:
    """Screen the images with these stamps, wherever they were committed; deleted ones are passed over."""
    with session.autocommit(engine) as connection:
        screen_rows(connection, screening, images.to_compare(connection, seqs))


def screen_rows(
    connection: Connection,
    screening: Screening,
    rows: Sequence[AnyRow],
    keypoints: Mapping[UUID, Keypoints] = MappingProxyType({}),
    *,
    tries: int = _SCREENED_AGAIN,
) -> set[int]:
    """Find and store the matches of committed images (columns COMPARED), each against all before it.

    And the templates that they show. Return the row ids of those that have any of either. Idempotent: doing it
    again stores the same. `keypoints` are those of images that were decoded just now, by image id: all others are
    looked at again. `connection` is in autocommit mode. Images that change meanwhile are read and screened again;
    raises Unavailable where one changes each time.
    """
    # After the commit of every row and before the search: this order is the promise.
    committed = max((row.created_seq for row in rows), default=0)
    index = screening.collection.caught_up(connection, committed=committed)
    points = screening.keypoints.caught_up(connection, committed=committed)
    looked = [
        each
        for first in range(0, len(rows), _SEARCHED_AT_ONCE)
        for each in _look_at(
            connection, screening, index, points, rows[first : first + _SEARCHED_AT_ONCE], keypoints
        )
    ]
    others = images.earlier_candidates(connection, rows, [each.proposed for each in looked])
    found = [
        match
        for each, earlier in zip(looked, others, strict=True)
        for match in _earlier_matches(screening, each, earlier)
    ]
    showing = recognise(connection, index.templates, [row.created_seq for row in rows])
    # Last, for it marks the images as screened.
    read_at = max((row.change_seq for row in rows), default=0)
    marked = matches.store_screening(
        connection,
        [row.id for row in rows],
        found,
        up_to=read_at,
        blind_ids=[each.row.id for each in looked if each.blind],
        unseen=[
            (other.id, each.row.id)
            for each, earlier in zip(looked, others, strict=True)
            for other in earlier
            if other.created_seq in each.unseen
        ],
    )
    left = [row.created_seq for row in rows if row.id not in marked]
    if left and (changed := images.to_compare(connection, left)):
        if not tries:
            raise Unavailable("the images are changed all the time by a job; send them again")
        showing |= screen_rows(connection, screening, changed, tries=tries - 1)
    return showing.union(*((match.later_id, match.earlier_id) for match in found))


@dataclass(frozen=True, slots=True)
class _Looked:
    """An image and what the indexes know of those before it, by `created_seq`: copies of all, and of parts.

    Of parts nothing is known if it is `blind`, its rendition lost or its keypoints yet to be found, and little of
    those `unseen`, whose renditions are lost.
    """

    row: AnyRow
    picture: Picture
    whole: Mapping[int, int]
    partial: Mapping[int, Evidence]
    blind: bool
    unseen: AbstractSet[int]

    @property
    def proposed(self) -> set[int]:
        """All that are to be compared with it."""
        return {*self.whole, *self.partial}


def _look_at(
    connection: Connection,
    screening: Screening,
    index: TableIndex,
    points: KeypointIndex,
    rows: Sequence[AnyRow],
    keypoints: Mapping[UUID, Keypoints],
) -> Iterator[_Looked]:
    looks = [_part_look(screening, row, keypoints.get(row.image_id)) for row in rows]
    some = [look for look in looks if look is not None]
    befores = [row.created_seq for row, look in zip(rows, looks, strict=True) if look is not None]
    proposals = propose_earlier(points, [look.keypoints for look in some], befores)
    candidates = agreeing_images(connection, some, proposals)
    for row, look in zip(rows, looks, strict=True):
        query = _picture(row, turned_from_bytes(row.turned))
        whole = propose(index, query, screening.rule, before=row.created_seq)
        partial: list[PartialCopy] = []
        unseen: set[int] = set()
        if look is not None:
            earlier = functools.partial(_earlier_candidates, points, before=row.created_seq)
            pictures, rule = screening.pictures, screening.rule
            partial = partial_copies(connection, pictures, look, next(candidates), rule, whole, unseen)
            partial += beside_layouts(connection, pictures, look, partial, rule, earlier, whole, unseen)
        yield _Looked(
            row,
            query,
            whole,
            {found.created_seq: found.evidence for found in partial},
            blind=look is None and row.status == FINGERPRINTED and row.keypoint_count != 0,
            unseen=unseen,
        )


def _earlier_candidates(points: KeypointIndex, keypoints: Keypoints, *, before: int) -> Candidates:
    return next(propose_earlier(points, [keypoints], [before]))


def _earlier_matches(
    screening: Screening, looked: _Looked, others: Sequence[AnyRow]
) -> list[matches.NewMatch]:
    pictures = [_picture(other, turned_from_bytes(other.turned, rows=1)) for other in others]
    evidence = [looked.partial.get(other.created_seq) for other in others]
    findings = compare_many(looked.picture, pictures, screening.rule, evidence)
    return [
        matches.NewMatch(
            earlier_id=other.id,
            later_id=looked.row.id,
            kind=finding.kind,
            rank=finding.rank,
            nearest=finding.nearest,
            distances=finding.distances,
            transform=finding.transform,
            evidence={} if finding.evidence is None else finding.evidence.to_json(),
            rule_version=RULE_VERSION,
        )
        for other, finding in zip(others, findings, strict=True)
        if finding is not None
    ]


def _part_look(screening: Screening, row: AnyRow, keypoints: Keypoints | None) -> Look | None:
    """What is looked at of an image for parts that it has in common with others; None where that can't be."""
    # Those that are to be found yet are compared once a job has found them.
    if row.status != FINGERPRINTED or not row.keypoint_count:
        return None
    if keypoints is not None:
        return look_of_upload(screening.pictures, row.image_id, keypoints, (row.width, row.height))
    try:
        return look_of_image(screening.pictures, row.image_id)
    except FileNotFoundError:
        # Deleted meanwhile, or its picture is lost, which must not keep all later images from being screened.
        log.warning("image %s has no rendition: it is compared as a whole only", row.image_id)
        return None


def propose(index: TableIndex, query: Picture, rule: Rule, *, before: int) -> dict[int, int]:
    """Stamps of images that a proposing hash finds and the verifier agrees to, in one of the eight orientations,
    and the place in TRANSFORMS of that in which it agrees most.

    Decided in memory: on a large collection the hashes propose hundreds of strangers for every copy.
    """
    if query.low_information:
        return {}
    found = [np.empty((3, 0), np.int64)]
    for name in PROPOSING_HASHES:
        near = index.indexes[name].within_many(query.turned[:, COLUMN_OF[name]], rule.near)
        earlier = near.ids < before
        seqs, transforms = near.ids[earlier], near.queries[earlier]
        bits = index.verifiers.distances(seqs, query.turned[transforms, VERIFIER])
        agreed = bits <= rule.verifier_for(index.verifiers.pages(seqs) & query.page)
        found.append(np.stack([seqs, bits, transforms])[:, agreed].astype(np.int64))
    seqs, bits, transforms = np.concatenate(found, axis=1)
    nearest_last = np.lexsort((-transforms, -bits))
    return dict(zip(seqs[nearest_last].tolist(), transforms[nearest_last].tolist(), strict=True))


def answer_image(connection: Connection, row: AnyRow, *, screened: bool = False) -> Answer:
    """Read the matches of a live image (row of `catalog.images.SHOWN`).

    `screened` tells that the image was screened after the row was read.
    """
    page = matches.matches_of(connection, image_row_id=row.id, claim_id=row.claim_id, limit=MATCHES_IN_ANSWER)
    if page.claims > HUB_CLAIMS:
        page = replace(page, rows=page.rows[:MATCHES_OF_HUB])
    verdict = verdict_of(page, screened=screened or row.screened_at is not None)
    return Answer(row, page, verdict, templates=templates_of(connection, row.id))


def verdicts_of(connection: Connection, image_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """The claims and verdicts of those images that are live."""
    return {
        row.image_id: (row.claim_id, _verdict(row.verdict_rank, screened=row.screened_at is not None))
        for row in matches.verdict_ranks(connection, image_ids)
    }


def verdict_of(page: matches.MatchPage, *, screened: bool) -> str:
    """Strongest kind of match against other claims, "none", or "pending" until the image is screened."""
    return _verdict(page.verdict_rank, screened=screened)


def _verdict(rank: int | None, *, screened: bool) -> str:
    if not screened:
        return PENDING
    return NO_VERDICT if rank is None else KINDS[rank]


def _picture(row: AnyRow, turned: np.ndarray) -> Picture:
    code = row.colour_code
    return Picture(
        sha256=bytes(row.sha256),
        pixel_sha256=bytes(row.pixel_sha256),
        low_information=row.status == "low_information",
        turned=turned,
        page=bool(row.page),  # of an image from before it was looked for: not known to be one
        colour_code=None if code is None else colour_code_from_bytes(code),
    )
