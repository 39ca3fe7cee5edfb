"""Pictures in object storage: S3 and what speaks its protocol, Google Cloud Storage, Azure."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import ObjectStore

from app.errors import StartupError, StorageAway, StorageFull
from app.storage.local import LocalPictures
from app.storage.pictures import NOTE, ORIGINAL, RENDITION, Found, LocalFiles, Pictures, id_in, name_of

log = logging.getLogger(__name__)

LISTING_SECONDS = 3600.0
"""A thousand names are one request: every minute, a million images would cost hundreds of dollars a month."""
RETRY_AFTER_SECONDS = 5
SENT_AT_ONCE = 64
FETCHED_AT_ONCE = 32
# A missing bucket, or a proxy's error page, is a 404 too: these say that it is the object that is missing.
NO_OBJECT = ("<Code>NoSuchKey<", "<Code>BlobNotFound<")
NO_ROOM = ("StorageFull<", "<Code>QuotaExceeded<")
"""Codes of MinIO and Ceph."""
PROBE = "probe"


class ObjectPictures(Pictures):
    """Objects `<two hex digits>/<picture id>.<part>` in a store, below its prefix.

    What a decoding process is to read passes through a local folder, `staging`, in which nothing stays. `place`
    names the store in errors. Calls end by the time limits of `store`.
    """

    listing_seconds: ClassVar[float] = LISTING_SECONDS

    def __init__(
        self, store: ObjectStore, staging: LocalPictures, place: str, *, store_originals: bool = True
    ):
        self._store = store
        self._staging = staging
        self._place = place
        self._store_originals = store_originals
        self._senders = ThreadPoolExecutor(SENT_AT_ONCE, "pictures-put")
        self._fetchers = ThreadPoolExecutor(FETCHED_AT_ONCE, "pictures-get")

    def store(self, picture_id: UUID, data: bytes, decode: Callable[[Path, Path], Found]) -> Found:
        """Send the original while it is decoded, then the rendition. Raises as `Pictures.store`."""
        try:
            with self._staging.staged(data) as files:
                sent = (
                    [self._senders.submit(self._put, name_of(picture_id, ORIGINAL), data)]
                    if self._store_originals
                    else []
                )
                try:
                    found = decode(files.original, files.rendition)
                    self._put(name_of(picture_id, RENDITION), files.rendition.read_bytes())
                finally:
                    # Also after a failure: what comes after the erasure would stay.
                    wait(sent)
            for each in sent:
                each.result()
        except StorageAway:
            # To ask once more what does not answer would double the wait: the sweep erases what did arrive.
            raise
        except BaseException:
            self.discard(picture_id)
            raise
        return found

    def staged(self, data: bytes) -> contextlib.AbstractContextManager[LocalFiles]:
        """Files in the local folder. Raises StorageFull."""
        return self._staging.staged(data)

    def read_original(self, picture_id: UUID) -> bytes:
        """The uploaded bytes. Raises FileNotFoundError where they are gone or were not stored."""
        return self._get(name_of(picture_id, ORIGINAL))

    def read_rendition(self, picture_id: UUID) -> bytes:
        """The normalised picture as JPEG. Raises FileNotFoundError, as after a deletion."""
        return self._get(name_of(picture_id, RENDITION))

    def read_renditions(self, picture_ids: Iterable[UUID]) -> Iterator[bytes | None]:
        """Renditions in the order of their ids, many fetched at once. None: it is gone."""
        return self._fetchers.map(self._rendition_if_there, picture_ids)

    @contextlib.contextmanager
    def original_file(self, picture_id: UUID) -> Iterator[Path]:
        """A copy of the uploaded bytes. Raises FileNotFoundError as `read_original`."""
        with self.staged(self.read_original(picture_id)) as files:
            yield files.original

    @contextlib.contextmanager
    def rendition_file(self, picture_id: UUID) -> Iterator[Path]:
        """A copy of the rendition. Raises FileNotFoundError, as after a deletion."""
        with self.staged(self.read_rendition(picture_id)) as files:
            yield files.original

    def erase(self, *picture_ids: UUID) -> None:
        """Remove all objects of pictures; those already gone are no error."""
        names = [name_of(picture_id, part) for picture_id in picture_ids for part in (ORIGINAL, RENDITION)]
        with self._answering():
            try:
                self._store.delete(names)
            except FileNotFoundError:
                # Some stores stop at one that is gone already.
                for name in names:
                    self._delete_if_there(name)

    def old_pictures(self, older_than_seconds: float) -> Iterator[UUID]:
        """Ids of the pictures with an object that old. Local files that old are erased: no row owns these."""
        self._staging.erase(*self._staging.old_pictures(older_than_seconds))
        newest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        last: UUID | None = None
        for name, written in self._listed():
            with contextlib.suppress(ValueError):
                picture_id = id_in(name)
                # The names come in order, those of one picture behind each other.
                if picture_id != last and written < newest:
                    last = picture_id
                    yield picture_id

    def tie(self, collection_id: str) -> None:
        """Write, list and delete for a trial, and note the database in an object.

        Raises StartupError when one of these is refused, and when the pictures are another database's.
        """
        try:
            self._store.put(PROBE, b"")
            next(iter(self._store.list(chunk_size=1)), None)
            self._store.delete(PROBE)
            noted = self._noted(collection_id)
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise StartupError(f"pictures can't be kept in {self._place}: {_first_line(error)}") from error
        if noted != collection_id:
            raise StartupError(
                f"the pictures in {self._place} belong to another database; set PICTURES_URL or DATABASE_URL to"
                " match"
            )

    def close(self) -> None:
        """End the threads; what they send is finished first."""
        self._senders.shutdown()
        self._fetchers.shutdown()
        self._staging.close()

    def _noted(self, collection_id: str) -> str:
        """The collection whose pictures are kept here: this one, where nobody noted another before."""
        with contextlib.suppress(AlreadyExistsError):
            try:
                self._store.put(NOTE, collection_id.encode(), mode="create")
            except (NotSupportedError, NotImplementedError):
                # By AWS_CONDITIONAL_PUT=disabled, for servers that know no "only if it is not there".
                with contextlib.suppress(FileNotFoundError):
                    return bytes(self._store.get(NOTE).bytes()).decode().strip()
                self._store.put(NOTE, collection_id.encode())
        return bytes(self._store.get(NOTE).bytes()).decode().strip()

    def _put(self, name: str, data: bytes) -> None:
        with self._answering():
            try:
                # In one piece: of several, what a broken connection leaves behind stays, and is in no listing.
                self._store.put(name, data, use_multipart=False)
            except FileNotFoundError as error:
                # There is no bucket.
                raise _away(error) from error

    def _get(self, name: str) -> bytes:
        with self._answering():
            try:
                return bytes(self._store.get(name).bytes())
            except FileNotFoundError as error:
                self._check_that_only_the_object_is_missing(error)
                raise FileNotFoundError(f"no {name} in {self._place}") from error

    def _delete_if_there(self, name: str) -> None:
        try:
            self._store.delete(name)
        except FileNotFoundError as error:
            self._check_that_only_the_object_is_missing(error)

    def _check_that_only_the_object_is_missing(self, error: FileNotFoundError) -> None:
        """Raise what a listing raises where the whole bucket is missing, or it is a proxy that answers 404."""
        if not any(code in str(error) for code in NO_OBJECT):
            next(iter(self._store.list(chunk_size=1)), None)

    def _listed(self) -> Iterator[tuple[str, datetime]]:
        with self._answering():
            for some in self._store.list(chunk_size=1000):
                for each in some:
                    yield each["path"], each["last_modified"]

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what the store says into errors of ours; FileNotFoundError passes."""
        try:
            yield
        except BaseError as error:
            if any(code in str(error) for code in NO_ROOM):
                raise StorageFull("the storage of pictures is full; nothing was stored") from error
            raise _away(error) from error


def _away(error: Exception) -> StorageAway:
    # Where it is and what it says is the operator's to know, not the caller's.
    log.warning("the storage of pictures does not answer: %s", _first_line(error))
    return StorageAway(
        "the storage of pictures does not answer or refuses; send the request again",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _first_line(error: Exception) -> str:
    """What obstore says before it prints its own structures; without the body of a long answer."""
    return str(error).split("\n\n", 1)[0].replace("\n", " ")[:500]
