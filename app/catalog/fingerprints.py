"""Fingerprints of stored images as arrays: of some images, or of all by binary COPY. What grouping works with."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.copying import Fields, copy_columns, copy_out, copy_statement
from app.catalog.filters import Filter
from app.catalog.rows import AnyRow
from app.fingerprints.value import PATTERN_WORDS, Pattern, tiles_of_blocks
from app.matching.places import Tiles
from app.matching.templates import COLOURS, PATTERN

LIVE = "image.deleted_at IS NULL"
_WITH_PATTERN = "image JOIN pattern_tiles USING (created_seq)"
# All tiles without a pattern: what is alike about such pictures is that nothing is on them.
_FLAT = "bit_count(pattern_tiles.flat) = octet_length(pattern_tiles.tiles) / 32"
_IDS: Fields = {"created_seq": ("created_seq", ">i8"), "id": ("id", ">i8")}
_COLOUR_WORDS = 2
_ROWS_AT_ONCE = 2048  # some 6 MB of tiles: they stay in the processor's caches while they are taken apart

_OF_IMAGES = text(
    "SELECT i.id, i.created_seq, i.change_seq, i.width, i.height, i.status, i.colour_code,"
    " substring(i.turned, 1, 64) || substring(i.turned, 513, 8) AS turned, p.words, p.tiles, p.flat, p.blocks"
    " FROM image i LEFT JOIN pattern_tiles p USING (created_seq)"
    " WHERE i.deleted_at IS NULL AND i.created_seq = ANY(:seqs) ORDER BY i.created_seq"
)


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """One fingerprint of n images in upload order: `seqs` and `ids` int64[n], `codes` uint64[n, words].

    `left_out` tells how many live images have none, by why. `last` is the newest change stamp that was seen.
    """

    seqs: NDArray[np.int64]
    ids: NDArray[np.int64]
    codes: NDArray[np.uint64]
    left_out: dict[str, int]
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class SomeTiles:
    """The tiles of some images: their `created_seq` int64[n] and `Tiles`."""

    seqs: NDArray[np.int64]
    tiles: Tiles


def fingerprints_of(connection: Connection, seqs: Sequence[int]) -> Sequence[AnyRow]:
    """Live images by `created_seq` with what templates are compared with; what was not computed yet is None."""
    return connection.execute(_OF_IMAGES, {"seqs": list(seqs)}).all()


def pattern_of_row(row: AnyRow) -> Pattern | None:
    """The pattern fingerprint of a row of `fingerprints_of`."""
    return None if row.words is None else Pattern.from_bytes(row.words, row.tiles, row.flat, row.blocks)


def copy_codes(connection: Connection, name: str, wanted: Filter) -> Codes:
    """Read one fingerprint, by its name, of all images that the filter means, in one transaction.

    Pictures of low information have a pattern, if anything is on them, and nothing else to be grouped by.
    """
    table, has, needed = "image", "status = 'fingerprinted'", "TRUE"
    column, words = name, 1
    if name == PATTERN:
        table, has, needed = _WITH_PATTERN, f"NOT {_FLAT}", "image.pattern IS NOT NULL"
        column, words = "words", PATTERN_WORDS
    elif name not in stamps.FIRST_HASHES:
        needed = f"{stamps.LATER_HASH} IS NOT NULL"
        if name == COLOURS:
            column, words = "colour_code", _COLOUR_WORDS
    fields: Fields = {**_IDS, "code": (column, np.dtype((">u8", (words,))))}
    with stamps.snapshot(connection):
        _, last = stamps.newest(connection)
        columns = copy_columns(connection, fields, table, f"{LIVE} AND {has} AND {needed}")
        condition, values = wanted.condition("image")
        meant = text(f"SELECT created_seq, {needed} AS computed FROM image WHERE {LIVE} AND {condition}")  # noqa: S608
        rows = connection.execute(meant, values).all()
    computed = np.array([row.created_seq for row in rows if row.computed], np.int64)
    order = np.argsort(columns["created_seq"])
    order = order[np.isin(columns["created_seq"][order], computed)]
    codes = columns["code"][order]
    left_out = {"not_computed_yet": len(rows) - len(computed), "low_information": len(computed) - len(order)}
    return Codes(columns["created_seq"][order], columns["id"][order], codes, left_out, last)


def copy_tiles(connection: Connection, take: Callable[[SomeTiles], None]) -> None:
    """Read the tiles of all images, some at a time, in the transaction that the connection is in."""
    fields: Fields = {name: (name, None) for name in ("created_seq", "tiles", "flat", "blocks")}
    reader = _TileRows(take)
    copy_out(connection, copy_statement(fields, "pattern_tiles", "TRUE"), reader)
    reader.flush()


class _TileRows:
    """Takes the rows of a COPY, one at each write, and hands on those of a like size together."""

    _HEADER_BYTES = 19

    def __init__(self, take: Callable[[SomeTiles], None]):
        self._take = take
        self._rows: dict[int, list[bytes]] = {}
        self._count = 0
        self._begun = False

    def write(self, data: bytes) -> int:
        """Keep a row."""
        row = data
        if not self._begun:
            row, self._begun = data[self._HEADER_BYTES :], True
        if len(row) > 2:  # else what ends it
            self._rows.setdefault(len(row), []).append(row)
            self._count += 1
            if self._count == _ROWS_AT_ONCE:
                self.flush()
        return len(data)

    def flush(self) -> None:
        """Hand on what was kept."""
        for size, rows in self._rows.items():
            self._take(_taken_apart(b"".join(rows), size))
        self._rows, self._count = {}, 0


def _taken_apart(data: bytes, size: int) -> SomeTiles:
    """Rows of one size: all have as many tiles."""
    (tile_bytes,) = struct.unpack_from(">i", data, 2 + 4 + 8)
    flat_bytes = size - 2 - 4 * 4 - 8 - tile_bytes - 4
    kind: Any = [
        ("fields", ">i2"),
        ("seq_size", ">i4"),
        ("seq", ">i8"),
        ("tiles_size", ">i4"),
        ("tiles", ">u8", (tile_bytes // 8,)),
        ("flat_size", ">i4"),
        ("flat", "u1", (flat_bytes,)),
        ("blocks_size", ">i4"),
        ("blocks", "u1", (4,)),
    ]
    rows = np.frombuffer(data, np.dtype(kind))
    count = tile_bytes // 8 // PATTERN_WORDS
    words = rows["tiles"].astype(np.uint64).reshape(-1, PATTERN_WORDS)
    flat = np.unpackbits(np.ascontiguousarray(rows["flat"]), axis=1)[:, :count].astype(np.bool_).ravel()
    blocks = np.ascontiguousarray(rows["blocks"])
    if (tiles_of_blocks(blocks) != count).any():
        raise ValueError("there are not as many tiles as their blocks make")
    starts = np.arange(len(rows), dtype=np.int64) * count
    return SomeTiles(rows["seq"].astype(np.int64), Tiles(words, flat, starts, blocks))
