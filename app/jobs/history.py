"""The templates job: compares new and changed templates with all images that there are."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import images, jobs, session, templates
from app.catalog.filters import Filter
from app.catalog.fingerprints import copy_codes
from app.catalog.keypoints import count_with_keypoints
from app.catalog.rows import AnyRow
from app.catalog.template_matches import NewTemplateMatch
from app.catalog.templates import Template
from app.errors import Conflict
from app.jobs.apart import done_apart
from app.jobs.progress import Progress
from app.matching.sightings import Detail
from app.matching.templates import PATTERN, Background, turned_distances
from app.parts import Parts
from app.recognition import showing_detail, store_scan, whole_match

TEMPLATES = "templates"
TEMPLATES_AT_ONCE = 20
# What failed or was cancelled is tried again after that time, or when a template is made or changed.
AGAIN_SECONDS = 60.0


def ask_for_scan(connection: Connection, requested_by: str) -> AnyRow | None:
    """Queue the job if a template waits for it; the row, or None when it is under way or nothing waits."""
    if not templates.count_to_scan(connection):
        return None
    try:
        return jobs.create_job(connection, kind=TEMPLATES, params={}, requested_by=requested_by)
    except Conflict:
        return None


def ask_again(connection: Connection) -> None:
    """Queue the job if a template still waits for it, unless it has just failed or was cancelled."""
    # In this order: four times a second nothing waits.
    if templates.count_to_scan(connection) and not jobs.broke_off(connection, TEMPLATES, AGAIN_SECONDS):
        ask_for_scan(connection, "keeper")


def scan_history(job: AnyRow, runner: UUID, parts: Parts) -> dict[str, Any]:
    """Run the job; return its result. Raises Cancelled."""
    progress = Progress(parts.engine, job, runner)
    result = {"templates": 0, "images": 0, "matches": 0}
    while True:
        with parts.engine.connect() as connection:
            waiting = templates.to_scan(connection)
        if not waiting:
            return result
        for compared, found in _scanned(parts, waiting, progress):
            result["templates"] += 1
            result["images"] = max(result["images"], compared)
            result["matches"] += found
            progress.report({"waiting": len(waiting)} | result)


def _scanned(parts: Parts, waiting: list[Template], progress: Progress) -> Iterator[tuple[int, int]]:
    """For each template that was compared: with how many images, and how many show it."""
    # Each is stored before the next is compared: one that can't be holds up none before it.
    for template in waiting:
        if template.detail is not None:
            yield _compare_details(parts, template, template.detail, len(waiting), progress)
        elif template.fingerprint != PATTERN:
            yield _compare_wholes(parts.engine, template)
    if any(template.fingerprint == PATTERN for template in waiting):
        yield from _compare_regions(parts.engine, len(waiting), progress)


def _compare_regions(engine: Engine, waiting: int, progress: Progress) -> list[tuple[int, int]]:
    """Look for templates in the parts of all images, in a process of its own, which reads them once."""
    with engine.connect() as connection:
        total = images.count_live(connection)
    asked = {
        "url": engine.url.render_as_string(hide_password=False),
        "images": total,
        "most": TEMPLATES_AT_ONCE,
    }
    (counts,) = done_apart(
        "app.jobs.template_process",
        json.dumps(asked).encode(),
        lambda done: progress.report({"templates": waiting, "images": total, "done": round(done, 4)}),
    )
    return [(compared, found) for compared, found in counts.tolist()]


def _compare_details(
    parts: Parts, template: Template, detail: Detail, waiting: int, progress: Progress
) -> tuple[int, int]:
    """Look for a template by keypoints in all images, by the index that there is of theirs."""
    matches: list[NewTemplateMatch] = []
    with session.autocommit(parts.engine) as connection:
        index = parts.keypoints.caught_up(connection)
        up_to = index.last
        for some in showing_detail(connection, index, template, detail):
            matches += some
            progress.report({"templates": waiting, "matches": len(matches)})
        compared = count_with_keypoints(connection)
        store_scan(connection, template, matches, None, compared=compared, up_to=up_to)
    return compared, len(matches)


def _compare_wholes(engine: Engine, template: Template) -> tuple[int, int]:
    """Compare a template with all images as wholes."""
    with engine.connect() as connection:
        codes = copy_codes(connection, template.fingerprint, Filter())
    distances, turns = turned_distances(template.code, codes.codes)
    near = np.flatnonzero(distances <= template.max_distance).tolist()
    matches = [
        whole_match(template, int(codes.ids[row]), int(distances[row]), int(turns[row])) for row in near
    ]
    with session.autocommit(engine) as connection:
        background = Background.of(distances)
        store_scan(connection, template, matches, background, compared=len(distances), up_to=codes.last)
    return len(distances), len(matches)
