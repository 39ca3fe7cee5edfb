"""The image table: one row per stored picture, a tombstone for a deleted one."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Text,
    bindparam,
    cast,
    func,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from app.catalog.filters import Filter
from app.catalog.keypoints import forget_keypoints, replace_keypoints
from app.catalog.models import image
from app.catalog.pattern_tiles import forget_patterns, replace_pattern
from app.catalog.rows import AnyRow
from app.catalog.segments import forget_segments, replace_segments
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.fingerprints.value import Pattern, Segment


def _list(name: str, kind: type[TypeEngine[Any]]) -> ColumnElement[Any]:
    """Return a parameter that takes a list: the statement's text stays the same however many there are."""
    return cast(bindparam(name), ARRAY(kind))


def _bigints(name: str) -> ColumnElement[Any]:
    return _list(name, BigInteger)


# Columns an answer shows; the pixel-derived blobs stay out.
SHOWN = (
    image.c.id,
    image.c.image_id,
    image.c.created_seq,
    image.c.change_seq,
    image.c.uploaded_at,
    image.c.screened_at,
    image.c.claim_id,
    image.c.uploaded_by,
    image.c.file_name,
    image.c.sha256,
    image.c.format,
    image.c.width,
    image.c.height,
    image.c.status,
    image.c.ahash,
    image.c.phash,
    image.c.dhash,
    image.c.whash,
    image.c.whash_db4,
    image.c.colorhash,
    image.c.page,
    image.c.pattern,
    image.c.keypoint_count,
    image.c.labels,
    image.c.source,
    image.c.taken_at,
)
# What is read of a row that is about to be screened and answered.
STORED = (*SHOWN, image.c.pixel_sha256, image.c.colour_code, image.c.turned)
COMPARED = (
    image.c.id,
    image.c.image_id,
    image.c.created_seq,
    image.c.change_seq,
    image.c.sha256,
    image.c.pixel_sha256,
    image.c.status,
    image.c.page,
    image.c.keypoint_count,
    image.c.colour_code,
    image.c.turned,
)
# The first row of `fingerprints.value.Fingerprint.turned`, the picture as it stands: all that is compared with.
OWN_ROW = func.substring(image.c.turned, 1, 64).concat(func.substring(image.c.turned, 513, 8))
LIVE = image.c.deleted_at.is_(None)
# What a tombstone keeps (data-model.md); every other column is emptied with the deletion.
KEPT_BY_TOMBSTONE = {"id", "image_id", "created_seq", "change_seq", "deleted_at"}


# The statements of an upload and of a search, built once: building them costs as much as running them.
_BY_ID = select(*STORED).where(LIVE, image.c.image_id == bindparam("image_id"))
_BY_BYTES = select(*STORED).where(
    LIVE,
    tuple_(image.c.claim_id, image.c.sha256).in_(
        select(func.unnest(_list("claim_ids", Text)), func.unnest(_list("sha256s", LargeBinary)))
    ),
)
_BY_SEQ = select(image.c.created_seq, image.c.image_id, image.c.claim_id, image.c.uploaded_at).where(
    LIVE, image.c.created_seq == func.any(_bigints("seqs"))
)
_CANDIDATES = (
    select(*COMPARED[:-1], OWN_ROW.label("turned"))
    .where(
        image.c.created_seq < bindparam("before"),
        image.c.id.in_(
            union_all(
                select(image.c.id).where(LIVE, image.c.sha256 == func.any(_list("sha256s", LargeBinary))),
                select(image.c.id).where(
                    LIVE,
                    image.c.status == "fingerprinted",
                    image.c.pixel_sha256 == func.any(_list("pixel_sha256s", LargeBinary)),
                ),
                select(image.c.id).where(LIVE, image.c.created_seq == func.any(_bigints("seqs"))),
            )
        ),
    )
    .order_by(image.c.created_seq)
)


@dataclass(frozen=True, slots=True)
class Rehashed:
    """Recomputed fingerprint of a row: its stamp, the pixel-derived columns, segments, pattern and keypoints.

    Columns that are left out of `values` stay as they are, and so do segments and a pattern that are None.
    """

    created_seq: int
    values: dict[str, Any]
    segments: Sequence[Segment] | None
    pattern: Pattern | None
    keypoints: Keypoints


def live_by_bytes(
    connection: Connection, keys: Collection[tuple[str, bytes]]
) -> dict[tuple[str, bytes], AnyRow]:
    """Live images by claim and SHA-256 of their bytes (columns STORED)."""
    values = {"claim_ids": [claim_id for claim_id, _ in keys], "sha256s": [sha256 for _, sha256 in keys]}
    return {(row.claim_id, row.sha256): row for row in connection.execute(_BY_BYTES, values)}


def live_by_id(connection: Connection, image_id: UUID) -> AnyRow | None:
    """The live image of that public id (columns STORED)."""
    return connection.execute(_BY_ID, {"image_id": image_id}).one_or_none()


def newest_seq(connection: Connection) -> int:
    """Upload stamp of the newest image, 0 for an empty table."""
    newest: int = connection.execute(select(func.coalesce(func.max(image.c.created_seq), 0))).scalar_one()
    return newest


