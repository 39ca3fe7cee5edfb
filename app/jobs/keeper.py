"""The keeper: the one background thread of a worker process.

It loads the index, keeps it near the table while nobody asks, tells the other workers that this one lives,
rebuilds when a reindex asks for it, runs jobs (in a thread of their own) and sweeps.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.catalog import jobs, session, templates, workers
from app.catalog.rows import AnyRow
from app.collection.current import Difference
from app.errors import ClaimprintError
from app.jobs.clustering import CLUSTERS, cluster_images
from app.jobs.fill import FILL, ask_for_fill, fill
from app.jobs.history import TEMPLATES, ask_again, scan_history
from app.jobs.progress import Cancelled
from app.jobs.reindex import REINDEX, Reindex
from app.jobs.report import DUPLICATES, erase_reports, report_duplicates
from app.jobs.sweep import erase_orphans, forget_silent_workers, scan_outgrown, screen_unanswered
from app.parts import Parts

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0


class Keeper:
    """Keeps one worker process: `start` once, `stop` at its end."""

    def __init__(self, parts: Parts):
        self.worker_id = uuid4()
        self._parts = parts
        self._settings = parts.settings
        self._engine = parts.engine
        self._collection = parts.collection
        # Uploads wait for the first of them.
        self._others = parts.keypoints, parts.segments, parts.patterns
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._jobs: dict[str, threading.Thread] = {}
        self._sweep: threading.Thread | None = None
        self._rebuild: dict[str, Any] | None = None
        self._heartbeat = 0.0
        self._swept = 0.0
        self._listed = 0.0
        self._away = False

    def start(self) -> None:
        """Begin; the index loads in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a job under way is left for another worker to take over."""
        self._stopping.set()
        self._thread.join(timeout=10)
        try:
            with self._engine.begin() as connection:
                workers.leave(connection, self.worker_id)
        except SQLAlchemyError:
            log.info("the database is away; this worker's row will be forgotten by others")

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tick()
                self._away = False
            except (SQLAlchemyError, ClaimprintError) as error:
                if not self._away:
                    log.warning("the keeper waits for the database: %s", session.translated(error))
                self._away = True
            except Exception:
                log.exception("the keeper stumbled")
            self._stopping.wait(TICK_SECONDS)

    def _tick(self) -> None:
        with session.autocommit(self._engine) as connection:
            index = self._collection.caught_up(connection)
            for other in self._others:
                other.caught_up(connection)
        if self._collection.asked_generation > index.generation:
            self._rebuild_index()
        if time.monotonic() - self._heartbeat > HEARTBEAT_SECONDS:
            self._report()
        self._take_job()
        if time.monotonic() - self._swept > self._settings.sweep_seconds or not self._swept:
            self._start_sweep()

    def _rebuild_index(self) -> None:
        started = time.monotonic()
        found = Difference(0, 0, 0)
        # The one that tells which generation this worker stands at comes last: until then all is tried again.
        for replica in (*self._others, self._collection):
            found = found.worst(replica.rebuild())
            # Who is silent for long counts as dead, and a reindex would end without this worker.
            self._report()
        self._rebuild = asdict(found) | {"seconds": round(time.monotonic() - started, 3)}
        if found.total:
            log.error("the index differed from the table: %s", found)
        self._report()

    def _report(self) -> None:
        index = self._collection.current
        if index is None:
            return
        with self._engine.begin() as connection:
            workers.report(
                connection,
                worker_id=self.worker_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                generation=index.generation,
                index_seq=index.last,
                rebuild=self._rebuild,
            )
        self._heartbeat = time.monotonic()

    def _take_job(self) -> None:
        with self._engine.begin() as connection:
            ask_again(connection)
            # One of each kind at a time: a template is not to wait until a year of images is rehashed.
            busy = [kind for kind, thread in self._jobs.items() if thread.is_alive()]
            job = jobs.claim_job(connection, self.worker_id, self._settings.job_stale_seconds, without=busy)
        if job is not None:
            self._jobs[job.kind] = threading.Thread(
                target=run_job, args=(job, self.worker_id, self._parts), name=f"job {job.kind}", daemon=True
            )
            self._jobs[job.kind].start()

    def _start_sweep(self) -> None:
        if self._sweep is not None and self._sweep.is_alive():
            return
        self._swept = time.monotonic()
        self._sweep = threading.Thread(target=self._sweep_once, name="sweep", daemon=True)
        self._sweep.start()

    def _erase_orphans(self) -> int:
        pictures, old = self._parts.pictures, self._settings.orphan_file_seconds
        if self._listed and time.monotonic() - self._listed < pictures.listing_seconds:
            return 0
        erased = erase_orphans(self._engine, pictures, old)
        erase_orphans(self._engine, self._parts.template_pictures, old, templates.live_ids)
        self._listed = time.monotonic()
        return erased

    def _sweep_once(self) -> None:
        screened = erased = 0
        with _step("what is to be filled in"):
            ask_for_fill(self._engine)
        with _step("templates"):
            scan_outgrown(self._engine)
        with _step("workers"):
            forget_silent_workers(self._engine, 10 * self._settings.job_stale_seconds)
        with _step("images"):
            screened = screen_unanswered(self._engine, self._parts.intake.screening)
        with _step("files"):
            erased = self._erase_orphans()
        with _step("reports"):
            erase_reports(self._engine, self._parts.reports)
        if screened or erased:
            log.info("swept: %s images screened, files of %s erased", screened, erased)


@contextmanager
def _step(swept: str) -> Iterator[None]:
    """One step of a sweep: that it fails, each time even, keeps no other from being done."""
    try:
        yield
    except (SQLAlchemyError, ClaimprintError) as error:
        log.warning("the sweep of %s broke off: %s", swept, session.translated(error))
    except Exception:
        log.exception("the sweep of %s failed", swept)


def _run(job: AnyRow, runner: UUID, parts: Parts) -> dict[str, Any]:
    if job.kind == REINDEX:
        return Reindex(job, runner, parts).run()
    if job.kind == FILL:
        return fill(job, runner, parts)
    if job.kind == CLUSTERS:
        return cluster_images(job, runner, parts)
    if job.kind == TEMPLATES:
        return scan_history(job, runner, parts)
    if job.kind == DUPLICATES:
        return report_duplicates(job, runner, parts)
    raise NotImplementedError(f"no such kind of job: {job.kind}")


def run_job(job: AnyRow, runner: UUID, parts: Parts) -> None:
    """Run a claimed job to its end and write how it ended."""
    try:
        ending: dict[str, Any] = {"state": "succeeded", "result": _run(job, runner, parts)}
    except Cancelled:
        ending = {"state": "cancelled"}
    except Exception as error:
        log.exception("job %s failed", job.job_id)
        translated = session.translated(error)
        if isinstance(translated, ClaimprintError) and not session.out_of_time(error):
            # The database is away or the disk full: the row stays `running`, and whoever comes back takes over.
            return
        ending = {"state": "failed", "error": session.told(error)}
    try:
        with parts.engine.begin() as connection:
            jobs.finish_job(connection, job_row_id=job.id, runner=runner, **ending)
    except SQLAlchemyError:
        log.exception("the end of job %s could not be written; it will be run again", job.job_id)
