"""`python -m benchmarks.upload`: camera files over HTTP, against their bare decode and the naive way.

One client uploads each file in turn to the real service with a database of its own. An image is deleted
before the next one is sent, so that every upload is of a new picture, unchanged, and no matches are found. In
between, in the same rounds, this process decodes the same file: barely (Pillow's `draft` to at least 512
pixels), and, in fewer rounds, the naive way (imagehash's four functions on the full picture).
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click
import imagehash
from PIL import Image

from benchmarks.pictures import camera_files
from benchmarks.report import Bar, show, table
from benchmarks.service import Client, Service

DRAFT = (512, 512)
MOST_DECODES = 3.2
NAIVE_HASHES = (imagehash.average_hash, imagehash.phash, imagehash.dhash, imagehash.whash)


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians of one file, in milliseconds."""

    file: str
    megabytes: float
    megapixels: float
    bare_decode_ms: float
    upload_ms: float
    naive_ms: float

    @property
    def decodes(self) -> float:
        """Bare decodes that one upload takes."""
        return self.upload_ms / self.bare_decode_ms

    @property
    def naive_uploads(self) -> float:
        """Uploads that the naive way takes."""
        return self.naive_ms / self.upload_ms


def decode_barely(path: Path) -> None:
    """Decode to what hashing needs: nothing else can be left out of an upload."""
    with Image.open(path) as image:
        image.draft("RGB", DRAFT)
        image.load()


def hash_naively(path: Path) -> None:
    """Hash the full picture with imagehash, decoded once: what a plain service does, without its HTTP."""
    with Image.open(path) as image:
        for hash_of in NAIVE_HASHES:
            hash_of(image)


def milliseconds(work: Callable[[Path], None], path: Path) -> float:
    """Time one call."""
    started = time.perf_counter()
    work(path)
    return (time.perf_counter() - started) * 1e3


def measure(files: list[Path], rounds: int, naive_rounds: int) -> list[Measured]:
    """Upload and decode every file once a round, after a round that only warms up."""
    bare: dict[Path, list[float]] = {path: [] for path in files}
    uploads: dict[Path, list[float]] = {path: [] for path in files}
    naive: dict[Path, list[float]] = {path: [] for path in files}
    with tempfile.TemporaryDirectory(prefix="claimprint-bench-") as folder, Service(Path(folder)) as service:
        client = Client(service.port, service.make_key())
        with click.progressbar(range(rounds + 1), label="rounds", file=sys.stderr) as bar:
            for number in bar:
                for position, path in enumerate(files):
                    bare_ms = milliseconds(decode_barely, path)
                    claim_id = f"upload-{number}-{position}"
                    image, seconds = client.upload(claim_id, path.name[-40:], path.read_bytes())
                    if image["matches_total"]:
                        raise SystemExit(f"{path.name} matched something: the rounds are not alike")
                    client.delete(f"/claims/{claim_id}")
                    if number:
                        bare[path].append(bare_ms)
                        uploads[path].append(seconds * 1e3)
                    if 0 < number <= naive_rounds:
                        naive[path].append(milliseconds(hash_naively, path))
    return [
        Measured(
            file=path.name if len(path.name) < 20 else f"{path.name[:18]}..",
            megabytes=path.stat().st_size / 1e6,
            megapixels=_megapixels(path),
            bare_decode_ms=median(bare[path]),
            upload_ms=median(uploads[path]),
            naive_ms=median(naive[path]),
        )
        for path in files
    ]


def _megapixels(path: Path) -> float:
    with Image.open(path) as image:
        return image.width * image.height / 1e6


def _cells(name: str, item: Measured) -> list[str]:
    return [
        name,
        f"{item.megabytes:.1f}",
        f"{item.megapixels:.1f}",
        f"{item.bare_decode_ms:.1f}",
        f"{item.upload_ms:.1f}",
        f"{item.decodes:.2f}",
        f"{item.naive_ms:.0f}",
        f"{item.naive_uploads:.1f}",
    ]


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Timed rounds over all files.")
@click.option("--naive-rounds", default=3, show_default=True, help="Of these, with the naive way.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, naive_rounds: int, as_json: bool) -> None:
    """Upload camera files over HTTP and compare with their bare decode."""
    measured = measure(camera_files(), rounds, naive_rounds)
    decodes = median(item.decodes for item in measured)
    naive_uploads = median(item.naive_uploads for item in measured)
    header = ["file", "MB", "MP", "bare decode ms", "upload ms", "ratio", "naive ms", "naive / upload"]
    rows = [_cells(item.file, item) for item in measured]
    rows.append(["median of ratios", "", "", "", "", f"{decodes:.2f}", "", f"{naive_uploads:.1f}"])
    figures = {
        "files": [
            asdict(item) | {"decodes": item.decodes, "naive_uploads": item.naive_uploads} for item in measured
        ],
        "decodes": decodes,
        "naive_uploads": naive_uploads,
    }
    bar = Bar("upload over HTTP", decodes, MOST_DECODES, "bare decodes")
    show(figures, table(header, rows), [bar], as_json=as_json)


if __name__ == "__main__":
    main()
