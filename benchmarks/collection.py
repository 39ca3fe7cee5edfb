"""`python -m benchmarks.collection --size 150000`: the service with a large collection stored.

Fills a database with drawn images, then measures against it, the database being up already:

start      from the start of `claimprint serve` to the first 200 of `/readyz`
upload     a JPEG of 0.3 MB over HTTP and, in turns, the fingerprinting of the same file by a decoding process
           of this program's own, rendition included; the difference is the service's overhead
similar    `GET /similar` of stored images drawn by lot, radius 10, as stored and in all orientations
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np
from sqlalchemy import Engine, text

from app.catalog import schema, session
from app.embedded import EmbeddedServer
from app.imaging import DecodeLimits, DecodePool
from app.settings import Settings
from benchmarks.pictures import drawn_jpegs
from benchmarks.report import Bar, show, times_table
from benchmarks.rows import fill
from benchmarks.service import Client, Service

UPLOAD_BYTES = 300_000
WARM_UPS = 3
SEARCHES = {
    "as stored": "max_distance=10",
    "all orientations": "max_distance=10&orientations=all",
    "by colours": "max_distance=10&hash=colorhash",
    "by segments": "hash=segments",
}
MOST_SECONDS_TO_READY = 6  # 2.5 without keypoints
MOST_OVERHEAD_MS = 12 + 15  # the second for the search for parts of pictures
MOST_SIMILAR_MS = 5


@contextmanager
def stored_collection(
    folder: Path, size: int, filling: Callable[[Engine, int], None] = fill
) -> Iterator[Engine]:
    """An engine on a running database that holds `size` images, which `filling` adds."""
    with EmbeddedServer.start(folder / "database") as server, _engine(server.url) as engine:
        schema.migrate(engine)
        filling(engine, size)
        with engine.begin() as connection:
            # What a run that broke off has left: its jobs would go on, its templates be compared with uploads.
            connection.execute(
                text(
                    "UPDATE job SET state = 'cancelled', finished_at = now() WHERE finished_at IS NULL;"
                    " UPDATE template SET enabled = false WHERE deleted_at IS NULL"
                )
            )
    # Started anew, so that nothing of the filling is still being written.
    with EmbeddedServer.start(folder / "database") as server, _engine(server.url) as engine:
        yield engine


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = session.make_engine(Settings(), url)
    try:
        yield engine
    finally:
        engine.dispose()


def measure_start(folder: Path, url: str, rounds: int) -> list[float]:
    """Seconds from the start of the process to ready, after a start that only warms up."""
    seconds = []
    for _ in range(rounds + 1):
        with Service(folder, url) as service:
            seconds.append(service.seconds_to_ready)
    return seconds[1:]


def measure_upload(client: Client, folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of uploads, and of the fingerprinting of the same files, in turns."""
    uploads, fingerprints = [], []
    pool = DecodePool(1, DecodeLimits(), max_queued=1)
    path, rendition = folder / "picture.jpg", folder / "rendition.jpg"
    files = drawn_jpegs(np.random.default_rng(), count + WARM_UPS, UPLOAD_BYTES)
    try:
        for number, data in enumerate(files):
            path.write_bytes(data)
            started = perf_counter()
            pool.fingerprint(path, rendition)
            fingerprints.append((perf_counter() - started) * 1e3)
            _, seconds = client.upload(f"bench-{number}", "picture.jpg", data)
            uploads.append(seconds * 1e3)
    finally:
        pool.close()
        for number in range(len(uploads)):
            client.delete(f"/claims/bench-{number}")
    return uploads[WARM_UPS:], fingerprints[WARM_UPS:]


def measure_similar(client: Client, image_ids: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of searches for each image, by kind, in turns; the first few only warm up."""
    milliseconds: dict[str, list[float]] = {kind: [] for kind in SEARCHES}
    for image_id in image_ids:
        for kind, measured in milliseconds.items():
            measured.append(client.get(f"/similar?image_id={image_id}&{SEARCHES[kind]}")[1] * 1e3)
    return {kind: measured[WARM_UPS:] for kind, measured in milliseconds.items()}


def some_image_ids(engine: Engine, count: int) -> list[str]:
    """Ids of stored images, drawn by lot."""
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT image_id FROM image WHERE deleted_at IS NULL AND status = 'fingerprinted'")
        ).scalars()
        return [str(image_id) for image_id in random.sample(found.all(), count)]


@click.command()
@click.option("--size", default=150_000, show_default=True, help="Images stored.")
@click.option("--starts", default=5, show_default=True, help="Timed starts of the service.")
@click.option("--uploads", default=40, show_default=True, help="Timed uploads.")
@click.option("--searches", default=200, show_default=True, help="Timed searches of each kind.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the database; a later run finds it filled.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, starts: int, uploads: int, searches: int, keep: Path | None, as_json: bool) -> None:
    """Measure start, upload and search with many images stored."""
    with ExitStack() as undo:
        folder = keep or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="claimprint-bench-")))
        engine = undo.enter_context(stored_collection(folder, size))
        url = engine.url.render_as_string(hide_password=False)
        to_ready = measure_start(folder / "service", url, starts)
        with Service(folder / "service", url) as service:
            client = Client(service.port, service.make_key())
            uploaded, fingerprinted = measure_upload(client, folder, uploads)
            similar = measure_similar(client, some_image_ids(engine, searches + WARM_UPS))
    overhead = [wall - alone for wall, alone in zip(uploaded, fingerprinted, strict=True)]
    figures = {
        "size": size,
        "seconds_to_ready": to_ready,
        "upload_ms": uploaded,
        "fingerprint_ms": fingerprinted,
        "overhead_ms": overhead,
        "similar_ms": similar,
    }
    measured = {
        "start to ready": [seconds * 1e3 for seconds in to_ready],
        "upload of 0.3 MB": uploaded,
        "its fingerprinting alone": fingerprinted,
        "overhead": overhead,
        **{f"similar, {kind}": times for kind, times in similar.items()},
    }
    bars = [
        Bar("start to ready", median(to_ready), MOST_SECONDS_TO_READY, "s"),
        Bar("upload beyond fingerprinting", median(overhead), MOST_OVERHEAD_MS, "ms"),
        Bar("similar, radius 10", median(similar["as stored"]), MOST_SIMILAR_MS, "ms"),
    ]
    show(figures, times_table(f"{size:,} images stored", measured), bars, as_json=as_json)


if __name__ == "__main__":
    main()
