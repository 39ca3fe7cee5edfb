"""Reading the segment table by its images' change stamps: what the index of segments loads and catches up with."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.copying import Fields, copy_columns
from app.matching.regions import LEAST_PIXELS

_FIELDS: Fields = {
    "created_seq": ("created_seq", ">i8"),
    "ordinal": ("ordinal", ">i2"),
    "hash": ("hash", ">u8"),
}
# Smallint times smallint would overflow.
_LARGE = f"width::integer * height >= {LEAST_PIXELS}"

_TO_FILL = text(
    "SELECT created_seq FROM image"
    " WHERE deleted_at IS NULL AND status = 'fingerprinted' AND whash_db4 IS NULL"
)
_CHANGES = text(
    "SELECT m.generation, (SELECT max(change_seq) FROM image) AS newest, c.*, s.ordinals, s.hashes"  # noqa: S608
    " FROM index_meta m LEFT JOIN LATERAL ("
    "  SELECT change_seq, created_seq,"
    "   deleted_at IS NULL AND status = 'fingerprinted' AND whash_db4 IS NULL AS to_fill"
    "  FROM image WHERE change_seq > :last AND change_seq <= :up_to ORDER BY change_seq LIMIT :limit"
    " ) c ON true LEFT JOIN LATERAL ("
    "  SELECT array_agg(ordinal) AS ordinals, array_agg(hash) AS hashes FROM segment"
    f"  WHERE segment.created_seq = c.created_seq AND {_LARGE}"
    " ) s ON true ORDER BY c.change_seq"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The segments of one snapshot that are large enough to be searched.

    `seqs` int64[n] (`created_seq` of the image), `ordinals` int16[n] and `hashes` uint64[n] belong together;
    `to_fill` int64[k] are the `created_seq` of images whose segments were not computed yet. `last` is the newest
    change stamp that the snapshot saw.
    """

    generation: int
    last: int
    seqs: np.ndarray
    ordinals: np.ndarray
    hashes: np.ndarray
    to_fill: np.ndarray


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a stamp, as `stamps.Changes`; `changed` int64[m] are all images that changed.

    The other arrays are as in `Loaded`, of these images; `ordinals` int64[n].
    """

    generation: int
    newest: int
    last: int
    complete: bool
    changed: np.ndarray
    seqs: np.ndarray
    ordinals: np.ndarray
    hashes: np.ndarray
    to_fill: np.ndarray


def load(connection: Connection) -> Loaded:
    """Read all segments by binary COPY, in one snapshot. The connection must be in no transaction."""
    with stamps.snapshot(connection):
        generation, last = stamps.newest(connection)
        # An image that is deleted or has low information has no segments.
        columns = copy_columns(connection, _FIELDS, "segment", _LARGE)
        to_fill = connection.execute(_TO_FILL).scalars().all()
    return Loaded(
        generation=generation,
        last=last,
        seqs=columns["created_seq"],
        ordinals=columns["ordinal"],
        hashes=columns["hash"],
        to_fill=np.array(to_fill, np.int64),
    )


def changes_after(connection: Connection, last: int, *, up_to: int, limit: int) -> Changes:
    """Read at most `limit` changed images after the stamp `last` and not after `up_to`, oldest first."""
    rows = connection.execute(_CHANGES, {"last": last, "up_to": up_to, "limit": limit}).all()
    changed = [row for row in rows if row.change_seq is not None]
    found = [
        (row.created_seq, ordinal, hash_)
        for row in changed
        for ordinal, hash_ in zip(row.ordinals or (), row.hashes or (), strict=True)
    ]
    columns = np.array(found, np.int64).reshape(-1, 3)
    return Changes(
        generation=rows[0].generation,
        newest=rows[0].newest or 0,
        last=changed[-1].change_seq if changed else last,
        complete=len(changed) < limit,
        changed=np.array([row.created_seq for row in changed], np.int64),
        seqs=columns[:, 0],
        ordinals=columns[:, 1],
        hashes=columns[:, 2].copy().view(np.uint64),
        to_fill=np.array([row.created_seq for row in changed if row.to_fill], np.int64),
    )
