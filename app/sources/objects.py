"""Objects in a store behind an address: S3 and what speaks like it, Google Cloud Storage, Azure."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore import exceptions
from obstore.store import from_url

from app.errors import InvalidValue, Unavailable
from app.sources.found import Refused, as_text, is_hidden, last_part

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
"""The addresses that are understood, file:// apart."""

# One request fetches a photo whole; the members of an archive are read one after the other.
_BUFFER_BYTES = 4 << 20
_MAX_RETRIES = 3
_RETRY_SECONDS = 30
_LONGEST_REASON = 200
_LIST_PAGE = 1000
# obstore has no error of its own for a listing that the store turns down, as that of a bucket that is not there.
_STATUS = re.compile(r"status: (4\d\d)\b")
_WORTH_ANOTHER_TRY = {408, 425, 429}
_NOT_ALLOWED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)


@dataclass(slots=True)
class Store:
    """A bucket, or what its kind calls so, and what it has given in this run."""

    root: str
    """Its address."""
    objects: "ObjectStore"
    given: str | None = None
    """Under which beginning of names it has told of objects."""

    def refuses_all(self) -> bool:
        """Whether it lists nothing any more where it did: a token ran out, or the bucket is gone."""
        if self.given is None:
            return False
        try:
            next(iter(obstore.list(self.objects, prefix=self.given or None, chunk_size=1)), None)
        except (exceptions.BaseError, OSError, ValueError):
            return True
        return False


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object in a store."""

    name: str
    byte_count: int
    stamp: str
    """The store's tag of the content, or size and time of the last change."""
    key: str = field(repr=False)
    etag: str | None = field(repr=False)
    store: Store = field(repr=False, compare=False)

    @property
    def folder_name(self) -> str:
        """The last part of its name but one."""
        return as_text(self.key.rpartition("/")[0].rpartition("/")[2])

    @property
    def file_name(self) -> str:
        """The last part of its name."""
        return as_text(last_part(self.key))

    def open(self) -> BinaryIO:
        """Return the object as a file; what is read is fetched. Reading raises Unavailable, InvalidValue."""
        return io.BufferedReader(_Ranges(self), _BUFFER_BYTES)


def objects_at(address: str, stores: dict[str, Store]) -> Iterator[RemoteObject | Refused]:
    """Yield the object at an address, or those under it; `stores` are those of the run, by their addresses.

    Raises InvalidValue for an address that makes no sense, or that is not allowed to be read; Unavailable, also
    where a store that has given something refuses all now.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    shown = as_text(address)
    if not bucket:
        raise InvalidValue(f"{shown} names no bucket", field="input")
    store = _store(f"{scheme.lower()}://{bucket}", stores, shown)
    prefix = key.rstrip("/")
    if key and not key.endswith("/"):
        with _told(shown, store):
            try:
                meta = obstore.head(store.objects, key)
            except FileNotFoundError:
                pass  # then it is the beginning of names, or the listing says that there is nothing
            else:
                store.given = prefix
                yield _object(store, meta)
                return
    anything = False
    with _told(shown, store):
        for page in obstore.list(store.objects, prefix=prefix or None, chunk_size=_LIST_PAGE):
            store.given = prefix
            for meta in page:
                if not _hidden(meta["path"], key):
                    anything = True
                    yield _object(store, meta)
    if not anything:
        nothing = InvalidValue("There is no object of this name, and none under it.", field="input")
        yield Refused(shown, (), nothing)


def _store(root: str, stores: dict[str, Store], shown: str) -> Store:
    if root not in stores:
        retries = {"max_retries": _MAX_RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
        try:
            objects = from_url(root, retry_config=retries)  # type: ignore[call-overload]
        except (exceptions.BaseError, ValueError) as error:
            raise InvalidValue(f"{shown} can't be opened: {_reason(error)}", field="input") from error
        stores[root] = Store(root, objects)
    return stores[root]


def _hidden(path: str, key: str) -> bool:
    """Whether a part of the name after the address is hidden, or it stands for a folder."""
    under = path[len(key.rstrip("/")) :]
    return path.endswith("/") or any(is_hidden(part) for part in under.split("/"))


def _object(store: Store, meta: "ObjectMeta") -> RemoteObject:
    etag = meta["e_tag"]
    stamp = etag or f"{meta['size']}-{meta['last_modified'].isoformat()}"
    return RemoteObject(
        name=as_text(f"{store.root}/{meta['path']}"),
        byte_count=meta["size"],
        stamp=stamp,
        key=meta["path"],
        etag=etag,
        store=store,
    )


class _Ranges(io.RawIOBase):
    """An object read by ranges, all of the same content: once it is replaced, reading fails."""

    def __init__(self, remote: RemoteObject):
        super().__init__()
        self._remote = remote
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, without a request."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._remote.byte_count}[whence]
        if start + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fetch what fits into a buffer. Raises Unavailable, InvalidValue."""
        end = min(self._position + len(buffer), self._remote.byte_count)
        if end <= self._position:
            return 0
        with _told(self._remote.name, self._remote.store):
            options: dict[str, object] = {"range": (self._position, end)}
            if self._remote.etag:
                options["if_match"] = self._remote.etag
            data = memoryview(
                obstore.get(self._remote.store.objects, self._remote.key, options=options).bytes()  # type: ignore[arg-type]
            )
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@contextmanager
def _told(shown: str, store: Store) -> Iterator[None]:
    """Turn what obstore raises into our errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise _turned_down(store, f"{shown} is not there: {_reason(error)}") from error
    except _NOT_ALLOWED as error:
        raise _turned_down(store, f"{shown} may not be read with these credentials") from error
    except exceptions.PreconditionError as error:
        raise InvalidValue(
            f"{shown} was replaced while it was read: the next run reads it", field="input"
        ) from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        status = _STATUS.search(str(error))
        if status is not None and int(status[1]) not in _WORTH_ANOTHER_TRY:
            raise _turned_down(store, f"{shown} can't be read, the store answers {status[1]}") from error
        raise Unavailable(f"{shown} can't be reached: {_reason(error)}") from error


def _turned_down(store: Store, message: str) -> InvalidValue | Unavailable:
    """The error for what a store turns down: it is no fault of the object where the store refuses all now."""
    if store.refuses_all():
        return Unavailable(f"{message}; {store.root} gives nothing any more, which it did before")
    return InvalidValue(message, field="input")


def _reason(error: Exception) -> str:
    """The first line of what obstore says: the others are for its developers."""
    return as_text(str(error).strip().partition("\n")[0])[:_LONGEST_REASON]
