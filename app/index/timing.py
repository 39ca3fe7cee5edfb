"""How long searches take, engine beside engine: `claimprint bench index`.

The engines take turns of fifty different queries each, so that whatever else the machine does meets all of them,
and what an engine reads is in the cache as far as fifty searches read it again. Before that each searches for
others for a while: memory that nobody has touched for a minute is slow at first, and that of a service is not.
The sizes of their answers are compared.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.index.engines import ENGINES
from app.index.peers import Search, peers

RADII = (0, 2, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 64)
QUERIES = 200
_TURNED = 0x8001  # a query is a stored hash with these bits turned
# A slow engine is left out of further turns at a radius once it has taken so long.
_LONGEST_SECONDS = 1.0
_LEAST_TIMES = 10
_TURN = 50  # queries
_WARM_UP_SECONDS, _WARM_UPS = 0.25, 20_000  # whichever comes first
# It gives no more than a hundred neighbours: see `peers`.
_INCOMPLETE = "usearch"


@dataclass(frozen=True, slots=True)
class Timing:
    """Median microseconds of one engine's searches of one radius, and hashes found on average."""

    engine: str
    radius: int
    median_us: float
    found: float


@dataclass(frozen=True, slots=True)
class Built:
    """An engine of ours: seconds to build it, and bytes for each hash."""

    engine: str
    seconds: float
    bytes_a_hash: float


class IndexBench:
    """Ours and every installed peer's engines over the same hashes uint64[n], n at least 1."""

    def __init__(self, hashes: NDArray[np.uint64]):
        self.size = len(hashes)
        self.built: list[Built] = []
        self._searches: dict[str, tuple[int, Search]] = {}
        ids = np.arange(len(hashes))
        for name, kind in ENGINES.items():
            started = time.perf_counter()
            engine = kind.build(hashes, ids)
            seconds = time.perf_counter() - started
            self.built.append(Built(name, seconds, engine.nbytes / len(hashes)))
            self._searches[name] = 64, engine.within
        self.absent: list[str] = []  # peers that are not installed
        for name, most, search in peers(hashes, self.absent):
            self._searches[name] = most, search
        chosen = np.random.default_rng(0).integers(0, len(hashes), QUERIES + _WARM_UPS)
        queries: list[int] = (hashes[chosen] ^ np.uint64(_TURNED)).tolist()
        self._queries, self._warm_ups = queries[:QUERIES], queries[QUERIES:]

    def run(self, radii: Sequence[int]) -> Iterator[Timing]:
        """Time every engine at each radius; ValueError when two of them find different numbers of hashes."""
        for radius in radii:
            yield from self._at(radius)

    def _at(self, radius: int) -> Iterator[Timing]:
        searches = {name: search for name, (most, search) in self._searches.items() if radius <= most}
        for search in searches.values():
            self._warm_up(search, radius)
        times: dict[str, list[float]] = {name: [] for name in searches}
        found: dict[int, int] = {}
        for start in range(0, len(self._queries), _TURN):
            for name, search in searches.items():
                for query in self._queries[start : start + _TURN]:
                    if len(times[name]) >= _LEAST_TIMES and sum(times[name]) > _LONGEST_SECONDS:
                        break
                    started = time.perf_counter()
                    neighbours = search(query, radius)
                    times[name].append(time.perf_counter() - started)
                    count = len(neighbours)
                    if name != _INCOMPLETE and found.setdefault(query, count) != count:
                        raise ValueError(
                            f"{name} finds {count} hashes within {radius} bits of {query:016x}, others"
                            f" {found[query]}"
                        )
        for name, taken in times.items():
            yield Timing(
                name, radius, round(statistics.median(taken) * 1e6, 2), statistics.mean(found.values())
            )

    def _warm_up(self, search: Search, radius: int) -> None:
        started = time.perf_counter()
        for query in self._warm_ups:
            search(query, radius)
            if time.perf_counter() - started > _WARM_UP_SECONDS:
                break
