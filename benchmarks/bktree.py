"""One search at a time over random hashes: BK-tree, scan, pybktree and NumPy scan side by side, one thread.

    python benchmarks/bktree.py [--size 150000] [--json]

Every engine gets the same queries, stored hashes with two bits turned. The engines take turns query by query:
whatever else the machine does meets all of them, and nobody's data stays in the nearest cache. Their answers
are compared.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import pybktree

from app.index.bktree import BKTree
from app.index.scan import Scan

RADII = (0, 2, 4, 6, 8, 10, 12, 16)
QUERIES = 200
SLOW_QUERIES = 5  # for pybktree, which takes up to a third of a second for each
SLOW_SIZE = 150_000  # hashes; pybktree builds for a minute beyond that

Search = Callable[[int, int], int]  # (query, radius) -> how many hashes it finds


def engines(hashes: np.ndarray, ids: np.ndarray) -> dict[str, Search]:
    """The searches by the engine's name."""
    tree, scan = BKTree.build(hashes, ids), Scan.build(hashes, ids)
    searches: dict[str, Search] = {
        "bktree": lambda query, radius: len(tree.within(query, radius)),
        "scan": lambda query, radius: len(scan.within(query, radius)),
    }
    if len(hashes) <= SLOW_SIZE:
        slow = pybktree.BKTree(lambda one, other: (one ^ other).bit_count(), hashes.tolist())
        searches["pybktree"] = lambda query, radius: len(slow.find(query, radius))
    searches["numpy"] = lambda query, radius: len(ids[np.bitwise_count(hashes ^ np.uint64(query)) <= radius])
    return searches


def measure(searches: dict[str, Search], queries: list[int], radius: int) -> dict[str, dict[str, float]]:
    """Median microseconds and mean answer of each engine."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    found = 0
    for number, query in enumerate(queries):
        answers = set()
        for name, search in searches.items():
            if name == "pybktree" and number >= SLOW_QUERIES:
                continue
            start = time.perf_counter()
            answers.add(search(query, radius))
            times[name].append(time.perf_counter() - start)
        if len(answers) != 1:
            raise AssertionError(f"radius {radius}, query {query:016x}: the engines find {answers} hashes")
        found += answers.pop()
    return {
        name: {"median_us": round(statistics.median(taken) * 1e6, 2), "found": round(found / len(queries), 2)}
        for name, taken in times.items()
    }


def build_ms(hashes: np.ndarray, ids: np.ndarray) -> float:
    """Median milliseconds to build the tree."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        BKTree.build(hashes, ids)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=150_000, help="random hashes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one object for each engine and radius")
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, arguments.size, dtype=np.uint64)
    ids = np.arange(arguments.size)
    queries = (hashes[generator.integers(0, arguments.size, QUERIES)] ^ np.uint64(0x8001)).tolist()

    searches = engines(hashes, ids)
    results = {radius: measure(searches, queries, radius) for radius in RADII}
    if arguments.json:
        rows = [
            {"engine": name, "radius": radius, **row}
            for radius, row_of in results.items()
            for name, row in row_of.items()
        ]
        print(json.dumps(rows, indent=2))
        return
    bytes_a_hash = BKTree.build(hashes, ids).nbytes / max(arguments.size, 1)
    print(f"{arguments.size} random hashes, median us a search, {QUERIES} searches, one thread")
    print(f"BK-tree built in {build_ms(hashes, ids):.1f} ms, {bytes_a_hash:.1f} bytes a hash\n")
    print("radius" + "".join(f"{name:>12}" for name in searches) + "       found")
    for radius, row_of in results.items():
        cells = "".join(f"{row['median_us']:12.1f}" for row in row_of.values())
        print(f"{radius:6}{cells}{row_of['bktree']['found']:12.2f}")


if __name__ == "__main__":
    main()
