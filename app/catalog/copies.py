"""Which images are copies of which, as matches tell: what families of copies are made of."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.copying import Fields, copy_columns
from app.catalog.filters import Filter

_FIELDS: Fields = {
    "earlier_id": ("earlier_id", ">i8"),
    "later_id": ("later_id", ">i8"),
    "rank": ("rank", ">i2"),
    "nearest": ("nearest", ">i4"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Images in upload order, `seqs` and `ids` int64[n], and the pairs of them that match: int64[m, 2], of their
    places, the earlier first; how well, `ranks` int16[m] and `nearest` int32[m].

    `left_out` tells how many of them were not compared with all others yet: what is known of them counts.
    """

    seqs: NDArray[np.int64]
    ids: NDArray[np.int64]
    pairs: NDArray[np.int64]
    ranks: NDArray[np.int16]
    nearest: NDArray[np.int32]
    left_out: dict[str, int]


def read_copies(connection: Connection, wanted: Filter, kinds: Collection[str]) -> Copies:
    """All images that the filter means, and their matches of some kinds, in one transaction."""
    with stamps.snapshot(connection):
        return copies_seen(connection, wanted, kinds)


def copies_seen(connection: Connection, wanted: Filter, kinds: Collection[str]) -> Copies:
    """The same, as the transaction sees it that is under way."""
    condition, values = wanted.condition("image")
    meant = text(
        "SELECT id, created_seq, screened_at IS NULL OR keypoint_count IS NULL AS waiting FROM image"  # noqa: S608
        f" WHERE deleted_at IS NULL AND {condition} ORDER BY created_seq"
    )
    told = ", ".join(f"'{kind}'" for kind in sorted(kinds))
    rows = connection.execute(meant, values).all()
    found = copy_columns(connection, _FIELDS, "match", f"kind IN ({told})")
    ids = np.array([row.id for row in rows], np.int64)
    both = np.stack([found["earlier_id"], found["later_id"]], axis=1).astype(np.int64)
    inside = np.isin(both, ids).all(axis=1)
    order = np.argsort(ids)
    pairs = order[np.searchsorted(ids[order], both[inside])].reshape(-1, 2)
    seqs = np.array([row.created_seq for row in rows], np.int64)
    waiting = {"not_compared_yet": sum(row.waiting for row in rows)}
    return Copies(seqs, ids, pairs, found["rank"][inside], found["nearest"][inside], waiting)
