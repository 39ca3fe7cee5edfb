"""Reading keypoints by their images' change stamps: what the index of keypoints loads and catches up with."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.copying import Fields, copy_columns
from app.fingerprints.keypoint_value import STORED

# Rows are read in a form that has one size.
_PADDING = f"decode(repeat('00', {8 * STORED} - octet_length(codes)), 'hex')"
_FIELDS: Fields = {
    "created_seq": ("created_seq", ">i8"),
    "count": ("keypoint_count", ">i2"),
    "codes": (
        f"CASE WHEN octet_length(codes) = {8 * STORED} THEN codes ELSE codes || {_PADDING} END",
        np.dtype((">u8", (STORED,))),
    ),
}
_WITH_KEYPOINTS = "image JOIN image_keypoints USING (created_seq)"
_TO_FILL = text(
    f"SELECT created_seq FROM image WHERE {stamps.SEARCHABLE} AND keypoint_count IS NULL"  # noqa: S608
)
_CHANGES = text(
    "SELECT m.generation, (SELECT max(change_seq) FROM image) AS newest, c.*"  # noqa: S608 - constants
    " FROM index_meta m LEFT JOIN LATERAL ("
    "  SELECT change_seq, i.created_seq,"
    f"   {stamps.SEARCHABLE} AND keypoint_count IS NULL AS to_fill,"
    f"   CASE WHEN {stamps.SEARCHABLE} AND keypoint_count > 0 THEN codes END AS codes"
    "  FROM image i LEFT JOIN image_keypoints k ON k.created_seq = i.created_seq"
    "  WHERE change_seq > :last AND change_seq <= :up_to ORDER BY change_seq LIMIT :limit"
    " ) c ON true ORDER BY c.change_seq"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The keypoints of one snapshot: `seqs` int64[m] (`created_seq`, ascending) of searchable images that have any.

    The first counts[0] of `hashes` uint64[n] belong to the first image, the next counts[1] to the second; `counts`
    int64[m]. `to_fill` int64[k] are the images whose keypoints were not found yet. `last` is the newest change
    stamp that the snapshot saw.
    """

    generation: int
    last: int
    seqs: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray
    to_fill: np.ndarray


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a stamp, as `stamps.Changes`; `changed` int64[m] are all images that changed.

    `counts` int64[m] are of these, 0 where nothing is to be found; `hashes` uint64[n] as in `Loaded`.
    """

    generation: int
    newest: int
    last: int
    complete: bool
    changed: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray
    to_fill: np.ndarray


def load(connection: Connection) -> Loaded:
    """Read all of them by binary COPY, in one snapshot. The connection must be in no transaction."""
    with stamps.snapshot(connection):
        generation, last = stamps.newest(connection)
        columns = copy_columns(
            connection, _FIELDS, _WITH_KEYPOINTS, f"{stamps.SEARCHABLE} AND keypoint_count > 0"
        )
        to_fill = connection.execute(_TO_FILL).scalars().all()
    seqs, counts, codes = columns["created_seq"], columns["count"].astype(np.int64), columns["codes"]
    if (seqs[1:] < seqs[:-1]).any():
        order = np.argsort(seqs)
        seqs, counts, codes = seqs[order], counts[order], codes[order]
    full = bool((counts == STORED).all())
    hashes = codes.reshape(-1) if full else codes[np.arange(STORED) < counts[:, None]]
    return Loaded(
        generation=generation,
        last=last,
        seqs=seqs,
        hashes=hashes,
        counts=counts,
        to_fill=np.array(to_fill, np.int64),
    )


def changes_after(connection: Connection, last: int, *, up_to: int, limit: int) -> Changes:
    """Read at most `limit` changed images after the stamp `last` and not after `up_to`, oldest first."""
    rows = connection.execute(_CHANGES, {"last": last, "up_to": up_to, "limit": limit}).all()
    changed = [row for row in rows if row.change_seq is not None]
    codes = [b"" if row.codes is None else bytes(row.codes) for row in changed]
    return Changes(
        generation=rows[0].generation,
        newest=rows[0].newest or 0,
        last=changed[-1].change_seq if changed else last,
        complete=len(changed) < limit,
        changed=np.array([row.created_seq for row in changed], np.int64),
        hashes=np.frombuffer(b"".join(codes), ">u8").astype(np.uint64),
        counts=np.array([len(code) // 8 for code in codes], np.int64),
        to_fill=np.array([row.created_seq for row in changed if row.to_fill], np.int64),
    )
