"""`python -m benchmarks.scale`: how memory, building and searching grow with the number of hashes.

Random hashes, one thread, multi-index hashing alone: what docs/scale.md plans by. 100 million take 8 GB to build.
"""

from statistics import median
from time import perf_counter

import click
import numpy as np

from app.index.live import LiveIndex
from app.index.multi_index import MultiIndex
from benchmarks.live_index import TURNED, random_hashes
from benchmarks.report import show, table

RADII = (0, 4, 5, 8, 10)
QUERIES = 500
BATCH = 100


@click.command()
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1),
    default=(1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(sizes: tuple[int, ...], *, as_json: bool) -> None:
    """Build an index of each size and search it."""
    rows, figures = [], []
    for size in sizes:
        hashes = random_hashes(size)
        queries = hashes[np.random.default_rng(1).integers(0, size, 2 * QUERIES)] ^ TURNED
        started = perf_counter()
        index = LiveIndex.build(hashes, np.arange(size), engine=MultiIndex)
        seconds = perf_counter() - started
        del hashes
        microseconds = {}
        for radius in RADII:
            taken = []
            for query in queries.tolist():
                began = perf_counter()
                index.within(query, radius)
                taken.append((perf_counter() - began) * 1e6)
            microseconds[radius] = median(taken[QUERIES:])
        batches = []
        for start in range(0, len(queries), BATCH):
            began = perf_counter()
            index.within_many(queries[start : start + BATCH], 5)
            batches.append((perf_counter() - began) * 1e3)
        figures.append(
            {
                "size": size,
                "build_s": seconds,
                "bytes_a_hash": index.nbytes / size,
                "median_us": microseconds,
                "batch_of_100_at_5_ms": median(batches),
            }
        )
        rows.append(
            [
                f"{size:,}",
                f"{seconds:.1f}",
                f"{index.nbytes / size:.1f}",
                *(f"{each:.1f}" for each in microseconds.values()),
                f"{median(batches):.2f}",
            ]
        )
        del index
    header = ["hashes", "build s", "bytes each", *(f"radius {each}, us" for each in RADII), "100 at 5, ms"]
    show({"sizes": figures}, table(header, rows), [], as_json=as_json)


if __name__ == "__main__":
    main()
