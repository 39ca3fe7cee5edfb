"""Decides from the logs alone whether the promise was kept.

Of two matching images that were both acknowledged, the response to the later one lists the earlier one,
unless a delete of the earlier one was requested before that response.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from app.matching.kinds import Rule
from tests.consistency.history import (
    Answered,
    Crashed,
    Deleted,
    DeleteRequested,
    Drawn,
    Event,
    Rebuilt,
    Sent,
    of_kind,
)
from tests.consistency.oracle import Oracle
from tests.consistency.report import Fault, FaultKind, Report


def check(events: Sequence[Event], rule: Rule) -> Report:
    """Look for every match that an answer should have listed, and for everything listed that it should not."""
    run = _Run(events, rule)
    faults = [
        *(Fault(FaultKind.CRASHED, item.error) for item in of_kind(events, Crashed)),
        *(Fault(FaultKind.INDEX_WRONG, f"{item.wrong}") for item in of_kind(events, Rebuilt) if item.wrong),
        *run.renumbered(),
        *run.replaced(),
    ]
    pairs = 0
    for answer in run.answers:
        due = run.due_in(answer)
        pairs += len(due)
        faults += [_fault(FaultKind.MISSED, answer, other) for other in due.difference(answer.matches)]
        faults += run.wrongly_listed(answer)
    return Report(len(run.answers), len(run.images), len(run.deleted_ns), pairs, faults)


class _Run:
    """The events of one run, by what they are about."""

    def __init__(self, events: Sequence[Event], rule: Rule):
        self.oracle = Oracle(of_kind(events, Drawn), rule)
        self.answers = sorted(of_kind(events, Answered), key=lambda answer: answer.answered_ns)
        self.requested_ns = _earliest(of_kind(events, DeleteRequested))
        self.deleted_ns = _earliest(of_kind(events, Deleted))
        self.bytes_of: dict[str, str] = {item.image_id: item.sha256 for item in of_kind(events, Sent)}
        # Each acknowledged image by its first answer.
        self.images: dict[str, Answered] = {}
        for answer in self.answers:
            self.images.setdefault(answer.image_id, answer)
        self._images_with: defaultdict[str, list[Answered]] = defaultdict(list)
        for image in self.images.values():
            self._images_with[image.sha256].append(image)

    def due_in(self, answer: Answered) -> set[str]:
        """The images that an answer must list."""
        if self._may_be_gone(answer.image_id, answer):
            return set()  # deleted while it was sent again: nothing is promised
        return {
            image.image_id
            for sha256 in self.oracle.matching(answer.sha256)
            for image in self._images_with[sha256]
            if image.created_seq < answer.created_seq and not self._may_be_gone(image.image_id, answer)
        }

    def wrongly_listed(self, answer: Answered) -> Iterator[Fault]:
        """What an answer must not list."""
        for other in answer.matches:
            if self.deleted_ns.get(other, answer.began_ns) < answer.began_ns:
                yield _fault(FaultKind.GHOST, answer, other)
            if not self._is_match(answer, other):
                yield _fault(FaultKind.FALSE_MATCH, answer, other)

    def renumbered(self) -> Iterator[Fault]:
        """Stamps that are not one to one with images."""
        stamps = {(answer.created_seq, answer.image_id) for answer in self.answers}
        for column in zip(*stamps, strict=True):
            seen = set()
            for item in column:
                if item in seen:
                    yield Fault(FaultKind.RENUMBERED, f"{item}")
                seen.add(item)

    def replaced(self) -> Iterator[Fault]:
        """Images that took the place of a live one."""
        same: defaultdict[tuple[str, str], list[Answered]] = defaultdict(list)
        for image in sorted(self.images.values(), key=lambda image: image.created_seq):
            same[image.claim_id, image.sha256].append(image)
        for images in same.values():
            for before, after in pairwise(images):
                if not self._may_be_gone(before.image_id, after):
                    yield _fault(FaultKind.REPLACED, after, before.image_id)

    def _may_be_gone(self, image_id: str, answer: Answered) -> bool:
        """Whether the image's deletion was requested before that answer."""
        return self.requested_ns.get(image_id, answer.answered_ns + 1) <= answer.answered_ns

    def _is_match(self, answer: Answered, other: str) -> bool:
        if other not in self.bytes_of or other == answer.image_id:
            return False
        other_is_earlier = self.bytes_of[other] in self.oracle.matching(answer.sha256)
        other_is_later = answer.sha256 in self.oracle.matching(self.bytes_of[other])
        if other not in self.images:  # sent and not acknowledged: its stamp is not in the logs
            return other_is_earlier or other_is_later
        return other_is_earlier if self.images[other].created_seq < answer.created_seq else other_is_later


def _earliest(events: Iterable[DeleteRequested | Deleted]) -> dict[str, int]:
    times: dict[str, int] = {}
    for event in events:
        times[event.image_id] = min(event.at_ns, times.get(event.image_id, event.at_ns))
    return times


def _fault(kind: FaultKind, answer: Answered, other: str) -> Fault:
    return Fault(kind, f"image {answer.image_id} (created_seq {answer.created_seq}), other image {other}")
