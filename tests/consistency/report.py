"""What a check came to: counts, and every way in which the promise was found broken."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    """The ways to break the promise."""

    MISSED = "a match is not listed"
    FALSE_MATCH = "what is listed is no match"
    GHOST = "what is listed was deleted before the upload began"
    RENUMBERED = "two images have one created_seq, or one has two"
    REPLACED = "the same bytes for the same claim became another image"
    LOST = "what was acknowledged is not in the table"
    BYTES_LOST = "a live image's bytes were erased"
    UNSETTLED = "the stored matches are not those of the live images"
    INDEX_WRONG = "a reindex found the index wrong"
    CRASHED = "a worker met an error other than 503"


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where the promise was broken, and what it is about."""

    kind: FaultKind
    about: str


@dataclass(frozen=True, slots=True)
class Report:
    """`pairs` counts, over all answers (a replay is one too), the earlier matches that were due in it."""

    answers: int
    images: int
    deleted: int
    pairs: int
    faults: Sequence[Fault]

    def count(self, kind: FaultKind) -> int:
        """Number of faults of one kind."""
        return sum(fault.kind is kind for fault in self.faults)

    def __str__(self) -> str:
        first = "".join(f"\n{fault.kind.value}: {fault.about}" for fault in self.faults[:3])
        return (
            f"{self.answers} answers about {self.images} images, {self.deleted} deleted;"
            f" {self.pairs} pairs, {self.count(FaultKind.MISSED)} missed; {len(self.faults)} faults{first}"
        )
