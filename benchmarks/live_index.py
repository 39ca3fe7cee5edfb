"""`python -m benchmarks.live_index`: searches while 10,000 hashes a second are added, batches, and self-joins.

searches   one after the other in one thread, radius 8 and 10, of one hash or of eight at once, as for an upload in
           all orientations; before, while and after another thread adds hashes to the same live index, each by
           itself, as uploads do, or a hundred at a time, as catching up does; merges run in a third
batch      100 hashes at once against 15 million, radius 5
joins      every pair of 150,000 within 10 bits and of a million within 8, by one thread
memory     bytes for each hash of each engine
"""

import threading
from collections.abc import Callable, Iterator
from itertools import product
from statistics import median
from time import perf_counter, sleep
from typing import Self

import click
import numpy as np
from numpy.typing import NDArray

from app.index.adaptive import Adaptive
from app.index.bktree import BKTree
from app.index.live import LiveIndex
from app.index.multi_index import MultiIndex
from benchmarks.report import Bar, quantile, show, table

ADDED_A_SECOND = 10_000
TURNED = np.uint64(0x8001)  # a query is a stored hash with these bits turned
QUERIES = 20_000
BATCH_SIZE, BATCH_HASHES, BATCH_RADIUS = 100, 15_000_000, 5
JOINS = ((150_000, 10, 5.0), (1_000_000, 8, 40.0))  # hashes, bits, seconds asked


class Writer:
    """A thread that adds random hashes at a steady rate, `at_once` at a time, while it is entered."""

    def __init__(self, index: LiveIndex, first_id: int, at_once: int):
        self._index, self._first, self._at_once = index, first_id, at_once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.added = 0
        self._seconds = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def rate(self) -> float:
        """Hashes added a second."""
        return self.added / self._seconds

    def _run(self) -> None:
        hashes = random_hashes(1 << 22, 1)
        started = perf_counter()
        while not self._stop.is_set():
            due = int((perf_counter() - started) * ADDED_A_SECOND)
            while self.added + self._at_once <= due:
                end = self.added + self._at_once
                ids = np.arange(self._first + self.added, self._first + end)
                self._index.add(hashes[self.added : end], ids)
                self.added = end
            sleep(0.001)
        self._seconds = perf_counter() - started


def random_hashes(count: int, seed: int = 0) -> NDArray[np.uint64]:
    """uint64[count]."""
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


Search = Callable[[int], object]
"""Of the query with that number."""


def searching(index: LiveIndex, radius: int, asked: int) -> Search:
    """A search of the index for as many hashes at once."""
    hashes, _ = index.contents()
    chosen = np.random.default_rng(2).integers(0, len(hashes), QUERIES)
    queries = hashes[chosen] ^ TURNED
    if asked == 1:
        each = queries.tolist()
        return lambda number: index.within(each[number % QUERIES], radius)
    batches = [queries[start : start + asked] for start in range(0, QUERIES, asked)]
    return lambda number: index.within_many(batches[number % len(batches)], radius)


def searches(search: Search, seconds: float) -> list[float]:
    """Microseconds of each search, one after the other for so long."""
    taken = []
    end = perf_counter() + seconds
    while (started := perf_counter()) < end:
        search(len(taken))
        taken.append((perf_counter() - started) * 1e6)
    return taken


def measure_searches(
    size: int, radius: int, asked: int, at_once: int, seconds: float
) -> tuple[list[str], Bar, dict[str, float]]:
    """A row of the table, what is asked, and the figures of one size, radius and kind of writer."""
    hashes = random_hashes(size)
    index = LiveIndex.build(hashes, np.arange(size))
    search = searching(index, radius, asked)
    searches(search, 1)
    idle = searches(search, seconds)
    with Writer(index, size, at_once) as writer:
        written = searches(search, 2 * seconds)
    idle += searches(search, seconds)
    name = f"{size} hashes, radius {radius}, {asked} searched and {at_once} added at once"
    p99, idle_p99 = quantile(written, 0.99), quantile(idle, 0.99)
    row = [
        name,
        *(f"{each:.1f}" for each in (median(idle), idle_p99, median(written), p99)),
        f"{writer.rate:.0f}",
    ]
    figures = {
        "idle_median_us": median(idle),
        "idle_p99_us": idle_p99,
        "median_us": median(written),
        "p99_us": p99,
        "added_a_second": writer.rate,
    }
    return row, Bar(f"99 % of searches, {name}", p99 / idle_p99, 2, "times that of an idle index"), figures


