"""The decoding processes of one service process, and the bounded queue in front of them."""

import importlib.util
import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import Overloaded, StartupError, Unavailable
from app.imaging.limits import DecodeLimits
from app.imaging.process import DecodeProcess, NotAcceptedError
from app.imaging.protocol import Fingerprinted

# Longest wait for a free process: only when none starts, or when callers come without a reservation.
_QUEUE_SECONDS = 30.0
_START_SECONDS = 120.0  # with no kernels compiled yet, and all of them starting at once
_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class DecodePool:
    """Keeps `processes` decoding processes alive and gives each one file at a time.

    The constructor returns at once: the processes start in the background, and each is replaced in the
    background when it dies, busy or idle. They yield to others by `niceness`. All methods may be called from any
    thread. Raises StartupError when the limits allow a format whose decoder is not installed.
    """

    def __init__(self, processes: int, limits: DecodeLimits, max_queued: int, *, niceness: int = 2):
        if limits.allow_heic and importlib.util.find_spec("pillow_heif") is None:
            raise StartupError("ALLOW_HEIC is on, but its decoder is missing: install claimprint[heic].")
        self.limits = limits
        self.max_queued = max_queued
        self.niceness = niceness
        self.processes = processes
        self._changed = threading.Condition()
        self._reserved = 0
        self._able = 0
        self._closed = False
        self._idle: deque[DecodeProcess] = deque()
        self._running: set[DecodeProcess] = set()
        self._keepers = [
            threading.Thread(target=self._keep_one, name=f"decoder-{number}", daemon=True)
            for number in range(processes)
        ]
        for keeper in self._keepers:
            keeper.start()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold places in the queue for `count` files. Raises Overloaded, before anything is stored.

        A request larger than the queue is let in while nobody else holds a place.
        """
        with self._changed:
            if self._reserved and self._reserved + count > self.max_queued:
                raise Overloaded(
                    f"{self._reserved} files wait for a decoder; the limit is {self.max_queued}."
                )
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count

    def fingerprint(self, path: Path, rendition: Path | None) -> Fingerprinted:
        """Decode and fingerprint one file, and write its rendition (durable when this returns).

        `rendition` is replaced if it exists, and removed on every error; None writes none. Blocks until a
        process is free. Raises UnusablePicture (one of its four), StorageFull, Unavailable, and OSError when
        the file can't be read or the rendition not be written for another reason.
        """
        try:
            return self._fingerprint(path.absolute(), None if rendition is None else rendition.absolute())
        except BaseException:
            if rendition is not None:
                rendition.unlink(missing_ok=True)
            raise

    def ready(self, timeout_seconds: float) -> bool:
        """Whether a process is idle, within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._idle), timeout_seconds)

    @property
    def serving(self) -> bool:
        """Whether some process has started and not ended, be it idle or busy."""
        return self._able > 0

    def close(self) -> None:
        """Kill the processes and refuse further files; those in work get DecoderKilled."""
        with self._changed:
            self._closed = True
            running = list(self._running)
            self._changed.notify_all()
        for process in running:
            process.kill()
        for keeper in self._keepers:
            keeper.join()

    def _fingerprint(self, path: Path, rendition: Path | None) -> Fingerprinted:
        while True:
            process = self._take()
            leaving = True
            try:
                result, leaving = process.exchange(path, rendition)
            except NotAcceptedError:
                continue  # it died while idle; ends, as each try uses a process up and new ones start slowly
            finally:
                self._give_back(process, leaving=leaving)
            if isinstance(result, Exception):
                raise result
            return result

    def _take(self) -> DecodeProcess:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._closed, _QUEUE_SECONDS)
            if self._closed:
                raise Unavailable("The service is shutting down.")
            if not self._idle:
                raise Overloaded(f"No decoder became free within {_QUEUE_SECONDS:g} seconds.")
            return self._idle.pop()

    def _give_back(self, process: DecodeProcess, *, leaving: bool) -> None:
        with self._changed:
            if not leaving and process.alive and not self._closed:
                self._idle.append(process)
                self._changed.notify()
                return
        process.discard()

    def _keep_one(self) -> None:
        """Start a process, wait until it is dead, start the next; more slowly while none gets ready."""
        pause_seconds = _SHORTEST_PAUSE_SECONDS
        while not self._closed:
            if self._run_one():
                pause_seconds = _SHORTEST_PAUSE_SECONDS
            else:
                self._pause(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _run_one(self) -> bool:
        """The life of one process; whether it ever got ready."""
        try:
            process = DecodeProcess(self.limits, self.niceness)
        except OSError:
            log.exception("no decoding process could be started")
            return False
        with self._changed:
            self._running.add(process)
        ready = process.wait_ready(_START_SECONDS)
        with self._changed:
            self._able += ready
        # From here on it belongs to whoever takes it; if it is not ready, or too late, to nobody.
        self._give_back(process, leaving=not ready)
        process.wait()
        with self._changed:
            self._running.discard(process)
            self._able -= ready
            died_idle = process in self._idle
            if died_idle:
                self._idle.remove(process)
            closed = self._closed
        if died_idle:
            process.discard()
        if not closed:
            log.warning("decoding process %d ended, ready: %s, idle: %s", process.pid, ready, died_idle)
        return ready

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
