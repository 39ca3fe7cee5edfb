"""The job table: long work, its state and progress, and who runs it."""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.catalog.models import job
from app.catalog.rows import AnyRow
from app.errors import Conflict

ACTIVE = ("queued", "running")


def create_job(connection: Connection, *, kind: str, params: dict[str, Any], requested_by: str) -> AnyRow:
    """Queue a job. Raises Conflict while another of its kind is queued or running."""
    row = connection.execute(
        insert(job)
        .values(job_id=uuid4(), kind=kind, params=params, requested_by=requested_by)
        .on_conflict_do_nothing()
        .returning(job)
    ).one_or_none()
    if row is None:
        raise Conflict(f"a {kind} job is under way already: {active(connection, kind)}")
    return row


def recent(connection: Connection, kind: str, seconds: float) -> bool:
    """Whether a job of that kind is under way, or ended within so many seconds."""
    ended_lately = job.c.finished_at > func.clock_timestamp() - dt.timedelta(seconds=seconds)
    statement = (
        select(job.c.id).where(job.c.kind == kind, or_(job.c.state.in_(ACTIVE), ended_lately)).limit(1)
    )
    return connection.execute(statement).first() is not None


def active(connection: Connection, kind: str) -> UUID | None:
    """The public id of the job of that kind that is queued or running."""
    return connection.execute(
        select(job.c.job_id).where(job.c.kind == kind, job.c.state.in_(ACTIVE))
    ).scalar()


def broke_off(connection: Connection, kind: str, seconds: float) -> bool:
    """Whether the last job of that kind failed or was cancelled within so many seconds."""
    lately = job.c.finished_at > func.clock_timestamp() - dt.timedelta(seconds=seconds)
    last = (
        select(job.c.state.in_(("failed", "cancelled")) & lately)
        .where(job.c.kind == kind)
        .order_by(job.c.id.desc())
        .limit(1)
    )
    return bool(connection.execute(last).scalar())


def find_job(connection: Connection, job_id: UUID) -> AnyRow | None:
    """The job of that public id."""
    return connection.execute(select(job).where(job.c.job_id == job_id)).one_or_none()


def of_ids(connection: Connection, job_ids: Collection[UUID]) -> Sequence[AnyRow]:
    """The jobs of those public ids."""
    return connection.execute(select(job).where(job.c.job_id.in_(job_ids))).all()


def claim_job(
    connection: Connection, runner: UUID, stale_seconds: float, *, without: Sequence[str] = ()
) -> AnyRow | None:
    """Take the oldest job that waits, or whose runner fell silent, of no kind in `without`; None: there is none."""
    silent = job.c.heartbeat_at < func.clock_timestamp() - dt.timedelta(seconds=stale_seconds)
    waiting = (
        select(job.c.id)
        .where(or_(job.c.state == "queued", (job.c.state == "running") & silent), job.c.kind.not_in(without))
        .order_by(job.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(
        update(job)
        .where(job.c.id.in_(waiting.scalar_subquery()))
        .values(
            state="running",
            runner=runner,
            started_at=func.coalesce(job.c.started_at, func.clock_timestamp()),
            heartbeat_at=func.clock_timestamp(),
        )
        .returning(job)
    ).one_or_none()


def report_progress(
    connection: Connection, *, job_row_id: int, runner: UUID, progress: dict[str, Any]
) -> str:
    """Write the runner's heartbeat and progress; return "go on", "cancel", or "lost" when another took over."""
    asked = connection.execute(
        update(job)
        .where(job.c.id == job_row_id, job.c.runner == runner, job.c.state == "running")
        .values(progress=progress, heartbeat_at=func.clock_timestamp())
        .returning(job.c.cancel_requested)
    ).scalar()
    if asked is None:
        return "lost"
    return "cancel" if asked else "go on"


def progress_before(connection: Connection, own: AnyRow) -> dict[str, Any]:
    """What an earlier runner reported of a job, or of the last job that did the same where that did not succeed."""
    if own.progress:
        return dict(own.progress)
    last = connection.execute(
        select(job.c.state, job.c.progress)
        .where(job.c.kind == own.kind, job.c.params == own.params, job.c.id < own.id)
        .order_by(job.c.id.desc())
        .limit(1)
    ).one_or_none()
    return {} if last is None or last.state == "succeeded" else dict(last.progress or {})


def finish_job(
    connection: Connection,
    *,
    job_row_id: int,
    runner: UUID,
    state: str,
    result: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Write how a job ended, unless another runner has taken it over."""
    connection.execute(
        update(job)
        .where(job.c.id == job_row_id, job.c.runner == runner, job.c.state == "running")
        .values(state=state, result=result, error=error, finished_at=func.clock_timestamp())
    )


def request_cancel(connection: Connection, job_id: UUID) -> None:
    """Ask the runner to stop; a job that still waits is cancelled at once."""
    connection.execute(
        update(job)
        .where(job.c.job_id == job_id, job.c.state == "queued")
        .values(state="cancelled", finished_at=func.clock_timestamp())
    )
    connection.execute(
        update(job).where(job.c.job_id == job_id, job.c.state == "running").values(cancel_requested=1)
    )
