"""Work in a process of its own, which yields to all others: `done_apart` starts it, `work` is what it runs.

In:  the task. Out: lines with the share that is done; an empty line; then arrays as .npy files.
"""

import io
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

NICENESS = 19
"""The most there is: claimants wait for the decoding processes, which are at 10."""
STALLED_SECONDS = 600.0
"""A process that has said nothing for so long is given up."""
_BEAT_SECONDS = 1.0

# What is read by the megabyte goes into the memory of what was read before: 0.35 s less for 150,000 images' tiles.
_KEPT_BYTES = str(32 * 1024 * 1024)
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES, "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES}

Progress = Callable[[float], None]


def done_apart(module: str, task: bytes, progress: Progress) -> list[NDArray[Any]]:
    """Have a module do a task as a program; return its arrays.

    `progress` is told what share is done, every second also when nothing new is: whoever runs a job is to show that
    it lives. What it raises ends the process. RuntimeError where that ends otherwise than with an answer, or says
    nothing for ten minutes; what it has to say of it is in the log.
    """
    # By `nice`, where there is one, so that starting up yields too.
    nicely = ["nice", "-n", str(NICENESS)] if shutil.which("nice") else []
    # From a file: a process that is slow to read holds nobody up.
    with tempfile.TemporaryFile() as given:
        given.write(task)
        given.seek(0)
        process = subprocess.Popen(
            [*nicely, sys.executable, "-P", "-m", module],
            stdin=given,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | _KEEP_FREED_MEMORY,
        )
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    try:
        answer = _answer(process.stdout, progress)
        arrays = list(_arrays(answer))
        if process.wait() != 0 or not arrays:
            raise EOFError
    except (TimeoutError, ValueError, EOFError) as error:
        process.kill()
        raise RuntimeError(f"{module} ended with status {process.wait()} {error}".rstrip()) from error
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return arrays


def _answer(said: BinaryIO | Any, progress: Progress) -> bytes:
    """What follows the empty line. EOFError where nothing does, TimeoutError for too long a silence."""
    waiting = select.poll()
    waiting.register(said, select.POLLIN)
    unread, done, heard = b"", 0.0, time.monotonic()
    while True:
        if not waiting.poll(1000 * _BEAT_SECONDS):
            if time.monotonic() - heard > STALLED_SECONDS:
                raise TimeoutError(f"after {STALLED_SECONDS:.0f} s of silence")
            progress(done)
            continue
        some = os.read(said.fileno(), 1 << 16)
        if not some:
            raise EOFError
        heard = time.monotonic()
        *lines, unread = (unread + some).split(b"\n")
        for number, line in enumerate(lines):
            if not line:
                rest: bytes = b"\n".join([*lines[number + 1 :], unread]) + said.read()
                return rest
            done = float(line)
            progress(done)


def _arrays(answer: bytes) -> Iterator[NDArray[Any]]:
    file = io.BytesIO(answer)
    while file.tell() < len(answer):
        yield np.load(file, allow_pickle=False)


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
