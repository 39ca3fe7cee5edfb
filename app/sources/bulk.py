"""Many pictures through the same intake as an upload: what a pipeline has read and fingerprinted is stored and
compared by the caller's thread, hundreds in one statement, and told in the journal."""

import math
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from app.errors import Unavailable
from app.ingest import Arrival, Intake
from app.screening import PENDING, verdicts_of
from app.sources.claim_rules import Claimed, Rule
from app.sources.found import Refused
from app.sources.inputs import Input
from app.sources.journal import ALREADY_THERE, Journal
from app.sources.limits import Limits
from app.sources.patience import patiently
from app.sources.pipeline import END, MOST_UNREADABLE, Pipeline, Read, Received
from app.sources.taken import Piece, Taken, left, not_found, taken

BATCH = 200
"""Pictures stored in one statement: their lock is held some 0.2 s, and other uploads wait for it."""
_BATCH_SECONDS = 4.0  # a slow source is stored this often
_REMEMBERED = 1000  # inputs


@dataclass(slots=True)
class _UnderWay:
    """How far an input is: pieces, once all are read, and those that are done, with their bytes."""

    pieces: int | None = None
    done: int = 0
    byte_count: int = 0


class Bulk:
    """One run over many inputs; `stop` may be set from anywhere: what is under way is finished, no more is read.

    What was received `stale_seconds` ago is not stored: a sweep may have taken its files for orphans.
    """

    def __init__(
        self,
        intake: Intake,
        journal: Journal,
        claim_of: Rule,
        limits: Limits,
        *,
        rule_digest: str,
        at_once: int,
        stale_seconds: float,
    ):
        self.stop = threading.Event()
        self.bytes_done = 0
        """Of the inputs; of one that is under way what its pictures have, at most its size."""
        self.broke_off = False
        """Whether something was left for the next run."""
        self._intake = intake
        self._journal = journal
        self._rule_digest = rule_digest
        self._stale_seconds = stale_seconds
        self._left = False
        self._pipeline = Pipeline(
            intake, claim_of, limits, stop=self.stop, at_once=at_once, room_for=3 * BATCH
        )

    def take(self, inputs: Sequence[Input | Refused]) -> Generator[Taken, None, None]:
        """Take all inputs in and yield what became of each picture, once it is durable and in the journal.

        Raises StorageFull, and Unavailable when the database stays away: what was not yielded is for the next run.
        """
        unread = []
        for begin in range(0, len(inputs), _REMEMBERED):
            some = inputs[begin : begin + _REMEMBERED]
            yield from self._written(self._not_listed(some))
            known, rest = self._remembered([item for item in some if not isinstance(item, Refused)])
            yield from known
            unread += rest
        yield from self._take_unread(unread)
        self.broke_off = self.stop.is_set() or self._left or self._pipeline.left

    def _not_listed(self, inputs: Sequence[Input | Refused]) -> Iterator[Taken]:
        """What could not be listed: one that may be there another time is left, and several in a row raise."""
        away = 0
        for item in inputs:
            if isinstance(item, Refused) and isinstance(item.error, Unavailable):
                away += 1
                self._left = True
                yield left(None, item.where, item.error)
                if away == MOST_UNREADABLE:
                    raise item.error
                continue
            away = 0
            if isinstance(item, Refused):
                yield not_found(None, item)

    def _take_unread(self, inputs: Sequence[Input]) -> Iterator[Taken]:
        under_way: dict[int, _UnderWay] = {}
        with self._pipeline.running(inputs):
            for item in self._stored():
                source = cast("Input", item.source)
                one = under_way.setdefault(id(source), _UnderWay())
                if isinstance(item, Read):
                    one.pieces = item.pieces
                else:
                    self._write(item)
                    one.done += 1
                    seen = min(one.byte_count + item.byte_count, source.byte_count)
                    self.bytes_done += seen - one.byte_count
                    one.byte_count = seen
                if one.done == one.pieces:
                    self.bytes_done += source.byte_count - one.byte_count
                    del under_way[id(source)]
                    self._journal.complete(source.name, self._stamp(source))
                if isinstance(item, Taken):
                    self._pipeline.room.free_place()
                    yield item
            self._journal.flush()

    def _remembered(self, inputs: Sequence[Input]) -> tuple[list[Taken], list[Input]]:
        """What the journal has of inputs and the database has too, and the inputs that are to be read."""
        found = [(source, self._journal.remembered(source.name, self._stamp(source))) for source in inputs]
        ids = [image_id for _, images_of in found for image_id in images_of or ()]
        verdicts = patiently(self.stop, lambda: self._verdicts(ids)) if ids else {}
        known, unread = [], []
        for source, image_ids in found:
            told = [verdicts.get(each, ("", PENDING)) for each in image_ids or ()]
            if image_ids is None or any(verdict == PENDING for _, verdict in told):
                unread.append(source)
                continue
            self.bytes_done += source.byte_count
            known += [
                Taken(
                    source,
                    source.name,
                    ALREADY_THERE,
                    Claimed(claim_id, claim_id),
                    image_id=str(image_id),
                    verdict=verdict,
                )
                for image_id, (claim_id, verdict) in zip(image_ids, told, strict=True)
            ]
        return known, unread

    def _verdicts(self, image_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
        with self._intake.engine.connect() as connection:
            return verdicts_of(connection, image_ids)

    def _stamp(self, source: Input) -> str:
        """With another rule its pictures may be those of other claims."""
        return f"{source.stamp} {self._rule_digest}"

    def _stored(self) -> Iterator[Taken | Read]:
        """What the threads have done, with what was received stored, hundreds at once."""
        for item in self._gathered():
            if isinstance(item, list):
                yield from self._store(item)
            else:
                yield item

    def _gathered(self) -> Iterator[Taken | Read | list[Received]]:
        """What the threads have done, with what was received in lists. Raises what they raised."""
        received: list[Received] = []
        deadline = math.inf
        try:
            while True:
                item = self._pipeline.next(deadline)
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Received):
                    if not received:
                        deadline = time.monotonic() + _BATCH_SECONDS
                    received.append(item)
                    if len(received) < BATCH:
                        continue
                elif isinstance(item, Taken | Read):
                    yield item
                    continue
                if received:
                    batch, received, deadline = received, [], math.inf
                    yield batch
                if item is END:
                    return
        finally:
            for each in received:
                self._pipeline.drop(each)

    def _store(self, batch: Sequence[Received]) -> list[Taken]:
        # Who reads what this yields may stop for hours, or the machine may: the sweep has erased the files then.
        if time.time() - min(each.at for each in batch) > self._stale_seconds:
            for each in batch:
                self._intake.refuse(each.arrival)
            raise Unavailable("the run was held up: what waited to be stored is for the next one")
        arrivals = [_labelled(each.arrival, each.piece) for each in batch]
        # Also when it is to stop: what was received is finished.
        answers = self._intake.store(arrivals, attempt=lambda call: patiently(threading.Event(), call))
        # The same file twice for one claim is one image: that of one of the two.
        return [
            taken(each.piece, answer, new=answer.row.image_id == each.arrival.image_id)
            for each, answer in zip(batch, answers, strict=True)
        ]

    def _written(self, taken: Iterable[Taken]) -> Iterator[Taken]:
        for each in taken:
            self._write(each)
            yield each

    def _write(self, taken: Taken) -> None:
        line: dict[str, Any] = {
            "input": taken.where if taken.source is None else taken.source.name,
            "stamp": "" if taken.source is None else self._stamp(taken.source),
            "where": taken.where,
            "state": taken.state,
        }
        if taken.claimed is not None:
            line |= {"claim_id": taken.claimed.claim_id, "claim_as_written": taken.claimed.written}
        if taken.image_id:
            line |= {"image_id": taken.image_id, "verdict": taken.verdict}
        if taken.error is not None:
            line["why"] = taken.error.message
        self._journal.write(**line)


def _labelled(arrival: Arrival, piece: Piece) -> Arrival:
    claimed, labels = piece.claimed, dict(piece.claimed.labels)
    if claimed.day is not None:
        labels["claimed_at"] = claimed.day.isoformat()
    return replace(arrival, labels=labels, source=piece.found.source)
