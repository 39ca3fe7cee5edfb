"""Decides from the logs alone whether the promise was kept.

Of two matching images that were both acknowledged, the response to the later one lists the earlier one,
unless a delete of the earlier one was requested before that response.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from app.catalog.models import image, match
from app.fingerprints.whole import WHOLE_IMAGE_HASHES, Fingerprint
from app.matching.kinds import PROPOSING_HASHES, Picture, Rule, compare
from tests.consistency.history import (
    Answered,
    Crashed,
    Deleted,
    DeleteRequested,
    Drawn,
    Erased,
    Event,
    Rebuilt,
    Sent,
    of_kind,
)

MISSED = "missed"
FALSE_MATCH = "false match"
GHOST = "deleted, and still listed"
RENUMBERED = "two images of one created_seq, or one of two"
REPLACED = "the same bytes for the same claim, another image"
LOST = "acknowledged, and not in the table"
BYTES_LOST = "in the table, and its bytes erased"
UNSETTLED = "the stored matches are not those of the table"
INDEX_WRONG = "a reindex found the index wrong"
CRASHED = "a worker crashed"

_PROPOSING = [WHOLE_IMAGE_HASHES.index(name) for name in PROPOSING_HASHES]


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken part of the promise, and the images it is about."""

    kind: str
    about: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to: answers given, images in them, pairs (answer, earlier match) that were due."""

    answers: int
    images: int
    deleted: int
    pairs: int
    faults: Sequence[Fault]

    def of_kind(self, kind: str) -> list[Fault]:
        """The faults of one kind."""
        return [fault for fault in self.faults if fault.kind == kind]

    def __str__(self) -> str:
        return (
            f"{self.answers} answers, {self.images} images, {self.deleted} deleted, {self.pairs} pairs,"
            f" {len(self.of_kind(MISSED))} missed, {len(self.faults)} faults: {list(self.faults[:3])}"
        )


class Oracle:
    """Which pictures match, by comparing each with all others: no index, no database."""

    def __init__(self, drawn: Iterable[Drawn], rule: Rule):
        self._rule = rule
        self._pictures = {item.sha256: _picture(item) for item in drawn}
        self._names = list(self._pictures)
        pictures = list(self._pictures.values())
        self._turned = np.array([item.turned[:, _PROPOSING] for item in pictures], np.uint64).reshape(
            -1, 8, len(_PROPOSING)
        )
        self._same_pixels = defaultdict(list)
        for name, item in self._pictures.items():
            self._same_pixels[item.pixel_sha256].append(name)
        self._found: dict[str, frozenset[str]] = {}

    def matching(self, later: str) -> frozenset[str]:
        """SHA-256 of every picture that matches when it is uploaded before `later`, itself among them."""
        if later not in self._found:
            query = self._pictures[later]
            # What compare() refuses in any case is left out wholesale: it takes 15 us, a scan 0.1 us a picture.
            bits = np.bitwise_count(query.turned[:, _PROPOSING] ^ self._turned[:, :1])
            near = np.flatnonzero((bits <= self._rule.near).any(axis=(1, 2)))
            candidates = {later, *self._same_pixels[query.pixel_sha256], *(self._names[i] for i in near)}
            self._found[later] = frozenset(
                name for name in candidates if compare(query, self._pictures[name], self._rule) is not None
            )
        return self._found[later]


def check(events: Sequence[Event], rule: Rule) -> Report:
    """Look for every pair that a response should have listed, and for everything listed that it should not."""
    answers: list[Answered] = of_kind(events, Answered)
    first: dict[str, Answered] = {}
    for answer in sorted(answers, key=lambda answer: answer.answered_ns):
        first.setdefault(answer.image_id, answer)
    requested = _earliest(of_kind(events, DeleteRequested))
    deleted = _earliest(of_kind(events, Deleted))
    bytes_of = {item.image_id: item.sha256 for item in of_kind(events, Sent)}
    oracle = Oracle(of_kind(events, Drawn), rule)
    holders: defaultdict[str, list[Answered]] = defaultdict(list)
    for answer in first.values():
        holders[answer.sha256].append(answer)

    faults = [
        *(Fault(CRASHED, item.error) for item in of_kind(events, Crashed)),
        *(Fault(INDEX_WRONG, str(item.wrong)) for item in of_kind(events, Rebuilt) if item.wrong),
        *_number_faults(answers),
        *_replay_faults(first.values(), requested),
    ]
    pairs = 0
    for answer in answers:
        if answer.image_id in requested and requested[answer.image_id] <= answer.answered_ns:
            continue  # deleted while it was sent again: nothing was promised
        listed = set(answer.matches)
        for name in oracle.matching(answer.sha256):
            for earlier in holders[name]:
                gone = requested.get(earlier.image_id)
                if earlier.created_seq < answer.created_seq and (gone is None or gone > answer.answered_ns):
                    pairs += 1
                    if earlier.image_id not in listed:
                        faults.append(_about(MISSED, answer, earlier.image_id))
        for other in answer.matches:
            if other in deleted and deleted[other] < answer.began_ns:
                faults.append(_about(GHOST, answer, other))
            if not _is_match(oracle, answer, other, bytes_of.get(other), first.get(other)):
                faults.append(_about(FALSE_MATCH, answer, other))
    return Report(len(answers), len(first), len(deleted), pairs, faults)


def check_table(connection: Connection, events: Sequence[Event], rule: Rule) -> list[Fault]:
    """Compare the table with the logs, once the sweep has screened every image that nobody answered.

    Every acknowledged image is there unless its deletion was asked for, and gone if that was acknowledged;
    every live one has its bytes; and the stored matches are those of the live images, no more and no less.
    """
    rows = connection.execute(
        select(image.c.id, image.c.image_id, image.c.created_seq, image.c.sha256, image.c.deleted_at)
    ).all()
    by_image_id = {str(row.image_id): row for row in rows}
    asked = {item.image_id for item in of_kind(events, DeleteRequested)}
    gone = {item.image_id for item in of_kind(events, Deleted)}
    faults = []
    for answer in of_kind(events, Answered):
        row = by_image_id.get(answer.image_id)
        if row is None or row.created_seq != answer.created_seq:
            faults.append(Fault(LOST, answer.image_id))
        elif (
            row.deleted_at is None
            if answer.image_id in gone
            else row.deleted_at and answer.image_id not in asked
        ):
            faults.append(Fault(LOST, f"{answer.image_id}, or its deletion"))
    oracle = Oracle(of_kind(events, Drawn), rule)
    live = [row for row in rows if row.deleted_at is None]
    erased = {item.image_id for item in of_kind(events, Erased)}
    faults += [Fault(BYTES_LOST, str(row.image_id)) for row in live if str(row.image_id) in erased]
    holders = defaultdict(list)
    for row in live:
        holders[row.sha256.hex()].append(row)
    due = {
        (earlier.id, row.id)
        for row in live
        for name in oracle.matching(row.sha256.hex())
        for earlier in holders[name]
        if earlier.created_seq < row.created_seq
    }
    stored = {(row.earlier_id, row.later_id) for row in connection.execute(select(match))}
    return [*faults, *(Fault(UNSETTLED, f"earlier, later: {pair}") for pair in due ^ stored)]


def _is_match(
    oracle: Oracle, answer: Answered, other: str, other_bytes: str | None, acknowledged: Answered | None
) -> bool:
    if other_bytes is None or other == answer.image_id:
        return False
    forward = other_bytes in oracle.matching(answer.sha256)
    backward = answer.sha256 in oracle.matching(other_bytes)
    if acknowledged is None:  # which of the two is the later one is not in the logs
        return forward or backward
    return forward if acknowledged.created_seq < answer.created_seq else backward


def _number_faults(answers: Iterable[Answered]) -> list[Fault]:
    images_of_seq: defaultdict[int, set[str]] = defaultdict(set)
    seqs_of_image: defaultdict[str, set[int]] = defaultdict(set)
    for answer in answers:
        images_of_seq[answer.created_seq].add(answer.image_id)
        seqs_of_image[answer.image_id].add(answer.created_seq)
    return [
        Fault(RENUMBERED, f"{one}: {sorted(map(str, others))}")
        for table in (images_of_seq, seqs_of_image)
        for one, others in table.items()
        if len(others) > 1
    ]


def _replay_faults(images: Iterable[Answered], requested: Mapping[str, int]) -> list[Fault]:
    """Images that took the place of a live one."""
    same: defaultdict[tuple[str, str], list[Answered]] = defaultdict(list)
    for item in images:
        same[item.claim_id, item.sha256].append(item)
    faults = []
    for items in same.values():
        items.sort(key=lambda item: item.created_seq)
        for before, after in zip(items, items[1:], strict=False):
            gone = requested.get(before.image_id)
            if gone is None or gone > after.answered_ns:
                faults.append(_about(REPLACED, after, before.image_id))
    return faults


def _earliest(events: Iterable[DeleteRequested | Deleted]) -> dict[str, int]:
    times: dict[str, int] = {}
    for event in events:
        times[event.image_id] = min(event.at_ns, times.get(event.image_id, event.at_ns))
    return times


def _about(kind: str, answer: Answered, other: str) -> Fault:
    return Fault(kind, f"image {answer.image_id} (seq {answer.created_seq}), other image {other}")


def _picture(drawn: Drawn) -> Picture:
    return Picture(
        sha256=bytes.fromhex(drawn.sha256),
        pixel_sha256=bytes.fromhex(drawn.pixel_sha256),
        low_information=drawn.low_information,
        turned=Fingerprint.from_bytes(bytes.fromhex(drawn.turned)).turned,
    )
