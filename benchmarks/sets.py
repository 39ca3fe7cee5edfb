"""`python -m benchmarks.sets`: searches for all keypoints of a picture among those of many images.

Real hashes are of the photos, as many sets as asked for, each of a photo by chance with some bits of each hash
turned, 3 mostly, of those that it is not sure of; one photo in ten is not stored. Of 150,000 images each stored
photo thus has a hundred copies, more than any collection has: what is found takes much of its searches. Drawn
hashes are random, and of one set in five near to those of an earlier one. Searches run on one core, after as many
other searches as empty its caches.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STORED, TELLING, WHOLE_BYTES, Keypoints, canonical
from app.fingerprints.keypoints import MOST, keypoints
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.index.sets import SetIndex
from app.matching.near_keypoints import Asked
from app.matching.overlaps import PROPOSING_BITS
from benchmarks.copies import photo_files
from benchmarks.pictures import DATA
from benchmarks.report import Bar, quantile, show, table

Hashes = NDArray[np.uint64]

TURNED, TRIED = 3, 7  # bits of each hash of a copy; of them those that are not sure are turned, 3 mostly
QUERIES = 488  # of 400 keypoints, with what is asked for otherwise
SEARCHES = 60
PUTS = 2000
HELD_OUT = 10  # one photo in so many is not stored
SCANNED_SETS, SCANNED_QUERIES = 6250, 16

MOST_SEARCH_MS, MOST_BUILD_SECONDS, MOST_BYTES, MOST_PUT_MS = 15, 3, 25, 1
"""What is asked for 150,000 sets."""


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Hashes of many sets; and what is searched for, by what it is: hashes uint64[q], and what of them is sure
    uint64[q]."""

    name: str
    hashes: Hashes
    counts: NDArray[np.int64]
    searches: dict[str, list[tuple[Hashes, Hashes]]]


def turned(random: np.random.Generator, hashes: Hashes, sure: Hashes | None = None) -> Hashes:
    """Copies of hashes in which some bits are turned, none of those that are sure."""
    for _ in range(TURNED if sure is None else TRIED):
        bits = np.uint64(1) << random.integers(0, 64, len(hashes), dtype=np.uint64)
        hashes = hashes ^ (bits if sure is None else bits & ~sure)
    return hashes


def drawn(size: int) -> Collection:
    """Random sets, and some that are near to others."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, (size, STORED), dtype=np.uint64)
    copies = random.permutation(size)[: size // 5]
    for copy in copies.tolist():
        hashes[copy] = turned(random, hashes[random.integers(0, size)])
    searches = []
    for _ in range(SEARCHES):
        own = turned(random, hashes[random.integers(0, size)])
        other = random.integers(0, 2**64, QUERIES - STORED, dtype=np.uint64)
        queries = np.concatenate([own, other])
        searches.append((queries, np.zeros_like(queries)))
    counts = np.full(size, STORED)
    return Collection("drawn", hashes.ravel(), counts, {"of a stored image": searches})


def keypoints_of(path: Path) -> Keypoints:
    """Keypoints of a photo."""
    return keypoints(normalise(path.read_bytes(), DecodeLimits()).image.convert("L"))


def photo_keypoints() -> list[Keypoints]:
    """Keypoints of every photo, found on all cores in a minute or two."""
    paths = photo_files()
    # A fresh interpreter each: forking would share the caller's database connections.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        pending = processes.map(keypoints_of, paths, chunksize=4)
        with click.progressbar(pending, len(paths), label="keypoints of photos", file=sys.stderr) as bar:
            return list(bar)


def kept_keypoints(kept: Path | None) -> list[Keypoints]:
    """Keypoints of every photo, found now or read from the file `kept`."""
    if kept is not None and kept.exists():
        with np.load(kept) as file:
            firsts = file["ends"][:-1]
            parts = np.split(file["points"], WHOLE_BYTES * firsts), np.split(file["sure"], 8 * firsts)
            return [Keypoints.from_whole_bytes(*map(bytes, own)) for own in zip(*parts, strict=True)]
    found = photo_keypoints()
    if kept is not None:
        points, sure = (
            np.frombuffer(b"".join(parts), np.uint8)
            for parts in zip(*((own.to_whole_bytes(), own.sure_to_bytes()) for own in found), strict=True)
        )
        np.savez(kept, points=points, sure=sure, ends=np.cumsum([len(own) for own in found]))
    return found


def real(size: int, points: list[Keypoints]) -> Collection:
    """Copies of photos, and searches for photos that are stored so, and for others."""
    random = np.random.default_rng(0)
    stored = [own for number, own in enumerate(points) if number % HELD_OUT]
    others = points[::HELD_OUT]
    chosen = random.integers(0, len(stored), size).tolist()
    counts = np.array([stored[photo].stored_count for photo in chosen])
    firsts = [stored[photo].first(STORED) for photo in chosen]
    codes = np.concatenate([turned(random, own.codes, own.sure) for own in firsts])
    searches = {}
    for name, photos in (("of a stored photo", stored), ("of another photo", others)):
        full = [own for own in photos if len(own) == MOST]
        picked = random.permutation(len(full))[:SEARCHES].tolist()
        asked = [Asked.of(full[photo]) for photo in picked]
        searches[name] = [(own.hashes, own.sure) for own in asked]
        searches[f"{name}, as if nothing were sure"] = [(own.hashes, own.sure & TELLING) for own in asked]
    return Collection("real", canonical(codes)[0], counts, searches)


def collections(size: int, kept: Path | None) -> Iterator[Collection]:
    """Those that there can be."""
    yield drawn(size)
    if (DATA / "photos").is_dir():
        yield real(size, kept_keypoints(kept))


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def search_times(index: SetIndex, searches: list[tuple[Hashes, Hashes]]) -> tuple[list[float], list[int]]:
    """Milliseconds of each search, each done once, and how many hashes it finds; on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    times, found = [], []
    for queries, sure in searches:
        start = time.perf_counter()
        hits = index.near(queries, PROPOSING_BITS, sure)
        times.append((time.perf_counter() - start) * 1000)
        found.append(len(hits))
    os.sched_setaffinity(0, cores)
    return times, found


