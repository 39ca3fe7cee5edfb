"""Inserting images: each row with its segments, all of an upload in one statement."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from app.catalog import keypoints, pattern_tiles
from app.catalog.images import STORED
from app.catalog.models import Hash64, image, signed
from app.catalog.rows import AnyRow
from app.catalog.segments import COLUMNS, column_values
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import Pattern, Segment


@dataclass(frozen=True, slots=True)
class NewImage:
    """The values of a row to insert; the stamps and `uploaded_at` come from the database.

    Hashes are unsigned 64-bit; `verifier` has 32 bytes, `colour_code` 16 and `turned` 576 (`fingerprints.value`).
    """

    image_id: UUID
    claim_id: str
    uploaded_by: int | None
    file_name: str
    sha256: bytes
    pixel_sha256: bytes
    format: str
    width: int
    height: int
    byte_count: int
    status: str
    ahash: int
    phash: int
    dhash: int
    whash: int
    whash_db4: int
    colorhash: int
    colour_code: bytes
    page: bool
    verifier: bytes
    turned: bytes
    pattern: Pattern
    keypoints: Keypoints
    segments: Sequence[Segment]
    fingerprint_version: int
    library_versions: dict[str, str]
    labels: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] | None = None
    exif: dict[str, Any] | None = None
    taken_at: dt.datetime | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    camera_software: str | None = None


_INSERTED = tuple(
    image.c[name] for name in (*NewImage.__dataclass_fields__, "keypoint_count") if name in image.c
)
_PARTS = (*pattern_tiles.PARTS, *keypoints.PARTS)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_NAMES = ", ".join(column.name for column in _INSERTED)
_TYPED = ", ".join(f"{column.name} {column.type.compile(dialect=_DIALECT)}" for column in _INSERTED)
# The same text for one row and for many. It is a transaction by itself, so the lock under which stamps are drawn
# is held for no round trip.
_INSERT = (
    text(
        "WITH given AS ("  # noqa: S608 - constant names
        " SELECT * FROM jsonb_to_recordset(:rows)"
        f" AS g (place integer, segments jsonb, {', '.join(f'{name} bytea' for name in _PARTS)}, {_TYPED})"
        "), stored AS ("
        f" INSERT INTO image ({_NAMES}) SELECT {_NAMES} FROM given ORDER BY place"
        " ON CONFLICT (claim_id, sha256) WHERE deleted_at IS NULL DO NOTHING RETURNING *"
        "), patterns AS ("
        f" INSERT INTO pattern_tiles (created_seq, {', '.join(pattern_tiles.PARTS)})"
        f" SELECT s.created_seq, {', '.join(f'g.{name}' for name in pattern_tiles.PARTS)}"
        " FROM stored s JOIN given g USING (image_id)"
        "), points AS ("
        f" INSERT INTO image_keypoints (created_seq, {', '.join(keypoints.PARTS)})"
        f" SELECT s.created_seq, {', '.join(f'g.{name}' for name in keypoints.PARTS)}"
        " FROM stored s JOIN given g USING (image_id)"
        "), parts AS ("
        f" INSERT INTO segment (created_seq, ordinal, {', '.join(COLUMNS)})"
        f" SELECT s.created_seq, p.place, {', '.join(f'p.{name}' for name in COLUMNS)}"
        " FROM stored s JOIN given g USING (image_id) CROSS JOIN jsonb_to_recordset(g.segments) AS p"
        "  (place smallint, hash bigint, turned bytea, x smallint, y smallint, width smallint, height smallint)"
        f") SELECT {', '.join(column.name for column in STORED)} FROM stored"
    )
    .bindparams(bindparam("rows", type_=JSONB))
    .columns(*STORED)
)


def insert_images(connection: Connection, rows: Sequence[NewImage]) -> dict[UUID, AnyRow]:
    """Insert rows in their order in one statement; return the inserted ones (columns STORED) by image id.

    A row whose claim has the same bytes already is left out of the result: see `live_by_bytes`.
    """
    given = [
        {"place": place, "segments": _segments_json(row.segments)}
        | dict(
            zip(_PARTS, map(_hexadecimal, (*row.pattern.to_bytes(), *row.keypoints.to_bytes())), strict=True)
        )
        | {column.name: _json(column, _value(row, column.name)) for column in _INSERTED}
        for place, row in enumerate(rows)
    ]
    return {row.image_id: row for row in connection.execute(_INSERT, {"rows": given})}


def _value(row: NewImage, name: str) -> Any:
    if name == "pattern":
        return row.pattern.hash
    return row.keypoints.stored_count if name == "keypoint_count" else getattr(row, name)


def _json(column: Column[Any], value: Any) -> Any:
    """A value as `jsonb_to_recordset` reads one of that column."""
    if value is None or isinstance(column.type, JSONB):
        return value
    if isinstance(column.type, Hash64):
        return signed(value)
    if isinstance(value, bytes):
        return _hexadecimal(value)
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _segments_json(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    values = [column_values(segment) | {"place": place} for place, segment in enumerate(segments)]
    return [row | {"turned": _hexadecimal(row["turned"])} for row in values]


def _hexadecimal(value: bytes) -> str:
    return f"\\x{value.hex()}"
