"""The tables of multi-index hashing are counting sorts: they hold what sorting holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.index.multi_index import tables_of
from tests.index import drawn


def expected(hashes, bands):
    """For each band: the stable order by its key, and where each key starts."""
    shift = 0
    for band in range(bands):
        width = 64 // bands + (band < 64 % bands)
        keys = hashes >> np.uint64(shift) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        yield order, np.searchsorted(keys[order], np.arange((1 << width) + 1, dtype=np.uint64))
        shift += width


def check(hashes, bands):
    tables = tables_of(hashes, bands)
    starts = []
    for band, (order, own_starts) in enumerate(expected(hashes, bands)):
        assert np.array_equal(tables.places[band], order)
        assert np.array_equal(tables.in_order[band], hashes[order])
        starts.append(own_starts)
    assert np.array_equal(tables.starts, np.concatenate(starts))
    assert tables.bands == bands


@given(drawn.collections(), st.sampled_from([4, 5]))
def test_few_hashes_near_each_other(collection, bands):
    hashes, _, _ = collection
    check(hashes, bands)


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("name", ["random", "equal", "low", "high", "of one part"])
def test_many_hashes(bands, name):
    hashes = drawn.random_hashes(50_000)
    check(
        {
            "random": hashes,
            "equal": np.full_like(hashes, 2**64 - 1),
            "low": hashes >> np.uint64(50),
            "high": hashes << np.uint64(50),
            "of one part": hashes & np.uint64(0x1FFF00001FFF1FFF),
        }[name],
        bands,
    )
