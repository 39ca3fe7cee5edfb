"""`python -m benchmarks.patterns`: which fingerprint puts pictures of one kind of damage side by side.

On six classes of steel defects, 100 photos each, none of which anything was learned or chosen from: share of the
ten nearest that are of the same class, each photo against all others; the same when all that is known of a photo is
a cut-out, searched for among the tiles of the others; and what the fingerprint costs.
"""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints import pattern as patterns
from app.fingerprints.pattern import BITS, pattern, region_pattern
from app.fingerprints.tiles import grids
from app.fingerprints.value import COLUMN_OF, VERIFIER
from app.fingerprints.whole import fingerprint
from app.matching.places import Tiles, box_of
from benchmarks.pictures import DATA, drawn_pixels
from benchmarks.report import Bar, quantile, show, table

STEEL = DATA / "defect-classes" / "steel"
NEAREST = 10
# Of the picture's sides: a quarter of its area, a ninth, a sixteenth.
CUT_OUTS = (2, 3, 4)
TIMED = 20
PAGE = (384, 512)  # of a photo as an upload is fingerprinted at: more makes no difference

Words = NDArray[np.uint64]
Distances = NDArray[np.int64] | NDArray[np.float64]


def pictures_by_class(folder: Path) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """Pictures below a folder, and the number of the folder that each is in."""
    files = sorted(folder.glob("*/*"))
    if not files:
        raise SystemExit(f"no pictures in {folder}; CLAIMPRINT_DATA names the folder of data")
    found = []
    for file in files:
        with Image.open(file) as opened:
            found.append(opened.convert("RGB"))
    return found, np.unique([file.parent.name for file in files], return_inverse=True)[1]


def of_one_kind(distances: Distances, kinds: NDArray[np.int64]) -> float:
    """Share of the ten nearest others, by distances (n, n), that are of the same kind."""
    others = distances.astype(np.float64)
    np.fill_diagonal(others, np.inf)
    nearest = np.argsort(others, axis=1, kind="stable")[:, :NEAREST]
    return float((kinds[nearest] == kinds[:, None]).mean())


def hamming(left: Words, right: Words) -> NDArray[np.int64]:
    """Bits between rows of words: (n, m)."""
    return sum(
        np.bitwise_count(left[:, None, word] ^ right[None, :, word]).astype(np.int64)
        for word in range(left.shape[1])
    )


def whole_pictures(pictures: list[Image.Image]) -> Iterator[tuple[str, Distances]]:
    """Name and distances (n, n) of each fingerprint."""
    classic = [fingerprint(picture) for picture in pictures]
    turned = np.stack([each.turned[0] for each in classic])
    for name, column in COLUMN_OF.items():
        yield name, hamming(turned[:, [column]], turned[:, [column]])
    yield "verifier, 256 bits", hamming(turned[:, VERIFIER], turned[:, VERIFIER])
    colours = np.stack([each.colour_code for each in classic])
    yield "colour code, 98 bits", hamming(colours, colours)
    numbers = np.stack([_numbers(picture) for picture in pictures])
    lengths = (numbers**2).sum(axis=1)
    yield "pattern, before its signs", lengths[:, None] + lengths - 2 * numbers @ numbers.T
    words = np.stack([pattern(picture.convert("L")).words for picture in pictures])
    for count in range(1, words.shape[1] + 1):
        yield f"pattern, {64 * count} bits", hamming(words[:, :count], words[:, :count])


def _numbers(picture: Image.Image) -> NDArray[np.float64]:
    grey = picture.convert("L")
    coarse = patterns.half(patterns.scaled(grey))
    counts, _ = patterns.block_histograms(coarse, grids(*grey.size)[0])
    return patterns.numbers(patterns.features(counts.sum(axis=(0, 1), dtype=np.int32)[None]))[0]


def cut_outs(
    pictures: list[Image.Image], smaller: int, rng: np.random.Generator, *, known: bool
) -> tuple[NDArray[np.int64], float]:
    """Distances (n, n) of a cut-out of each picture to the nearest place in each.

    `known`: as a region of its picture, else as a picture by itself. Also how often the place overlaps the cut-out
    where its own picture is the nearest of all.
    """
    greys = [picture.convert("L") for picture in pictures]
    found = [pattern(grey) for grey in greys]
    tiles = Tiles.of(found)
    distances = np.empty((len(greys), len(greys)), np.int64)
    overlapping = []
    for number, grey in enumerate(greys):
        width, height = grey.width // smaller, grey.height // smaller
        left, top = (int(rng.integers(0, room + 1)) for room in (grey.width - width, grey.height - height))
        place = left, top, left + width, top + height
        query = region_pattern(grey, place) if known else region_pattern(grey.crop(place))
        distances[number], places = tiles.nearest(query)
        if distances[number].argmin() == number:
            overlapping.append(
                _covered(place, box_of(int(places[number]), *grey.size, found[number].blocks)) > 0
            )
    return distances, float(np.mean(overlapping)) if overlapping else 0.0


def _covered(place: tuple[int, int, int, int], box: tuple[int, int, int, int]) -> float:
    width = min(place[2], box[2]) - max(place[0], box[0])
    height = min(place[3], box[3]) - max(place[1], box[1])
    return float(max(width, 0) * max(height, 0) / ((place[2] - place[0]) * (place[3] - place[1])))


def milliseconds() -> float:
    """Median time of the fingerprint of one picture with all its tiles."""
    pictures = [Image.fromarray(pixels) for pixels in drawn_pixels(np.random.default_rng(0), TIMED, *PAGE)]
    taken = []
    for picture in pictures:
        began = perf_counter()
        pattern(picture)
        taken.append(1000 * (perf_counter() - began))
    return quantile(taken, 0.5)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, as_json: bool) -> None:
    """Measure on steel, beside the classic hashes."""
    pictures, kinds = pictures_by_class(STEEL)
    shares = {name: of_one_kind(found, kinds) for name, found in whole_pictures(pictures)}
    bars = [
        Bar("not of the same class, 64 bits", 1 - shares["pattern, 64 bits"], 0.08, "of the ten nearest"),
        Bar("not of the same class, 256 bits", 1 - shares["pattern, 256 bits"], 0.04, "of the ten nearest"),
    ]
    for smaller in CUT_OUTS:
        for known in (True, False):
            distances, overlapping = cut_outs(pictures, smaller, np.random.default_rng(smaller), known=known)
            name = f"1 / {smaller**2} of the picture, {'a region of it' if known else 'cut out'}"
            shares[name] = of_one_kind(distances, kinds)
            shares[f"{name}: place found"] = overlapping
    quarter = "1 / 4 of the picture, cut out"
    bars += [
        Bar("not of the same class by a quarter", 1 - shares[quarter], 0.15, "of the ten nearest"),
        Bar("beside its place", 1 - shares[f"{quarter}: place found"], 0.0, "of those found"),
        Bar("pattern with all tiles", milliseconds(), 15, "ms"),
        Bar("stored with all tiles", (patterns.MOST_TILES + 1) * BITS / 8 + 12 + 4, 3 * 1024, "bytes"),
    ]
    rows = [[name, f"{share:.3f}"] for name, share in shares.items()]
    show({"shares": shares}, table(["steel", "of the ten nearest"], rows), bars, as_json=as_json)


if __name__ == "__main__":
    main()
