"""`python -m app.jobs.places_process`: looks for regions in the tiles of all images; see `apart`.

The task: a line of JSON {"url", "max_distances", "images", "stamp"}, the last two about how many images there are,
and a stamp of templates that must be seen; then the codes of the regions, uint64[k, 2, 4], as a .npy file.

The answer: the newest change stamp that was seen, int64[1]; the distances of each region to all images,
int16[k, n]; and for each region the images within its distance: `created_seq`, distance and number of the tile,
int64[m, 3], and the blocks of the image, uint8[m, 4].
"""

import json
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.catalog import session, stamps, templates
from app.catalog.fingerprints import SomeTiles, copy_tiles
from app.jobs.apart import Progress, work


class _Region:
    """One region, and what was found of it so far."""

    def __init__(self, code: NDArray[np.uint64], max_distance: int):
        self._code = code
        self._max_distance = max_distance
        self._distances = [np.empty(0, np.int16)]
        self._near = [np.empty((0, 3), np.int64)]
        self._blocks = [np.empty((0, 4), np.uint8)]

    def compare(self, some: SomeTiles) -> None:
        """Look for it in some images."""
        distances, places = some.tiles.nearest(self._code)
        near = distances <= self._max_distance
        self._distances.append(distances.astype(np.int16))
        self._near.append(np.stack([some.seqs, distances, places], axis=1)[near])
        self._blocks.append(some.tiles.blocks[near])

    @property
    def distances(self) -> NDArray[np.int16]:
        """To all images, int16[n]."""
        return np.concatenate(self._distances)

    @property
    def near(self) -> list[NDArray[Any]]:
        """The images within the distance, and their blocks."""
        return [np.concatenate(self._near), np.concatenate(self._blocks)]


def find_places(task: BinaryIO, progress: Progress) -> list[NDArray[Any]]:
    """Look for the regions of a task, in one snapshot."""
    asked = json.loads(task.readline())
    codes = np.load(task, allow_pickle=False)
    regions = [_Region(*each) for each in zip(codes, asked["max_distances"], strict=True)]
    seen = 0

    def look(some: SomeTiles) -> None:
        nonlocal seen
        seen += len(some.seqs)
        for region in regions:
            region.compare(some)
        progress(seen / max(asked["images"], seen))

    with session.make_reader(asked["url"]).connect() as connection, stamps.snapshot(connection):
        _, last = stamps.newest(connection)
        if templates.newest_stamp(connection) < asked["stamp"]:
            raise RuntimeError("this server does not have the templates that are asked about")
        copy_tiles(connection, look)
    return [
        np.array([last]),
        np.stack([region.distances for region in regions]),
        *(array for region in regions for array in region.near),
    ]


if __name__ == "__main__":
    work(find_places)
