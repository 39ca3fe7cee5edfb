"""The folder of pictures: for every image its original bytes and its rendition, never shared between images."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from app.errors import StorageFull

ORIGINAL = "original"
RENDITION = "rendition.jpg"
FULL = {errno.ENOSPC, errno.EDQUOT}


class Pictures:
    """Local folder `<root>/<two hex digits>/<image id>.<part>`.

    Erasing one image can never lose another's bytes: nothing is shared, nothing is hard-linked.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0):
        self.root = root
        self._min_free_bytes = min_free_bytes
        for shard in range(256):
            (root / f"{shard:02x}").mkdir(parents=True, exist_ok=True)

    def original(self, image_id: UUID) -> Path:
        """Path of the uploaded bytes."""
        return self._path(image_id, ORIGINAL)

    def rendition(self, image_id: UUID) -> Path:
        """Path of the normalised picture as JPEG."""
        return self._path(image_id, RENDITION)

    def write_original(self, image_id: UUID, data: bytes | memoryview) -> Path:
        """Write the uploaded bytes, not yet durable: see `sync`.

        Raises StorageFull, also when less than `min_free_bytes` would be left: a database on the same disk needs
        room even to delete.
        """
        disk = os.statvfs(self.root)
        if disk.f_bavail * disk.f_frsize < self._min_free_bytes + len(data):
            raise StorageFull("the disk for pictures is nearly full; nothing was stored")
        path = self.original(image_id)
        with full_disk_is_an_answer(), path.open("xb") as file:
            file.write(data)
        return path

    def sync(self, image_id: UUID) -> None:
        """Make the original durable. Raises StorageFull."""
        with full_disk_is_an_answer():
            _fsync(self.original(image_id))

    def sync_folder(self, image_id: UUID) -> None:
        """Make the names of an image's files durable (their contents: `sync`). Raises StorageFull."""
        with full_disk_is_an_answer():
            _fsync(self.original(image_id).parent)

    def erase(self, image_id: UUID) -> None:
        """Remove all files of an image; those already gone are no error."""
        for part in (ORIGINAL, RENDITION):
            self._path(image_id, part).unlink(missing_ok=True)

    def old_images(self, older_than_seconds: float) -> Iterator[UUID]:
        """Ids of the images with a file last written that long ago, for the sweep of orphans."""
        newest = time.time() - older_than_seconds
        for shard in range(256):
            seen: set[UUID] = set()
            for entry in os.scandir(self.root / f"{shard:02x}"):
                with contextlib.suppress(ValueError, FileNotFoundError):
                    image_id = UUID(entry.name.split(".", 1)[0])
                    if image_id not in seen and entry.stat().st_mtime < newest:
                        seen.add(image_id)
                        yield image_id

    def _path(self, image_id: UUID, part: str) -> Path:
        name = str(image_id)
        return self.root / name[:2] / f"{name}.{part}"


@contextlib.contextmanager
def full_disk_is_an_answer() -> Iterator[None]:
    """Turn a full disk or quota into StorageFull; other OS errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull("the disk for pictures is full; nothing was stored") from error
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
