"""Patience: the database may be restarted under a long run."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.catalog import session
from app.errors import ClaimprintError, Unavailable

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""A longer absence ends the run, and the next one goes on."""
_PAUSE_SECONDS = 1.0
_told_at = [-math.inf]  # by any thread: all of them wait for the same


def patiently(stop: threading.Event, call: Callable[[], Any]) -> Any:
    """Try again while the database is away, for a while: all that is tried is safe to repeat.

    Raises what `session.translated` makes of an error.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except (SQLAlchemyError, ClaimprintError) as error:
            translated = session.translated(error)
            if not isinstance(translated, Unavailable) or time.monotonic() > deadline or stop.is_set():
                if translated is error:
                    raise
                raise translated from error
            if time.monotonic() - _told_at[0] > PATIENCE_SECONDS:
                _told_at[0] = time.monotonic()
                log.warning(
                    "waiting for the database, up to %.0f s: %s", PATIENCE_SECONDS, translated.message
                )
            stop.wait(_PAUSE_SECONDS)
