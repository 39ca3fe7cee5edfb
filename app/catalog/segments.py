"""The segment table: regions of images, each with its hash. An image's are written when it is stamped."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from app.catalog.models import signed
from app.catalog.rows import AnyRow
from app.fingerprints.value import Segment

BOX = ("x", "y", "width", "height")

_REPLACE = text(
    "DELETE FROM segment WHERE created_seq = :created_seq AND ordinal >= :count;"
    "INSERT INTO segment (created_seq, ordinal, hash, x, y, width, height)"
    " SELECT :created_seq, s.ordinal - 1, s.hash, s.x, s.y, s.width, s.height"
    " FROM unnest(CAST(:hashes AS bigint[]), CAST(:x AS smallint[]), CAST(:y AS smallint[]),"
    "  CAST(:width AS smallint[]), CAST(:height AS smallint[]))"
    "  WITH ORDINALITY AS s (hash, x, y, width, height, ordinal)"
    " ON CONFLICT (created_seq, ordinal) DO UPDATE SET hash = excluded.hash, x = excluded.x, y = excluded.y,"
    "  width = excluded.width, height = excluded.height"
)


def boxes_json(segments: Sequence[Segment]) -> list[list[int]]:
    """Segments as lists of five: hash (signed), x, y, width, height."""
    return [
        [signed(each.hash), each.left, each.top, each.right - each.left, each.bottom - each.top]
        for each in segments
    ]


def replace_segments(connection: Connection, created_seq: int, segments: Sequence[Segment]) -> None:
    """Make these all the segments of an image, whose row the same transaction has stamped."""
    columns = list(zip(*boxes_json(segments), strict=True)) or [()] * 5
    values = dict(zip(("hashes", *BOX), map(list, columns), strict=True))
    connection.execute(_REPLACE, values | {"created_seq": created_seq, "count": len(segments)})


def forget_segments(connection: Connection, image_row_ids: Sequence[int]) -> None:
    """Remove the segments of images that the same transaction deletes."""
    connection.execute(
        text("DELETE FROM segment WHERE created_seq IN (SELECT created_seq FROM image WHERE id = ANY(:ids))"),
        {"ids": list(image_row_ids)},
    )


def segments_of(connection: Connection, created_seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Segments of these images: (created_seq, ordinal, hash, x, y, width, height), in this order."""
    return connection.execute(
        text(
            "SELECT created_seq, ordinal, hash, x, y, width, height FROM segment"
            " WHERE created_seq = ANY(:seqs) ORDER BY created_seq, ordinal"
        ),
        {"seqs": list(created_seqs)},
    ).all()
