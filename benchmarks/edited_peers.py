"""`python -m benchmarks.edited_peers`: the copies of `benchmarks.edited`, looked for by other people's hashes.

Each with the radius at which it calls at most one of 10,000 unrelated pairs of the first half's photos a copy,
its best; PDQ also at 31, as its authors advise, and imagehash's crop-resistant hash also by its own default
rule. What they look for is turned as it is: none of them says how a copy may be turned. PDQ joins where
`pdqhash` is installed.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.copies import ALIKE, half_of, photo_files
from benchmarks.edits import shrunk
from benchmarks.report import show, table
from benchmarks.suite import FAMILIES, SUITE, edit

try:
    import pdqhash
except ModuleNotFoundError:
    pdqhash = None

OTHERS = 3
CHANCE = 1e-4
ADVISED = 31

Bits = NDArray[np.bool_]


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


def _of_file(path: Path) -> dict[str, Any]:
    return hashes_of(path.read_bytes())


def _of_copies(number: int, path: Path, others: Sequence[Path]) -> dict[str, dict[str, Any]]:
    with Image.open(path) as opened:
        small = shrunk(opened)
    around = [shrunk(Image.open(other)) for other in others]
    return {name: hashes_of(edit(name, small, around, number).jpeg) for name in SUITE}


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


@click.command()
@click.option("--photos", default=20, show_default=True, help="Photos that copies are made of.")
@click.option("--half", default=1, show_default=True, help="The half of all photos that these are of.")
@click.option("--pairs", default=100_000, show_default=True, help="Unrelated pairs that radii are chosen by.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(photos: int, half: int, pairs: int, *, as_json: bool) -> None:
    """Measure them, family by family."""
    files = photo_files()
    with ProcessPoolExecutor() as processes:
        work = processes.map(_of_file, files, chunksize=4)
        with click.progressbar(work, len(files), label="hashing photos") as bar:
            own = list(bar)
        rng = np.random.default_rng(half)
        numbers = np.array([number for number, file in enumerate(files) if half_of(file) == half])
        chosen = rng.permutation(numbers)[:photos].tolist()
        around = [[files[place] for place in rng.choice(numbers, OTHERS)] for _ in chosen]
        work = processes.map(_of_copies, chosen, [files[number] for number in chosen], around)
        with click.progressbar(work, len(chosen), label="editing photos and hashing them") as bar:
            copies = list(bar)
    unrelated = unrelated_pairs(files, 1 - half, pairs, rng)
    rules: dict[str, tuple[str, float]] = {}
    for name in own[0]:
        radius = best_radius(name, [each[name] for each in own], unrelated)
        rules[f"{name}, best ({radius:.0f})"] = name, radius
    if "PDQ" in own[0]:
        rules[f"PDQ, {ADVISED}"] = "PDQ", ADVISED
    rules["imagehash crop-resistant, its rule"] = "imagehash crop-resistant", -1
    recall = {
        rule: {
            edited: np.mean(
                [
                    distance(name)(each[edited][name], own[number][name]) <= radius
                    for number, each in zip(chosen, copies, strict=True)
                ]
            )
            for edited in SUITE
        }
        for rule, (name, radius) in rules.items()
    }
    rows = []
    for family in dict.fromkeys(FAMILIES.values()):
        names = [name for name in SUITE if FAMILIES[name] == family]
        rows.append(
            [family, *(f"{np.mean([found[name] for name in names]):.3f}" for found in recall.values())]
        )
    rows.append(["**all**", *(f"**{np.mean(list(found.values())):.3f}**" for found in recall.values())])
    wrong = [
        np.mean([distance(name)(own[a][name], own[b][name]) <= radius for a, b in unrelated]) * 10_000
        for name, radius in rules.values()
    ]
    rows.append(["of 10,000 unrelated pairs", *(f"{each:.1f}" for each in wrong)])
    show(
        {rule: float(np.mean(list(found.values()))) for rule, found in recall.items()},
        table(["copies found", *rules], rows),
        [],
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
