"""The template table. Its stamps are those of images: docs/decisions/0002."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, false, func, insert, null, or_, select, text, update

from app.catalog.models import template
from app.catalog.rows import AnyRow
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.matching.sightings import Detail, Details
from app.matching.templates import FEWEST, Background, code_from_bytes

LIVE = template.c.deleted_at.is_(None)
# Templates from before keypoints were defined as they are have no code until a job makes it.
_MADE = template.c.code.is_not(None)
SCANNED = template.c.scanned_seq == template.c.change_seq
_KEPT_BY_TOMBSTONE = {"id", "template_id", "created_seq", "change_seq", "created_at", "deleted_at"}
_SHOWN = (*template.columns, func.coalesce(SCANNED, False).label("scanned"))


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What images are compared with, at one of the template's stamps: `code` as `matching.templates` has it, or by
    keypoints a detail of a picture."""

    row_id: int
    change_seq: int
    fingerprint: str
    max_distance: int
    code: NDArray[np.uint64]
    detail: Detail | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """All that are switched on, as of the stamp `newest` of the table; `details` are those of `by_detail`, and of
    `unmade` the code is to be made anew before anything can be compared with them."""

    newest: int
    by_code: Sequence[Template]
    by_detail: Sequence[Template]
    details: Details
    unmade: int = 0

    @classmethod
    def of(cls, newest: int, some: Sequence[Template], unmade: int = 0) -> Self:
        """These, and so many without a code."""
        details = [(template, template.detail) for template in some if template.detail is not None]
        return cls(
            newest,
            [template for template in some if template.detail is None],
            [template for template, _ in details],
            Details([detail for _, detail in details]),
            unmade,
        )

    @property
    def all(self) -> Sequence[Template]:
        """Both."""
        return [*self.by_code, *self.by_detail]


def switched_on(connection: Connection) -> Templates:
    """Those that images are compared with."""
    rows = connection.execute(
        text(
            "SELECT newest.stamp AS newest, newest.unmade, t.* FROM (SELECT coalesce(max(change_seq), 0) AS stamp,"
            " count(*) FILTER (WHERE deleted_at IS NULL AND enabled AND code IS NULL) AS unmade FROM template)"
            " AS newest LEFT JOIN template t ON t.deleted_at IS NULL AND t.enabled AND t.code IS NOT NULL"
            " ORDER BY t.id"
        )
    ).all()
    made = [_template(row) for row in rows if row.id is not None]
    return Templates.of(rows[0].newest, made, rows[0].unmade)


def newest_stamp(connection: Connection) -> int:
    """The newest stamp of the table: where it is that of some `Templates`, they are all there are."""
    stamp: int = connection.execute(select(func.coalesce(func.max(template.c.change_seq), 0))).scalar_one()
    return stamp


def to_scan(connection: Connection) -> list[Template]:
    """Those that are switched on and were not compared with all images as they are now."""
    rows = connection.execute(
        select(template)
        .where(LIVE, _MADE, template.c.enabled, ~func.coalesce(SCANNED, False))
        .order_by(template.c.id)
    )
    return [_template(row) for row in rows]


def count_to_scan(connection: Connection) -> int:
    """How many those are."""
    waiting = select(func.count()).select_from(template)
    number: int = connection.execute(
        waiting.where(LIVE, _MADE, template.c.enabled, ~func.coalesce(SCANNED, False))
    ).scalar_one()
    return number


def to_make(connection: Connection) -> Sequence[AnyRow]:
    """Those whose code is to be made anew."""
    return connection.execute(select(template).where(LIVE, ~_MADE).order_by(template.c.id)).all()


def scan_outgrown(connection: Connection, images: int) -> None:
    """Have those compared anew that were so when there was a tenth of so many images, or too few for chances.

    Not those by keypoints, of which no chances are told.
    """
    outgrown = or_(
        template.c.scanned_of * 10 < images, template.c.scanned_of < FEWEST if images >= FEWEST else false()
    )
    connection.execute(
        update(template)
        .where(LIVE, template.c.enabled, SCANNED, template.c.fingerprint != KEYPOINTS, outgrown)
        .values(scanned_seq=None)
    )


def insert_template(connection: Connection, values: dict[str, Any]) -> AnyRow:
    """Store one; return its row."""
    return connection.execute(insert(template).values(values).returning(template)).one()


def live_by_id(connection: Connection, template_id: UUID, *, lock: bool = False) -> AnyRow | None:
    """The live template of that public id, with `scanned`; locked against changes if asked."""
    statement = select(*_SHOWN).where(LIVE, template.c.template_id == template_id)
    return connection.execute(statement.with_for_update() if lock else statement).one_or_none()


def live(connection: Connection, after_id: int, limit: int) -> Sequence[AnyRow]:
    """Live templates in the order they were made in, after a row id (columns as `live_by_id`)."""
    return connection.execute(
        select(*_SHOWN).where(LIVE, template.c.id > after_id).order_by(template.c.id).limit(limit)
    ).all()


def live_ids(connection: Connection, template_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the public ids that are live templates."""
    return set(
        connection.execute(
            select(template.c.template_id).where(LIVE, template.c.template_id.in_(template_ids))
        ).scalars()
    )


def count_live(connection: Connection) -> int:
    """Number of live templates."""
    return connection.execute(select(func.count()).select_from(template).where(LIVE)).scalar_one()


def change(connection: Connection, row_id: int, values: dict[str, Any]) -> None:
    """Set columns of a template; a change that is stamped takes away the matches that stood before."""
    connection.execute(update(template).where(template.c.id == row_id).values(values))


def bury(connection: Connection, row_id: int) -> None:
    """Turn a live template into a tombstone."""
    emptied = {column.name: null() for column in template.columns if column.name not in _KEPT_BY_TOMBSTONE}
    connection.execute(
        update(template).where(template.c.id == row_id).values(deleted_at=func.clock_timestamp(), **emptied)
    )


def finish_scan(
    connection: Connection, scanned: Template, background: Background | None, *, compared: int, live: int
) -> None:
    """Write that a template, as it was when scanned, was compared with so many of so many images: all it can be."""
    connection.execute(
        update(template)
        .where(LIVE, template.c.id == scanned.row_id, template.c.change_seq == scanned.change_seq)
        .values(
            scanned_seq=scanned.change_seq,
            scanned_images=compared,
            scanned_of=live,
            middle=background and background.middle,
            spread=background and background.spread,
        )
    )


def background_of(row: AnyRow) -> Background | None:
    """What chance levels of a template are computed from; None while it is not known."""
    return None if row.middle is None else Background(row.middle, row.spread)


def _template(row: AnyRow) -> Template:
    detail = None
    if row.fingerprint == KEYPOINTS:
        box = row.region or {"width": row.width, "height": row.height}
        detail = Detail(Keypoints.from_whole_bytes(row.code), (box["width"], box["height"]))
    code = np.empty(0, np.uint64) if detail is not None else code_from_bytes(row.code, row.fingerprint)
    return Template(row.id, row.change_seq, row.fingerprint, row.max_distance, code, detail)
