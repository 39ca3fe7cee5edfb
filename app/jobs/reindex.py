"""The reindex job: every worker rebuilds its index beside the one that answers and swaps it in."""

import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from app.catalog import images, jobs, workers
from app.catalog.rows import AnyRow
from app.decoders import decode_limits
from app.errors import UnusablePicture
from app.fingerprints.value import WHOLE_IMAGE_HASHES
from app.imaging.pool import DecodePool
from app.ingest import pixel_columns
from app.jobs.sweep import screen_unanswered
from app.parts import Parts

REINDEX = "reindex"
POLL_SECONDS = 0.1
REPORT_SECONDS = 1.0
ROWS_AT_ONCE = 200


class Cancelled(Exception):
    """The job was asked to stop, or another runner has taken it over."""


@dataclass(slots=True)
class Rehash:
    """Counts of a rehash: images read, changed, read from the rendition only, and not readable at all."""

    images: int = 0
    changed: int = 0
    from_rendition: int = 0
    failed: int = 0


class Reindex:
    """One run of the job, by one runner; the same run again after a crash is harmless."""

    def __init__(self, job: AnyRow, runner: UUID, parts: Parts):
        self._job = job
        self._runner = runner
        self._parts = parts
        self._engine = parts.engine
        self._pictures = parts.pictures
        self._reported = 0.0

    def run(self) -> dict[str, Any]:
        """Do the work; return the job's result. Raises Cancelled."""
        result: dict[str, Any] = {}
        if self._job.params.get("rehash"):
            rehash = self._rehash()
            result["rehash"] = asdict(rehash)
            if rehash.changed:
                result["rescreened"] = self._screen_all()
        return self._rebuild_everywhere() | result

    def _rebuild_everywhere(self) -> dict[str, Any]:
        with self._engine.begin() as connection:
            generation = workers.next_generation(connection)
        while True:
            with self._engine.connect() as connection:
                alive = workers.alive(connection, self._parts.settings.job_stale_seconds)
                total = images.count_live(connection)
            done = [row for row in alive if row.generation >= generation]
            self._report(
                {"step": "rebuild", "workers": len(alive), "workers_done": len(done)},
                at_once=len(done) == len(alive),
            )
            if alive and len(done) == len(alive):
                break
            time.sleep(POLL_SECONDS)
        found = [row.rebuild for row in done if row.rebuild]
        return {
            "generation": generation,
            "images": total,
            "workers": len(done),
            "difference": {
                name: max((item[name] for item in found), default=0)
                for name in ("missing", "extra", "differing")
            },
        }

    def _rehash(self) -> Rehash:
        """Compute every fingerprint anew, in a decoding process of the job's own."""
        counts = Rehash()
        pool = DecodePool(1, decode_limits(self._parts.settings), max_queued=1)
        try:
            seq = 0
            while True:
                with self._engine.connect() as connection:
                    total = images.count_live(connection)
                    rows = images.after(connection, seq, ROWS_AT_ONCE)
                if not rows:
                    return counts
                for row in rows:
                    self._rehash_one(pool, row, counts)
                    seq = row.created_seq
                    self._report({"step": "rehash", "total": total, **asdict(counts)})
        finally:
            pool.close()

    def _rehash_one(self, pool: DecodePool, row: AnyRow, counts: Rehash) -> None:
        counts.images += 1
        source = self._pictures.original(row.image_id)
        if not source.exists():
            source = self._pictures.rendition(row.image_id)
            counts.from_rendition += 1
        try:
            fingerprinted = pool.fingerprint(source, None)
        except (UnusablePicture, FileNotFoundError):
            counts.failed += 1
            return
        values = pixel_columns(fingerprinted)
        moved = any(
            bytes(values[name]) != bytes(getattr(row, name))
            for name in ("turned", "pixel_sha256", "verifier")
        ) or any(values[name] != getattr(row, name) for name in (*WHOLE_IMAGE_HASHES, "status"))
        if moved:
            counts.changed += 1
            with self._engine.begin() as connection:
                images.store_rehash(connection, images.Rehashed(row.id, values))

    def _screen_all(self) -> int:
        with self._engine.begin() as connection:
            images.clear_screened(connection)
        return screen_unanswered(
            self._engine,
            self._parts.collection,
            self._parts.intake.rule,
            older_than_seconds=0,
            on_progress=lambda done: self._report({"step": "screen", "screened": done}),
        )

    def _report(self, progress: dict[str, Any], *, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        with self._engine.begin() as connection:
            answer = jobs.report_progress(
                connection, job_row_id=self._job.id, runner=self._runner, progress=progress
            )
        if answer != "go on":
            raise Cancelled(answer)
