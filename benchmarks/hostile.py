"""`python -m benchmarks.hostile`: what the service is to others while hostile files are sent to it.

One client uploads drawn photos of 1600 x 1200 one after the other, first alone, then while others send bombs and
broken files as fast as they are answered: how long it waits, how much memory the service takes, and what became of
the files. And the hop: what handing a file of 4 MB to a decoding process costs beside the work done there.
"""

import http.client
import io
import itertools
import struct
import sys
import tempfile
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click
import numpy as np
from PIL import Image

from app.imaging.limits import DecodeLimits
from app.imaging.pool import DecodePool
from app.storage.local import LocalPictures
from benchmarks.pictures import DATA, drawn_jpegs
from benchmarks.report import Bar, quantile, show, table
from benchmarks.service import BOUNDARY, HOST, Client, Service

MIB = 1024 * 1024
PHOTO_BYTES = 300_000
HOP_BYTES = 4_000_000
MOST_HOP_MS = 5.0
SAMPLE_SECONDS = 0.05
# The most that two decoding processes may add, each within its limit, and what the service needs at rest.
MOST_MEMORY_MIB = 2 * 1024 + 600
MOST_WAIT_SECONDS = 0.25


@dataclass(slots=True)
class Watched:
    """What one client saw, and what the service took meanwhile."""

    seconds: list[float] = field(default_factory=list)
    memory_mib: float = 0.0


