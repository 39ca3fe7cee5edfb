"""What a storage of pictures does: for every id its original bytes and its rendition, never shared between ids."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar
from uuid import UUID

from app.errors import StorageAway

log = logging.getLogger(__name__)

Found = TypeVar("Found")

ORIGINAL = "original"
RENDITION = "rendition.jpg"
NOTE = "collection"
"""Name of what tells which database's pictures are kept here."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Where a decoding process finds the bytes of a picture, and where it writes their rendition."""

    original: Path
    rendition: Path


class Pictures(ABC):
    """Pictures by id, of one kind: those of images, or those of templates.

    Erasing one picture can never lose another's bytes: nothing is shared. All methods may be called from any
    thread. All raise StorageAway where the storage can't be reached, which is never taken for "nothing there".
    """

    listing_seconds: ClassVar[float] = 0.0
    """Pause between two listings, at least: where they cost money."""

    @abstractmethod
    def store(self, picture_id: UUID, data: bytes, decode: Callable[[Path, Path], Found]) -> Found:
        """Make the bytes and their rendition durable; return what `decode` does.

        That reads the bytes from the first path and writes the rendition, durably, to the second. Where originals
        are not stored the bytes are gone when this returns. After an error nothing is left, or what the sweep
        erases. Raises StorageFull, StorageAway, and what `decode` raises.
        """

    @abstractmethod
    def staged(self, data: bytes) -> AbstractContextManager[LocalFiles]:
        """Local files for bytes that are only looked at: nothing of them stays. Raises StorageFull."""

    @abstractmethod
    def read_original(self, picture_id: UUID) -> bytes:
        """The uploaded bytes. Raises FileNotFoundError where they are gone or were not stored."""

    @abstractmethod
    def read_rendition(self, picture_id: UUID) -> bytes:
        """The normalised picture as JPEG. Raises FileNotFoundError, as after a deletion."""

    @abstractmethod
    def original_file(self, picture_id: UUID) -> AbstractContextManager[Path]:
        """A local file of the uploaded bytes, for reading. Raises FileNotFoundError as `read_original`."""

    @abstractmethod
    def rendition_file(self, picture_id: UUID) -> AbstractContextManager[Path]:
        """A local file of the rendition, for reading. Raises FileNotFoundError, as after a deletion."""

    @abstractmethod
    def erase(self, *picture_ids: UUID) -> None:
        """Remove all that is kept of pictures; what is gone already is no error."""

    @abstractmethod
    def old_pictures(self, older_than_seconds: float) -> Iterator[UUID]:
        """Ids of the pictures of which something was last written that long ago, for the sweep of orphans."""

    @abstractmethod
    def tie(self, collection_id: str) -> None:
        """Note which database's pictures are kept here, and see that they can be.

        Raises StartupError when they are another one's: the sweep erases what has no row, and with the wrong
        database behind it that would be everything.
        """

    def read_renditions(self, picture_ids: Iterable[UUID]) -> Iterator[bytes | None]:
        """Renditions in the order of their ids, several fetched at once where that is quicker. None: it is gone."""
        return map(self._rendition_if_there, picture_ids)

    def discard(self, *picture_ids: UUID) -> None:
        """Erase what no row owns. Where the storage can't be reached the sweep does it later."""
        if picture_ids:
            try:
                self.erase(*picture_ids)
            except StorageAway as error:
                log.warning("the sweep will erase %s: %s", ", ".join(map(str, picture_ids)), error.message)

    @abstractmethod
    def close(self) -> None:
        """End the threads; what they write is finished first."""

    def _rendition_if_there(self, picture_id: UUID) -> bytes | None:
        try:
            return self.read_rendition(picture_id)
        except FileNotFoundError:
            return None


def name_of(picture_id: UUID, part: str) -> str:
    """`<two hex digits>/<picture id>.<part>`: the same in a folder and in a bucket, so that one can be copied over.

    >>> name_of(UUID(int=1), ORIGINAL)
    '00/00000000-0000-0000-0000-000000000001.original'
    """
    name = str(picture_id)
    return f"{name[:2]}/{name}.{part}"


def id_in(name: str) -> UUID:
    """The picture that a file belongs to. Raises ValueError for what is none of a picture's."""
    return UUID(name.rsplit("/", 1)[-1].split(".", 1)[0])
