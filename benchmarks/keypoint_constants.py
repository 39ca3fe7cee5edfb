"""`python -m benchmarks.keypoint_constants`: makes the constants of keypoint hashes, of one half of the photos.

A picture that is mirrored, or a negative, has the numbers of a descriptor in another order. The space of
descriptors is the sum of four, of 32 dimensions each, in which either leaves all as it is or turns all round.
Directions are of one of the four each, at random but for always being the same: what a state does to a hash is to
turn some of its bits. The first two are those of their spaces that differ most between keypoints, by what they
differ between copies; where a hash is hardly on one side of them, both are asked for.

Directions learned from pairs of copies (linear discriminant analysis, principal components) find more within a
large radius, and no more within 5 bits, at as many chance neighbours: decision 14.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.linalg import eigh

import app.fingerprints
from app.fingerprints.keypoint_kernels import NUMBERS
from app.fingerprints.keypoint_value import STORED, Floats
from app.fingerprints.keypoints import describe, orders
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from benchmarks.copies import ALIKE, half_of, photo_files

PHOTOS = 300
EDITED = 60
DIRECTIONS = {(1, 1): 20, (-1, 1): 12, (1, -1): 20, (-1, -1): 12}
"""How many there are by what mirroring, and a negative, make of them: more of the spaces in which keypoints differ
more. As many of each find 1 % less within 5 bits; 24, 10, 24 and 6 find 1 % more, and three times the strangers."""
MOST_LOST = 0.001
"""Of pairs that belong together: those that are on two sides of a telling direction, and not in doubt."""

Doubles = NDArray[np.float64]


def jpeg(picture: Image.Image) -> Image.Image:
    """Saved badly."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=20)
    return Image.open(file)


def small(picture: Image.Image) -> Image.Image:
    """Of six tenths of the size."""
    return picture.resize((picture.width * 6 // 10, picture.height * 6 // 10), Image.Resampling.LANCZOS)


def noisy(picture: Image.Image) -> Image.Image:
    """With noise."""
    noise = np.random.default_rng(3).normal(0, 12, (picture.height, picture.width))
    return Image.fromarray(np.clip(np.asarray(picture, np.float64) + noise, 0, 255).astype(np.uint8))


def blurred(picture: Image.Image) -> Image.Image:
    """Out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(1.2))


EDITS: tuple[Callable[[Image.Image], Image.Image], ...] = (jpeg, small, noisy, blurred)


def pairs(picture: Image.Image) -> Iterator[tuple[Floats, Floats]]:
    """Descriptors of the same keypoints in a picture and in an edit of it, float32[n, NUMBERS] each."""
    descriptors, places = (each[:STORED] for each in describe(picture))
    for edit in EDITS:
        edited = edit(picture)
        others, other_places = describe(edited)
        back = other_places / np.array([*[edited.width / picture.width] * 3, 1], np.float32)
        off = np.hypot(*(places[:, None, :2] - back[:, :2]).transpose(2, 0, 1))
        scaled = np.abs(np.log2(places[:, None, 2] / back[:, 2]))
        turned = np.abs((places[:, None, 3] - back[:, 3] + np.pi) % (2 * np.pi) - np.pi)
        same = np.argwhere((off < 0.15 * places[:, None, 2]) & (scaled < 0.25) & (turned < 0.25))
        yield descriptors[same[:, 0]], others[same[:, 1]]


def space(mirrored: int, negative: int) -> Doubles:
    """Base float64[NUMBERS, 32] of what mirroring, and a negative, leave (1) or turn round (-1)."""
    _, mirror, invert, _ = (np.eye(NUMBERS)[order] for order in orders())
    identity = np.eye(NUMBERS)
    values, vectors = np.linalg.eigh((identity + mirrored * mirror) @ (identity + negative * invert) / 4)
    return vectors[:, values > 0.5]


def telling(base: Doubles, centred: Doubles, between: Doubles) -> Doubles:
    """The direction of a space along which keypoints differ most by what copies of the same do, float64[32, 1]."""
    own, copies = ((each @ base).T @ (each @ base) / len(each) for each in (centred, between))
    _, vectors = eigh(own, copies + 1e-6 * np.eye(len(copies)))
    return vectors[:, -1:] / np.linalg.norm(vectors[:, -1])


def directions_of(base: Doubles, count: int, firsts: Doubles, random: np.random.Generator) -> Doubles:
    """So many at right angles, in a space, the first of them given as float64[32, some]."""
    chosen, _ = np.linalg.qr(np.concatenate([firsts, random.normal(size=(base.shape[1],) * 2)], axis=1))
    return base @ (chosen[:, :count] * np.sign(chosen[0, :count]))


def margin(values: Doubles, copies: Doubles) -> float:
    """The least below which there is to be doubt, of the values of copies."""
    lost = np.sort(np.abs(copies[(values > 0) != (copies > 0)]))[::-1]
    allowed = int(MOST_LOST * len(values))
    return float(lost[allowed]) * 1.0001 if len(lost) > allowed else 0.0


@click.command()
def main() -> None:
    """Compute the constants and write them where the fingerprint finds them."""
    files = [file for file in photo_files() if half_of(file) == 0 and file.parent.name not in ALIKE]
    chosen = np.random.default_rng(0).permutation(len(files))[:PHOTOS].tolist()
    photos = [normalise(files[place].read_bytes(), DecodeLimits()).image.convert("L") for place in chosen]
    descriptors = np.concatenate([describe(photo)[0][:STORED] for photo in photos]).astype(np.float64)
    mean = np.mean([descriptors.mean(axis=0)[order] for order in orders()], axis=0)
    both = [pair for photo in photos[:EDITED] for pair in pairs(photo)]
    own, copies = (np.concatenate([pair[side] for pair in both]).astype(np.float64) for side in (0, 1))
    random = np.random.default_rng(7)
    found = {}
    for signs, count in DIRECTIONS.items():
        base = space(*signs)
        tells = -1 in signs and 1 in signs
        firsts = telling(base, descriptors - mean, own - copies) if tells else np.empty((base.shape[1], 0))
        found[signs] = directions_of(base, count, firsts, random)
    same, mirrored, negative, either = found.values()
    columns = [mirrored[:, :1], negative[:, :1], same, mirrored[:, 1:], negative[:, 1:], either]
    directions = np.concatenate(columns, axis=1)
    values, of_copies = ((each - mean) @ directions[:, :2] for each in (own, copies))
    margins = [margin(values[:, one], of_copies[:, one]) for one in (0, 1)]
    path = Path(app.fingerprints.__path__[0]) / "keypoints.npz"
    constants = {"mean": mean, "directions": directions, "margins": margins}
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: np.float32(value) for name, value in constants.items()})
    doubts = (np.abs(of_copies) < margins).mean(axis=0)
    click.echo(f"{path.name}: {path.stat().st_size} bytes, of {len(photos)} photos, {len(own)} pairs")
    click.echo(f"in doubt: {doubts[0]:.1%} of keypoints for mirroring, {doubts[1]:.1%} for negatives")


if __name__ == "__main__":
    main()
