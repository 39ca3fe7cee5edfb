"""`python -m benchmarks.partial_copies`: what looking for parts of pictures takes with 150,000 images stored.

Their keypoints are those of photos, a few bits of each hash turned: each photo has a hundred copies, more than
any collection has. Searches are for 400 keypoints as they are, mirrored, negative and both, on one core: `found
near` is the index alone; `proposed` ranks what was found; `agreeing` has read places and left those of which two
agree. `a template` is the middle of a photo, looked for by its keypoints in all images.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
from PIL import Image
from sqlalchemy import text

from app.catalog import session
from app.catalog.templates import Template
from app.collection import KeypointCollection
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.matching.near_keypoints import near
from app.matching.overlaps import AGREEING_BITS, PROPOSING_BITS
from app.matching.regions import Box
from app.matching.sightings import Detail
from app.partial_copies import Look, agreeing_images, propose_images
from app.recognition import showing_detail
from benchmarks.collection import stored_collection
from benchmarks.report import Bar, quantile, show, table
from benchmarks.sets import photo_keypoints

MOST_SEARCH_MS, MOST_LOAD_SECONDS, MOST_MEMORY, MOST_TABLE = 15, 6, 4096, 2048
EVERY = 15  # photos are searched for
TEMPLATES_EVERY = 8  # of these
MIDDLE = Box(128, 96, 256, 192)


def milliseconds(work: Callable[[], object], times: list[float]) -> None:
    """Append how long it takes."""
    start = time.perf_counter()
    work()
    times.append((time.perf_counter() - start) * 1000)


def look_at(points: Keypoints) -> Look:
    """A look at a picture that is never opened: places are compared, and no pixels."""
    return Look(points, (512, 384), lambda: Image.new("L", (512, 384)))


@click.command()
@click.option("--size", default=150_000, type=click.IntRange(1000), help="Images stored.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder of a stored collection."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, keep: Path | None, *, as_json: bool) -> None:
    """Time loading and searching."""
    queries = photo_keypoints()[::EVERY]
    times: dict[str, list[float]] = {"found near": [], "proposed": [], "agreeing": [], "a template": []}
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(stored_collection(folder, size))
        start = time.perf_counter()
        with session.autocommit(engine) as connection:
            index = KeypointCollection(engine).caught_up(connection)
            seconds = time.perf_counter() - start
            # Pages that are extended ahead are given back, as autovacuum does some time.
            connection.execute(text("VACUUM image_keypoints"))
            rows, table_bytes = connection.execute(
                text("SELECT count(*), pg_relation_size('image_keypoints') FROM image_keypoints")
            ).one()
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {max(cores)})
            for points in queries:
                milliseconds(
                    lambda points=points: near(index.index, [points], PROPOSING_BITS), times["found near"]
                )
                milliseconds(lambda points=points: propose_images(index, points), times["proposed"])
                milliseconds(
                    lambda points=points: list(
                        agreeing_images(connection, [look_at(points)], [propose_images(index, points)])
                    ),
                    times["agreeing"],
                )
            for points in queries[::TEMPLATES_EVERY]:
                detail = Detail.within(points, MIDDLE)
                template = Template(0, 0, KEYPOINTS, AGREEING_BITS, np.empty(0, np.uint64), detail)
                milliseconds(
                    lambda template=template, detail=detail: list(
                        showing_detail(connection, index, template, detail)
                    ),
                    times["a template"],
                )
            os.sched_setaffinity(0, cores)
    figures = {
        "seconds to load": seconds,
        "bytes of memory an image": index.index.nbytes / rows,
        "bytes of table an image": table_bytes / rows,
    }
    shown = table(
        ["milliseconds", "median", "90 % within"],
        [[name, f"{quantile(each, 0.5):.1f}", f"{quantile(each, 0.9):.1f}"] for name, each in times.items()],
    )
    bars = [
        Bar("a search, up to images proposed", quantile(times["proposed"], 0.5), MOST_SEARCH_MS, "ms"),
        Bar("seconds to load", seconds, MOST_LOAD_SECONDS, "s"),
        Bar("memory an image", figures["bytes of memory an image"], MOST_MEMORY, "bytes"),
        Bar("table an image", figures["bytes of table an image"], MOST_TABLE, "bytes"),
    ]
    show({"times": times, "figures": figures}, shown, bars, as_json=as_json)


if __name__ == "__main__":
    main()