def newest_day(connection: Connection, wanted: Filter) -> dt.date:
    """The day (see `Filter`) of the newest live image that the filter means; today where there is none.

    Not after today, and not before 1970: one mistyped label is not to move the weeks that are looked at.
    """
    condition, values = wanted.condition("image")
    day: dt.date = connection.execute(
        text(
            "SELECT greatest(least(newest, today), '1970-01-01')"  # noqa: S608
            f" FROM (SELECT (SELECT max(day) FROM image WHERE deleted_at IS NULL AND {condition}) AS newest,"
            "  (now() AT TIME ZONE 'UTC')::date AS today) t"
        ),
        values,
    ).scalar_one()
    return day


def meant(connection: Connection, seqs: Sequence[int], wanted: Filter) -> Sequence[int]:
    """Those of the `created_seq` whose live images the filter means."""
    condition, values = wanted.condition("image")
    statement = text(
        "SELECT created_seq FROM image WHERE deleted_at IS NULL"  # noqa: S608
        f" AND created_seq = ANY(CAST(:seqs AS bigint[])) AND {condition}"
    )
    return connection.execute(statement, values | {"seqs": list(seqs)}).scalars().all()


def live_of_claim(
    connection: Connection, claim_id: str, *, client_id: int | None, after_seq: int, limit: int
) -> Sequence[AnyRow]:
    """Live images of a claim in upload order after a stamp; of one client only when given (columns SHOWN)."""
    statement = (
        select(*SHOWN)
        .where(LIVE, image.c.claim_id == claim_id, image.c.created_seq > after_seq, *_of_client(client_id))
        .order_by(image.c.created_seq)
        .limit(limit)
    )
    return connection.execute(statement).all()


def count_of_claim(connection: Connection, claim_id: str, *, client_id: int | None) -> int:
    """Number of live images of a claim; of one client only when given."""
    statement = (
        select(func.count())
        .select_from(image)
        .where(LIVE, image.c.claim_id == claim_id, *_of_client(client_id))
    )
    return connection.execute(statement).scalar_one()


def live_by_seq(connection: Connection, seqs: Sequence[int]) -> dict[int, AnyRow]:
    """Live, searchable images by their `created_seq`: what an answer shows of them."""
    return {row.created_seq: row for row in connection.execute(_BY_SEQ, {"seqs": list(seqs)})}


