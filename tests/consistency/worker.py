"""A worker process: uploads, sends again, deletes and rebuilds through the service's own code, and logs it all.

Run as a program it is the nursery: it imports everything once and forks a worker for each task that it reads,
so that a killed one is replaced within milliseconds.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from app import removal
from app.catalog import session
from app.collection import Collection, KeypointCollection
from app.errors import NotFound, Unavailable
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import LOW_INFORMATION, Pattern, turned_to_bytes
from app.fingerprints.version import library_versions
from app.imaging import DecodePool, Fingerprinted
from app.ingest import Outcome, Upload
from app.parts import rule_from
from app.screening import Screening
from app.settings import Settings
from app.storage.local import LocalPictures
from app.storage.pictures import Found
from tests.consistency.history import (
    Answered,
    Crashed,
    Deleted,
    DeleteRequested,
    Drawn,
    Erased,
    Journal,
    Rebuilt,
    Sent,
    now_ns,
)
from tests.consistency.mutants import VARIANTS
from tests.consistency.workload import Picture, Request, draw_request, look_of

PR_SET_PDEATHSIG = 1  # linux/prctl.h
THREADS = 2
SHARE_REPLAYED = 0.08
SHARE_DELETED = 0.06
REINDEX_SECONDS = 1.0
RETRY_SECONDS = 0.02

NO_KEYPOINTS = Keypoints.from_bytes(b"", b"")
NO_PATTERN = Pattern(
    np.zeros(4, np.uint64), np.zeros((2, 4), np.uint64), np.zeros(2, bool), np.full(4, 2, np.uint8)
)


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a worker needs to know; `epoch_ns` is the start of the run, `number` unique within it."""

    variant: str
    url: str
    folder: str
    number: int
    seed: int
    epoch_ns: int


class NoPictures(LocalPictures):
    """Stores nothing; writes down which id is about to get which bytes, and which id loses them."""

    def __init__(self, journal: Journal):
        self.root = Path()
        self._journal = journal
        self._known: set[bytes] = set()

    def store(self, picture_id: UUID, data: bytes, decode: Callable[[Path, Path], Found]) -> Found:
        picture = Picture.of(bytes(data))
        look = look_of(picture)
        sha256 = picture.sha256.hex()
        if picture.data not in self._known:
            drawn = look.fingerprint
            low_information = drawn.information == LOW_INFORMATION
            self._journal.write(
                Drawn(
                    sha256,
                    look.pixel_sha256.hex(),
                    low_information,
                    drawn.page,
                    turned_to_bytes(drawn.turned).hex(),
                )
            )
            self._known.add(picture.data)
        self._journal.write(Sent(str(picture_id), sha256))
        path = Path(picture.data.decode())
        return decode(path, path)

    def erase(self, *picture_ids: UUID) -> None:
        for picture_id in picture_ids:
            self._journal.write(Erased(str(picture_id)))


class Drawing(DecodePool):
    """Draws fingerprints, where a service decodes."""

    def __init__(self) -> None:
        self.processes = 1

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        yield

    def fingerprint(self, path: Path, rendition: Path | None) -> Fingerprinted:
        look = look_of(Picture.of(path.name.encode()))
        return Fingerprinted(
            look.fingerprint,
            NO_PATTERN,
            NO_KEYPOINTS,
            look.pixel_sha256,
            "JPEG",
            64,
            64,
            None,
            None,
            None,
            None,
            {},
        )


