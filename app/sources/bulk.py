"""Many files through the same intake as an upload: several at a time, a bad one passed over, safe to repeat."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from app.catalog import images
from app.claim_ids import checked_claim_id
from app.errors import BrokenPicture, ClaimprintError, InvalidValue, PictureTooLarge, StorageFull, Unavailable
from app.ingest import Intake, Outcome, Rejection, Upload
from app.screening import answer_image

# The database may be restarted under a long run; a longer absence ends it, and the next run goes on.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one file; `claim_id` is "" where none could be told."""

    path: Path
    claim_id: str
    outcome: Outcome


def take_files(
    intake: Intake,
    files: Iterable[Path],
    claim_of: Callable[[Path], str],
    *,
    at_once: int,
) -> Iterator[Taken]:
    """Take files in, `at_once` at a time; yield what became of each as it is known.

    A file whose bytes the claim has already is answered without decoding it, so that a run can be repeated.
    Raises StorageFull, and Unavailable when the database stays away.
    """
    with ThreadPoolExecutor(at_once, "bulk") as threads:
        pending: set[Future[Taken]] = set()
        try:
            for path in files:
                pending.add(threads.submit(_take_one, intake, path, claim_of))
                if len(pending) >= 2 * at_once:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in pending:
                future.cancel()


def shown(name: str) -> str:
    """Return a file's name as text: one that is not UTF-8 gets replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def _take_one(intake: Intake, path: Path, claim_of: Callable[[Path], str]) -> Taken:
    claim_id = ""
    try:
        claim_id = checked_claim_id(claim_of(path))
        data = _read(path, intake.max_file_bytes)
        return Taken(path, claim_id, _patiently(lambda: _take_bytes(intake, claim_id, path, data)))
    except (StorageFull, Unavailable):
        raise
    except ClaimprintError as error:
        return Taken(path, claim_id, Outcome([], [Rejection(0, shown(path.name), error)]))


def _read(path: Path, max_file_bytes: int) -> bytes:
    try:
        if not path.is_file():
            raise InvalidValue("there is no such file, or it is not a plain one", field="path")
        if path.stat().st_size > max_file_bytes:
            raise PictureTooLarge(
                f"the file is over the limit of {max_file_bytes} bytes", limit=max_file_bytes
            )
        return path.read_bytes()
    except OSError as error:
        raise BrokenPicture(f"the file can't be read: {error.strerror}") from error


def _take_bytes(intake: Intake, claim_id: str, path: Path, data: bytes) -> Outcome:
    sha256 = hashlib.sha256(data).digest()
    with intake.engine.connect() as connection:
        row = images.live_by_bytes(connection, claim_id, [sha256]).get(sha256)
        if row is not None and row.screened_at is not None:
            return Outcome([answer_image(connection, row)], [])
    upload = Upload(shown(path.name), data)
    return intake.take(claim_id, [upload], client_id=None, labels={}, source={"path": shown(str(path))})


def _patiently(call: Callable[[], Outcome]) -> Outcome:
    """Try again while the database is away, for a while: repeating an upload is safe."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
