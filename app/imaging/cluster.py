"""Fingerprinting on a Dask cluster: `claimprint ingest --executor dask://scheduler:8786`.

Each worker keeps decoding processes of its own, with the same limits: hostile bytes are decoded nowhere else. Dask
moves tasks of a worker that died to others, and has the scheduler keep the bytes until there is an answer.
"""

import contextlib
import errno
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ClaimprintError, StartupError, StorageFull, Unavailable, UnusablePicture
from app.fingerprints.version import FINGERPRINT_VERSION, library_versions
from app.imaging.limits import DecodeLimits
from app.imaging.pool import DecodePool
from app.imaging.protocol import Fingerprinted

_CONNECT_SECONDS = 30
_QUEUE_SECONDS = 120.0  # a cluster may be busy with other work, or growing
_SAME = "install the same Claimprint on the cluster's workers and scheduler"
_LONGEST_REASON = 300
_ANSWERS = 2  # raised when what a worker's answer holds has other parts (2: what is sure of keypoints)

_pools: dict[DecodeLimits, DecodePool] = {}
_making_pools = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a worker made of a file, with which versions: fingerprint and rendition, or why it can't be used."""

    versions: Mapping[str, str]
    result: tuple[Fingerprinted, bytes] | UnusablePicture


class ClusterDecoders:
    """The workers of a Dask cluster as `Decoders`. Raises StartupError when it can't be reached or used."""

    def __init__(self, address: str, limits: DecodeLimits):
        try:
            import distributed
        except ImportError:
            raise StartupError("--executor dask:// needs claimprint[dask]") from None
        # A camera file is more than Dask likes to see in a task; there it is safe from a worker's death.
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        self.limits = limits
        try:
            make_client: Any = distributed.Client
            self._client: Any = make_client(
                address.replace("dask://", "tcp://", 1), timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise StartupError(f"no Dask scheduler answers at {address}: {error}") from error
        except Exception as error:
            raise StartupError(
                f"the scheduler at {address} is of no use, {_reason(error)}: {_SAME}"
            ) from error
        self._lost = distributed.KilledWorker, distributed.client.ClosedClientError

    @property
    def processes(self) -> int:
        """Threads of all workers there are."""
        threads: dict[str, int] = self._client.nthreads()
        return sum(threads.values()) or 1

    @property
    def serving(self) -> bool:
        """Whether there is a worker."""
        return bool(self._client.nthreads())

    @contextlib.contextmanager
    def reserve(self, count: int) -> Iterator[None]:  # noqa: ARG002 - the scheduler's queue has no end
        """Nothing is refused."""
        yield

    def fingerprint(self, path: Path, rendition: Path | None) -> Fingerprinted:
        """See `Decoders`. Raises Unavailable when the cluster loses the file or has no worker for two minutes, and
        StartupError when it can't take or do the work, as it can't with another environment than this one."""
        key = f"fingerprint-{path.name}-{os.urandom(4).hex()}"
        try:
            future = self._client.submit(
                fingerprint_bytes, path.read_bytes(), self.limits, pure=False, key=key
            )
            answered: Answered = future.result(timeout=_QUEUE_SECONDS)
            future.release()
            versions, result = answered.versions, answered.result
        except (CancelledError, FutureTimeoutError, OSError, *self._lost) as error:
            # A worker that can't unpickle its task loses its connection over that, and so tells nothing.
            raise Unavailable(
                f"the cluster gave no answer, nor do workers without this Claimprint: {_reason(error)}"
            ) from error
        except ClaimprintError:
            raise
        except Exception as error:
            # What can't be unpickled over there comes back as whatever that raised, or as RuntimeError.
            raise StartupError(f"the cluster can't do the work, {_reason(error)}: {_SAME}") from error
        if versions != _versions():
            raise StartupError(
                f"a worker's fingerprints would be by {versions}, ours are by {_versions()}: {_SAME}"
            )
        if isinstance(result, UnusablePicture):
            raise result
        fingerprinted, picture = result
        if rendition is not None:
            _write_durably(rendition, picture)
        return fingerprinted

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()


def fingerprint_bytes(data: bytes, limits: DecodeLimits) -> Answered:
    """What a worker does: `DecodePool.fingerprint` in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="claimprint-") as folder:
        path, rendition = Path(folder, "original"), Path(folder, "rendition.jpg")
        path.write_bytes(data)
        try:
            found = _pool(limits).fingerprint(path, rendition)
        except UnusablePicture as error:
            return Answered(_versions(), error)
        return Answered(_versions(), (found, rendition.read_bytes()))


def _pool(limits: DecodeLimits) -> DecodePool:
    """The decoding processes of this worker, as many as it works on tasks at once."""
    from distributed import get_worker

    with _making_pools:
        if limits not in _pools:
            threads: Any = get_worker().state.nthreads
            _pools[limits] = DecodePool(threads, limits, max_queued=threads)
        return _pools[limits]


def _versions() -> dict[str, str]:
    own = {"claimprint fingerprints": str(FINGERPRINT_VERSION), "claimprint answers": str(_ANSWERS)}
    return own | library_versions()


def _reason(error: Exception) -> str:
    """What was raised, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]


def _write_durably(path: Path, data: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("The disk is full: the picture could not be stored.") from error
        raise
