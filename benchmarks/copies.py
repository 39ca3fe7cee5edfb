"""Real photos and edited copies of them, fingerprinted: what radii are chosen by and the rules measured on.

Two halves, by the file's name: what is chosen on one is reported on the other.
"""

import pickle
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from app.fingerprints.value import Fingerprint
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from benchmarks.edits import edited, shrunk
from benchmarks.pictures import DATA

# Photos of these folders resemble each other: neighbouring road frames, and cracks of which some are repeated.
ALIKE = ("road", "crack")


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One photo: its folder, its half (0 or 1), its fingerprint and those of its edits by name."""

    name: str
    folder: str
    half: int
    own: Fingerprint
    copies: dict[str, Fingerprint]


def photos(kept: Path | None) -> list[Photo]:
    """Every real photo with its copies: computed on all cores in minutes, or read from the file `kept`."""
    if kept is not None and kept.exists():
        # Written by this program below, at the place that its user names.
        found: list[Photo] = pickle.loads(kept.read_bytes())
        return found
    paths = photo_files()
    with ProcessPoolExecutor() as processes:
        pending = processes.map(_photo, paths, chunksize=4)
        with click.progressbar(pending, len(paths), label="fingerprinting photos and edits") as bar:
            found = list(bar)
    if kept is not None:
        kept.write_bytes(pickle.dumps(found))
    return found


def photo_files() -> list[Path]:
    """Every real photo, in the order of their names."""
    paths = sorted(
        path for path in (DATA / "photos").rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    if not paths:
        raise SystemExit("the folder of real photos is not here; CLAIMPRINT_DATA names it")
    return paths


def half_of(path: Path) -> int:
    """0 or 1: by its name, so that it is the same wherever photos are counted."""
    return zlib.crc32(path.name.encode()) % 2


def _photo(path: Path) -> Photo:
    with Image.open(path) as opened:
        small = shrunk(opened)
    return Photo(
        name=path.name,
        folder=path.parent.name,
        half=half_of(path),
        own=_of(path.read_bytes()),
        copies={name: _of(data) for name, data in edited(small).items()},
    )


def _of(data: bytes) -> Fingerprint:
    return fingerprint(normalise(data, DecodeLimits()).image)
