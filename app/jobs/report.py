"""The duplicates job: writes all families of copies to a file that can be fetched for a week."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from app.catalog import images, jobs
from app.catalog.filters import Filter
from app.catalog.rows import AnyRow
from app.jobs.apart import done_apart
from app.jobs.progress import Progress
from app.parts import Parts
from app.storage import Reports

DUPLICATES = "duplicates"
PICTURE_SETTINGS = {"data_dir", "pictures_url", "pictures_timeout_seconds"}
REPORT_KEPT_SECONDS = 7 * 24 * 3600.0
COMMITTED_WITHIN = timedelta(seconds=60)
COUNTS = ("families", "across_claims", "images", "claims", "looked_at", "not_compared_yet")
"""In the result, in the order of the process's answer: families, those of several claims, images and claims in
families; of which images, and how many of those wait for being compared."""


def params_of(form: str, wanted: Filter) -> dict[str, Any]:
    """What is asked as a job's params."""
    return {"format": form, "filter": wanted.json}


def report_duplicates(job: AnyRow, runner: UUID, parts: Parts) -> dict[str, Any]:
    """Run the job in a process of its own; return its result. Raises Cancelled."""
    progress = Progress(parts.engine, job, runner)
    progress.report({"step": "read", "done": 0.0}, at_once=True)
    form = job.params["format"]
    written = parts.reports.unfinished(job.job_id, runner)
    asked = {
        "url": parts.engine.url.render_as_string(hide_password=False),
        "settings": parts.settings.model_dump(mode="json", include=PICTURE_SETTINGS),
        "out": str(written),
        "format": form,
        "filter": job.params["filter"],
    }

    def tell(done: float) -> None:
        _check_room(parts)
        progress.report({"step": "write" if done else "read", "done": round(done, 4)})

    try:
        counts, moment = done_apart("app.jobs.report_process", json.dumps(asked).encode(), tell)
        result = dict(zip(COUNTS, counts.tolist(), strict=True))
        result |= {"format": form, "as_of": _time(int(moment)), "file_bytes": written.stat().st_size}
        with parts.engine.begin() as connection:
            # Whoever took the job over meanwhile has a file of its own.
            progress.confirm(connection, {"step": "write", "done": 1.0})
            written.replace(parts.reports.finished(job.job_id, form))
    finally:
        written.unlink(missing_ok=True)
    return result


def erase_reports(engine: Engine, reports: Reports) -> None:
    """Erase reports that were kept for their time, and those that show images deleted since."""
    reports.erase_old(REPORT_KEPT_SECONDS)
    if kept := reports.jobs():
        with engine.connect() as connection:
            deleted = images.newest_deletion(connection)
            for job in jobs.of_ids(connection, kept) if deleted is not None else ():
                if job.result is not None and is_outdated(job.result, deleted):
                    reports.erase(job.job_id)


def is_outdated(result: Mapping[str, Any], deleted: datetime | None) -> bool:
    """Whether an image was deleted after the moment that a report, of a job with that result, is of."""
    # A deletion notes its time before it is committed, as late as a statement may take.
    return deleted is not None and deleted >= datetime.fromisoformat(result["as_of"]) - COMMITTED_WITHIN


def _check_room(parts: Parts) -> None:
    """End a report that would fill the disk, which a database may be on too."""
    disk = os.statvfs(parts.reports.root)
    least = parts.settings.min_free_bytes
    if disk.f_bavail * disk.f_frsize < least:
        raise RuntimeError(f"the disk for reports has less than {least} bytes free; no report was kept")


def _time(microseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
