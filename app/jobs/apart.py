"""Work in a process of its own, which yields to all others: `done_apart` starts it, `work` is what it runs.

In:  the task. Out: lines with the share that is done; an empty line; then arrays as .npy files.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

NICENESS = 19
"""The most there is: claimants wait for the decoding processes, which are at 10."""

# What is read by the megabyte goes into the memory of what was read before: a third of the time of a scan.
_KEPT_BYTES = str(32 * 1024 * 1024)
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES, "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES}

Progress = Callable[[float], None]


def done_apart(module: str, task: bytes, progress: Progress) -> list[NDArray[Any]]:
    """Have a module do a task as a program; return its arrays. What `progress` raises ends it.

    RuntimeError where the process ends otherwise than with an answer; what it says of that is in the log.
    """
    # By `nice`, so that starting up yields too.
    command = ["nice", "-n", str(NICENESS), sys.executable, "-P", "-m", module]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | _KEEP_FREED_MEMORY
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(task)
        process.stdin.close()
        while line := process.stdout.readline().strip():
            progress(float(line))
        answer = io.BytesIO(process.stdout.read())
        arrays = []
        while answer.tell() < len(answer.getbuffer()):
            arrays.append(np.load(answer, allow_pickle=False))
        if process.wait() != 0 or not arrays:
            raise EOFError
    except (BrokenPipeError, ValueError, EOFError) as error:
        process.kill()
        raise RuntimeError(f"{module} ended with status {process.wait()}") from error
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return arrays


def work(do: Callable[[BinaryIO, Progress], Sequence[NDArray[Any]]]) -> None:
    """Do the task on stdin and answer it on stdout; ends early when nobody reads that any more."""
    given, answer = sys.stdin.buffer, sys.stdout.buffer

    def say(done: float) -> None:
        answer.write(b"%.4f\n" % done)
        answer.flush()

    arrays = do(io.BytesIO(given.read()), say)
    answer.write(b"\n")
    for array in arrays:
        np.save(answer, array)
    answer.flush()
    os._exit(0)  # tidying up all that was imported takes 0.2 s, and is waited for
