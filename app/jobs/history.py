"""The templates job: compares new and changed templates with all images that there are."""

import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from app.catalog import images, jobs, session, templates
from app.catalog.filters import Filter
from app.catalog.fingerprints import copy_codes
from app.catalog.rows import AnyRow
from app.catalog.template_matches import NewTemplateMatch, store_template_matches
from app.catalog.templates import Template
from app.errors import Conflict
from app.jobs.apart import done_apart
from app.jobs.progress import Progress
from app.matching.templates import PATTERN, Background, turned_distances
from app.parts import Parts
from app.recognition import region_match, whole_match

TEMPLATES = "templates"
ROWS_AT_ONCE = 5000
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
        # Each is stored before the next are looked at: one that can't be compared holds up none before it.
        for template, last, matches, distances in _scanned(parts.engine, waiting, progress):
            with session.autocommit(parts.engine) as connection:
                store_template_matches(
                    connection, [(template.row_id, template.change_seq)], matches, up_to=last
                )
                # Not in one transaction with the matches: an upload that holds the template waits for those.
                templates.finish_scan(
                    connection,
                    template,
                    Background.of(distances),
                    compared=len(distances),
                    live=images.count_live(connection),
                )
            result["templates"] += 1
            result["images"] = max(result["images"], len(distances))
            result["matches"] += len(matches)
            progress.report({"waiting": len(waiting)} | result)


_Scanned = tuple[Template, int, list[NewTemplateMatch], NDArray[np.int64] | NDArray[np.int16]]


def _scanned(engine: Engine, waiting: list[Template], progress: Progress) -> Iterator[_Scanned]:
    for template in waiting:
        if template.fingerprint != PATTERN:
            yield _wholes(engine, template)
    regions = [template for template in waiting if template.fingerprint == PATTERN]
    for begin in range(0, len(regions), TEMPLATES_AT_ONCE):
        yield from _regions(engine, regions[begin : begin + TEMPLATES_AT_ONCE], progress)


def _regions(engine: Engine, wanted: list[Template], progress: Progress) -> list[_Scanned]:
    """Look for templates in the parts of all images, which a process of its own reads once."""
    with engine.connect() as connection:
        total = images.count_live(connection)
    asked = {
        "url": engine.url.render_as_string(hide_password=False),
        "max_distances": [template.max_distance for template in wanted],
        "images": total,
        "stamp": max(template.change_seq for template in wanted),
    }
    task = io.BytesIO()
    task.write(json.dumps(asked).encode() + b"\n")
    np.save(task, np.stack([template.code for template in wanted]))
    (last,), distances, *found = done_apart(
        "app.jobs.places_process",
        task.getvalue(),
        lambda done: progress.report({"templates": len(wanted), "images": total, "done": round(done, 4)}),
    )
    with engine.connect() as connection:
        return [
            (template, int(last), _matches(connection, template, *found[2 * place : 2 * place + 2]), own)
            for place, (template, own) in enumerate(zip(wanted, distances, strict=True))
        ]


def _matches(
    connection: Connection, template: Template, near: NDArray[np.int64], blocks: NDArray[np.uint8]
) -> list[NewTemplateMatch]:
    """The matches of a template, by the rows of `places_process`."""
    places = {int(seq): row for row, (seq, _, _) in enumerate(near)}
    seqs = list(places)
    matches: list[NewTemplateMatch] = []
    for begin in range(0, len(seqs), ROWS_AT_ONCE):
        for row in images.sizes_of(connection, seqs[begin : begin + ROWS_AT_ONCE]):
            place = places[row.created_seq]
            _, distance, tile = near[place].tolist()
            matches.append(region_match(template, row, distance, tile, blocks[place]))
    return matches


def _wholes(engine: Engine, template: Template) -> _Scanned:
    """Compare a template with all images as wholes."""
    with engine.connect() as connection:
        codes = copy_codes(connection, template.fingerprint, Filter())
    distances, turns = turned_distances(template.code, codes.codes)
    near = np.flatnonzero(distances <= template.max_distance).tolist()
    matches = [
        whole_match(template, int(codes.ids[row]), int(distances[row]), int(turns[row])) for row in near
    ]
    return template, codes.last, matches, distances
