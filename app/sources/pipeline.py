"""The stages before storing: pictures are read, looked up and fingerprinted side by side.

Readers take inputs apart; what the claim has already is looked up, some at a time; the rest goes to the decoding
processes. What is between any two of these, and what nobody has stored yet, is bounded in number and bytes.
"""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, Queue, SimpleQueue
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.catalog import images
from app.errors import BrokenPicture, ClaimprintError, Unavailable, UnusablePicture
from app.ingest import Arrival, Intake, Upload
from app.screening import Answer
from app.sources.claim_rules import Rule
from app.sources.containers import contents_of
from app.sources.found import Found, as_text
from app.sources.inputs import Input
from app.sources.limits import Limits
from app.sources.patience import patiently
from app.sources.pdf import PdfReaders
from app.sources.room import Room
from app.sources.taken import Piece, Taken, left, not_found, rejected, taken

log = logging.getLogger(__name__)

MOST_UNREADABLE = 8
"""Inputs or pictures, one after the other: then it is not one file, but what reads them."""
END = object()
"""All that was read has come."""
_LOOKED_UP = 100  # pictures
_READERS = 2
_ROOM_BYTES = 256 << 20  # of pictures that were read and are not stored yet


@dataclass(frozen=True, slots=True)
class Received:
    """A picture that was fingerprinted, and is to be stored."""

    piece: Piece
    arrival: Arrival
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Read:
    """All of an input has been read: so many pieces."""

    source: Input
    pieces: int


class Pipeline:
    """Reads inputs until `stop` is set, with room for so many pictures that were not stored yet."""

    def __init__(
        self,
        intake: Intake,
        claim_of: Rule,
        limits: Limits,
        *,
        stop: threading.Event,
        at_once: int,
        room_for: int,
    ):
        self.left = False
        """Whether an input could not be read, and is for the next run."""
        self.room = Room(room_for, _ROOM_BYTES)
        self._intake = intake
        self._claim_of = claim_of
        self._limits = limits
        self._stop = stop
        self._at_once = at_once
        self._pdfs = PdfReaders(limits)
        self._read: Queue[Piece | None] = Queue()
        self._done: SimpleQueue[object] = SimpleQueue()  # Taken, Received, Read, an exception, END
        self._reading = threading.Lock()
        self._readers_left = _READERS
        self._unreadable = 0  # inputs since the last that could be read
        self._unfingerprinted = 0  # pictures since the last that decoders had an answer for
        self._counting = threading.Lock()

    @contextmanager
    def running(self, inputs: Sequence[Input]) -> Iterator[None]:
        """While inputs are read. At the end, or where the block raises, nothing is under way any longer."""
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
            self._stop.set()
            raise
        finally:
            # Whoever waits for room must see that there is none to wait for.
            while any(thread.is_alive() for thread in threads):
                try:
                    item = self._done.get(timeout=0.05)
                except Empty:
                    continue
                self.drop(item)
            while not self._done.empty():
                self.drop(self._done.get())

    def next(self, deadline: float) -> object:
        """What comes next: Taken, Received, Read, END, or an exception that is to be raised. None when nothing has
        come by the deadline, in seconds of `time.monotonic`."""
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        try:
            return self._done.get(timeout=None if math.isinf(left) else left)
        except Empty:
            return None

    def drop(self, item: object) -> None:
        """Leave one for the next run."""
        if isinstance(item, Received):
            self._intake.refuse(item.arrival)
        if isinstance(item, Received | Taken):
            self.room.free_place()

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except Exception as error:  # noqa: BLE001 - raised by the caller's thread
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._stop.set()
        self._done.put(error)

    def _read_some(self, inputs: Iterator[Input]) -> None:
        try:
            while not self._stop.is_set():
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
            if self._stop.is_set():
                return
            pieces += 1
            if isinstance(item, Found):
                self.room.take(len(item.data))
                self._pass_on(source, item)
            else:
                found = not_found(source, item)
                self.room.take(0)
                self._done.put(found)
        self._done.put(Read(source, pieces))

    def _leave(self, source: Input, error: Unavailable) -> None:
        """One input that can't be read now holds up none after it: the next run reads it. Several do, and raise."""
        self.room.take(0)
        with self._reading:
            self._unreadable += 1
            self.left = True
            self._done.put(left(source, source.name, error))
            if self._unreadable == MOST_UNREADABLE:
                raise error

    def _pass_on(self, source: Input, found: Found) -> None:
        try:
            claimed = self._claim_of(found)
        except ClaimprintError as error:
            self.room.free_bytes(len(found.data))
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
        self._done.put(END)

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
        if self._stop.is_set() or not pieces:
            for piece in pieces:
                self._forget(piece)
            return []
        found = patiently(self._stop, lambda: self._find(pieces))
        for piece in pieces:
            if piece.key in found:
                self.room.free_bytes(len(piece.found.data))
                self._done.put(taken(piece, found[piece.key], new=False))
        return [piece for piece in pieces if piece.key not in found]

    def _find(self, pieces: Sequence[Piece]) -> dict[tuple[str, bytes], Answer]:
        with self._intake.engine.connect() as connection:
            rows = images.live_by_bytes(connection, {piece.key for piece in pieces})
        answers = self._intake.again(list(rows.values()))
        return dict(zip(rows, answers, strict=True))

    def _receive(self, piece: Piece) -> None:
        if self._stop.is_set():
            self._forget(piece)
            return
        found, claim_id = piece.found, piece.claimed.claim_id
        try:
            arrival = patiently(
                self._stop, lambda: self._intake.receive(claim_id, Upload(found.file_name, found.data))
            )
        except UnusablePicture as error:
            self._unfingerprinted = 0
            self.room.free_bytes(piece.byte_count)
            self._done.put(rejected(piece.source, found, error, piece.claimed))
        except (ClaimprintError, SQLAlchemyError, OSError, MemoryError) as error:
            self._fail(error)  # raised by the caller's thread
            self._forget(piece)
        except Exception as error:  # noqa: BLE001 - a bug that this picture leads to
            self._trip_over(piece, error)
        else:
            self._unfingerprinted = 0
            self.room.free_bytes(len(found.data))
            bare = Found(
                found.path, found.steps, b""
            )  # its bytes are stored: they need not be held any longer
            self._done.put(Received(replace(piece, found=bare), arrival, time.time()))

    def _trip_over(self, piece: Piece, error: Exception) -> None:
        """One picture that a bug shows up with holds up none after it, in this run and the next. Several do."""
        with self._counting:
            self._unfingerprinted += 1
            if self._unfingerprinted >= MOST_UNREADABLE:
                self._fail(error)
                self._forget(piece)
                return
            log.error("%s could not be fingerprinted", piece.found.where, exc_info=error)
            said = as_text(f"{type(error).__name__}: {error}")
            refusal = BrokenPicture(f"The picture could not be fingerprinted: {said}.")
            self.room.free_bytes(piece.byte_count)
            self._done.put(rejected(piece.source, piece.found, refusal, piece.claimed))

    def _forget(self, piece: Piece) -> None:
        """It is for the next run."""
        self.room.free_bytes(len(piece.found.data))
        self.room.free_place()
