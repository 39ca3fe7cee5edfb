"""The table of pattern fingerprints: of whole images and of tiles. An image's are written when it is stamped."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from app.fingerprints.value import Pattern

PARTS = ("words", "tiles", "flat", "blocks")
"""Columns, in the order of `Pattern.to_bytes`."""

_REPLACE = text(
    "INSERT INTO pattern_tiles (created_seq, words, tiles, flat, blocks)"
    " VALUES (:created_seq, :words, :tiles, :flat, :blocks)"
    " ON CONFLICT (created_seq) DO UPDATE SET words = excluded.words, tiles = excluded.tiles,"
    " flat = excluded.flat, blocks = excluded.blocks"
)


def replace_pattern(connection: Connection, created_seq: int, pattern: Pattern) -> None:
    """Make this the pattern fingerprint of an image, whose row the same transaction has stamped."""
    connection.execute(
        _REPLACE, {"created_seq": created_seq} | dict(zip(PARTS, pattern.to_bytes(), strict=True))
    )


def forget_patterns(connection: Connection, image_row_ids: Sequence[int]) -> None:
    """Remove the pattern fingerprints of images that the same transaction deletes."""
    connection.execute(
        text(
            "DELETE FROM pattern_tiles WHERE created_seq IN (SELECT created_seq FROM image WHERE id = ANY(:ids))"
        ),
        {"ids": list(image_row_ids)},
    )


def pattern_of(connection: Connection, created_seq: int) -> Pattern | None:
    """The pattern fingerprint of an image; None where it is not computed yet, or the image deleted."""
    row = connection.execute(
        text("SELECT words, tiles, flat, blocks FROM pattern_tiles WHERE created_seq = :seq"),
        {"seq": created_seq},
    ).one_or_none()
    return None if row is None else Pattern.from_bytes(row.words, row.tiles, row.flat, row.blocks)
