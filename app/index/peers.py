"""Other people's exact range searches over 64-bit hashes, where they are installed: what ours is measured by."""

from collections.abc import Callable, Iterator, Sequence, Sized

import numpy as np
from numpy.typing import NDArray

Search = Callable[[int, int], Sized]
"""(query, radius) -> what is within it."""

_BANDS = 4  # of faiss' multi-hash, 16 bits each
_MOST_FLIPS = 3  # bits turned in a band: beyond, its flat index is faster by far
# pybktree and imagededup build for minutes beyond that.
_MOST_IN_PYTHON = 150_000


def peers(hashes: NDArray[np.uint64], absent: list[str]) -> Iterator[tuple[str, int, Search]]:
    """Name, largest sensible radius and search of every peer that can be imported, on one thread.

    The names of the others are appended to `absent`.
    """
    in_python = len(hashes) <= _MOST_IN_PYTHON
    for name, most, make in (
        ("numpy", 64, _numpy),
        ("faiss_flat", 64, _faiss_flat),
        ("faiss_multi_hash", _BANDS * (_MOST_FLIPS + 1) - 1, _faiss_multi_hash),
        ("usearch", 64, _usearch),
        *((("pybktree", 64, _pybktree), ("imagededup", 64, _imagededup)) if in_python else ()),
    ):
        try:
            search = make(hashes)
        except ImportError:
            absent.append(name)
        else:
            yield name, most, search


def _numpy(hashes: NDArray[np.uint64]) -> Search:
    ids = np.arange(len(hashes))
    return lambda query, radius: ids[np.bitwise_count(hashes ^ np.uint64(query)) <= radius]


def _faiss_flat(hashes: NDArray[np.uint64]) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(64)
    index.add(_rows(hashes))
    # faiss' radius is exclusive.
    return lambda query, radius: _third(index.range_search(_row(query), radius + 1))


def _faiss_multi_hash(hashes: NDArray[np.uint64]) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryMultiHash(64, _BANDS, 64 // _BANDS)
    index.add(_rows(hashes))

    def search(query: int, radius: int) -> Sized:
        index.nflip = radius // _BANDS
        return _third(index.range_search(_row(query), radius + 1))

    return search


def _usearch(hashes: NDArray[np.uint64]) -> Search:
    """The nearest hundred only: it has no search by radius, so this is less than is asked of the others."""
    from usearch.index import MetricKind
    from usearch.index import search as nearest

    rows = _rows(hashes)

    def search(query: int, radius: int) -> Sized:
        found = nearest(rows, _row(query)[0], min(100, len(rows)), MetricKind.Hamming, exact=True, threads=1)
        keys: Sized = found.keys[found.distances <= radius]
        return keys

    return search


def _pybktree(hashes: NDArray[np.uint64]) -> Search:
    import pybktree

    tree = pybktree.BKTree(lambda one, other: (one ^ other).bit_count(), hashes.tolist())
    search: Search = tree.find
    return search


def _imagededup(hashes: NDArray[np.uint64]) -> Search:
    from imagededup.handlers.search.bktree import BKTree

    # As it stores hashes: by name, in hexadecimal digits.
    tree = BKTree(
        {str(number): f"{value:016x}" for number, value in enumerate(hashes.tolist())},
        lambda one, other: (int(one, 16) ^ int(other, 16)).bit_count(),
    )
    return lambda query, radius: tree.search(query=f"{query:016x}", tol=radius)


def _third(found: Sequence[Sized]) -> Sized:
    """The ids of faiss' answer: after limits and distances."""
    return found[2]


def _rows(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return hashes.view(np.uint8).reshape(-1, 8)


def _row(query: int) -> NDArray[np.uint8]:
    return np.array([query], np.uint64).view(np.uint8)[None]
