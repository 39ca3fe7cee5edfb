"""`python -m app.jobs.cluster_process`: clusters codes; see `apart`.

The task: a line of JSON {"linkage", "max_distance", "min_size"}, then the codes uint64[n, words] as a .npy file.
The answer: medoids, numbers and distances as in `matching.clusters.Clusters`.
"""

import json
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.jobs.apart import Progress, work
from app.matching.clusters import clusters, linked

METHODS = {"medoid": clusters, "single": linked}


def cluster(task: BinaryIO, progress: Progress) -> list[NDArray[np.int64] | NDArray[np.uint16]]:
    """Cluster the codes of a task."""
    asked = json.loads(task.readline())
    codes = np.load(task, allow_pickle=False)
    found = METHODS[asked["linkage"]](
        codes, asked["max_distance"], min_size=asked["min_size"], progress=progress
    )
    return [found.medoids, found.numbers, found.distances]


if __name__ == "__main__":
    work(cluster)