def png(
    width: int, height: int, *, depth: int, colour: int, bits_per_pixel: int, extra: bytes = b""
) -> bytes:
    """A PNG of zeros."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + (width * bits_per_pixel + 7) // 8)
    data = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs() -> dict[str, bytes]:
    """Small files that ask for much, by name."""
    flat = Image.new("RGB", (160, 120), "teal")
    file = io.BytesIO()
    flat.save(file, "JPEG", progressive=True)
    jpeg = file.getvalue()
    last = jpeg.rindex(b"\xff\xda")
    webp = io.BytesIO()
    Image.effect_noise((700, 700), 40).resize((7000, 7000)).convert("RGB").save(webp, "WEBP", quality=10)
    inflating = _chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(200 * MIB)))
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return {
        "PNG of 9400 x 9400, RGBA": png(9400, 9400, depth=8, colour=6, bits_per_pixel=32),
        "PNG of 13300 x 13300, 1 bit": png(13300, 13300, depth=1, colour=0, bits_per_pixel=1),
        "PNG of 49 megapixels": png(7000, 7000, depth=8, colour=2, bits_per_pixel=24),
        "PNG with a million texts": png(
            8, 8, depth=8, colour=2, bits_per_pixel=24, extra=_chunk(b"tEXt", b"a\0b") * 1_000_000
        ),
        "PNG with text of 200 MB": png(8, 8, depth=8, colour=2, bits_per_pixel=24, extra=inflating),
        "JPEG of 10,000 scans": jpeg[:-2] + jpeg[last:-2] * 10_000 + b"\xff\xd9",
        "WebP of 49 megapixels": webp.getvalue(),
        "GIF of 20,000 frames": b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0" + frame * 20_000 + b";",
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "no bytes": b"",
    }


def send(port: int, key: str, claim_id: str, data: bytes) -> int:
    """Upload bytes and return the status of the answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    try:
        connection.request("POST", f"/claims/{claim_id}/images", body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def memory_mib(pid: int) -> float:
    """Memory of a process and of all below it, pages shared among them counted once."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text("ascii").rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    total, waiting = 0.0, [pid]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def watch(service: Service, key: str, photos: Iterator[bytes], until: threading.Event) -> Watched:
    """Upload photos one after the other until the event, and sample the service's memory."""
    watched = Watched()

    def sample() -> None:
        while not until.is_set():
            watched.memory_mib = max(watched.memory_mib, memory_mib(service.pid))
            time.sleep(SAMPLE_SECONDS)

    sampler = threading.Thread(target=sample)
    sampler.start()
    client = Client(service.port, key)
    while not until.is_set():
        # Bytes behind the picture make it another file; what it matches is not asked.
        _, seconds = client.upload(str(uuid.uuid4()), "photo.jpg", next(photos) + uuid.uuid4().bytes)
        watched.seconds.append(seconds)
    sampler.join()
    return watched


def attack(service: Service, key: str, files: list[bytes], senders: int) -> Counter[int]:
    """Send every file once, several at a time; return how often each status was answered."""
    statuses: Counter[int] = Counter()
    waiting = iter(files)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                data = next(waiting, None)
            if data is None:
                return
            status = send(service.port, key, f"hostile-{uuid.uuid4()}", data)
            with lock:
                statuses[status] += 1

    threads = [threading.Thread(target=work) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def hop_ms(rounds: int) -> float:
    """Milliseconds that a file of 4 MB takes longer in a decoding process than a small one of the same pixels."""
    small = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(small, "JPEG")
    # What lies behind the picture is read and not decoded: only the way there differs.
    large = small.getvalue() + bytes(HOP_BYTES)
    pool = DecodePool(1, DecodeLimits(), max_queued=4)
    try:
        with tempfile.TemporaryDirectory(prefix="claimprint-bench-") as folder:
            pictures = LocalPictures(Path(folder), min_free_bytes=0)
            times: dict[bytes, list[float]] = {small.getvalue(): [], large: []}
            for _ in range(rounds):
                for data, measured in times.items():
                    started = time.perf_counter()
                    with pictures.staged(data) as files:
                        pool.fingerprint(files.original, None)
                        measured.append((time.perf_counter() - started) * 1e3)
        one, other = (median(measured) for measured in times.values())
        return other - one
    finally:
        pool.close()


@click.command()
@click.option("--senders", default=4, show_default=True, help="Hostile clients.")
@click.option("--quiet-seconds", default=8.0, show_default=True, help="Time alone, before.")
@click.option("--times", default=3, show_default=True, help="How often each file is sent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(senders: int, quiet_seconds: float, times: int, as_json: bool) -> None:
    """Measure what hostile files do to other clients."""
    hop = hop_ms(31)
    broken = [path.read_bytes() for path in sorted((DATA / "bad-input").rglob("*")) if path.is_file()]
    made = bombs()
    files = (list(made.values()) * 5 + broken) * times
    np.random.default_rng(3).shuffle(files)  # type: ignore[arg-type]
    photos = itertools.cycle(drawn_jpegs(np.random.default_rng(5), 12, PHOTO_BYTES))
    with tempfile.TemporaryDirectory(prefix="claimprint-bench-") as folder, Service(Path(folder)) as service:
        key = service.make_key()
        alone = _watched_for(service, key, photos, quiet_seconds)
        over = threading.Event()
        found: list[Watched] = []
        watcher = threading.Thread(target=lambda: found.append(watch(service, key, photos, over)))
        watcher.start()
        started = time.perf_counter()
        statuses = attack(service, key, files, senders)
        took = time.perf_counter() - started
        over.set()
        watcher.join()
        after = _watched_for(service, key, photos, quiet_seconds / 2)
    (during,) = found
    header = ["another client's uploads", "count", "median ms", "95% within ms", "slowest ms", "memory MiB"]
    rows = [
        [
            name,
            str(len(each.seconds)),
            f"{median(each.seconds) * 1e3:.0f}",
            f"{quantile(each.seconds, 0.95) * 1e3:.0f}",
            f"{max(each.seconds) * 1e3:.0f}",
            f"{each.memory_mib:.0f}",
        ]
        for name, each in (("before", alone), ("during", during), ("after", after))
    ]
    bars = [
        Bar("95 % of another client's uploads", quantile(during.seconds, 0.95), MOST_WAIT_SECONDS, "s"),
        Bar("memory of all processes", during.memory_mib, MOST_MEMORY_MIB, "MiB"),
        Bar("hop of 4 MB to a decoding process", hop, MOST_HOP_MS, "ms"),
    ]
    told = (
        f"{len(files)} hostile files ({len(made)} kinds of bombs) by {senders} clients in {took:.0f} s,"
        f" answered {dict(sorted(statuses.items()))}\n\n{table(header, rows)}"
    )
    figures = {
        "hop_ms": hop,
        "files": len(files),
        "seconds": took,
        "statuses": dict(statuses),
        "during_seconds": during.seconds,
        "memory_mib": {"before": alone.memory_mib, "during": during.memory_mib, "after": after.memory_mib},
    }
    show(figures, told, bars, as_json=as_json)
    if any(status >= 500 for status in statuses if status != http.client.SERVICE_UNAVAILABLE):
        sys.exit("a file was answered with an error of the server")


def _watched_for(service: Service, key: str, photos: Iterator[bytes], seconds: float) -> Watched:
    until = threading.Event()
    timer = threading.Timer(seconds, until.set)
    timer.start()
    return watch(service, key, photos, until)


if __name__ == "__main__":
    main()
