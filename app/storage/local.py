"""Pictures in a local folder."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from uuid import UUID, uuid4

from app.errors import StartupError, StorageFull
from app.storage.pictures import NOTE, ORIGINAL, RENDITION, Found, LocalFiles, Pictures, id_in, name_of

FULL = {errno.ENOSPC, errno.EDQUOT}


class LocalPictures(Pictures):
    """Local folder `<root>/<two hex digits>/<picture id>.<part>`; nothing in it is hard-linked."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0, store_originals: bool = True):
        self.root = root
        self._min_free_bytes = min_free_bytes
        self._store_originals = store_originals
        self._disk = ThreadPoolExecutor(64, "pictures-disk")
        for shard in range(256):
            (root / f"{shard:02x}").mkdir(parents=True, exist_ok=True)

    def files(self, picture_id: UUID) -> LocalFiles:
        """Where a picture's files are, or would be."""
        return LocalFiles(
            self.root / name_of(picture_id, ORIGINAL), self.root / name_of(picture_id, RENDITION)
        )

    def store(self, picture_id: UUID, data: bytes, decode: Callable[[Path, Path], Found]) -> Found:
        """Write the original to the disk while it is decoded. Raises as `Pictures.store`."""
        try:
            files = self._write(picture_id, data)
            if self._store_originals:
                found = self._decode_and_sync(files, decode)
            else:
                found = decode(files.original, files.rendition)
                files.original.unlink()
            with full_disk_is_an_answer():
                # What the folder has now, names and all, is there after a power cut too.
                _fsync(files.original.parent)
        except BaseException:
            self.erase(picture_id)
            raise
        return found

    @contextlib.contextmanager
    def staged(self, data: bytes) -> Iterator[LocalFiles]:
        """Files under an id of their own. Raises StorageFull."""
        picture_id = uuid4()
        try:
            yield self._write(picture_id, data)
        finally:
            self.erase(picture_id)

    def read_original(self, picture_id: UUID) -> bytes:
        """The uploaded bytes. Raises FileNotFoundError where they are gone or were not stored."""
        return self.files(picture_id).original.read_bytes()

    def read_rendition(self, picture_id: UUID) -> bytes:
        """The normalised picture as JPEG. Raises FileNotFoundError, as after a deletion."""
        return self.files(picture_id).rendition.read_bytes()

    @contextlib.contextmanager
    def original_file(self, picture_id: UUID) -> Iterator[Path]:
        """The file itself, not to be changed. Raises FileNotFoundError as `read_original`."""
        yield _there(self.files(picture_id).original)

    @contextlib.contextmanager
    def rendition_file(self, picture_id: UUID) -> Iterator[Path]:
        """The file itself, not to be changed. Raises FileNotFoundError, as after a deletion."""
        yield _there(self.files(picture_id).rendition)

    def erase(self, *picture_ids: UUID) -> None:
        """Remove all files of pictures; those already gone are no error."""
        for picture_id in picture_ids:
            files = self.files(picture_id)
            files.original.unlink(missing_ok=True)
            files.rendition.unlink(missing_ok=True)

    def old_pictures(self, older_than_seconds: float) -> Iterator[UUID]:
        """Ids of the pictures with a file last written that long ago, each once."""
        newest = time.time() - older_than_seconds
        for shard in range(256):
            seen: set[UUID] = set()
            for entry in os.scandir(self.root / f"{shard:02x}"):
                with contextlib.suppress(ValueError, FileNotFoundError):
                    picture_id = id_in(entry.name)
                    if picture_id not in seen and entry.stat().st_mtime < newest:
                        seen.add(picture_id)
                        yield picture_id

    def tie(self, collection_id: str) -> None:
        """Note the database in a file. Raises StartupError when the pictures are another one's."""
        note = self.root / NOTE
        # In one step: an empty one, after a crash, would be another database's for good.
        written = self.root / f"{NOTE}.{os.getpid()}.{threading.get_ident()}"
        written.write_text(collection_id)
        try:
            note.hardlink_to(written)
        except FileExistsError:
            if note.read_text().strip() != collection_id:
                raise StartupError(
                    f"the pictures in {self.root} belong to another database; set DATA_DIR, PICTURES_URL or"
                    " DATABASE_URL to match"
                ) from None
        finally:
            written.unlink()

    def close(self) -> None:
        """End the threads; what they write is finished first."""
        self._disk.shutdown()

    def _write(self, picture_id: UUID, data: bytes) -> LocalFiles:
        """Write the original, not yet durable.

        Raises StorageFull, also when less than `min_free_bytes` would be left: a database on the same disk needs
        room even to delete.
        """
        disk = os.statvfs(self.root)
        if disk.f_bavail * disk.f_frsize < self._min_free_bytes + len(data):
            raise StorageFull("the disk for pictures is nearly full; nothing was stored")
        files = self.files(picture_id)
        with full_disk_is_an_answer(), files.original.open("xb") as file:
            file.write(data)
        return files

    def _decode_and_sync(self, files: LocalFiles, decode: Callable[[Path, Path], Found]) -> Found:
        durable = self._disk.submit(_fsync, files.original)
        try:
            found = decode(files.original, files.rendition)
        finally:
            # Also after a failure: the file is erased then, and nobody may be working on it.
            wait([durable])
        with full_disk_is_an_answer():
            durable.result()
        return found


@contextlib.contextmanager
def full_disk_is_an_answer() -> Iterator[None]:
    """Turn a full disk or quota into StorageFull; other OS errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull("the disk for pictures is full; nothing was stored") from error
        raise


def _there(path: Path) -> Path:
    path.stat()
    return path


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
