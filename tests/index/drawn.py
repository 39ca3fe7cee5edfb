"""Collections that are hard on an index: near, equal and edge hashes in any mixture, and how to draw others."""

import numpy as np
from hypothesis import strategies as st

EDGES = [0, 1, 2**63, 2**63 - 1, 2**64 - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA]


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def noise(count, bits, seed=1):
    """Masks of at most `bits` set bits, uint64[count]."""
    places = np.random.default_rng(seed).integers(0, 64, (count, bits), dtype=np.uint64)
    return np.bitwise_or.reduce(np.uint64(1) << places, axis=1)


def shuffled_ids(count):
    return np.random.default_rng(2).permutation(count).astype(np.int64) * 7 - 50


@st.composite
def collections(draw):
    """Few centres, hashes a few bits from them, copies, the edges of the range: (hashes, ids, queries)."""
    a_hash = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1))
    centres = draw(st.lists(a_hash, min_size=1, max_size=4))
    near = st.builds(
        lambda centre, bits: centre ^ sum(1 << bit for bit in bits),
        st.sampled_from(centres),
        st.sets(st.integers(0, 63), max_size=6),
    )
    hashes = draw(st.lists(st.one_of(near, a_hash), max_size=60))
    ids = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(hashes), max_size=len(hashes), unique=True)
    )
    queries = draw(st.lists(st.one_of(near, a_hash), min_size=1, max_size=4))
    return np.array(hashes, np.uint64), np.array(ids, np.int64), queries
