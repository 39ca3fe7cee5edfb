"""`python -m benchmarks.startup --size 10000000`: how fast a stored collection is in memory.

Fills a database with images made of drawn ones, then reads it in turns, each time in a new process:

bare       COPY of the columns, thrown away: the least that reading them can take
columns    COPY into arrays
replica    COPY into arrays, and all that a worker searches whole images by

and the same of one fingerprint: of its hashes and ids alone, into one Hamming index. Memory is the most that the
process had resident, its programs included.
"""

import multiprocessing
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
from sqlalchemy import Connection

from app.catalog import session, stamps
from app.catalog.copying import Fields, copy_columns, copy_statement
from app.catalog.templates import Templates
from app.collection import TableIndex
from app.index.adaptive import Adaptive
from app.index.live import LiveIndex
from app.settings import Settings
from benchmarks.collection import stored_collection
from benchmarks.report import Bar, show, table
from benchmarks.rows import multiply

ONE_FINGERPRINT = {name: stamps.FIELDS[name] for name in ("created_seq", "phash")}
MOST_COPIES = 2
TEN_MILLION = 10_000_000
MOST_SECONDS_TO_READY = 20


class _Nowhere:
    """Throws a COPY away."""

    def write(self, chunk: Any) -> int:
        return len(chunk)


def throw_away(connection: Connection, fields: Fields) -> None:
    """Read the fields of all searchable images and keep nothing."""
    with stamps.snapshot(connection):
        cursor = connection.connection.cursor()
        cursor.copy_expert(copy_statement(fields, "image", stamps.SEARCHABLE), _Nowhere())


def index_one(connection: Connection) -> LiveIndex:
    """A Hamming index of one fingerprint."""
    with stamps.snapshot(connection):
        columns = copy_columns(connection, ONE_FINGERPRINT, "image", stamps.SEARCHABLE)
    return LiveIndex.build(columns["phash"], columns["created_seq"])


WAYS: Mapping[str, Callable[[Connection], object]] = {
    "all: bare": lambda connection: throw_away(connection, stamps.FIELDS),
    "all: columns": stamps.load,
    "all: replica": lambda connection: TableIndex(
        stamps.load(connection), Templates.of(0, []), (0, 0), Adaptive
    ),
    "phash: bare": lambda connection: throw_away(connection, ONE_FINGERPRINT),
    "phash: index": index_one,
}


def measured(way: str, url: str) -> tuple[float, float]:
    """Seconds that one way took, and the most GiB that this process, a new one, had resident."""
    with _connection(url) as connection:
        started = perf_counter()
        kept = WAYS[way](connection)
        seconds = perf_counter() - started
        del kept
    return seconds, _most_resident_gib()


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = session.make_engine(Settings(), url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _most_resident_gib() -> float:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("this system does not tell a process's memory")
    return int(found[1]) / 2**20


def measure(url: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What each way took, in turns, after a round that only warms up."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for _ in range(rounds + 1):
            for way, taken in found.items():
                taken.append(processes.submit(measured, way, url).result())
    return {way: taken[1:] for way, taken in found.items()}


@click.command()
@click.option("--size", default=1_000_000, show_default=True, help="Images stored.")
@click.option("--rounds", default=3, show_default=True, help="Timed readings of each kind.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the database, 1.5 GB for a million images; a later run finds it filled.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, rounds: int, keep: Path | None, as_json: bool) -> None:
    """Measure how fast a stored collection is in memory, against the bare COPY."""
    with ExitStack() as undo:
        folder = keep or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="claimprint-bench-")))
        engine = undo.enter_context(stored_collection(folder, size, multiply))
        taken = measure(engine.url.render_as_string(hide_password=False), rounds)
    seconds = {way: [one[0] for one in found] for way, found in taken.items()}
    gib = {way: [one[1] for one in found] for way, found in taken.items()}
    medians = {way: median(times) for way, times in seconds.items()}
    bars = [
        Bar(
            "replica against the bare COPY", medians["all: replica"] / medians["all: bare"], MOST_COPIES, "x"
        ),
        Bar(
            "one index against the bare COPY",
            medians["phash: index"] / medians["phash: bare"],
            MOST_COPIES,
            "x",
        ),
    ]
    if size >= TEN_MILLION:
        bars += [
            Bar("replica", medians["all: replica"], MOST_SECONDS_TO_READY, "s"),
            Bar("one index", medians["phash: index"], MOST_SECONDS_TO_READY, "s"),
        ]
    rows = [
        [way, f"{medians[way]:.2f}", f"{min(times):.2f}", f"{max(times):.2f}", f"{max(gib[way]):.2f}"]
        for way, times in seconds.items()
    ]
    header = [f"{size:,} images stored", "median s", "least s", "most s", "GiB"]
    show({"size": size, "seconds": seconds, "gib": gib}, table(header, rows), bars, as_json=as_json)


if __name__ == "__main__":
    main()
