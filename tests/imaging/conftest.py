"""A pool of decoding processes, and where the shared pictures are."""

from pathlib import Path

import pytest

from app.imaging import DecodeLimits, DecodePool

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def pool():
    pool = DecodePool(1, DecodeLimits(allow_avif=True), max_queued=8)
    assert pool.ready(60)
    yield pool
    pool.close()


@pytest.fixture
def make_pool():
    """Pools with limits of the test's own, closed after it."""
    pools = []

    def make(processes=1, max_queued=8, **limits):
        pools.append(DecodePool(processes, DecodeLimits(**limits), max_queued))
        assert pools[-1].ready(60)
        return pools[-1]

    yield make
    for each in pools:
        each.close()


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED.is_dir():
        pytest.skip("the pictures of ../shared/data are not here")
    return SHARED
