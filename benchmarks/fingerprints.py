"""`python -m benchmarks.fingerprints`: CPU time of one decode and eight fingerprints, against three others.

In one process on one thread, every file in turns, whole rounds: the bare decode (Pillow's `draft` to at least 512
pixels), ours (normalising, all fingerprints but the pattern in all orientations, keypoints among them, the checksum
of the pixels), imagehash's seven functions on the full picture, and the crop-resistant segmentation alone, ours and
imagehash's on one picture.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click
import imagehash
from PIL import Image

from app.fingerprints.keypoints import keypoints
from app.fingerprints.segments import segments
from app.fingerprints.whole import fingerprint
from app.imaging import DecodeLimits
from app.imaging.normalise import Normalised, normalise
from app.imaging.process import ENVIRONMENT
from benchmarks.pictures import camera_files
from benchmarks.report import Bar, show, table

DRAFT = (512, 512)
MOST_DECODES = 2.2
LEAST_TIMES_FASTER = 20
LEAST_TIMES_FASTER_SEGMENTS = 30
HALF_MEGAPIXEL = (816, 612)
LEAST_TIMES_FASTER_SMALL = 10
NAIVE_HASHES: tuple[Callable[[Image.Image], object], ...] = (
    imagehash.average_hash,
    imagehash.phash,
    imagehash.dhash,
    imagehash.whash,
    lambda image: imagehash.whash(image, mode="db4"),
    imagehash.colorhash,
    imagehash.crop_resistant_hash,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians of one file, CPU milliseconds."""

    file: str
    bare_decode_ms: float
    ours_ms: float
    naive_ms: float
    segments_ms: float
    naive_segments_ms: float

    @property
    def decodes(self) -> float:
        """Bare decodes that ours takes."""
        return self.ours_ms / self.bare_decode_ms

    @property
    def times_faster(self) -> float:
        """How often ours fits into imagehash's seven."""
        return self.naive_ms / self.ours_ms

    @property
    def times_faster_segments(self) -> float:
        """How often our segmentation fits into imagehash's."""
        return self.naive_segments_ms / self.segments_ms


def decode_barely(data: bytes) -> None:
    """Decode to what hashing needs."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", DRAFT)
        image.load()


def fingerprint_all(data: bytes) -> Normalised:
    """What is computed for an upload, but the pattern."""
    picture = normalise(data, DecodeLimits())
    fingerprint(picture.image)
    keypoints(picture.image.convert("L"))
    picture.pixel_sha256()
    return picture


def hash_naively(data: bytes) -> None:
    """imagehash's seven functions on the full picture, decoded once."""
    with Image.open(io.BytesIO(data)) as image:
        for hash_of in NAIVE_HASHES:
            hash_of(image)


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def measure(name: str, data: bytes, rounds: int, naive_rounds: int) -> Measured:
    """Measure one file, after a round that only warms up."""
    picture = fingerprint_all(data).image
    grey = picture.convert("L")
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "bare_decode_ms": (rounds, lambda: decode_barely(data)),
        "ours_ms": (rounds, lambda: fingerprint_all(data)),
        "naive_ms": (naive_rounds, lambda: hash_naively(data)),
        "segments_ms": (rounds, lambda: segments(grey)),
        "naive_segments_ms": (naive_rounds, lambda: imagehash.crop_resistant_hash(picture)),
    }
    times: dict[str, list[float]] = {work: [] for work in works}
    for number in range(rounds):
        for work, (wanted, call) in works.items():
            if number < wanted:
                times[work].append(cpu_ms(call))
    return Measured(file=name, **{work: median(measured) for work, measured in times.items()})


def half_megapixel(data: bytes) -> bytes:
    """The same picture as a JPEG of half a megapixel."""
    with Image.open(io.BytesIO(data)) as image:
        file = io.BytesIO()
        image.resize(HALF_MEGAPIXEL).save(file, "JPEG", quality=88)
    return file.getvalue()


def as_a_decoding_process_is(module: str) -> None:
    """Start this program anew where the environment that must be there from the start is not."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        command = [sys.executable, "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | ENVIRONMENT)


def _cells(item: Measured) -> list[str]:
    return [
        item.file,
        f"{item.bare_decode_ms:.1f}",
        f"{item.ours_ms:.1f}",
        f"{item.decodes:.2f}",
        f"{item.naive_ms:.0f}",
        f"{item.times_faster:.0f}",
        f"{item.segments_ms:.1f}",
        f"{item.naive_segments_ms:.0f}",
        f"{item.times_faster_segments:.0f}",
    ]


@click.command()
@click.option("--rounds", default=11, show_default=True, help="Timed rounds.")
@click.option("--naive-rounds", default=3, show_default=True, help="Of these, with imagehash's functions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, naive_rounds: int, as_json: bool) -> None:
    """Measure the CPU time of all fingerprints of the camera files."""
    as_a_decoding_process_is("benchmarks.fingerprints")
    camera = [_measured(path, path.read_bytes(), rounds, naive_rounds) for path in camera_files()]
    first = camera_files()[1]
    small = measure("0.5 megapixels", half_megapixel(first.read_bytes()), rounds, naive_rounds)
    decodes = median(item.decodes for item in camera)
    faster = median(item.times_faster for item in camera)
    faster_segments = median(item.times_faster_segments for item in camera)
    bars = [
        Bar("CPU of all fingerprints", decodes, MOST_DECODES, "bare decodes"),
        Bar("its share of imagehash's seven", 1 / faster, 1 / LEAST_TIMES_FASTER, "of it"),
        Bar("of 0.5 megapixels", 1 / small.times_faster, 1 / LEAST_TIMES_FASTER_SMALL, "of imagehash's"),
        Bar("segmentation", 1 / faster_segments, 1 / LEAST_TIMES_FASTER_SEGMENTS, "of imagehash's"),
    ]
    header = ["CPU ms", "bare", "ours", "ratio", "imagehash", "x", "segments", "imagehash", "x"]
    rows = [_cells(item) for item in (*camera, small)]
    rows.append(["median", "", "", f"{decodes:.2f}", "", f"{faster:.0f}", "", "", f"{faster_segments:.0f}"])
    figures = {"files": [asdict(item) for item in (*camera, small)]}
    show(figures, table(header, rows), bars, as_json=as_json)


def _measured(path: Path, data: bytes, rounds: int, naive_rounds: int) -> Measured:
    name = path.name if len(path.name) < 20 else f"{path.name[:18]}.."
    return measure(name, data, rounds, naive_rounds)


if __name__ == "__main__":
    main()
