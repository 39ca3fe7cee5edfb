"""`/reports`: files on the whole collection, made by jobs."""

from typing import Any, Literal

import anyio
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse

from app.audit import FORMATS
from app.catalog import events, images, jobs
from app.catalog.filters import Filter
from app.errors import Conflict, NotFound
from app.jobs.report import DUPLICATES, is_outdated, params_of
from app.labels import check_labels
from app.web.access import QualityControl
from app.web.filters import Day, checked_filter
from app.web.form import checked_body, read_body
from app.web.opaque import opaque_id
from app.web.parts import WithParts
from app.web.pictures import PRIVATE
from app.web.schemas import Job, job_json, problem_responses

router = APIRouter(prefix="/reports", tags=["reports"])

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


class NewReport(BaseModel):
    """Which report is to be made, of which images."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[FORMATS] = Field(  # type: ignore[valid-type]
        default="html",
        description="html: one page that opens offline. csv: an image a line, for spreadsheets. jsonl: a family a"
        " line. parquet: an image a row.",
    )
    labels: dict[str, Any] = Field(default={}, description="Only images that have all these.")
    from_day: Day | None = Field(default=None, alias="from", strict=False)
    to_day: Day | None = Field(default=None, alias="to", strict=False)


REPORT_BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": NewReport.model_json_schema(),
                "example": {"format": "html", "labels": {"product": "fridge"}, "from": "2026-01-01"},
            }
        },
    }
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "content": {media_type.partition(";")[0]: {} for media_type in MEDIA_TYPES.values()},
    }
}


@router.post("/duplicates", status_code=202, openapi_extra=REPORT_BODY, responses=problem_responses(408, 409))
async def start_duplicates(
    request: Request, response: Response, caller: QualityControl, parts: WithParts
) -> Job:
    """Report all families of copies, by a job; fetch the file at `/reports/{job_id}` once that has succeeded.

    A family is two and more images that copies join, directly or through others; pictures of the same scene join
    none. Families across claims come first, largest first, then those of one claim alone. With labels or days
    the images of these alone are looked at. The result tells as of which moment it is, and how many images
    were not compared with all others by then.
    """
    asked = checked_body(NewReport, await read_body(request))
    labels = check_labels(asked.labels)
    params = params_of(asked.format, checked_filter(Filter(labels, asked.from_day, asked.to_day)))

    def start() -> Job:
        with parts.engine.begin() as connection:
            row = jobs.create_job(connection, kind=DUPLICATES, params=params, requested_by=caller.actor)
            events.log_event(
                connection,
                actor=caller.actor,
                action="report.duplicates",
                subject=str(row.job_id),
                detail=params,
            )
        return job_json(row)

    job = await anyio.to_thread.run_sync(start)
    response.headers["Location"] = f"/jobs/{job.job_id}"
    return job


@router.get("/{job_id}", response_class=FileResponse, responses=_FILE | problem_responses(404, 409))
def get_report(job_id: str, caller: QualityControl, parts: WithParts) -> Response:
    """Fetch the report that a job has made. It is kept for seven days, or until an image is deleted.

    409 while the job is under way.
    """
    with parts.engine.begin() as connection:
        job = jobs.find_job(connection, opaque_id(job_id, "job_id"))
        if job is None or job.kind != DUPLICATES:
            raise NotFound(f"no report of job {job_id}", field="job_id")
        if job.state != "succeeded":
            raise Conflict(f"there is no report of job {job_id}: it is {job.state}", field="job_id")
        path = parts.reports.finished(job.job_id, job.params["format"])
        try:
            found = path.stat()
        except FileNotFoundError:
            raise NotFound(
                f"the report of job {job_id} is not kept any more, or on another machine", field="job_id"
            ) from None
        deleted = images.newest_deletion(connection)
        if is_outdated(job.result, deleted):
            raise NotFound(
                f"images were deleted since the report of job {job_id} was made: ask for a new one",
                field="job_id",
            )
        events.log_event(connection, actor=caller.actor, action="report.fetch", subject=job_id)
    return FileResponse(
        path,
        headers=PRIVATE,
        media_type=MEDIA_TYPES[job.params["format"]],
        filename=f"duplicates-{job.result['as_of'][:10]}{path.suffix}",
        stat_result=found,
    )