def sizes_of(connection: Connection, seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Live images by `created_seq`: their row ids, and width and height in pixels."""
    statement = select(image.c.id, image.c.created_seq, image.c.width, image.c.height).where(
        LIVE, image.c.created_seq == func.any(_bigints("seqs"))
    )
    return connection.execute(statement, {"seqs": list(seqs)}).all()


def to_compare(connection: Connection, seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Live images by `created_seq`, in upload order, with what screening compares (columns COMPARED)."""
    statement = (
        select(*COMPARED)
        .where(LIVE, image.c.created_seq == func.any(_bigints("seqs")))
        .order_by(image.c.created_seq)
    )
    return connection.execute(statement, {"seqs": list(seqs)}).all()


def earlier_candidates(
    connection: Connection, rows: Sequence[AnyRow], proposed: Sequence[Collection[int]]
) -> list[list[AnyRow]]:
    """For each of `rows` the live images before it with its bytes, its pixels, or one of the stamps proposed for it
    (columns COMPARED), in upload order."""
    if not rows:
        return []
    # Pictures of low information are the same by their bytes only.
    pixels = [row.pixel_sha256 if row.status == "fingerprinted" else None for row in rows]
    values = {
        "before": max(row.created_seq for row in rows),
        "sha256s": [row.sha256 for row in rows],
        "pixel_sha256s": [each for each in pixels if each is not None],
        "seqs": sorted({seq for seqs in proposed for seq in seqs}),
    }
    of_key: dict[Hashable, list[AnyRow]] = defaultdict(list)
    for other in connection.execute(_CANDIDATES, values):
        of_key[other.created_seq].append(other)
        of_key["bytes", other.sha256].append(other)
        if other.status == "fingerprinted":
            of_key["pixels", other.pixel_sha256].append(other)
    found = []
    for row, row_pixels, seqs in zip(rows, pixels, proposed, strict=True):
        keys = [("bytes", row.sha256), ("pixels", row_pixels), *seqs]
        others = {other.created_seq: other for key in keys for other in of_key.get(key, ())}
        found.append([others[seq] for seq in sorted(others) if seq < row.created_seq])
    return found


def unscreened(connection: Connection, *, older_than_seconds: float, after: int, limit: int) -> Sequence[int]:
    """Stamps of live images that were committed but never answered, oldest first, after one."""
    statement = (
        select(image.c.created_seq)
        .where(
            LIVE,
            image.c.screened_at.is_(None),
            image.c.created_seq > after,
            image.c.uploaded_at < func.clock_timestamp() - dt.timedelta(seconds=older_than_seconds),
        )
        .order_by(image.c.created_seq)
        .limit(limit)
    )
    return connection.execute(statement).scalars().all()


def clear_screened(connection: Connection, after: int, limit: int) -> int | None:
    """Have so many images after a row id screened anew; return the last one's id, None after the end. Draws no
    stamp."""
    some = select(image.c.id).where(image.c.id > after).order_by(image.c.id).limit(limit).subquery()
    last: int | None = connection.execute(select(func.max(some.c.id))).scalar_one()
    if last is not None:
        connection.execute(
            update(image)
            .where(LIVE, image.c.screened_at.is_not(None), image.c.id > after, image.c.id <= last)
            .values(screened_at=None)
        )
    return last


def set_labels(connection: Connection, image_id: UUID, labels: dict[str, Any]) -> None:
    """Replace an image's labels. Draws no stamp."""
    connection.execute(update(image).where(LIVE, image.c.image_id == image_id).values(labels=labels))


def lock_live(
    connection: Connection, *, image_id: UUID | None = None, claim_id: str | None = None
) -> Sequence[AnyRow]:
    """Lock one live image, or all of a claim, against deletion and new matches (columns SHOWN)."""
    which = image.c.image_id == image_id if claim_id is None else image.c.claim_id == claim_id
    statement = select(*SHOWN).where(LIVE, which).order_by(image.c.id).with_for_update()
    return connection.execute(statement).all()


def bury(connection: Connection, ids: Sequence[int]) -> None:
    """Turn live images into tombstones: ids, stamps and `deleted_at` stay, all else is emptied."""
    emptied = {
        column.name: null()
        for column in image.columns
        if column.name not in KEPT_BY_TOMBSTONE and column.computed is None
    }
    connection.execute(
        update(image)
        .where(image.c.id == func.any(_bigints("ids")), LIVE)
        .values(deleted_at=func.clock_timestamp(), **emptied),
        {"ids": list(ids)},
    )
    forget_segments(connection, ids)
    forget_patterns(connection, ids)
    forget_keypoints(connection, ids)


def live_ids(connection: Connection, image_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the public ids that are live images."""
    return set(
        connection.execute(select(image.c.image_id).where(LIVE, image.c.image_id.in_(image_ids))).scalars()
    )


def after(connection: Connection, seq: int, limit: int) -> Sequence[AnyRow]:
    """Live images in upload order after a stamp, with their pixel-derived columns: what a rehash walks."""
    statement = (
        select(image).where(LIVE, image.c.created_seq > seq).order_by(image.c.created_seq).limit(limit)
    )
    return connection.execute(statement).all()


def to_fill(connection: Connection, seq: int, limit: int) -> Sequence[AnyRow]:
    """Those of `after` that lack the fingerprints which were defined later."""
    statement = (
        select(image)
        .where(LIVE, image.c.keypoint_count.is_(None), image.c.created_seq > seq)
        .order_by(image.c.created_seq)
        .limit(limit)
    )
    return connection.execute(statement).all()


def count_to_fill(connection: Connection) -> int:
    """Number of live images whose keypoints are yet to be found."""
    statement = select(func.count()).select_from(image).where(LIVE, image.c.keypoint_count.is_(None))
    return connection.execute(statement).scalar_one()


def count_not_compared(connection: Connection, fingerprint: str) -> int:
    """Number of live images that templates by one fingerprint were not compared with yet."""
    lacking = image.c.keypoint_count if fingerprint == KEYPOINTS else image.c.pattern
    waits = or_(lacking.is_(None), image.c.screened_at.is_(None))
    statement = select(func.count()).select_from(image).where(LIVE, waits)
    return connection.execute(statement).scalar_one()


def store_rehash(connection: Connection, rehashed: Rehashed) -> None:
    """Write recomputed fingerprints, to be screened anew; the trigger stamps the change, so every index sees it."""
    stamped = connection.execute(
        update(image)
        .where(LIVE, image.c.created_seq == rehashed.created_seq)
        .values(
            rehashed.values
            | ({} if rehashed.pattern is None else {"pattern": rehashed.pattern.hash})
            | {"keypoint_count": rehashed.keypoints.stored_count, "screened_at": None}
        )
        .returning(image.c.created_seq)
    ).all()
    if stamped:  # else deleted meanwhile
        if rehashed.segments is not None:
            replace_segments(connection, rehashed.created_seq, rehashed.segments)
        if rehashed.pattern is not None:
            replace_pattern(connection, rehashed.created_seq, rehashed.pattern)
        replace_keypoints(connection, rehashed.created_seq, rehashed.keypoints.to_bytes())


def newest_deletion(connection: Connection) -> dt.datetime | None:
    """When an image was last deleted."""
    newest: dt.datetime | None = connection.execute(
        select(func.max(image.c.deleted_at)).where(image.c.deleted_at.is_not(None))
    ).scalar_one()
    return newest


def count_live(connection: Connection) -> int:
    """Number of live images."""
    return connection.execute(select(func.count()).select_from(image).where(LIVE)).scalar_one()


def _of_client(client_id: int | None) -> list[ColumnElement[bool]]:
    return [] if client_id is None else [image.c.uploaded_by == client_id]
