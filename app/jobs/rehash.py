"""Computing fingerprints of stored images anew: of all of them, or of those that lack some."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from app.catalog import images
from app.catalog.keypoints import stored_keypoints
from app.catalog.pattern_tiles import pattern_of
from app.catalog.rows import AnyRow
from app.catalog.segments import COLUMNS, column_values, segments_of
from app.decoders import decode_limits
from app.errors import UnusablePicture
from app.imaging import Fingerprinted
from app.imaging.pool import DecodePool
from app.ingest import pixel_columns
from app.jobs.progress import Progress
from app.jobs.sweep import screen_or_tell, screen_unanswered
from app.parts import Parts

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 200
CLEARED_AT_ONCE = 5000
NOTHING: Mapping[str, Any] = {}
# What rows stored before these were defined lack, until they are filled in.
LATER = {"whash_db4", "colorhash", "colour_code"}

Read = Callable[[Connection, int, int], Any]
"""Rows of images after a stamp, at most so many: `catalog.images.after` or `catalog.images.to_fill`."""


@dataclass(slots=True)
class Counts:
    """Numbers of images, by what became of them."""

    images: int = 0
    changed: int = 0
    """Stored anew: a fingerprint moved, or was not there."""
    moved: int = 0
    """What images are compared by is another, or was not there: all are compared anew at the end."""
    from_rendition: int = 0
    failed: int = 0
    """Neither the original nor the rendition can be read."""
    rescreened: int = 0


def rehash(parts: Parts, progress: Progress, read: Read, step: str) -> Counts:
    """Compute the fingerprints of all rows that `read` gives, in a decoding process of the job's own.

    Where one that was there is another now, all images are screened anew at the end: also where a runner before
    this one stored it, and broke off.
    """
    counts = Counts(moved=progress.before().get("moved", 0))
    with parts.engine.connect() as connection:
        total = images.count_live(connection)

    def report(*, at_once: bool = False) -> None:
        progress.report({"step": step, "total": total, **asdict(counts)}, at_once=at_once)

    told = False
    pool = DecodePool(1, decode_limits(parts.settings), max_queued=1, niceness=parts.settings.decode_niceness)
    try:
        for row in _rows(parts.engine, read):
            rehashed = _rehashed(parts, pool, row, counts, only_lacking=read is images.to_fill)
            # The first that moves is told before it is stored: whoever goes on from here has to know of it.
            report(at_once=counts.moved > 0 and not told)
            told = counts.moved > 0
            if rehashed is not None:
                _store(parts, counts, rehashed)
    finally:
        pool.close()
    if counts.moved:
        counts.rescreened = screen_all(parts, progress, so_far=asdict(counts))
    return counts


def screen_all(parts: Parts, progress: Progress, *, so_far: Mapping[str, Any] = NOTHING) -> int:
    """Compare every image with those before it anew, by the rule as it is now; return how many.

    `so_far` is reported until all are on the list of those to screen: whoever goes on from there has to know of it.
    """
    last: int | None = 0
    while last is not None:
        progress.report({"step": "clear", **so_far})
        # Some at a time: who deletes or screens one of them waits for no more, and no statement runs out of time.
        with parts.engine.begin() as connection:
            last = images.clear_screened(connection, last, CLEARED_AT_ONCE)
    return screen_unanswered(
        parts.engine,
        parts.intake.screening,
        older_than_seconds=0,
        on_progress=lambda done: progress.report({"step": "screen", "screened": done}),
    )


def _rows(engine: Engine, read: Read) -> Iterator[AnyRow]:
    """The rows in upload order."""
    seq = 0
    while True:
        with engine.connect() as connection:
            rows = read(connection, seq, ROWS_AT_ONCE)
        if not rows:
            return
        yield from rows
        seq = rows[-1].created_seq


def _looked_at(
    parts: Parts, pool: DecodePool, row: AnyRow, *, only_lacking: bool
) -> tuple[Fingerprinted | None, bool]:
    """What is found in the original or the rendition, and whether it was the latter. None: they can't be read.

    A rehash takes the rendition only where there is no original: one that could not be decoded this time must not
    cost the fingerprints that it gave once. A fill adds what there is none of yet.
    """
    try:
        with parts.pictures.original_file(row.image_id) as path:
            return pool.fingerprint(path, None), False
    except UnusablePicture:
        if not only_lacking:
            return None, False
    except FileNotFoundError:
        pass
    with suppress(UnusablePicture, FileNotFoundError), parts.pictures.rendition_file(row.image_id) as path:
        return pool.fingerprint(path, None), True
    return None, False


def _rehashed(
    parts: Parts, pool: DecodePool, row: AnyRow, counts: Counts, *, only_lacking: bool
) -> images.Rehashed | None:
    """The image's fingerprint where it is another; or of what comes from a rendition, only what it lacks."""
    counts.images += 1
    found, from_rendition = _looked_at(parts, pool, row, only_lacking=only_lacking)
    if found is None:
        counts.failed += 1
        return None
    counts.from_rendition += from_rendition
    if only_lacking and from_rendition and row.whash_db4 is not None:
        counts.moved += 1  # others were compared without its keypoints
        pattern = found.pattern if row.pattern is None else None
        return images.Rehashed(row.created_seq, {}, None, pattern, found.keypoints)
    values, segments = pixel_columns(found), found.fingerprint.segments
    if from_rendition:
        # A rendition has other pixels than it was made of: what tells the same pixels is what was uploaded.
        del values["pixel_sha256"]
    with parts.engine.connect() as connection:
        keypoints = stored_keypoints(connection, row.created_seq)
    moved = _moved(row, values) or keypoints != found.keypoints.to_bytes()
    counts.moved += moved
    if (
        moved
        or row.pattern != found.pattern.hash
        or _stored(parts.engine, row)
        != ([column_values(segment) for segment in segments], found.pattern.to_bytes())
    ):
        return images.Rehashed(row.created_seq, values, segments, found.pattern, found.keypoints)
    return None


