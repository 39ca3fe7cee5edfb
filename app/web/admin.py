"""`/admin/reindex` for administrators, and `/jobs`: long work, for whoever may start that kind."""

from fastapi import APIRouter, Response
from sqlalchemy import Connection

from app.catalog import events, jobs
from app.catalog.keys import Caller
from app.catalog.rows import AnyRow
from app.errors import NotAllowed, NotFound
from app.jobs.clustering import CLUSTERS
from app.jobs.history import TEMPLATES
from app.jobs.reindex import REINDEX
from app.jobs.report import DUPLICATES
from app.web.access import Admin, QualityControl
from app.web.opaque import opaque_id
from app.web.parts import WithParts
from app.web.schemas import Job, job_json, problem_responses

router = APIRouter(tags=["jobs"])

OF_QUALITY_CONTROL = {CLUSTERS, DUPLICATES, TEMPLATES}


@router.post("/admin/reindex", status_code=202, responses=problem_responses(409))
def start_reindex(
    response: Response, caller: Admin, parts: WithParts, rehash: bool = False, rescreen: bool = False
) -> Job:
    """Rebuild the index beside the one that answers, on every worker, and swap.

    With `rehash=true` the fingerprints are computed anew first, from the original where it is kept; with
    `rescreen=true` all images are compared anew, as after a change of the rule's distances. Uploads and
    searches go on meanwhile. The job's result tells what the old index had wrong.
    """
    params = {"rehash": rehash, "rescreen": rescreen}
    with parts.engine.begin() as connection:
        row = jobs.create_job(connection, kind=REINDEX, params=params, requested_by=caller.actor)
        events.log_event(
            connection,
            actor=caller.actor,
            action="reindex",
            subject=str(row.job_id),
            detail=params,
        )
    response.headers["Location"] = f"/jobs/{row.job_id}"
    return job_json(row)


@router.get("/jobs/{job_id}", responses=problem_responses(404))
def get_job(job_id: str, caller: QualityControl, parts: WithParts) -> Job:
    """Show a job: state, progress, counts, and at the end what came of it."""
    with parts.engine.connect() as connection:
        return job_json(_own_job(connection, job_id, caller))


@router.post("/jobs/{job_id}/cancel", status_code=202, responses=problem_responses(404))
def cancel_job(job_id: str, caller: QualityControl, parts: WithParts) -> Job:
    """Ask a job to stop; one that has ended already stays as it ended."""
    with parts.engine.begin() as connection:
        row = _own_job(connection, job_id, caller)
        jobs.request_cancel(connection, row.job_id)
        events.log_event(connection, actor=caller.actor, action="job.cancel", subject=job_id)
    return get_job(job_id, caller, parts)


def _own_job(connection: Connection, job_id: str, caller: Caller) -> AnyRow:
    """The job of that id. Raises NotFound, and NotAllowed for whoever may not start that kind."""
    row = jobs.find_job(connection, opaque_id(job_id, "job_id"))
    if row is None:
        raise NotFound(f"no job {job_id}", field="job_id")
    if caller.role != "admin" and row.kind not in OF_QUALITY_CONTROL:
        raise NotAllowed(f"a key of role {caller.role} may not see jobs of kind {row.kind}")
    return row
