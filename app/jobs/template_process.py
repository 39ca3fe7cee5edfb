"""`python -m app.jobs.template_process`: compares templates with the tiles of all images; see `apart`.

The task: JSON {"url", "images", "most"}: the database, about how many images there are, and how many templates are
compared at most. Which those are is read with the images, in one snapshot, and what is found is stored here: 0.1 s
for a few thousand matches, which uploads would wait for in the process that serves them.

The answer: for each template, how many images it was compared with and how many show it: int64[k, 2].
"""

import json
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from app.catalog import images, session, stamps, templates
from app.catalog.fingerprints import SomeTiles, copy_tiles
from app.catalog.template_matches import NewTemplateMatch
from app.catalog.templates import Template
from app.jobs.apart import Progress, work
from app.matching.templates import PATTERN, Background
from app.recognition import region_match, store_scan

ROWS_AT_ONCE = 5000


class _Scan:
    """One template, and what was found of it so far."""

    def __init__(self, template: Template):
        self.template = template
        self._distances = [np.empty(0, np.int64)]
        self._near = [np.empty((0, 3), np.int64)]
        self._blocks = [np.empty((0, 4), np.uint8)]

    def compare(self, some: SomeTiles) -> None:
        """Look for it in some images."""
        distances, places = some.tiles.nearest(self.template.code)
        near = distances <= self.template.max_distance
        self._distances.append(distances)
        self._near.append(np.stack([some.seqs, distances, places], axis=1)[near])
        self._blocks.append(some.tiles.blocks[near])

    def store(self, connection: Connection, up_to: int) -> tuple[int, int]:
        """Store what was found; return how many images were compared, and how many show it."""
        distances, matches = np.concatenate(self._distances), self._matches(connection)
        background = Background.of(distances)
        store_scan(connection, self.template, matches, background, compared=len(distances), up_to=up_to)
        return len(distances), len(matches)

    def _matches(self, connection: Connection) -> list[NewTemplateMatch]:
        near, blocks = np.concatenate(self._near), np.concatenate(self._blocks)
        places = {int(seq): row for row, (seq, _, _) in enumerate(near)}
        seqs = list(places)
        found: list[NewTemplateMatch] = []
        for begin in range(0, len(seqs), ROWS_AT_ONCE):
            for row in images.sizes_of(connection, seqs[begin : begin + ROWS_AT_ONCE]):
                place = places[row.created_seq]
                _, distance, tile = near[place].tolist()
                found.append(region_match(self.template, row, distance, tile, blocks[place]))
        return found


def scan(task: BinaryIO, progress: Progress) -> list[NDArray[np.int64]]:
    """Compare the templates that wait for it, and store what they are found in."""
    asked = json.loads(task.read())
    engine = session.make_patient_engine(asked["url"])
    seen = 0

    def look(some: SomeTiles) -> None:
        nonlocal seen
        seen += len(some.seqs)
        for each in scans:
            each.compare(some)
        progress(seen / max(asked["images"], seen))

    with engine.connect() as connection, stamps.snapshot(connection):
        _, last = stamps.newest(connection)
        waiting = [each for each in templates.to_scan(connection) if each.fingerprint == PATTERN]
        scans = [_Scan(template) for template in waiting[: asked["most"]]]
        copy_tiles(connection, look)
    # Each is stored before the next is: one that can't be holds up none before it.
    with session.autocommit(engine) as connection:
        counts = [each.store(connection, last) for each in scans]
    return [np.array(counts, np.int64).reshape(-1, 2)]


if __name__ == "__main__":
    work(scan)
