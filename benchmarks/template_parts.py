"""`python -m benchmarks.template_parts`: which images templates by keypoints find, and which others.

Templates are regions of photos, of a quarter, a ninth and a sixteenth of the area, anywhere. Found may be the
photo, some edits of it that show it whole, and other photos, which is false unless they show the same.
"""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
from PIL import Image

from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.keypoints import keypoints
from app.matching.evidence import Size
from app.matching.regions import Box
from app.matching.sightings import Detail, sighting
from benchmarks.copies import half_of, photo_files
from benchmarks.edited import OTHERS, look
from benchmarks.edits import shrunk
from benchmarks.report import show, table
from benchmarks.suite import edit

SIDES = {"1/4": 2, "1/9": 3, "1/16": 4}
RADII = (4, 6, 8, 12)
EDITS = (
    "messengers, three times",
    "mirrored",
    "rotated by any angle, black corners",
    "inverted",
    "dark thick frame",
    "perspective, strong, on a table",
    "phone screenshot",
    "Gaussian noise",
    "on another photo",
)

Seen = tuple[Keypoints, Size]
_STORED: list[Seen] = []


def _seen(data: bytes) -> Seen:
    looked = look(data)
    return looked.points.stored, looked.grey.size


def _seen_of(path: Path) -> Seen:
    return _seen(path.read_bytes())


def _bits(detail: Detail, seen: Seen) -> int:
    """How near a picture is to a template; more than any is, where it does not show it."""
    found = sighting(detail, *seen)
    return 64 if found is None else found.bits


def _found(number: int, path: Path, others: Sequence[Path]) -> dict[str, tuple[list[int], list[int]]]:
    """For each size of region, bits to the photo itself and its edits, and to all other photos."""
    rng = random.Random(number)
    with Image.open(path) as opened:
        small = shrunk(opened)
    around = [shrunk(Image.open(other)) for other in others]
    edits = [_seen(edit(name, small, around, number).jpeg) for name in EDITS]
    grey = look(path.read_bytes()).grey
    whole = keypoints(grey)
    found = {}
    for name, side in SIDES.items():
        width, height = grey.width // side, grey.height // side
        box = Box(rng.randrange(grey.width - width), rng.randrange(grey.height - height), width, height)
        detail = Detail.within(whole, box)
        own = [_bits(detail, seen) for seen in (_STORED[number], *edits)]
        strangers = [_bits(detail, seen) for place, seen in enumerate(_STORED) if place != number]
        found[name] = own, strangers
    return found


@click.command()
@click.option("--photos", default=40, type=click.IntRange(1), help="That templates are cut from.")
@click.option("--half", default=1, type=click.IntRange(0, 1), help="1: of the photos that are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(photos: int, half: int, *, as_json: bool) -> None:
    """Look for them."""
    paths = photo_files()
    with ProcessPoolExecutor() as processes:
        _STORED.extend(processes.map(_seen_of, paths, chunksize=8))
    own = [number for number, path in enumerate(paths) if half_of(path) == half]
    chosen = own[:: max(len(own) // photos, 1)][:photos]
    around = [[paths[(number + 1 + step * 97) % len(paths)] for step in range(OTHERS)] for number in chosen]
    with ProcessPoolExecutor() as processes:
        results = list(processes.map(_found, chosen, [paths[number] for number in chosen], around))
    rows, figures = [], {}
    for name in SIDES:
        copies = np.array([result[name][0] for result in results])
        strangers = np.array([result[name][1] for result in results])
        for radius in RADII:
            told = {
                "photo": float((copies[:, 0] <= radius).mean()),
                "edits": float((copies[:, 1:] <= radius).mean()),
                "others": float((strangers <= radius).mean()),
            }
            figures[f"{name}, within {radius}"] = told
            rows.append([f"{name}, within {radius} bits", *(f"{told[kind]:.5f}" for kind in told)])
    header = ["region of the area", "the photo is found", "edits of it", "other photos"]
    show(figures, table(header, rows), [], as_json=as_json)


if __name__ == "__main__":
    main()
