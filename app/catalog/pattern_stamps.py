"""Reading patterns by their images' change stamps: what the index of patterns loads and catches up with."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.copying import Fields, copy_columns

_FIELDS: Fields = {"created_seq": ("created_seq", ">i8"), "pattern": ("pattern", ">u8")}
_TO_FILL = text(f"SELECT created_seq FROM image WHERE {stamps.SEARCHABLE} AND pattern IS NULL")  # noqa: S608
_CHANGES = text(
    "SELECT m.generation, (SELECT max(change_seq) FROM image) AS newest, c.*"  # noqa: S608 - constants
    " FROM index_meta m LEFT JOIN LATERAL ("
    f"  SELECT change_seq, created_seq, {stamps.SEARCHABLE} AS searchable, pattern FROM image"
    "  WHERE change_seq > :last AND change_seq <= :up_to ORDER BY change_seq LIMIT :limit"
    " ) c ON true ORDER BY c.change_seq"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The searchable images of one snapshot that have a pattern fingerprint.

    `seqs` int64[n] (`created_seq`) and `hashes` uint64[n] belong together; `to_fill` int64[k] are the images that
    it was not computed for yet. `last` is the newest change stamp that the snapshot saw.
    """

    generation: int
    last: int
    seqs: np.ndarray
    hashes: np.ndarray
    to_fill: np.ndarray


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a stamp, as `stamps.Changes`; `changed` int64[m] are all images that changed.

    The other arrays are as in `Loaded`, of these images.
    """

    generation: int
    newest: int
    last: int
    complete: bool
    changed: np.ndarray
    seqs: np.ndarray
    hashes: np.ndarray
    to_fill: np.ndarray


def load(connection: Connection) -> Loaded:
    """Read all of them by binary COPY, in one snapshot. The connection must be in no transaction."""
    with stamps.snapshot(connection):
        generation, last = stamps.newest(connection)
        columns = copy_columns(connection, _FIELDS, "image", f"{stamps.SEARCHABLE} AND pattern IS NOT NULL")
        to_fill = connection.execute(_TO_FILL).scalars().all()
    return Loaded(
        generation=generation,
        last=last,
        seqs=columns["created_seq"],
        hashes=columns["pattern"],
        to_fill=np.array(to_fill, np.int64),
    )


def changes_after(connection: Connection, last: int, *, up_to: int, limit: int) -> Changes:
    """Read at most `limit` changed images after the stamp `last` and not after `up_to`, oldest first."""
    rows = connection.execute(_CHANGES, {"last": last, "up_to": up_to, "limit": limit}).all()
    changed = [row for row in rows if row.change_seq is not None]
    found = [row for row in changed if row.searchable and row.pattern is not None]
    return Changes(
        generation=rows[0].generation,
        newest=rows[0].newest or 0,
        last=changed[-1].change_seq if changed else last,
        complete=len(changed) < limit,
        changed=np.array([row.created_seq for row in changed], np.int64),
        seqs=np.array([row.created_seq for row in found], np.int64),
        hashes=np.array([row.pattern for row in found], np.int64).view(np.uint64),
        to_fill=np.array(
            [row.created_seq for row in changed if row.searchable and row.pattern is None], np.int64
        ),
    )
