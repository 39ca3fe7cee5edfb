"""`python -m benchmarks.grouping --size 150000`: clusters and templates with a large collection stored.

clusters   from the start of the job to its end: reading, clustering in a process of its own, storing
template   from the POST of a template to its having been compared with all images
listing    the largest clusters, one cluster, counts by week
uploads    of 0.3 MB, while nothing else is done, while images are clustered, and while templates are compared
"""

import io
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import perf_counter

import click
import numpy as np
from PIL import Image

from benchmarks.collection import UPLOAD_BYTES, stored_collection
from benchmarks.pictures import drawn_jpegs, drawn_pixels
from benchmarks.report import Bar, quantile, show, times_table
from benchmarks.service import Client, Service

WARM_UPS = 5
POLL_SECONDS = 0.05
# Beside uploads: as a page would, for each asks the process that serves them for counts.
PAGE_POLL_SECONDS = 0.25
MOST_CLUSTER_SECONDS = 60
MOST_TEMPLATE_SECONDS = 2
MOST_SLOWER = 1.5
RADII = (114, 115)  # some of the drawn images are within them
LISTINGS = ("/clusters?limit=50", "/clusters?sort=growing", "/patterns/trends?weeks=12")


def cluster_once(client: Client) -> float:
    """Seconds of one clustering job, as its row tells."""
    job = client.send_json("POST", "/clusters", {"fingerprint": "pattern"})
    while job["state"] in ("queued", "running"):
        time.sleep(POLL_SECONDS)
        job, _ = client.get(f"/jobs/{job['job_id']}")
    if job["state"] != "succeeded":
        raise SystemExit(f"the job ended otherwise: {job}")
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def make_template(client: Client) -> str:
    """Make a template that finds next to nothing; return its id once it is compared."""
    (pixels,) = drawn_pixels(np.random.default_rng(7), 1, 200, 200)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    made, _ = client.send_form("/templates", "file", "template.png", file.getvalue(), name="drawn")
    template_id: str = made["template_id"]
    _wait_until_compared(client, template_id)
    return template_id


def compare_once(client: Client, template_id: str, radius: int, poll: float = POLL_SECONDS) -> float:
    """Seconds from a change of a template to its having been compared with all images."""
    began = perf_counter()
    client.send_json("PATCH", f"/templates/{template_id}", {"max_distance": radius})
    _wait_until_compared(client, template_id, poll)
    return perf_counter() - began


def _wait_until_compared(client: Client, template_id: str, poll: float = POLL_SECONDS) -> None:
    while not client.get(f"/templates/{template_id}")[0]["compared"]:
        time.sleep(poll)


def upload_times(client: Client, files: list[bytes], prefix: str) -> list[float]:
    """Milliseconds of uploads, the first few left out."""
    taken = [
        client.upload(f"{prefix}-{number}", "picture.jpg", data)[1] * 1e3 for number, data in enumerate(files)
    ]
    for number in range(len(taken)):
        client.delete(f"/claims/{prefix}-{number}")
    return taken[WARM_UPS:]


def beside(work: Callable[[], object], measure: Callable[[], list[float]]) -> list[float]:
    """What `measure` gives while another thread does the work again and again."""
    stopping = Event()

    def keep_on() -> None:
        while not stopping.is_set():
            work()

    worker = Thread(target=keep_on)
    worker.start()
    time.sleep(0.5)
    try:
        return measure()
    finally:
        stopping.set()
        worker.join()


@click.command()
@click.option("--size", default=150_000, show_default=True, help="Images stored.")
@click.option("--runs", default=3, show_default=True, help="Timed jobs of each kind.")
@click.option("--uploads", default=200, show_default=True, help="Timed uploads of each kind.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the database; a later run finds it filled.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, runs: int, uploads: int, keep: Path | None, as_json: bool) -> None:
    """Measure clustering, templates, and uploads beside both."""
    with ExitStack() as undo:
        folder = keep or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="claimprint-bench-")))
        engine = undo.enter_context(stored_collection(folder, size))
        url = engine.url.render_as_string(hide_password=False)
        files = drawn_jpegs(np.random.default_rng(), uploads + WARM_UPS, UPLOAD_BYTES)
        with Service(folder / "service", url) as service:
            key = service.make_key()
            client = Client(service.port, key)
            clustered = [cluster_once(client) for _ in range(runs)]
            listed = {path: [client.get(path)[1] * 1e3 for _ in range(runs)] for path in LISTINGS}
            template_id = make_template(client)
            compared = [compare_once(client, template_id, RADII[run % 2]) for run in range(2 * runs)]
            alone = upload_times(client, files, "alone")
            other = Client(service.port, key)  # not before: idle connections are closed
            by_clusters = beside(lambda: cluster_once(other), lambda: upload_times(client, files, "clusters"))
            other = Client(service.port, key)
            radius = iter(range(1, 10_000))
            by_templates = beside(
                lambda: compare_once(other, template_id, RADII[next(radius) % 2], PAGE_POLL_SECONDS),
                lambda: upload_times(client, files, "templates"),
            )
            client.delete(f"/templates/{template_id}")
    measured = {
        "clustering job": [seconds * 1e3 for seconds in clustered],
        "template against all images": [seconds * 1e3 for seconds in compared],
        **listed,
        "upload, nothing else": alone,
        "upload, clustering meanwhile": by_clusters,
        "upload, templates being compared": by_templates,
    }
    usual = quantile(alone, 0.95)
    bars = [
        Bar(f"clustering job, {size} images", median(clustered), MOST_CLUSTER_SECONDS, "s"),
        Bar(f"template against {size} images", median(compared), MOST_TEMPLATE_SECONDS, "s"),
        Bar("95 % of uploads while clustering", quantile(by_clusters, 0.95) / usual, MOST_SLOWER, "x"),
        Bar("... while templates are compared", quantile(by_templates, 0.95) / usual, MOST_SLOWER, "x"),
    ]
    show(measured, times_table(f"{size:,} images stored", measured), bars, as_json=as_json)


if __name__ == "__main__":
    main()