def _store(parts: Parts, counts: Counts, rehashed: images.Rehashed) -> None:
    """Store a fingerprint, and compare the image with templates anew: the sweep does so if this breaks off."""
    counts.changed += 1
    with parts.engine.begin() as connection:
        images.store_rehash(connection, rehashed)
    error = screen_or_tell(parts.engine, parts.intake.screening, [rehashed.created_seq])
    if error is not None:  # all others are stored anew all the same, and the sweep tells of it
        log.error("the image with the stamp %d can't be compared", rehashed.created_seq, exc_info=error)


def _moved(row: AnyRow, values: dict[str, Any]) -> bool:
    """Whether a fingerprint that the row has is another now: matches are decided by these, and show them."""
    names = set(values) - {"fingerprint_version", "library_versions", "turned", "page"}
    if row.whash_db4 is None:
        names -= LATER
    stored = bytes(row.turned)
    # Who was not looked at for being a page was compared as if it were none.
    moved = stored != values["turned"][: len(stored)] or bool(row.page) != values["page"]
    return moved or any(
        values[name] != (bytes(kept) if isinstance(kept := getattr(row, name), memoryview) else kept)
        for name in names
    )


def _stored(engine: Engine, row: AnyRow) -> tuple[list[dict[str, Any]], tuple[bytes, ...] | None]:
    """The segments of an image, as `column_values` gives them, and its pattern as bytes."""
    with engine.connect() as connection:
        rows = segments_of(connection, [row.created_seq])
        pattern = pattern_of(connection, row.created_seq)
    segments = [
        {name: getattr(each, name) for name in COLUMNS} | {"turned": bytes(each.turned)} for each in rows
    ]
    return segments, None if pattern is None else pattern.to_bytes()