def measure_batch(rounds: int) -> list[float]:
    """Milliseconds of searches for 100 hashes at once."""
    hashes = random_hashes(BATCH_HASHES)
    index = MultiIndex.build(hashes, np.arange(BATCH_HASHES))
    taken = []
    for number in range(rounds):
        chosen = np.random.default_rng(number).integers(0, BATCH_HASHES, BATCH_SIZE)
        started = perf_counter()
        index.within_many(hashes[chosen] ^ TURNED, BATCH_RADIUS)
        taken.append((perf_counter() - started) * 1e3)
    return taken


def measure_joins(rounds: int) -> Iterator[tuple[str, list[float], float]]:
    """Name, seconds of each round, and seconds asked."""
    for size, radius, asked in JOINS:
        index = Adaptive.build(random_hashes(size), np.arange(size))
        taken = []
        for _ in range(rounds):
            started = perf_counter()
            found = sum(len(step) for step in index.pairs_within(radius))
            taken.append(perf_counter() - started)
        yield f"self-join of {size} at radius {radius}, {found} pairs", taken, asked


def measure_memory(size: int) -> tuple[list[str], list[Bar], dict[str, float]]:
    """A row of the table, what is asked, and bytes by engine: for each hash, ids and their order included."""
    hashes, ids = random_hashes(size), np.arange(size)
    tree = LiveIndex.build(hashes, ids, engine=BKTree).nbytes
    # Tables by key, and what says where bits go: of a size of their own, whatever the number of hashes.
    bands = MultiIndex.build(hashes, ids)
    fixed = bands.tables.starts.nbytes + bands.moves.nbytes + bands.costs.nbytes
    by_bands = LiveIndex.build(hashes, ids, engine=MultiIndex).nbytes - fixed
    both = LiveIndex.build(hashes, ids, engine=Adaptive).nbytes - fixed
    figures = {"bktree": tree / size, "multi_index": by_bands / size, "auto": both / size, "fixed": fixed}
    row = [f"{size} hashes", *(f"{figures[name]:.1f}" for name in ("bktree", "multi_index", "auto"))]
    bars = [
        Bar(f"BK-tree of {size}", tree / size, 24, "bytes a hash"),
        Bar(f"multi-index of {size}", by_bands / size, 56, "bytes a hash"),
        Bar(f"beside the multi-index of {size}", fixed / 1e6, 40, "MB"),
    ]
    return [*row, f"{fixed / 1e6:.1f}"], bars, figures


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.IntRange(1), default=(150_000, 1_000_000))
@click.option("--seconds", default=5.0, show_default=True, help="Of searches before, and after.")
@click.option("--rounds", default=5, show_default=True, help="Of batches (times ten) and joins.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(sizes: tuple[int, ...], seconds: float, rounds: int, *, as_json: bool) -> None:
    """Measure what an index does beside single searches."""
    rows, bars, figures = [], [], {}
    for size in sizes:
        for radius in (8, 10):
            for asked, at_once in product((1, 8), (1, 100)):
                row, bar, figures[row[0]] = measure_searches(size, radius, asked, at_once, seconds)
                rows.append(row)
                if (
                    asked == 1
                ):  # one addition takes 30 to 40 us: ten thousand a second delay whatever takes longer
                    bars.append(bar)
    batch = measure_batch(10 * rounds)
    figures["batch_ms"] = {"median": median(batch), "all": batch}
    bars.append(
        Bar(f"{BATCH_SIZE} hashes among {BATCH_HASHES}, radius {BATCH_RADIUS}", median(batch), 6, "ms")
    )
    for name, taken, asked in measure_joins(rounds):
        figures[name] = {"median_s": median(taken), "all": taken}
        bars.append(Bar(name, median(taken), asked, "s"))
    memory = []
    for size in sizes:
        row, asked_of_it, figures[f"memory of {size}"] = measure_memory(size)
        memory.append(row)
        bars += asked_of_it
    header = ["microseconds a search", "idle", "99 %", "while adding", "99 %", "added a second"]
    in_memory = ["bytes a hash", "bktree", "multi_index", "auto", "and MB for the tables of both"]
    show(figures, f"{table(header, rows)}\n\n{table(in_memory, memory)}", bars, as_json=as_json)


if __name__ == "__main__":
    main()
