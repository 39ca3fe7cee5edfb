"""The segment table: regions of images, each with its hash. An image's are written when it is stamped."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from app.catalog.models import signed
from app.catalog.rows import AnyRow
from app.fingerprints.value import Segment

COLUMNS = ("hash", "turned", "x", "y", "width", "height")

_REPLACE = text(
    "DELETE FROM segment WHERE created_seq = :created_seq AND ordinal >= :count;"
    "INSERT INTO segment (created_seq, ordinal, hash, turned, x, y, width, height)"
    " SELECT :created_seq, s.ordinal - 1, s.hash, s.turned, s.x, s.y, s.width, s.height"
    " FROM unnest(CAST(:hash AS bigint[]), CAST(:turned AS bytea[]), CAST(:x AS smallint[]),"
    "  CAST(:y AS smallint[]), CAST(:width AS smallint[]), CAST(:height AS smallint[]))"
    "  WITH ORDINALITY AS s (hash, turned, x, y, width, height, ordinal)"
    " ON CONFLICT (created_seq, ordinal) DO UPDATE SET hash = excluded.hash, turned = excluded.turned,"
    "  x = excluded.x, y = excluded.y, width = excluded.width, height = excluded.height"
)


def column_values(segment: Segment) -> dict[str, Any]:
    """What a segment's row has beside its image and its place."""
    return {
        "hash": signed(segment.hash),
        "turned": np.array(segment.turned, ">u8").tobytes(),
        "x": segment.left,
        "y": segment.top,
        "width": segment.right - segment.left,
        "height": segment.bottom - segment.top,
    }


def replace_segments(connection: Connection, created_seq: int, segments: Sequence[Segment]) -> None:
    """Make these all the segments of an image, whose row the same transaction has stamped."""
    rows = [column_values(segment) for segment in segments]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    connection.execute(_REPLACE, columns | {"created_seq": created_seq, "count": len(segments)})


def forget_segments(connection: Connection, image_row_ids: Sequence[int]) -> None:
    """Remove the segments of images that the same transaction deletes."""
    connection.execute(
        text("DELETE FROM segment WHERE created_seq IN (SELECT created_seq FROM image WHERE id = ANY(:ids))"),
        {"ids": list(image_row_ids)},
    )


def segments_of(connection: Connection, created_seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Segments of these images: (created_seq, ordinal, hash, x, y, width, height, turned), in this order."""
    return connection.execute(
        text(
            "SELECT created_seq, ordinal, hash, x, y, width, height, turned FROM segment"
            " WHERE created_seq = ANY(:seqs) ORDER BY created_seq, ordinal"
        ),
        {"seqs": list(created_seqs)},
    ).all()
