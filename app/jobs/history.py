"""The templates job: compares new and changed templates with all images that there are."""

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from app.catalog import images, jobs, session, stamps, templates
from app.catalog.filters import Filter
from app.catalog.fingerprints import SomeTiles, copy_codes, copy_tiles
from app.catalog.rows import AnyRow
from app.catalog.template_matches import NewTemplateMatch, store_template_matches
from app.catalog.templates import Template
from app.errors import Conflict
from app.jobs.progress import Progress
from app.matching.templates import PATTERN, Background, turned_distances
from app.parts import Parts
from app.recognition import region_match, whole_match

TEMPLATES = "templates"
ROWS_AT_ONCE = 5000
# What failed or was cancelled is tried again after that time, or when a template is made or changed.
AGAIN_SECONDS = 60.0


class _Found:
    """The distances of one template to images, as they are read; of the near ones, where they are near."""

    def __init__(self, template: Template):
        self.template = template
        self.distances: list[NDArray[np.int64]] = []
        self.near: dict[int, tuple[int, int, NDArray[np.uint8]]] = {}

    def compare(self, some: SomeTiles) -> None:
        """Compare with the tiles of some images."""
        distances, places = some.tiles.nearest(self.template.code)
        self.distances.append(distances)
        for row in np.flatnonzero(distances <= self.template.max_distance).tolist():
            self.near[int(some.seqs[row])] = int(distances[row]), int(places[row]), some.tiles.blocks[row]


def ask_for_scan(connection: Connection, requested_by: str) -> AnyRow | None:
    """Queue the job if a template waits for it; the row, or None when it is under way or nothing waits."""
    if not templates.to_scan(connection):
        return None
    try:
        return jobs.create_job(connection, kind=TEMPLATES, params={}, requested_by=requested_by)
    except Conflict:
        return None


def ask_again(connection: Connection) -> None:
    """Queue the job if a template still waits for it, unless it has just failed or was cancelled."""
    if not jobs.broke_off(connection, TEMPLATES, AGAIN_SECONDS):
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
        progress.report({"templates": len(waiting)} | result, at_once=True)
        found = _regions(parts.engine, [each for each in waiting if each.fingerprint == PATTERN], progress)
        for template, last, matches, distances in [
            *found,
            *(_wholes(parts.engine, each) for each in waiting if each.fingerprint != PATTERN),
        ]:
            with session.autocommit(parts.engine) as connection:
                store_template_matches(
                    connection, [(template.row_id, template.change_seq)], matches, up_to=last
                )
                # Not in one transaction with the matches: an upload that holds the template waits for those.
                templates.finish_scan(connection, template, Background.of(distances), len(distances))
            result["templates"] += 1
            result["images"] = max(result["images"], len(distances))
            result["matches"] += len(matches)


_Scanned = tuple[Template, int, list[NewTemplateMatch], NDArray[np.int64]]


def _regions(engine: Engine, wanted: list[Template], progress: Progress) -> list[_Scanned]:
    """Look for templates in the parts of all images, read once."""
    found = [_Found(template) for template in wanted]
    if not found:
        return []
    seen = 0

    def look(some: SomeTiles) -> None:
        nonlocal seen
        seen += len(some.seqs)
        for each in found:
            each.compare(some)
        progress.report({"templates": len(found), "images": seen})

    with engine.connect() as connection, stamps.snapshot(connection):
        _, last = stamps.newest(connection)
        copy_tiles(connection, look)
        return [
            (each.template, last, _matches(connection, each), np.concatenate([*each.distances, _NONE]))
            for each in found
        ]


_NONE = np.empty(0, np.int64)


def _matches(connection: Connection, found: _Found) -> list[NewTemplateMatch]:
    seqs = sorted(found.near)
    matches: list[NewTemplateMatch] = []
    for begin in range(0, len(seqs), ROWS_AT_ONCE):
        rows = images.sizes_of(connection, seqs[begin : begin + ROWS_AT_ONCE])
        matches += [region_match(found.template, row, *found.near[row.created_seq]) for row in rows]
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
