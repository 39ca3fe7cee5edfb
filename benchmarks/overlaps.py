"""`python -m benchmarks.overlaps`: which edited copies keypoints find where they are, and how well they lie there.

Copies are those of `benchmarks.suite`, each compared with its own photo; unrelated are pairs of photos, but those
within folders of neighbouring or repeated ones. Nothing was chosen on the half of the photos that is reported.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.keypoints import keypoints
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.matching.alignment import align
from app.matching.overlaps import find_overlap
from benchmarks.copies import ALIKE, half_of, photo_files
from benchmarks.edits import shrunk
from benchmarks.report import Bar, quantile, show, table
from benchmarks.suite import FAMILIES, SUITE, edit

OTHERS = 3
MOST_MISSED = 1  # %
MOST_MISSED_OF_ONE = 5
MOST_MISPLACED = 0.05  # of the photo's long side: a copy found elsewhere in it is not found


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One normalised picture: in grey, and what is found in it; `scale` takes pixels of the file to its own."""

    grey: Image.Image
    scale: float
    points: Keypoints

    @property
    def stored(self) -> Keypoints:
        """What is kept of it."""
        return self.points.stored


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One photo, and for each of its copies how well it lies where it was found; None if it was not."""

    folder: str
    name: str
    size: tuple[int, int]
    points: Keypoints
    scores: dict[str, float | None]


def look(data: bytes) -> Looked:
    """Normalise a file, find its keypoints, and read its rendition as the service would."""
    picture = normalise(data, DecodeLimits()).image
    with Image.open(BytesIO(data)) as opened:
        long = max(opened.size)
    file = BytesIO()
    picture.save(file, "JPEG", quality=90, subsampling="4:4:4")
    rendition = Image.open(file).convert("L")
    return Looked(rendition, max(picture.size) / long, keypoints(picture.convert("L")))


def measure_photo(path: Path, others: Sequence[Path], seed: int) -> Photo:
    """Look for each copy of a photo."""
    with Image.open(path) as opened:
        small = shrunk(opened)
    around = [shrunk(Image.open(other)) for other in others]
    file = BytesIO()
    small.save(file, "JPEG", quality=95)
    own = look(file.getvalue())
    scores = {}
    for name in SUITE:
        made = edit(name, small, around, seed)
        scores[name] = score_of(look(made.jpeg), own, made.placed)
    return Photo(path.parent.name, path.name, own.grey.size, own.points, scores)


def score_of(copy: Looked, own: Looked, placed: NDArray[np.float64]) -> float | None:
    """How well a copy lies on the photo, both laid on each other; None unless it is found, at its place."""
    overlap = find_overlap(copy.points, copy.grey.size, own.stored, own.grey.size)
    if overlap is None:
        return None
    found = align(copy.grey, own.grey, overlap.starts(), negative="negative" in overlap.state)
    if found is None:
        return None
    # The places that the photo's keypoints have in the copy, and where these are said to be in the photo.
    wanted = own.points.places[:, :2].astype(np.float64)
    there = _mapped(placed, wanted / own.scale) * copy.scale
    inside = np.all((there >= 0) & (there <= copy.grey.size), axis=1)
    if not inside.any():
        return None
    off = np.linalg.norm(_mapped(found.homography, there[inside]) - wanted[inside], axis=1)
    return found.score if np.median(off) <= MOST_MISPLACED * max(own.grey.size) else None


def _mapped(homography: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    there = np.column_stack([places, np.ones(len(places))]) @ homography.T
    return np.asarray(there[:, :2] / there[:, 2:])


def unrelated(one: Photo, other: Photo) -> bool:
    """Whether two photos are neither neighbours nor repeated."""
    return one.name != other.name and not (one.folder == other.folder and one.folder in ALIKE)


@click.command()
@click.option("--photos", default=200, show_default=True, help="Photos that copies are made of.")
@click.option("--half", default=1, show_default=True, help="The half of all photos that these are of.")
@click.option("--pairs", default=100_000, show_default=True, help="Unrelated pairs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(photos: int, half: int, pairs: int, as_json: bool) -> None:
    """Measure both, edit by edit."""
    files = [file for file in photo_files() if half_of(file) == half]
    rng = np.random.default_rng(half)
    chosen = rng.permutation(len(files))[:photos].tolist()
    around = [[files[place] for place in rng.integers(0, len(files), OTHERS)] for _ in chosen]
    with ProcessPoolExecutor() as processes:
        work = processes.map(measure_photo, [files[place] for place in chosen], around, chosen, chunksize=2)
        with click.progressbar(work, len(chosen), label="editing photos and looking at them") as bar:
            found = list(bar)
    rows, recall = [], {}
    for name in SUITE:
        scores = [photo.scores[name] for photo in found]
        told = [score for score in scores if score is not None]
        recall[name] = len(told) / len(scores)
        lowest = f"{quantile(told, 0.05):.2f}" if told else "-"
        rows.append([f"{FAMILIES[name]}: {name}", f"{recall[name]:.3f}", lowest])
    mean = float(np.mean(list(recall.values())))
    rows.append(["**mean of all edits**", f"**{mean:.4f}**", ""])
    wrong = count = 0
    while count < pairs:
        one, other = (found[place] for place in rng.integers(0, len(found), 2).tolist())
        if unrelated(one, other):
            stored = other.points.stored
            wrong += find_overlap(one.points, one.size, stored, other.size) is not None
            count += 1
    rows.append([f"of {count:,} unrelated pairs, before they are laid on each other", str(wrong), ""])
    bars = [
        Bar("copies missed, mean of all edits", 100 * (1 - mean), MOST_MISSED, "%"),
        Bar("... of the worst edit", 100 * (1 - min(recall.values())), MOST_MISSED_OF_ONE, "%"),
    ]
    show(recall, table(["copies", "found", "95 % score at least"], rows), bars, as_json=as_json)


if __name__ == "__main__":
    main()
