"""`python -m app.jobs.cluster_process`: clusters codes, in a process of its own that yields to all others.

In:  a line of JSON {"linkage", "max_distance", "min_size"}, then the codes uint64[n, words] as a .npy file.
Out: lines with the share that is done; an empty line; then medoids, numbers and distances as .npy files.
"""

import io
import json
import os
import sys
from typing import BinaryIO

import numpy as np

from app.matching.clusters import clusters, linked

NICENESS = 10
METHODS = {"medoid": clusters, "single": linked}


def main(given: BinaryIO, answer: BinaryIO) -> None:
    """Read a task and answer it; ends early when nobody reads the answer any more."""
    os.nice(NICENESS)
    task = json.loads(given.readline())
    codes = np.load(io.BytesIO(given.read()), allow_pickle=False)

    def say(done: float) -> None:
        answer.write(b"%.4f\n" % done)
        answer.flush()

    found = METHODS[task["linkage"]](codes, task["max_distance"], min_size=task["min_size"], progress=say)
    answer.write(b"\n")
    for array in (found.medoids, found.numbers, found.distances):
        np.save(answer, array)
    answer.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
