"""`python -m benchmarks.clusters`: whether clusters are of one kind of damage, and how long 150,000 images take.

On steel: the share of clustered photos that belong to their cluster's commonest class, and the share of all photos
that are in clusters of ten and more. On photos with pictures that were sent again: which pairs are together that
belong together. And the time of a clustering, and of one region against the tiles of as many images.
"""

import csv
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from numpy.typing import NDArray

from app.fingerprints.pattern import pattern
from app.fingerprints.value import COLUMN_OF, tiles_of_blocks
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.matching.clusters import Clusters, clusters
from app.matching.places import Tiles
from benchmarks.patterns import STEEL, pictures_by_class
from benchmarks.pictures import DATA
from benchmarks.report import Bar, quantile, show, table

# Bits, and the radius in the middle of those that do.
LOOSENESS = ((1, 14), (4, 72))
LEAST = 10
COPIES_WITHIN = 4  # of the perceptual hash
IMAGES = 150_000
CENTRES = 1000
BLOCKS = (4, 5, 8, 11)  # of 640 x 480
RUNS = 3
# Photos among which some are repeated, and pictures sent again of which groups show one scene.
UNSURE = "crack"

Words = NDArray[np.uint64]


def purity_and_coverage(found: Clusters, kinds: NDArray[np.int64]) -> tuple[float, float]:
    """Share of clustered pictures of their cluster's commonest kind; share of all that are clustered."""
    right = sum(
        Counter(kinds[found.numbers == number].tolist()).most_common(1)[0][1] for number in range(len(found))
    )
    inside = len(kinds) - found.outside
    return right / max(inside, 1), inside / len(kinds)


def of_halves(words: Words, kinds: NDArray[np.int64], radius: int) -> list[list[str]]:
    """The same of each of two halves of the photos, that no choice may hang on which photos there are."""
    order = np.random.default_rng(0).permutation(len(kinds))
    rows = []
    for number, half in enumerate(np.split(order, 2), 1):
        found = clusters(np.ascontiguousarray(words[half]), radius, min_size=LEAST)
        purity, coverage = purity_and_coverage(found, kinds[half])
        rows.append([f"... half {number} of the photos", f"{purity:.3f}", f"{coverage:.3f}", str(len(found))])
    return rows


def sent_again() -> tuple[list[str], list[Path]]:
    """What each picture shows, and its file: photos show something of their own, copies what their group does."""
    folder = DATA / "edited-copies" / "repeat-uploads"
    with (folder / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    photos = sorted(
        path for path in (DATA / "photos").rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    shown = [f"{path.parent.name}/{path.name}" for path in photos] + [f"again/{row['group']}" for row in rows]
    return shown, photos + [folder / row["file"] for row in rows]


def phash_of(path: Path) -> int:
    """The perceptual hash of a file."""
    found = fingerprint(normalise(path.read_bytes(), DecodeLimits()).image)
    return int(found.turned[0, COLUMN_OF["phash"]])


def pairs_together(found: Clusters, shown: list[str]) -> dict[str, int]:
    """Numbers of pairs: that belong together, that are, of both, and of those that are for no known reason.

    Not counted as wrong: pairs of photos of cracks, of which some are one photo twice, and of pictures sent again
    whose groups show one scene; they are counted by themselves.
    """
    counts = Counter[str]()
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(found.numbers >= 0).tolist():
        members.setdefault(int(found.numbers[row]), []).append(row)
    for rows in members.values():
        for one, other in combinations(rows, 2):
            folders = {shown[one].split("/")[0], shown[other].split("/")[0]}
            if shown[one] == shown[other]:
                counts["found"] += 1
            elif folders in ({UNSURE}, {"again"}):
                counts[f"of {folders.pop()}"] += 1
            else:
                counts["wrong"] += 1
    sizes = Counter(shown).values()
    return {"true": sum(size * (size - 1) // 2 for size in sizes), "found": 0, "wrong": 0} | dict(counts)


def many_words() -> Words:
    """Patterns uint64[150000, 4]: half around centres, half of their own."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 64, (IMAGES, 4), np.uint64)
    around = rng.integers(0, 1 << 64, (CENTRES, 4), np.uint64)[rng.integers(0, CENTRES, IMAGES // 2)]
    for _ in range(40):
        flips = np.uint64(1) << rng.integers(0, 64, around.shape).astype(np.uint64)
        around ^= np.where(rng.random(around.shape) < 0.35, flips, np.uint64(0))
    words[::2] = around
    return words


def many_tiles() -> Tiles:
    """Tiles of as many images of 640 x 480."""
    rng = np.random.default_rng(1)
    blocks = np.array(BLOCKS, np.uint8)
    count = int(tiles_of_blocks(blocks))
    words = rng.integers(0, 1 << 64, (IMAGES * count, 4), np.uint64)
    flat = rng.random(IMAGES * count) < 0.2
    return Tiles(words, flat, np.arange(IMAGES) * count, np.tile(blocks, (IMAGES, 1)))


def seconds(work: object) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(RUNS):
        began = perf_counter()
        work()  # type: ignore[operator]
        taken.append(perf_counter() - began)
    return quantile(taken, 0.5)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, as_json: bool) -> None:
    """Measure on steel, on photos and on drawn codes."""
    pictures, kinds = pictures_by_class(STEEL)
    words = np.stack([pattern(picture.convert("L")).words for picture in pictures])
    rows, bars = [], []
    for count, radius in LOOSENESS:
        found = clusters(np.ascontiguousarray(words[:, :count]), radius, min_size=LEAST)
        purity, coverage = purity_and_coverage(found, kinds)
        rows.append(
            [
                f"steel, {64 * count} bits, within {radius}",
                f"{purity:.3f}",
                f"{coverage:.3f}",
                str(len(found)),
            ]
        )
        if count == len(words[0]):
            bars += [
                Bar("steel, not of their cluster's class", 1 - purity, 0.1, "of the clustered"),
                Bar("steel, in no cluster of ten", 1 - coverage, 0.2, "of all"),
            ]
            rows += of_halves(words, kinds, radius)
    shown, files = sent_again()
    with ProcessPoolExecutor() as processes:
        codes = np.array(list(processes.map(phash_of, files, chunksize=8)), np.uint64)[:, None]
    pairs = pairs_together(clusters(codes, COPIES_WITHIN), shown)
    f1 = 2 * pairs["found"] / (pairs["true"] + pairs["found"] + pairs["wrong"])
    many = many_words()
    tiles = many_tiles()
    region = np.random.default_rng(2).integers(0, 1 << 64, (2, 4), np.uint64)
    bars += [
        Bar("copies not with their source, 1 - F1 of pairs", 1 - f1, 0.02, ""),
        Bar(f"clusters of {IMAGES}, 256 bits within 72", seconds(lambda: clusters(many, 72)), 60, "s"),
        Bar(f"a region against the tiles of {IMAGES}", seconds(lambda: tiles.nearest(region)), 2, "s"),
    ]
    shown_rows = table(["clusters", "purity", "coverage", "clusters of ten"], rows)
    show({"rows": rows, "pairs": pairs}, f"{shown_rows}\n\npairs of pictures: {pairs}", bars, as_json=as_json)


if __name__ == "__main__":
    main()
