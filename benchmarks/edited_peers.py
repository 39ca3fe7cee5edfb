"""Other people's hashes, which look for the same copies in the same run: `python -m benchmarks.edited --peers`.

Each with the radius at which it calls at most one of 10,000 unrelated pairs of the first half's photos a copy,
its best; PDQ also at 31, as its authors advise, and imagehash's crop-resistant hash also by its own default
rule. What they look for is turned as it is: none of them says how a copy may be turned. PDQ joins where
`pdqhash` is installed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.copies import ALIKE, half_of

try:
    import pdqhash
except ModuleNotFoundError:
    pdqhash = None

CHANCE = 1e-4
ADVISED = 31
PAIRS = 100_000
"""Unrelated, that radii are chosen by."""

Bits = NDArray[np.bool_]
Hashed = Mapping[str, Any]
"""What `hashes_of` gives."""


def hashes_of(data: bytes) -> dict[str, Any]:
    """Bits by name of hash of a file, and imagehash's crop-resistant hash."""
    with Image.open(BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((1024, 1024))
    found: dict[str, Any] = {
        "imagehash perceptual": np.asarray(imagehash.phash(picture).hash).ravel(),
        "imagehash crop-resistant": imagehash.crop_resistant_hash(picture),
    }
    if pdqhash is not None:
        found["PDQ"] = np.asarray(pdqhash.compute(np.asarray(picture))[0], bool)
    return found


def distance(name: str) -> Callable[[Any, Any], float]:
    """How far two hashes are apart: bits, or for the crop-resistant one the negative number of segments alike."""
    if "crop" in name:
        return lambda one, other: -float(one.hash_diff(other)[0])
    return lambda one, other: float(np.count_nonzero(one != other))


def best_radius(name: str, hashes: Sequence[Any], pairs: Sequence[tuple[int, int]]) -> float:
    """The largest at which at most CHANCE of unrelated pairs are as near."""
    apart = distance(name)
    found = np.sort([apart(hashes[one], hashes[other]) for one, other in pairs])
    return float(np.nextafter(found[int(CHANCE * len(found))], -np.inf))


def unrelated_pairs(
    files: Sequence[Path], half: int, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Pairs of photos of one half by their numbers, of which neither repeats the other."""
    numbers = [number for number, file in enumerate(files) if half_of(file) == half]
    found: list[tuple[int, int]] = []
    while len(found) < count:
        one, other = (numbers[place] for place in rng.integers(0, len(numbers), 2).tolist())
        folders = files[one].parent.name, files[other].parent.name
        if files[one].name != files[other].name and not (folders[0] == folders[1] and folders[0] in ALIKE):
            found.append((one, other))
    return found


@dataclass(frozen=True, slots=True)
class Peer:
    """What one rule finds: the share of the copies by each edit; `strangers` of 10,000 unrelated pairs."""

    recall: dict[str, float]
    strangers: float


def peers(
    files: Sequence[Path],
    own: Sequence[Hashed],
    chosen: Sequence[int],
    copies: Sequence[Mapping[str, Hashed]],
    half: int,
) -> dict[str, Peer]:
    """By the name of each rule, what it finds of copies of the photos chosen; radii go by the other half's."""
    unrelated = unrelated_pairs(files, 1 - half, PAIRS, np.random.default_rng(half))
    rules: dict[str, tuple[str, float]] = {}
    for name in own[0]:
        radius = best_radius(name, [each[name] for each in own], unrelated)
        rules[f"{name}, best ({radius:.0f})"] = name, radius
    if "PDQ" in own[0]:
        rules[f"PDQ, {ADVISED}"] = "PDQ", ADVISED
    rules["imagehash crop-resistant, its rule"] = "imagehash crop-resistant", -1
    found = {}
    for rule, (name, radius) in rules.items():
        apart = distance(name)
        recall = {
            edited: float(
                np.mean(
                    [
                        apart(each[edited][name], own[number][name]) <= radius
                        for number, each in zip(chosen, copies, strict=True)
                    ]
                )
            )
            for edited in copies[0]
        }
        near = [apart(own[one][name], own[other][name]) <= radius for one, other in unrelated]
        found[rule] = Peer(recall, 10_000 * float(np.mean(near)))
    return found
