"""`python -m benchmarks.pattern_constants`: learns the constants of the pattern fingerprint.

From cut-outs of photos, none of which shows a class that anything is reported on. No labels: four cut-outs of one
spot, moved, turned, mirrored and lit otherwise, are one class, and what tells classes apart while varying little
within them (linear discriminant analysis) is what is kept: 128 numbers of 1,248. Those are turned so that their
signs lose least (iterative quantization: Gong, Lazebnik, Gordo and Perronnin 2013) for the first 64 bits, and at
random for 192 more. A bit is set above its median.

With `--held-out` it learns from half of the photos, and tells how often the nearest cut-out of the other half is
one of the same spot: what choices are made by.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import app.fingerprints
from app.fingerprints.pattern import BITS, SHORT, block_histograms, features
from app.fingerprints.tiles import Grid
from benchmarks.pictures import DATA

FOLDERS = ("road", "crack", "turbine", "car-rental", "clothing", "grocery")
FROM_EACH = 160
SPOTS = 8  # of each photo, at each of two scales
CUT_OUTS = 4  # of each spot
MOVED = 80  # pixels
NUMBERS = 128
SHRUNK = 0.3  # of the mean variance within classes, added to each
LEAST_SPREAD = 3  # levels of grey
MOST = 127  # of int8

Floats = NDArray[np.float64]


def cut_outs(rng: np.random.Generator) -> tuple[list[Image.Image], NDArray[np.int64], NDArray[np.int64]]:
    """Pictures of 192 x 192, and the numbers of the spot and of the photo that each shows."""
    pictures, spots, photos = [], [], []
    spot = 0
    for folder in FOLDERS:
        files = sorted(file for file in (DATA / "photos" / folder).rglob("*") if file.is_file())
        for number, file in enumerate(files[:FROM_EACH]):
            with Image.open(file) as opened:
                grey = opened.convert("L")
            for smaller in (1, 2):
                photo = grey.reduce(smaller) if smaller > 1 else grey
                for _ in range(SPOTS):
                    found = _around_one_spot(photo, rng)
                    if len(found) >= 3:
                        pictures += found
                        spots += [spot] * len(found)
                        photos += [number] * len(found)
                        spot += 1
    return pictures, np.array(spots), np.array(photos)


def _around_one_spot(photo: Image.Image, rng: np.random.Generator) -> list[Image.Image]:
    room = photo.width - SHORT, photo.height - SHORT
    if min(room) < 20:
        return []
    centre = [rng.integers(0, most + 1) for most in room]
    found = []
    for _ in range(CUT_OUTS):
        left, top = (
            int(np.clip(at + rng.integers(-MOVED, MOVED + 1), 0, most))
            for at, most in zip(centre, room, strict=True)
        )
        cut = photo.crop((left, top, left + SHORT, top + SHORT))
        pixels = np.asarray(cut).astype(np.float64)
        if pixels.std() < LEAST_SPREAD:
            continue
        pixels = np.rot90(pixels, rng.integers(4))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        mean = np.clip(pixels.mean() + rng.normal(0, 25), 40, 215)
        pixels = np.clip((pixels - pixels.mean()) * rng.uniform(0.6, 1.4) + mean, 0, 255)
        cut = Image.fromarray(pixels.astype(np.uint8))
        if rng.random() < 0.3:
            cut = cut.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        found.append(cut)
    return found


def features_of(pictures: list[Image.Image]) -> Floats:
    """Of each as a whole."""
    grid = Grid(4, 4)
    counts = [block_histograms(np.asarray(picture), grid)[0].sum(axis=(0, 1)) for picture in pictures]
    return features(np.stack(counts)).astype(np.float64)


def discriminants(found: Floats, spots: NDArray[np.int64]) -> Floats:
    """The projection on what tells spots apart, (1248, 128)."""
    _, numbers, sizes = np.unique(spots, return_inverse=True, return_counts=True)
    centred = found - found.mean(axis=0)
    means = np.zeros((len(sizes), found.shape[1]))
    np.add.at(means, numbers, centred)
    means /= sizes[:, None]
    within = centred - means[numbers]
    variances, directions = np.linalg.eigh(within.T @ within / len(found))
    whitening = directions / np.sqrt(variances + SHRUNK * variances.mean())
    between = (means * np.sqrt(sizes)[:, None]) @ whitening
    _, axes = np.linalg.eigh(between.T @ between / len(found))
    projection: Floats = whitening @ axes[:, ::-1][:, :NUMBERS]
    return projection


def rotations(numbers: Floats, rng: np.random.Generator) -> Floats:
    """(128, 256): the first 64 columns lose least by quantization, the others are of random rotations."""
    centred = numbers - numbers.mean(axis=0)
    turned = _random_rotation(rng)[:, :64]
    for _ in range(50):
        left, _, right = np.linalg.svd(np.sign(centred @ turned).T @ centred, full_matrices=False)
        turned = (left @ right).T
    return np.hstack([turned, _random_rotation(rng), _random_rotation(rng)])[:, :BITS]


def _random_rotation(rng: np.random.Generator) -> Floats:
    return np.linalg.qr(rng.normal(size=(NUMBERS, NUMBERS)))[0]


def learned(found: Floats, spots: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray]:
    """The constants: projection int8 (1248, 128), rotation int8 (128, 256), thresholds int64 (256,)."""
    plain = discriminants(found, spots)
    projection = np.rint(plain / np.abs(plain).max() * MOST).astype(np.int8)
    numbers = found @ projection.astype(np.float64)
    turned = rotations(numbers, rng)
    rotation = np.rint(turned / np.abs(turned).max(axis=0) * MOST).astype(np.int8)
    thresholds = np.floor(np.median(numbers @ rotation.astype(np.float64), axis=0)).astype(np.int64)
    return {"projection": projection, "rotation": rotation, "thresholds": thresholds}


def bits_of(found: Floats, constants: dict[str, NDArray]) -> NDArray[np.bool_]:
    """bool (n, 256)."""
    numbers = found @ constants["projection"].astype(np.float64) @ constants["rotation"].astype(np.float64)
    return numbers > constants["thresholds"]


def recognised(bits: NDArray[np.bool_], spots: NDArray[np.int64]) -> float:
    """Share of cut-outs whose nearest other one shows the same spot."""
    signs = np.where(bits, 1.0, -1.0)
    likeness = signs @ signs.T
    np.fill_diagonal(likeness, -np.inf)
    return float((spots[likeness.argmax(axis=1)] == spots).mean())


@click.command()
@click.option("--held-out", is_flag=True, help="Learn from half of the photos, judge by the other.")
@click.option("--seed", default=0, help="Of the random rotations.")
def main(*, held_out: bool, seed: int) -> None:
    """Learn the constants and write them where the fingerprint finds them."""
    pictures, spots, photos = cut_outs(np.random.default_rng(0))
    found = features_of(pictures)
    click.echo(f"{len(pictures)} cut-outs of {spots.max() + 1} spots")
    if held_out:
        own = photos % 2 == 0
        constants = learned(found[own], spots[own], np.random.default_rng(seed))
        bits = bits_of(found[~own], constants)
        for count in (64, BITS):
            click.echo(f"{count} bits: {recognised(bits[:, :count], spots[~own]):.3f}")
        return
    constants = learned(found, spots, np.random.default_rng(seed))
    path = Path(app.fingerprints.__path__[0]) / "pattern.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, **constants)
    click.echo(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
