"""Many pictures through the same intake as an upload: read, looked up, fingerprinted and stored side by side.

Readers take inputs apart; what the claim has already is looked up, some at a time; the rest goes to the
decoding processes; and what those have done is stored and compared by the caller's thread, hundreds in one
statement. What is between any two of these is bounded in number and bytes.
"""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, Queue, SimpleQueue
from typing import Any, cast
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.catalog import images
from app.errors import BrokenPicture, ClaimprintError, Unavailable, UnusablePicture
from app.ingest import Arrival, Intake, Upload
from app.screening import PENDING, Answer, verdicts_of
from app.sources.claim_rules import Claimed, Rule
from app.sources.containers import contents_of
from app.sources.found import Found, Refused, as_text
from app.sources.inputs import Input
from app.sources.journal import ALREADY_THERE, Journal
from app.sources.limits import Limits
from app.sources.patience import patiently
from app.sources.pdf import PdfReaders
from app.sources.room import Room
from app.sources.taken import Piece, Taken, left, not_found, rejected, taken

log = logging.getLogger(__name__)

BATCH = 200
"""Pictures stored in one statement: their lock is held some 0.2 s, and other uploads wait for it."""
_BATCH_SECONDS = 4.0  # a slow source is stored this often
_LOOKED_UP = 100  # pictures
_REMEMBERED = 1000  # inputs
_READERS = 2
_ROOM_BYTES = 256 << 20  # of pictures that were read and are not stored yet
_MOST_UNREADABLE = 8  # inputs or pictures, one after the other: then it is not one file, but what reads them
_END = object()


