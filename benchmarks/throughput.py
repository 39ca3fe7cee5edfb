"""`python -m benchmarks.throughput`: uploads per second of camera files, against what the cores could fingerprint.

Several clients upload at once, each file of a round once, and all are deleted before the next round, untimed. The
files are the camera's own, and for each of them eight photos enlarged to its size in pixels, with as much grain as
makes them its size in bytes: none has a part of another, so a round is long and nothing in it matches. What the
cores could do is their time, less what this process took to send, over the CPU time of fingerprinting these
files, measured before in this process as `benchmarks.fingerprints` does.
"""

import io
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import mean, median
from typing import Any

import click
import numpy as np
from PIL import Image, JpegImagePlugin

from benchmarks.fingerprints import as_a_decoding_process_is, cpu_ms, fingerprint_all
from benchmarks.pictures import DATA, camera_files
from benchmarks.report import Bar, show, table
from benchmarks.service import Client, Service

LEAST_SHARE = 0.8
ENLARGED = 8


@dataclass(frozen=True, slots=True)
class Round:
    """One timed round."""

    uploads: int
    seconds: float
    sending_cpu_seconds: float


def files() -> list[bytes]:
    """Camera files, and photos made as large as each of them, written with its tables."""
    photos = iter(sorted((DATA / "photos" / "clothing").glob("*.jpg")))
    random = np.random.default_rng(1)
    found = []
    for path in camera_files():
        found.append(path.read_bytes())
        with Image.open(path) as image:
            image.load()
        kept = {
            "qtables": image.quantization,  # type: ignore[attr-defined]
            "subsampling": JpegImagePlugin.get_sampling(image),  # type: ignore[no-untyped-call]
            "exif": image.info.get("exif", b""),
        }
        enlarged = [_enlarged(next(photos), image.size) for _ in range(ENLARGED)]
        grain = _grain(random, enlarged[0], len(found[-1]), kept)
        found += [_grainy(random, photo, grain, kept) for photo in enlarged]
    return found


def _enlarged(path: Path, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as photo:
        return photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _grain(random: np.random.Generator, photo: Image.Image, byte_count: int, kept: dict[str, Any]) -> float:
    """How much grain makes a photo a file of so many bytes, by halving."""
    low, high = 0.0, 64.0
    while high - low > 0.5:
        middle = (low + high) / 2
        if len(_grainy(random, photo, middle, kept)) < byte_count:
            low = middle
        else:
            high = middle
    return low


def _grainy(random: np.random.Generator, photo: Image.Image, grain: float, kept: dict[str, Any]) -> bytes:
    noise = random.standard_normal((photo.height, photo.width, 1), np.float32) * np.float32(grain)
    pixels = np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **kept)
    return file.getvalue()


def upload_all(service: Service, key: str, pictures: list[bytes], clients: int, name: str) -> Round:
    """Upload every picture once, over that many connections."""
    waiting: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
    for numbered in enumerate(pictures):
        waiting.put(numbered)
    failed: list[BaseException] = []

    def work(client: Client) -> None:
        try:
            while True:
                number, data = waiting.get_nowait()
                client.upload(f"{name}-{number}", "camera.jpg", data)
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            failed.append(error)

    connections = [Client(service.port, key) for _ in range(clients)]
    threads = [threading.Thread(target=work, args=(each,)) for each in connections]
    started, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = Round(len(pictures), time.perf_counter() - started, time.process_time() - cpu)
    if failed:
        raise failed[0]
    for number in range(len(pictures)):
        connections[0].delete(f"/claims/{name}-{number}")
    return done


def _fingerprint_cpu_ms(data: bytes) -> float:
    """CPU time of one file, after once to warm up."""
    fingerprint_all(data)
    return median(cpu_ms(lambda: fingerprint_all(data)) for _ in range(5))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Timed rounds, after one to warm up.")
@click.option("--clients", default=6, show_default=True, help="Connections that upload at once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, clients: int, as_json: bool) -> None:
    """Measure uploads per second."""
    as_a_decoding_process_is("benchmarks.throughput")
    pictures = files()
    cpu_seconds = mean(_fingerprint_cpu_ms(data) for data in pictures) / 1e3
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="claimprint-bench-") as folder, Service(Path(folder)) as service:
        key = service.make_key()
        with click.progressbar(range(rounds + 1), label="rounds", file=sys.stderr) as bar:
            done = [upload_all(service, key, pictures, clients, f"round-{number}") for number in bar][1:]
    shares = [each.uploads * cpu_seconds / (cores * each.seconds - each.sending_cpu_seconds) for each in done]
    share = median(shares)
    rows = [
        [
            str(number),
            f"{each.uploads / each.seconds:.1f}",
            f"{each.sending_cpu_seconds / each.seconds:.2f}",
            f"{one:.2f}",
        ]
        for number, (each, one) in enumerate(zip(done, shares, strict=True), 1)
    ]
    header = ["round", "uploads a second", "cores spent sending", "share of what the cores could do"]
    figures = {
        "fingerprint_cpu_seconds": cpu_seconds,
        "cores": cores,
        "rounds": [asdict(each) for each in done],
        "share": share,
    }
    told = f"{cpu_seconds * 1e3:.1f} ms of CPU to fingerprint a file, {cores} cores\n\n{table(header, rows)}"
    bars = [Bar("lost of what the cores could do", 1 - share, 1 - LEAST_SHARE, "of it")]
    show(figures, told, bars, as_json=as_json)


if __name__ == "__main__":
    main()
