"""One decoding process as its parent sees it: started, given tasks, killed."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import app
from app.errors import DecoderKilled
from app.imaging import protocol
from app.imaging.bounds import OVER_CPU
from app.imaging.limits import DecodeLimits

# The child decodes hostile bytes: it inherits what starting Python takes, and no secrets.
# The last four tell where compiled kernels are, and for which processor.
_INHERITED = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ"),
    *("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "HOME", "XDG_CACHE_HOME"),
)
_KEPT_BYTES = 32 << 20  # more than the pictures of a camera file; what is larger goes back at once
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # One heap for all threads: each further one would reserve 64 MB of the address space that is limited. It keeps
    # what a picture needed for the next one: memory given back and taken anew costs 3 ms a camera file.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
}
"""What the libraries of a decoding process are told, on top of what it inherits."""


class NotAcceptedError(Exception):
    """The process died before it took the task: the file is not to blame."""


class DecodeProcess:
    """A running child. One caller at a time may `exchange`; `kill` is for any thread."""

    def __init__(self, limits: DecodeLimits, niceness: int):
        self.limits = limits
        self._frames = protocol.Frames()
        self._reaping = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.imaging.child", json.dumps(asdict(limits)), str(niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=child_environment(),
        )
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._tasks, self._answers = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """Process id, for tests and metrics."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not been seen to end."""
        return self._process.returncode is None

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Whether the process has said that it is ready, within the time."""
        try:
            return self._message(time.monotonic() + timeout_seconds) is not None
        except (EOFError, ValueError):
            return False

    def exchange(self, path: Path, rendition: Path | None) -> tuple[protocol.Fingerprinted | Exception, bool]:
        """Give a task and wait for its answer, as `protocol.understood` gives it.

        Raises NotAcceptedError when the process died before it took the task, DecoderKilled when it died over
        it or the wall limit passed. After either it is dead.
        """
        deadline = time.monotonic() + self.limits.wall_seconds
        task = json.dumps({"path": str(path), "rendition": None if rendition is None else str(rendition)})
        accepted = False
        try:
            protocol.write_all(self._tasks.fileno(), protocol.framed(task.encode()))
            accepted = self._message(deadline) is not None
            answer = self._message(deadline) if accepted else None
            if answer is not None:
                return protocol.understood(answer)
        except (EOFError, BrokenPipeError):
            if not accepted:
                raise NotAcceptedError from None
            raise self._death() from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.kill()
            raise DecoderKilled("The decoder gave no sensible answer for this file.") from error
        self.kill()
        seconds = self.limits.wall_seconds
        raise DecoderKilled(f"Decoding the file takes more than {seconds:g} seconds.", limit=seconds)

    def kill(self) -> None:
        """End the process now, whatever it does."""
        with self._reaping:  # once reaped, its id may be another's
            if self._process.returncode is None:
                self._process.kill()

    def wait(self) -> None:
        """Block until the process has ended."""
        with contextlib.suppress(ChildProcessError):  # another thread has reaped it
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._reaping:
            self._process.wait()

    def discard(self) -> None:
        """End the process and close its pipes; only for who knows that nobody is in `exchange`."""
        self.kill()
        self._tasks.close()
        self._answers.close()

    def _message(self, deadline: float) -> bytes | None:
        return self._frames.read(self._answers.fileno(), deadline)

    def _death(self) -> DecoderKilled:
        self.kill()  # it closed its end, so it is dying already, or worse, it is not
        with self._reaping:
            status = self._process.wait()
        if status == -OVER_CPU:
            seconds = self.limits.cpu_seconds
            return DecoderKilled(f"Decoding the file takes more than {seconds} CPU seconds.", limit=seconds)
        return DecoderKilled("The decoder crashed on this file.")


def child_environment() -> dict[str, str]:
    """What starting Python takes, and no secrets: the process reads hostile bytes."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    package = str(Path(str(app.__file__)).resolve().parent.parent)
    return kept | ENVIRONMENT | {"PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}