def times_faster_than_numpy(collection: Collection) -> float:
    """Of some of the sets: how many times longer it takes to compare all by numpy."""
    counts = collection.counts[:SCANNED_SETS]
    hashes = collection.hashes[: counts.sum()]
    index = SetIndex.build(hashes, np.arange(len(counts)), counts)
    queries, sure = next(iter(collection.searches.values()))[0]

    def scan() -> None:
        for query in queries[:SCANNED_QUERIES]:
            np.flatnonzero(np.bitwise_count(hashes ^ query) <= PROPOSING_BITS)

    plain = min(milliseconds(scan) for _ in range(3)) / SCANNED_QUERIES
    return plain / (
        min(milliseconds(lambda: index.near(queries, PROPOSING_BITS, sure)) for _ in range(5)) / len(queries)
    )


def measured(collection: Collection) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Figures by name, and times in milliseconds by what took them."""
    size, name = len(collection.counts), collection.name
    start = time.perf_counter()
    index = SetIndex.build(collection.hashes, np.arange(size), collection.counts)
    figures = {f"{name}: seconds to build": time.perf_counter() - start}
    figures[f"{name}: bytes a hash"] = index.nbytes / len(index)
    times = {}
    for what, searches in collection.searches.items():
        times[f"{name}: search {what}"], found = search_times(index, searches)
        figures[f"{name}: hashes found {what}, median"] = quantile(found, 0.5)
    puts = []
    random = np.random.default_rng(1)
    for number in range(PUTS):
        own = random.integers(0, 2**64, STORED, dtype=np.uint64)
        owner, count = np.array([size + number]), np.array([STORED])
        puts.append(milliseconds(lambda own=own, owner=owner, count=count: index.put(owner, own, count)))
    times[f"{name}: put"] = puts
    figures[f"{name}: ms a put, mean"] = float(np.mean(puts))
    figures[f"{name}: longest put, ms"] = max(puts)
    index.close()
    for what, searches in collection.searches.items():
        times[f"{name}: search {what}, after {PUTS} puts"], _ = search_times(index, searches)
    figures[f"{name}: times faster than numpy, {SCANNED_SETS} sets"] = times_faster_than_numpy(collection)
    return figures, times


def bars_of(figures: dict[str, float], times: dict[str, list[float]]) -> Iterator[Bar]:
    """What is asked of these."""
    for name, taken in times.items():
        if "search" in name:
            yield Bar(name, quantile(taken, 0.5), MOST_SEARCH_MS, "ms")
    for ending, limit, unit in (
        ("seconds to build", MOST_BUILD_SECONDS, "s"),
        ("bytes a hash", MOST_BYTES, "bytes"),
        ("ms a put, mean", MOST_PUT_MS, "ms"),
    ):
        for name, value in figures.items():
            if name.endswith(ending):
                yield Bar(name, value, limit, unit)


@click.command()
@click.option("--size", default=150_000, type=click.IntRange(100), help="Sets of 160 hashes.")
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="File for hashes of photos.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, keep: Path | None, *, as_json: bool) -> None:
    """Time the index over sets of hashes."""
    figures: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for collection in collections(size, keep):
        own_figures, own_times = measured(collection)
        figures |= own_figures
        times |= own_times
    rows = [
        [name, f"{min(taken):.2f}", f"{quantile(taken, 0.5):.2f}", f"{quantile(taken, 0.95):.2f}"]
        for name, taken in times.items()
    ]
    shown = table(["milliseconds", "least", "median", "95% within"], rows)
    shown += "\n\n" + table(["figure", ""], [[name, f"{value:.2f}"] for name, value in figures.items()])
    show({"figures": figures, "times": times}, shown, list(bars_of(figures, times)), as_json=as_json)


if __name__ == "__main__":
    main()
