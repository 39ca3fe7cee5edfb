"""A job's progress, written now and then, and what the job is told in return."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from app.catalog import jobs
from app.catalog.rows import AnyRow

REPORT_SECONDS = 1.0


class Cancelled(Exception):
    """The job was asked to stop, or another runner has taken it over."""


class Progress:
    """The progress of one run of a job by one runner."""

    def __init__(self, engine: Engine, job: AnyRow, runner: UUID):
        self._engine = engine
        self._job = job
        self._runner = runner
        self._reported = 0.0

    def before(self) -> dict[str, Any]:
        """What was reported last by a runner before this one, of this job or of one like it that broke off."""
        with self._engine.connect() as connection:
            return jobs.progress_before(connection, self._job)

    def confirm(self, connection: Connection, progress: dict[str, Any]) -> None:
        """Write in the transaction of `connection` that the job is still this runner's. Raises Cancelled.

        Nobody can take it over until that transaction ends: what it stores is stored by one runner alone. Nothing
        may be reported before that.
        """
        answer = jobs.report_progress(
            connection, job_row_id=self._job.id, runner=self._runner, progress=progress
        )
        if answer != "go on":
            raise Cancelled(answer)

    def report(self, progress: dict[str, Any], *, at_once: bool = False) -> None:
        """Write where the job stands, at most once a second unless `at_once`. Raises Cancelled."""
        if not at_once and time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        with self._engine.begin() as connection:
            answer = jobs.report_progress(
                connection, job_row_id=self._job.id, runner=self._runner, progress=progress
            )
        if answer != "go on":
            raise Cancelled(answer)
