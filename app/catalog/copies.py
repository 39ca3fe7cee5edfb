"""Which images are copies of which, as matches tell: what families of copies are made of."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.catalog import stamps
from app.catalog.filters import Filter

_PAIRS = text(
    "SELECT earlier_id, later_id FROM match JOIN unnest(CAST(:ids AS bigint[])) later (id) ON later_id = later.id"
    " WHERE kind = ANY(:kinds)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Images in upload order, `seqs` and `ids` int64[n], and the pairs of them that match: int64[m, 2], of their
    places. `left_out` tells how many live images were not compared with the others yet."""

    seqs: NDArray[np.int64]
    ids: NDArray[np.int64]
    pairs: NDArray[np.int64]
    left_out: dict[str, int]


def read_copies(connection: Connection, wanted: Filter, kinds: Collection[str]) -> Copies:
    """All images that the filter means, and their matches of some kinds, in one transaction."""
    condition, values = wanted.condition("image")
    meant = text(
        f"SELECT id, created_seq, screened_at IS NOT NULL AS screened FROM image"  # noqa: S608
        f" WHERE deleted_at IS NULL AND {condition} ORDER BY created_seq"
    )
    with stamps.snapshot(connection):
        rows = connection.execute(meant, values).all()
        ids = np.array([row.id for row in rows if row.screened], np.int64)
        found = connection.execute(_PAIRS, {"ids": ids.tolist(), "kinds": list(kinds)}).all()
    seqs = np.array([row.created_seq for row in rows if row.screened], np.int64)
    both = np.array([tuple(row) for row in found], np.int64).reshape(-1, 2)
    order = np.argsort(ids)
    places = np.searchsorted(ids[order], both).clip(max=max(len(ids) - 1, 0))
    among = np.isin(both, ids).all(axis=1)
    return Copies(seqs, ids, order[places[among]].reshape(-1, 2), {"not_compared_yet": len(rows) - len(ids)})
