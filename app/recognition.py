"""Which templates stored images show."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from app.catalog import images, templates
from app.catalog.fingerprints import fingerprints_of, pattern_of_row
from app.catalog.keypoints import keypoint_rows, keypoints_of
from app.catalog.rows import AnyRow
from app.catalog.stamps import FIRST_HASHES
from app.catalog.template_matches import NewTemplateMatch, store_template_matches
from app.catalog.templates import Template, Templates
from app.collection import KeypointIndex
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import COLUMN_OF, FINGERPRINTED, colour_code_from_bytes, turned_from_bytes
from app.imaging.normalise import normalised_size
from app.matching.places import Tiles, box_of
from app.matching.regions import Box
from app.matching.sightings import Detail, Sighting, pictures_near, sighting
from app.matching.templates import COLOURS, PATTERN, Background, turned_distances

_READ_AT_ONCE = 50  # images


def recognise(connection: Connection, known: Templates, seqs: Sequence[int]) -> set[int]:
    """Compare committed images with all templates and store which show which; return the row ids of those that do.

    Idempotent: doing it again stores the same. `connection` is in autocommit mode.
    """
    if not known.all or not seqs:
        return set()
    rows = fingerprints_of(connection, seqs)
    looked_at = _LookedAt(rows)
    found = [match for template in known.by_code for match in looked_at.showing(template)]
    if known.by_detail:
        # Read after the stamps: of an image that changed in between, nothing is stored.
        found += [match for row in keypoint_rows(connection, seqs) for match in _details_shown(row, known)]
    compared = [(template.row_id, template.change_seq) for template in known.all]
    read_at = max((row.change_seq for row in rows), default=0)
    store_template_matches(connection, compared, found, up_to=read_at, seqs=seqs)
    return {match.image_id for match in found}


def _details_shown(row: AnyRow, known: Templates) -> list[NewTemplateMatch]:
    """The templates by keypoints that an image shows (row of `keypoint_rows`)."""
    seen = known.details.seen_in(keypoints_of(row), normalised_size(row.width, row.height))
    return [
        detail_match(known.by_detail[number], row.id, each)
        for number, each in seen.items()
        if each.bits <= known.by_detail[number].max_distance
    ]


def showing_detail(
    connection: Connection, index: KeypointIndex, template: Template, detail: Detail
) -> Iterator[list[NewTemplateMatch]]:
    """The images in an index that show a template by keypoints, some at a time; only those near to it are read."""
    near = pictures_near(index.index, detail)
    seqs = sorted(near)
    for begin in range(0, len(seqs), _READ_AT_ONCE):
        started, found = time.monotonic(), []
        for row in keypoint_rows(connection, seqs[begin : begin + _READ_AT_ONCE]):
            size = normalised_size(row.width, row.height)
            seen = sighting(detail, keypoints_of(row), size, near[row.created_seq])
            if seen is not None and seen.bits <= template.max_distance:
                found.append(detail_match(template, row.id, seen))
        yield found
        # Python's lock is free for as long as this took: uploads need it.
        time.sleep(time.monotonic() - started)


class _LookedAt:
    """Some images (rows of `fingerprints_of`), to be compared with one template after the other."""

    def __init__(self, rows: Sequence[AnyRow]):
        patterns = [(row, pattern) for row in rows if (pattern := pattern_of_row(row)) is not None]
        self._surfaces = [row for row, _ in patterns]
        self._tiles = Tiles.of([pattern for _, pattern in patterns])
        self._hashed = [row for row in rows if row.status == FINGERPRINTED]
        # Of those from before they were defined there are none, until a job has filled them in.
        self._filled = [row for row in self._hashed if row.colour_code is not None]

    def showing(self, template: Template) -> list[NewTemplateMatch]:
        """Those that show a template that is no detail of a picture."""
        if template.fingerprint == PATTERN:
            distances, places = self._tiles.nearest(template.code)
            return [
                region_match(
                    template,
                    self._surfaces[number],
                    int(distances[number]),
                    int(places[number]),
                    self._tiles.blocks[number],
                )
                for number in np.flatnonzero(distances <= template.max_distance)
            ]
        rows = self._hashed if template.fingerprint in FIRST_HASHES else self._filled
        distances, turns = turned_distances(template.code, _hashes(template.fingerprint, rows))
        return [
            whole_match(template, rows[number].id, int(distances[number]), int(turns[number]))
            for number in np.flatnonzero(distances <= template.max_distance)
        ]


def store_scan(
    connection: Connection,
    template: Template,
    found: Sequence[NewTemplateMatch],
    background: Background | None,
    *,
    compared: int,
    up_to: int,
) -> None:
    """Make `found` all the matches of a template that was compared with so many images: all, as of a stamp.

    `connection` is in autocommit mode.
    """
    store_template_matches(connection, [(template.row_id, template.change_seq)], found, up_to=up_to)
    # Not in one transaction with the matches: an upload that holds the template waits for those.
    templates.finish_scan(
        connection,
        template,
        background,
        compared=compared,
        live=images.count_live(connection),
    )


def region_match(
    template: Template, row: AnyRow, distance: int, place: int, blocks: NDArray[np.uint8]
) -> NewTemplateMatch:
    """A match with a part of an image (row with id, width, height), by the number of its tile."""
    left, top, right, bottom = box_of(place, *normalised_size(row.width, row.height), blocks)
    box = Box(left, top, right - left, bottom - top)
    return NewTemplateMatch(template.row_id, row.id, distance, None, asdict(box))


def whole_match(template: Template, image_row_id: int, distance: int, turn: int) -> NewTemplateMatch:
    """A match with an image as a whole, by the place of the orientation among TRANSFORMS."""
    transform = None if template.fingerprint == COLOURS else TRANSFORMS[turn]
    return NewTemplateMatch(template.row_id, image_row_id, distance, transform, None)


def detail_match(template: Template, image_row_id: int, seen: Sighting) -> NewTemplateMatch:
    """A match with a part of an image that keypoints agree on."""
    return NewTemplateMatch(template.row_id, image_row_id, seen.bits, seen.transform, asdict(seen.box))


def _hashes(fingerprint: str, rows: Sequence[AnyRow]) -> NDArray[np.uint64]:
    if fingerprint == COLOURS:
        codes = [colour_code_from_bytes(row.colour_code) for row in rows]
        return np.array(codes, np.uint64).reshape(-1, 2)
    own = [turned_from_bytes(row.turned, rows=1)[0, COLUMN_OF[fingerprint]] for row in rows]
    return np.array(own, np.uint64)[:, None]
