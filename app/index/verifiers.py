"""256-bit verifiers by id, and who is a page: the second look at what a Hamming index proposes, in memory."""

import threading

import numpy as np
from numpy.typing import NDArray

from app.index.growth import grown

VERIFIER_WORDS = 4


class Verifiers:
    """A row uint64[4] for each id, found through a column of row numbers that is addressed by the id itself.

    4 bytes for every id up to the largest, and 33 for every id there is: made for ids drawn one after the other
    from 1, of which many may have been used for something else. A search holds the lock for one gather of rows,
    so that it never sees a row half written.
    """

    def __init__(self, ids: NDArray[np.int64], words: NDArray[np.uint64], pages: NDArray[np.bool_]) -> None:
        self._lock = threading.Lock()
        self._count = 1  # row 0 stands for "none"
        self._row_of = np.zeros(1, np.uint32)
        self._words = np.zeros((1, VERIFIER_WORDS), np.uint64)
        self._pages = np.zeros(1, np.bool_)
        self.put(ids, words, pages)

    def put(self, ids: NDArray[np.int64], words: NDArray[np.uint64], pages: NDArray[np.bool_]) -> None:
        """Set the verifiers uint64[k, 4] of `ids` int64[k], new or known, and which of them are pages bool[k].

        None of the ids occurs twice.
        """
        if not len(ids):
            return
        with self._lock:
            self._row_of = grown(self._row_of, int(ids.max()) + 1)
            new = ids[self._row_of[ids] == 0]
            end = self._count + len(new)
            self._words = grown(self._words, end)
            self._pages = grown(self._pages, end)
            self._row_of[new] = np.arange(self._count, end)
            self._count = end
            rows = self._row_of[ids]
            self._words[rows] = words
            self._pages[rows] = pages

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Verifiers uint64[k, 4] of ids that were put in before; zeros, or IndexError, for others."""
        with self._lock:
            return self._words[self._row_of[ids]]

    def pages(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids are pages: bool[k]; as `of` for ids that were not put in before."""
        with self._lock:
            return self._pages[self._row_of[ids]]

    def distances(self, ids: NDArray[np.int64], queries: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Bits int64[k], 0 to 256, between the verifier of each of `ids` and the query uint64[k, 4] beside it."""
        bits: NDArray[np.int64] = np.bitwise_count(self.of(ids) ^ queries).sum(axis=1, dtype=np.int64)
        return bits

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self._row_of.nbytes + self._words.nbytes + self._pages.nbytes