@dataclass(frozen=True, slots=True)
class _Received:
    piece: Piece
    arrival: Arrival
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class _Read:
    """All of an input has been read: so many pieces."""

    source: Input
    pieces: int


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
        self._claim_of = claim_of
        self._limits = limits
        self._rule_digest = rule_digest
        self._stale_seconds = stale_seconds
        self._pdfs = PdfReaders(limits)
        self._room = Room(3 * BATCH, _ROOM_BYTES)
        self._at_once = at_once
        self._read: Queue[Piece | None] = Queue()
        self._done: SimpleQueue[object] = SimpleQueue()  # Taken, _Received, _Read, an exception, _END
        self._reading = threading.Lock()
        self._readers_left = _READERS
        self._unreadable = 0  # inputs since the last that could be read
        self._unfingerprinted = 0  # pictures since the last that decoders had an answer for
        self._counting = threading.Lock()
        self._left = False

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
        self.broke_off = self.stop.is_set() or self._left

    def _not_listed(self, inputs: Sequence[Input | Refused]) -> Iterator[Taken]:
        """What could not be listed: one that may be there another time is left, and several in a row raise."""
        away = 0
        for item in inputs:
            if isinstance(item, Refused) and isinstance(item.error, Unavailable):
                away += 1
                self._left = True
                yield left(None, item.where, item.error)
                if away == _MOST_UNREADABLE:
                    raise item.error
                continue
            away = 0
            if isinstance(item, Refused):
                yield not_found(None, item)

    def _take_unread(self, inputs: Sequence[Input]) -> Iterator[Taken]:
        under_way: dict[int, _UnderWay] = {}
        with self._threads(inputs):
            for item in self._stored():
                source = cast("Input", item.source)
                one = under_way.setdefault(id(source), _UnderWay())
                if isinstance(item, _Read):
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
                    self._room.free_place()
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

    @contextmanager
    def _threads(self, inputs: Sequence[Input]) -> Iterator[None]:
        shared = iter(inputs)
        threads = [threading.Thread(target=self._guarded, args=(self._look_up,), name="bulk-look-up")]
        threads += [
            threading.Thread(target=self._guarded, args=(self._read_some, shared), name=f"bulk-read-{number}")
            for number in range(_READERS)
        ]
        for thread in threads:
            thread.start()
        try:
            with self._pdfs:
                yield
        except BaseException:
            self.stop.set()
            raise
        finally:
            # Whoever waits for room must see that there is none to wait for.
            while any(thread.is_alive() for thread in threads):
                try:
                    item = self._done.get(timeout=0.05)
                except Empty:
                    continue
                self._drop(item)
            while not self._done.empty():
                self._drop(self._done.get())

    def _drop(self, item: object) -> None:
        if isinstance(item, _Received):
            self._intake.refuse(item.arrival)
        if isinstance(item, _Received | Taken):
            self._room.free_place()

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except Exception as error:  # noqa: BLE001 - raised by the caller's thread
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.stop.set()
        self._done.put(error)

    def _read_some(self, inputs: Iterator[Input]) -> None:
        try:
            while not self.stop.is_set():
                with self._reading:
                    source = next(inputs, None)
                if source is None:
                    break
                try:
                    self._read_one(source)
                except Unavailable as error:
                    self._leave(source, error)
                else:
                    self._unreadable = 0
        finally:
            with self._reading:
                self._readers_left -= 1
                if not self._readers_left:
                    self._read.put(None)

    def _read_one(self, source: Input) -> None:
        pieces = 0
        for item in contents_of(source, self._limits, self._pdfs):
            if self.stop.is_set():
                return
            pieces += 1
            if isinstance(item, Found):
                self._room.take(len(item.data))
                self._pass_on(source, item)
            else:
                found = not_found(source, item)
                self._room.take(0)
                self._done.put(found)
        self._done.put(_Read(source, pieces))

    def _leave(self, source: Input, error: Unavailable) -> None:
        """One input that can't be read now holds up none after it: the next run reads it. Several do, and raise."""
        self._room.take(0)
        with self._reading:
            self._unreadable += 1
            self._left = True
            self._done.put(left(source, source.name, error))
            if self._unreadable == _MOST_UNREADABLE:
                raise error

    def _pass_on(self, source: Input, found: Found) -> None:
        try:
            claimed = self._claim_of(found)
        except ClaimprintError as error:
            self._room.free_bytes(len(found.data))
            self._done.put(rejected(source, found, error))
            return
        self._read.put(Piece(source, found, claimed, hashlib.sha256(found.data).digest(), len(found.data)))

    def _look_up(self) -> None:
        with ThreadPoolExecutor(self._at_once, "bulk-receive") as threads:
            more = True
            while more:
                pieces, more = self._next_pieces()
                try:
                    for piece in self._unknown(pieces):
                        threads.submit(self._receive, piece)
                except Exception as error:  # noqa: BLE001 - raised by the caller's thread
                    self._fail(error)
                    for piece in pieces:
                        self._forget(piece)
        self._done.put(_END)

    def _next_pieces(self) -> tuple[list[Piece], bool]:
        """What has been read, up to so many, and whether more may come."""
        pieces: list[Piece] = []
        while len(pieces) < _LOOKED_UP and not (pieces and self._read.empty()):
            piece = self._read.get()
            if piece is None:
                return pieces, False
            pieces.append(piece)
        return pieces, True

    def _unknown(self, pieces: Sequence[Piece]) -> Iterable[Piece]:
        """Those that their claims do not have; the others are answered."""
        if self.stop.is_set() or not pieces:
            for piece in pieces:
                self._forget(piece)
            return []
        found = patiently(self.stop, lambda: self._find(pieces))
        for piece in pieces:
            if piece.key in found:
                self._room.free_bytes(len(piece.found.data))
                self._done.put(taken(piece, found[piece.key], new=False))
        return [piece for piece in pieces if piece.key not in found]

    def _find(self, pieces: Sequence[Piece]) -> dict[tuple[str, bytes], Answer]:
        with self._intake.engine.connect() as connection:
            rows = images.live_by_bytes(connection, {piece.key for piece in pieces})
        answers = self._intake.again(list(rows.values()))
        return dict(zip(rows, answers, strict=True))

    def _receive(self, piece: Piece) -> None:
        if self.stop.is_set():
            self._forget(piece)
            return
        found, claim_id = piece.found, piece.claimed.claim_id
        try:
            arrival = patiently(
                self.stop, lambda: self._intake.receive(claim_id, Upload(found.file_name, found.data))
            )
        except UnusablePicture as error:
            self._unfingerprinted = 0
            self._room.free_bytes(piece.byte_count)
            self._done.put(rejected(piece.source, found, error, piece.claimed))
        except (ClaimprintError, SQLAlchemyError, OSError, MemoryError) as error:
            self._fail(error)  # raised by the caller's thread
            self._forget(piece)
        except Exception as error:  # noqa: BLE001 - a bug that this picture leads to
            self._trip_over(piece, error)
        else:
            self._unfingerprinted = 0
            self._room.free_bytes(len(found.data))
            bare = Found(
                found.path, found.steps, b""
            )  # its bytes are stored: they need not be held any longer
            self._done.put(_Received(replace(piece, found=bare), arrival, time.time()))

    def _trip_over(self, piece: Piece, error: Exception) -> None:
        """One picture that a bug shows up with holds up none after it, in this run and the next. Several do."""
        with self._counting:
            self._unfingerprinted += 1
            if self._unfingerprinted >= _MOST_UNREADABLE:
                self._fail(error)
                self._forget(piece)
                return
            log.error("%s could not be fingerprinted", piece.found.where, exc_info=error)
            said = as_text(f"{type(error).__name__}: {error}")
            refusal = BrokenPicture(f"The picture could not be fingerprinted: {said}.")
            self._room.free_bytes(piece.byte_count)
            self._done.put(rejected(piece.source, piece.found, refusal, piece.claimed))

    def _forget(self, piece: Piece) -> None:
        """It is for the next run."""
        self._room.free_bytes(len(piece.found.data))
        self._room.free_place()

    def _stored(self) -> Iterator[Taken | _Read]:
        """What the threads have done, with what was received stored, hundreds at once."""
        for item in self._gathered():
            if isinstance(item, list):
                yield from self._store(item)
            else:
                yield item

    def _gathered(self) -> Iterator[Taken | _Read | list[_Received]]:
        """What the threads have done, with what was received in lists. Raises what they raised."""
        received: list[_Received] = []
        deadline = math.inf
        try:
            while True:
                item = self._next(deadline)
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, _Received):
                    if not received:
                        deadline = time.monotonic() + _BATCH_SECONDS
                    received.append(item)
                    if len(received) < BATCH:
                        continue
                elif isinstance(item, Taken | _Read):
                    yield item
                    continue
                if received:
                    batch, received, deadline = received, [], math.inf
                    yield batch
                if item is _END:
                    return
        finally:
            for each in received:
                self._drop(each)

    def _next(self, deadline: float) -> object:
        """What comes next; None when nothing has come by the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        try:
            return self._done.get(timeout=None if math.isinf(left) else left)
        except Empty:
            return None

    def _store(self, batch: Sequence[_Received]) -> list[Taken]:
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
