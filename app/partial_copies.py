"""Which stored images have a part in common with a picture: proposed by keypoints, then looked at pixel by
pixel."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import Connection

from app.catalog.keypoints import keypoint_places, keypoint_rows, keypoints_of
from app.catalog.rows import AnyRow
from app.collection.keypoints import KeypointIndex
from app.fingerprints.keypoint_value import Keypoints, unpacked
from app.fingerprints.orientation import TRANSFORMS
from app.imaging.normalise import normalised_size
from app.index.set_tables import Hits
from app.matching.candidates import Candidates, agreeing, rank
from app.matching.evidence import Evidence, examine, examine_whole, unexamined
from app.matching.kinds import Rule, differs, is_layout, kind_of_part
from app.matching.near_keypoints import near
from app.matching.overlaps import PROPOSING_BITS, Overlap, find_overlap
from app.storage import DamagedRenditionError, Pictures, open_jpeg, open_rendition

log = logging.getLogger(__name__)

MOST_PROPOSED = 400
"""Images whose places are compared, best first: by chance there are fewer that speak for as much as a copy does."""
MOST_COMPARED = 64
"""Of these, best first, all keypoints are compared."""
MOST_EXAMINED = 32
"""Of those, best first, so many are laid on the picture, and as many more as long as half of them match."""
MOST_OF_A_HUB = 128
"""More are not: then it is known in how many claims a picture is, at least."""
DOUBTED_SCORE = 0.7
"""Of what is alike as a whole: copies that keypoints lay right correlate by less only if they are full of noise."""
MOST_KNOWN = 16
"""Of those that whole-image hashes tell to be copies already, for evidence, and as many more as long as some
differ."""
_NONE = np.empty(0, np.int64)
_FIRST_TOGETHER = 4
# Of pictures that are searched for together: with a letterhead of 60 keypoints on 30,000 images each finds as many,
# which take some 50 bytes each while they are put in order.
_MOST_HITS = 2_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at of the picture asked about: keypoints in all states, and its rendition when it is
    needed."""

    keypoints: Keypoints
    size: tuple[int, int]
    open: Callable[[], Image.Image]


@dataclass(frozen=True, slots=True, eq=False)
class PartialCopy:
    """An image that the picture has a part in common with, and the evidence.

    `agreeing` int64[n] are the numbers of the picture's keypoints that agree with some of the image.
    """

    created_seq: int
    evidence: Evidence
    agreeing: NDArray[np.int64]


def look_of_image(pictures: Pictures, image_id: UUID) -> Look:
    """A stored image looked at again. Raises FileNotFoundError, as after a deletion."""
    # Compiled loops: whoever only shows what was found needs none of them.
    from app.fingerprints.keypoints import keypoints

    grey = open_rendition(pictures, image_id).convert("L")
    return Look(keypoints(grey), grey.size, lambda: grey)


def look_of_upload(pictures: Pictures, image_id: UUID, keypoints: Keypoints, size: tuple[int, int]) -> Look:
    """A stored image whose keypoints are at hand; its size is that of the full picture."""

    @cache
    def rendition() -> Image.Image:
        return open_rendition(pictures, image_id).convert("L")

    return Look(keypoints, normalised_size(*size), rendition)


def propose_images(index: KeypointIndex, keypoints: Keypoints) -> Candidates:
    """Images that keypoints speak for, by `created_seq`."""
    [hits] = near(index.index, [keypoints], PROPOSING_BITS)
    return _ranked(hits, keypoints)


