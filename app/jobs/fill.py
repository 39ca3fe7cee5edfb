"""The fill job: computes the fingerprints that stored images, and templates, lack as they were defined later."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from app.catalog import images, jobs, templates
from app.catalog.rows import AnyRow
from app.errors import Conflict
from app.jobs.progress import Progress
from app.jobs.rehash import rehash
from app.parts import Parts
from app.templates import make_codes

FILL = "fill"
# What could not be filled in, because no picture of it can be read, is tried again after that time.
AGAIN_SECONDS = 3600.0


def fill(job: AnyRow, runner: UUID, parts: Parts) -> dict[str, Any]:
    """Run the job; return its result. Raises Cancelled."""
    counts = asdict(rehash(parts, Progress(parts.engine, job, runner), images.to_fill, FILL))
    return counts | {"templates": make_codes(parts.engine, parts.template_pictures)}


def ask_for_fill(engine: Engine) -> None:
    """Queue the job if there is anything to fill in and it did not run just now."""
    with engine.begin() as connection:
        lacking = images.to_fill(connection, 0, 1) or templates.to_make(connection)
        if lacking and not jobs.recent(connection, FILL, AGAIN_SECONDS):
            try:
                jobs.create_job(connection, kind=FILL, params={}, requested_by="keeper")
            except Conflict:
                return
