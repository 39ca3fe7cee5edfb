"""The watchdog of the database: a server that stops answering without hanging up must not hold requests.

A refused connection or a closed one fails by itself. A frozen server, or a network that swallows packets, leaves
libpq waiting with no time limit of its own; `statement_timeout` is the server's, and it is the server that hangs.
"""

import contextlib
import logging
import math
import os
import select
import socket
import threading
import time
import weakref
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from sqlalchemy import Engine, event

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.5
# With the pause between two probes it stays within the three seconds in which a 503 is promised.
LONGEST_ANSWER_SECONDS = 2.2


class Watchdog:
    """Asks the server on a connection of its own; when it stays silent, hangs up every one of the pool.

    Whoever waits on one of those gets an error at once, as if the server had died.
    """

    def __init__(self, engine: Engine):
        self._made: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self._stopping = threading.Event()
        # As the pool connects, whatever the URL says.
        self._arguments, self._options = engine.dialect.create_connect_args(engine.url)
        event.listen(engine, "connect", self._note)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _note(self, connection: Any, _record: object) -> None:
        self._made[connection] = time.monotonic()

    def hang_up(self, *, before: float = math.inf) -> None:
        """Shut down the sockets of all connections of the pool that were made before a monotonic time."""
        for connection, made in list(self._made.items()):
            if made >= before:
                continue
            # A copy of the descriptor: libpq goes on owning its own, and reads the end from it.
            with (
                contextlib.suppress(OSError, psycopg2.Error),
                socket.socket(fileno=os.dup(connection.fileno())) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        probe: Any = None
        answered_at: float | None = None  # by this probe
        is_gone = False  # the server, since one that had answered was lost
        while True:
            began = time.monotonic()
            try:
                if probe is None:
                    answered_at = None
                    probe = psycopg2.connect(*self._arguments, **self._options, async_=1)
                    self._await(probe)
                cursor = probe.cursor()
                cursor.execute("SELECT 1")
                self._await(probe)
                answered_at, is_gone = time.monotonic(), False
            except psycopg2.errors.QueryCanceled:
                answered_at = time.monotonic()  # late, by its own clock
            except TimeoutError:
                log.error("the database has not answered for %s s: hanging up", LONGEST_ANSWER_SECONDS)
                self.hang_up()
                _close(probe)
                probe = None
            except psycopg2.Error:
                # The server may have died. What is left of it may be frozen, and would never hang up by itself; but
                # who has connected meanwhile is with the next one, unless there is none yet.
                if answered_at is not None:
                    self.hang_up(before=answered_at)
                    is_gone = True
                elif is_gone:
                    self.hang_up(before=began)
                _close(probe)
                probe, answered_at = None, None
            if self._stopping.wait(PROBE_SECONDS):
                break
        _close(probe)

    def _await(self, probe: Any) -> None:
        """Wait until the asynchronous connection is idle. Raises TimeoutError, psycopg2.Error."""
        deadline = time.monotonic() + LONGEST_ANSWER_SECONDS
        while (state := probe.poll()) != psycopg2.extensions.POLL_OK:
            waiting = select.poll()
            reading = state == psycopg2.extensions.POLL_READ
            waiting.register(probe.fileno(), select.POLLIN if reading else select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(1000 * left):
                raise TimeoutError


def _close(probe: Any) -> None:
    if probe is not None:
        with contextlib.suppress(psycopg2.Error):
            probe.close()