def propose_earlier(
    index: KeypointIndex, pictures: Sequence[Keypoints], befores: Sequence[int]
) -> Iterator[Candidates]:
    """For each of some pictures the images before a stamp that its keypoints speak for."""
    first, together = 0, _FIRST_TOGETHER
    while first < len(pictures):
        some = slice(first, first + together)
        found = near(index.index, pictures[some], PROPOSING_BITS)
        for keypoints, before, hits in zip(pictures[some], befores[some], found, strict=True):
            yield _ranked(hits.taken(np.flatnonzero(hits.owners < before)), keypoints)
        first = some.stop
        together = min(2 * together, _MOST_HITS * len(found) // (1 + sum(map(len, found)))) or 1


def _ranked(hits: Hits, keypoints: Keypoints) -> Candidates:
    return rank(hits.queries, hits.owners, hits.places, len(keypoints), MOST_PROPOSED)


def partial_copies(
    connection: Connection,
    pictures: Pictures,
    look: Look,
    candidates: Candidates,
    rule: Rule,
    known: Mapping[int, int] = MappingProxyType({}),
    unseen: set[int] | None = None,
) -> list[PartialCopy]:
    """Those of the images that `agreeing_images` left, best first, that a picture has a part in common with.

    Of those `known` to be alike as wholes, by `created_seq` and the place in TRANSFORMS of how, some are looked at,
    for evidence: where no keypoints agree, or what they tell is doubtful, laid on each other as wholes. More of
    them while some differ, by the rule, and more of the others while most match. Images deleted meanwhile are left
    out. Where most of the best only have a layout in common with the picture, `beside_layouts` finds more.

    Where a rendition is lost keypoints alone tell: `unseen` gets the `created_seq` of such images, told of or not.
    """
    unseen = set() if unseen is None else unseen
    states = dict(zip(candidates.owners.tolist(), candidates.states.tolist(), strict=True))
    spoken_for = [seq for seq in states if seq in known]
    silent = [seq for seq in known if seq not in states]
    others = [seq for seq in states if seq not in known]
    found: list[PartialCopy] = []
    for seqs, at_once, goes_on in (
        (spoken_for, MOST_KNOWN, _some_differ),
        (silent, MOST_KNOWN, _some_differ),
        (others, MOST_COMPARED, _most_match),
    ):
        looked_at = 0
        # Hundreds of copies of one picture are not all laid on it, but none is missed that strangers hide.
        for told in _laid(connection, pictures, look, seqs, at_once, states, known, unseen):
            told_of = [copy for copy in told.values() if copy is not None]
            found += told_of
            looked_at += len(told)
            if looked_at >= MOST_OF_A_HUB or not goes_on([copy.evidence for copy in told_of], rule):
                break
    return found


def beside_layouts(
    connection: Connection,
    pictures: Pictures,
    look: Look,
    found: Sequence[PartialCopy],
    rule: Rule,
    propose: Callable[[Keypoints], Candidates],
    known: Iterable[int] = (),
    unseen: set[int] | None = None,
) -> list[PartialCopy]:
    """What else a picture has a part in common with, if much of what was `found` only has a layout in common.

    Half as many as are laid on it at once. Letters of one house, or screens of one program, speak for each other
    with more keypoints than a photo in one of them has for its copy. So those that agreed in a layout are left out,
    and the others are searched for again. What was found, or is `known` to be alike as a whole, by `created_seq`,
    is passed over.
    """
    layouts = [copy for copy in found if len(copy.agreeing) and is_layout(copy.evidence, rule.layout_apart)]
    if 2 * len(layouts) < MOST_EXAMINED:
        return []
    others = np.ones(len(look.keypoints), bool)
    others[np.concatenate([copy.agreeing for copy in layouts])] = False
    rest = replace(look, keypoints=look.keypoints.taken(others))
    proposed = propose(rest.keypoints)
    passed_over = [*known, *(copy.created_seq for copy in found)]
    proposed = proposed.taken(np.flatnonzero(~np.isin(proposed.owners, passed_over)))
    [candidates] = agreeing_images(connection, [rest], [proposed])
    numbers = np.flatnonzero(others)
    return [
        replace(copy, agreeing=numbers[copy.agreeing])
        for copy in partial_copies(connection, pictures, rest, candidates, rule, unseen=unseen)
    ]


def _some_differ(told: Sequence[Evidence], rule: Rule) -> bool:
    return any(differs(evidence, rule) for evidence in told)


def _most_match(told: Sequence[Evidence], rule: Rule) -> bool:
    return 2 * sum(kind_of_part(evidence, rule) is not None for evidence in told) >= MOST_EXAMINED


def _laid(
    connection: Connection,
    pictures: Pictures,
    look: Look,
    seqs: Sequence[int],
    at_once: int,
    states: Mapping[int, int],
    known: Mapping[int, int],
    unseen: set[int],
) -> Iterator[dict[int, PartialCopy | None]]:
    """Images by `created_seq`, so many compared at once, and of those that overlap MOST_EXAMINED laid on the
    picture at once."""
    for first in range(0, len(seqs), at_once):
        some = seqs[first : first + at_once]
        rows = {row.created_seq: row for row in keypoint_rows(connection, some)}
        there = [rows[seq] for seq in some if seq in rows]
        overlapping = list(_overlapping(look, there, states))
        whole = [row.created_seq for row in there if row.created_seq in known]
        for begin in range(0, max(len(overlapping), 1), MOST_EXAMINED):
            laid = overlapping[begin : begin + MOST_EXAMINED]
            told: dict[int, Evidence | None] = dict.fromkeys(
                [*(row.created_seq for row, _, _ in laid), *(() if begin else whole)]
            )
            agreeing_of = dict.fromkeys(told, _NONE)
            picture = _opened(look) if told else None
            read = pictures.read_renditions([rows[seq].image_id for seq in told])
            others = dict(zip(told, map(_grey, read), strict=True))
            for row, overlap, keypoints in laid:
                other = others[row.created_seq]
                told[row.created_seq] = _evidence(look, picture, row, other, overlap, keypoints)
                agreeing_of[row.created_seq] = overlap.pairs[:, 0]
            for seq, evidence in told.items():
                doubted = evidence is None or evidence.score < DOUBTED_SCORE
                if seq in known and doubted and picture is not None and (other := others[seq]) is not None:
                    # As few keypoints agree by chance, and lay it wrong.
                    as_whole = examine_whole(picture, other, TRANSFORMS[known[seq]])
                    told[seq] = _better(evidence, as_whole)
            unseen.update(seq for seq in told if picture is None or others[seq] is None)
            yield {
                seq: None if evidence is None else PartialCopy(seq, evidence, agreeing_of[seq])
                for seq, evidence in told.items()
            }


def agreeing_images(
    connection: Connection, looks: Sequence[Look], proposals: Iterable[Candidates]
) -> Iterator[Candidates]:
    """Of each picture's candidates those that still are there, of which two keypoints agree with its own.

    The places of all are read at once.
    """
    proposals = list(proposals)
    owners = np.unique(np.concatenate([np.empty(0, np.int64), *(each.owners for each in proposals)]))
    seqs, places = keypoint_places(connection, owners.tolist())
    for look, proposed in zip(looks, proposals, strict=True):
        yield _agreeing(look, proposed, seqs, places)


def _agreeing(
    look: Look, proposed: Candidates, seqs: NDArray[np.int64], places: NDArray[np.uint32]
) -> Candidates:
    if not len(seqs):
        return proposed.taken(np.empty(0, np.int64))
    at = np.minimum(np.searchsorted(seqs, proposed.owners), len(seqs) - 1)
    left = np.flatnonzero(seqs[at] == proposed.owners)
    there = proposed.taken(left)
    rows = np.repeat(at[left], np.diff(there.starts))
    return agreeing(there, look.keypoints, look.size, unpacked(places[rows, there.pairs[:, 1]]))


def _overlapping(
    look: Look, rows: Iterable[AnyRow], states: Mapping[int, int]
) -> Iterator[tuple[AnyRow, Overlap, Keypoints]]:
    for row in rows:
        if row.created_seq not in states:
            continue  # no keypoints speak for it
        keypoints, size = keypoints_of(row), normalised_size(row.width, row.height)
        overlap = find_overlap(look.keypoints, look.size, keypoints, size, [states[row.created_seq]])
        if overlap is not None:
            yield row, overlap, keypoints


def _better(one: Evidence | None, other: Evidence | None) -> Evidence | None:
    """That in which more is alike; text stays text."""
    if one is None or other is None:
        return one or other
    return one if one.score >= other.score else replace(other, page=one.page)


def _evidence(
    look: Look,
    picture: Image.Image | None,
    row: AnyRow,
    other: Image.Image | None,
    overlap: Overlap,
    keypoints: Keypoints,
) -> Evidence | None:
    if picture is None or other is None:
        # Deleted meanwhile, and the match is not stored; or lost, and then what is like it is told all the same.
        lost = "the image asked about" if picture is None else "it"
        log.warning("no rendition of %s: image %s is compared by keypoints alone", lost, row.image_id)
        size = normalised_size(row.width, row.height)
        return unexamined(look.keypoints, look.size, overlap, keypoints, size, page=bool(row.page))
    return examine(picture, look.keypoints, other, overlap, keypoints)


def _opened(look: Look) -> Image.Image | None:
    try:
        return look.open()
    except FileNotFoundError:
        return None


def _grey(rendition: bytes | None) -> Image.Image | None:
    try:
        return None if rendition is None else open_jpeg(rendition).convert("L")
    except DamagedRenditionError:
        return None
