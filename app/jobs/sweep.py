"""The sweep: screens images that were committed but never answered, erases files that no live row owns."""

import itertools
import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine

from app.catalog import images, session, templates, workers
from app.errors import ClaimprintError
from app.screening import Screening, screen
from app.storage import Pictures

log = logging.getLogger(__name__)

# An upload under way screens its images itself well before that.
UNANSWERED_SECONDS = 15.0
IMAGES_AT_ONCE = 100
MOST_FAILURES = 8
"""In a row: then it is not one image, but what compares them."""
FILES_AT_ONCE = 500


def screen_unanswered(
    engine: Engine,
    screening: Screening,
    *,
    older_than_seconds: float = UNANSWERED_SECONDS,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Screen every live image that waits for it, in upload order; return how many.

    One that can't be screened holds up none after it: what it raised is raised at the end, or once several in a row
    can't be. Raises at once where the database, or the storage of pictures, is away or full.
    """
    done = last = 0
    failures: list[Exception] = []
    while True:
        on_progress(done)
        with engine.connect() as connection:
            seqs = images.unscreened(
                connection, older_than_seconds=older_than_seconds, after=last, limit=IMAGES_AT_ONCE
            )
        if not seqs:
            break
        last = seqs[-1]
        failed = _failures(engine, screening, seqs)
        done += len(seqs) - len(failed)
        failures += failed
    if failures:
        raise failures[0]
    return done


def _failures(engine: Engine, screening: Screening, seqs: Sequence[int]) -> list[Exception]:
    """Screen images, each by itself if they can't be all together; return what was raised for single ones."""
    if screen_or_tell(engine, screening, seqs) is None:
        return []
    failures, in_a_row = [], 0
    for seq in seqs:
        error = screen_or_tell(engine, screening, [seq])
        in_a_row = 0 if error is None else in_a_row + 1
        if error is not None:
            log.error("the image with the stamp %d can't be compared", seq, exc_info=error)
            failures.append(error)
        if in_a_row == MOST_FAILURES:
            raise failures[-1]
    return failures


def screen_or_tell(engine: Engine, screening: Screening, seqs: Sequence[int]) -> Exception | None:
    """Screen images; return what one of them raises. Raises what is raised whatever they are."""
    try:
        screen(engine, screening, seqs)
    except Exception as error:
        if isinstance(session.translated(error), ClaimprintError) and not session.out_of_time(error):
            raise
        return error
    return None


def erase_orphans(
    engine: Engine,
    pictures: Pictures,
    older_than_seconds: float,
    live_ids: Callable[[Connection, Sequence[UUID]], set[UUID]] = images.live_ids,
) -> int:
    """Erase picture files that are that old and belong to nothing live; return how many images' files."""
    erased = 0
    old = pictures.old_pictures(older_than_seconds)
    while ids := list(itertools.islice(old, FILES_AT_ONCE)):
        with engine.connect() as connection:
            live = live_ids(connection, ids)
        orphans = [image_id for image_id in ids if image_id not in live]
        if orphans:
            pictures.erase(*orphans)
            erased += len(orphans)
    return erased


def scan_outgrown(engine: Engine) -> None:
    """Have templates compared anew that were so when there were too few images to tell what is chance."""
    with engine.begin() as connection:
        if templates.count_live(connection):
            templates.scan_outgrown(connection, images.count_live(connection))


def forget_silent_workers(engine: Engine, silent_seconds: float) -> None:
    """Take workers that were killed off the list."""
    with engine.begin() as connection:
        workers.forget_silent(connection, silent_seconds)
