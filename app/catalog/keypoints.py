"""The table of keypoints. An image's are written when it is stamped."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.catalog.copying import Fields, copy_columns
from app.catalog.rows import AnyRow
from app.catalog.stamps import SEARCHABLE
from app.fingerprints.keypoint_value import PLACE_BYTES, STORED, Keypoints

PARTS = ("codes", "places")
"""Columns, in the order of `Keypoints.to_bytes`."""

_REPLACE = text(
    "INSERT INTO image_keypoints (created_seq, codes, places) VALUES (:created_seq, :codes, :places)"
    " ON CONFLICT (created_seq) DO UPDATE SET codes = excluded.codes, places = excluded.places"
)
_OF_IMAGES = text(
    "SELECT i.id, i.created_seq, i.image_id, i.width, i.height, i.page, k.codes, k.places"
    " FROM image i JOIN image_keypoints k USING (created_seq)"
    " WHERE i.deleted_at IS NULL AND i.status = 'fingerprinted' AND i.created_seq = ANY(:seqs)"
    " ORDER BY i.created_seq"
)

_PADDING = f"decode(repeat('00', {PLACE_BYTES * STORED} - octet_length(places)), 'hex')"
# In a form that has one size, by COPY: as text, and a row at a time, the same takes twice as long.
_PLACES: Fields = {
    "created_seq": ("created_seq", ">i8"),
    "places": (
        f"CASE WHEN octet_length(places) = {PLACE_BYTES * STORED} THEN places ELSE places || {_PADDING} END",
        np.dtype((">u4", (STORED,))),
    ),
}


def replace_keypoints(connection: Connection, created_seq: int, stored: tuple[bytes, bytes]) -> None:
    """Make this, of `Keypoints.to_bytes`, what is stored of an image, whose row the same transaction has
    stamped."""
    connection.execute(_REPLACE, {"created_seq": created_seq} | dict(zip(PARTS, stored, strict=True)))


def forget_keypoints(connection: Connection, image_row_ids: Sequence[int]) -> None:
    """Remove the keypoints of images that the same transaction deletes."""
    connection.execute(
        text(
            "DELETE FROM image_keypoints"
            " WHERE created_seq IN (SELECT created_seq FROM image WHERE id = ANY(:ids))"
        ),
        {"ids": list(image_row_ids)},
    )


def keypoint_rows(connection: Connection, created_seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Searchable images by `created_seq`, in upload order: ids, size, page or not, both columns of keypoints."""
    return connection.execute(_OF_IMAGES, {"seqs": list(created_seqs)}).all()


def keypoint_places(
    connection: Connection, created_seqs: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Stored places of the keypoints of n images: their `created_seq` int64[n] ascending, and uint32[n, STORED], 0
    where an image has fewer; see `keypoint_value.unpacked`.

    Those of deleted images are gone.
    """
    numbers = ",".join(str(int(seq)) for seq in created_seqs)
    condition = f"created_seq = ANY('{{{numbers}}}') ORDER BY created_seq"
    columns = copy_columns(connection, _PLACES, "image_keypoints", condition, room=len(created_seqs))
    return columns["created_seq"], columns["places"]


def keypoints_of(row: AnyRow) -> Keypoints:
    """The keypoints in a row of `keypoint_rows`."""
    return Keypoints.from_bytes(row.codes, row.places)


def count_with_keypoints(connection: Connection) -> int:
    """Number of searchable images whose keypoints were looked for."""
    statement = text(f"SELECT count(*) FROM image WHERE {SEARCHABLE} AND keypoint_count IS NOT NULL")  # noqa: S608
    number: int = connection.execute(statement).scalar_one()
    return number


def stored_keypoints(connection: Connection, created_seq: int) -> tuple[bytes, bytes] | None:
    """What is stored of an image, as `Keypoints.to_bytes` gives it; None where nothing is yet."""
    row = connection.execute(
        text("SELECT codes, places FROM image_keypoints WHERE created_seq = :seq"), {"seq": created_seq}
    ).one_or_none()
    return None if row is None else (bytes(row.codes), bytes(row.places))