class Worker:
    """The threads of one process, on an engine and a collection of their own."""

    def __init__(self, task: Task):
        self._task = task
        self._journal = Journal(Path(task.folder) / f"{task.number:05}.jsonl")
        settings = Settings(_env_file=None, database_url=task.url)  # type: ignore[call-arg]
        variant = VARIANTS[task.variant]
        self._engine = session.make_engine(settings, task.url)
        self._pictures = NoPictures(self._journal)
        self._collection: Collection = variant.collection(self._engine)
        self._intake = variant.intake(
            engine=self._engine,
            screening=Screening(
                self._collection, KeypointCollection(self._engine), self._pictures, rule_from(settings)
            ),
            decoders=Drawing(),
            max_file_bytes=settings.max_file_bytes,
        )

    def run(self) -> None:
        """Work until killed."""
        threading.Thread(target=self._guarded, args=[self._reindex]).start()
        for number in range(THREADS):
            rng = np.random.default_rng([self._task.seed, self._task.number, number])
            threading.Thread(target=self._guarded, args=[self._upload, rng]).start()
        signal.pause()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException:  # noqa: BLE001 - the checker reports it
            self._journal.write(Crashed(traceback.format_exc()))

    def _upload(self, rng: np.random.Generator) -> None:
        own: list[str] = []
        while True:
            elapsed_ns = now_ns() - self._task.epoch_ns
            request = draw_request(rng, self._task.seed, elapsed_ns / 1e9)
            own += self._send(request)
            if rng.random() < SHARE_REPLAYED:
                self._send(request)
            if rng.random() < SHARE_DELETED:
                self._delete(own.pop(rng.integers(len(own))))

    def _send(self, request: Request) -> list[str]:
        """Send until it is acknowledged, the same bytes for the same claim; return the image ids."""
        while True:
            began_ns = now_ns()
            try:
                outcome = self._intake.take(
                    request.claim_id,
                    [Upload("drawn.jpg", picture.data) for picture in request.pictures],
                    client_id=None,
                    labels={},
                )
            except Exception as error:  # noqa: BLE001 - looked at there
                self._wait_for(error)
            else:
                return self._acknowledge(request, outcome, began_ns)

    def _acknowledge(self, request: Request, outcome: Outcome, began_ns: int) -> list[str]:
        answered_ns = now_ns()
        if outcome.rejections:
            raise AssertionError(f"rejected: {outcome.rejections}")
        for picture, answer in zip(request.pictures, outcome.answers, strict=True):
            if answer.matches.total != len(answer.matches.rows):
                raise AssertionError("the answer is cut short: the families of this test are too large")
            self._journal.write(
                Answered(
                    began_ns=began_ns,
                    answered_ns=answered_ns,
                    image_id=str(answer.row.image_id),
                    claim_id=request.claim_id,
                    sha256=picture.sha256.hex(),
                    created_seq=answer.row.created_seq,
                    matches=tuple(str(row.image_id) for row in answer.matches.rows),
                )
            )
        return [str(answer.row.image_id) for answer in outcome.answers]

    def _delete(self, image_id: str) -> None:
        self._journal.write(DeleteRequested(now_ns(), image_id))
        try:
            removal.delete_image(self._engine, self._pictures, UUID(image_id), actor="consistency test")
        except NotFound:
            pass  # another worker was answered with it too, and deleted it
        except Exception as error:  # noqa: BLE001 - looked at there
            self._wait_for(error)
        else:
            self._journal.write(Deleted(now_ns(), image_id))

    def _reindex(self) -> None:
        while True:
            time.sleep(REINDEX_SECONDS)
            try:
                found = self._collection.rebuild()
            except Exception as error:  # noqa: BLE001 - looked at there
                self._wait_for(error)
            else:
                self._journal.write(Rebuilt(found.total))

    def _wait_for(self, error: Exception) -> None:
        """Pause before the next attempt; raise what a service would answer otherwise than with 503."""
        if not isinstance(session.translated(error), Unavailable):
            raise error
        time.sleep(RETRY_SECONDS)


def nursery() -> None:
    """Fork a worker for every task read from stdin and tell its process id; `{"kill": pid}` ends one."""
    logging.disable()  # failures are what this is about; those that no service may have are in the history
    library_versions()  # reads the packages' metadata once, before the forks
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "kill" in command:
            pid = command["kill"]
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            children.remove(pid)
        else:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                _work(Task(**command), parent)
            children.add(pid)
        print(pid, flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _work(task: Task, parent: int) -> None:
    """The life of a forked worker; it ends with the nursery at the latest."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            Worker(task).run()
    except BaseException:  # noqa: BLE001 - nobody is above who could
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    nursery()
