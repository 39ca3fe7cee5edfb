"""What became of a piece of the input."""

from dataclasses import dataclass

from app.errors import ClaimprintError, StorageFull, Unavailable
from app.screening import Answer
from app.sources.claim_rules import Claimed
from app.sources.found import Found, Refused, Skipped
from app.sources.inputs import Input
from app.sources.journal import ALREADY_THERE, LEFT, REJECTED, SKIPPED, STORED


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one picture, or of what is none: `state` is one of `sources.journal`.

    `image_id` and `verdict` are of what is in the database, `answer` where it was asked in this run, `error` of
    what was rejected or left. `source` is None where no input could be read, `claimed` where no claim could be
    told.
    """

    source: Input | None
    where: str
    state: str
    claimed: Claimed | None = None
    answer: Answer | None = None
    image_id: str = ""
    verdict: str = ""
    error: ClaimprintError | None = None
    byte_count: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A picture on its way: what it is and whose; `byte_count` also when its bytes are no longer held."""

    source: Input
    found: Found
    claimed: Claimed
    sha256: bytes
    byte_count: int

    @property
    def key(self) -> tuple[str, bytes]:
        """What tells whether it is stored: its claim, and the SHA-256 of its bytes."""
        return self.claimed.claim_id, self.sha256


def taken(piece: Piece, answer: Answer, *, new: bool) -> Taken:
    """A picture that was stored now, or before."""
    return Taken(
        piece.source,
        piece.found.where,
        STORED if new else ALREADY_THERE,
        piece.claimed,
        answer,
        str(answer.row.image_id),
        answer.verdict,
        byte_count=piece.byte_count,
    )


def rejected(source: Input, found: Found, error: ClaimprintError, claimed: Claimed | None = None) -> Taken:
    """A picture that can't be taken."""
    return Taken(source, found.where, REJECTED, claimed, error=error, byte_count=len(found.data))


def left(source: Input | None, where: str, error: Unavailable) -> Taken:
    """An input that the next run reads, whatever of it was taken in this one."""
    return Taken(source, where, LEFT, error=error)


def not_found(source: Input | None, item: Refused | Skipped) -> Taken:
    """What gave no picture. Raises its error where it may be there another time: the next run reads it."""
    if isinstance(item, Skipped):
        return Taken(source, item.where, SKIPPED)
    if isinstance(item.error, Unavailable | StorageFull):
        raise item.error
    return Taken(source, item.where, REJECTED, error=item.error)
