"""The attachments of an Outlook .msg file."""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.parser import HeaderParser
from email.policy import default as default_policy
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, BinaryIO, cast

from olefile.olefile import STGTY_STORAGE, STGTY_STREAM, OleDirectoryEntry, OleFileIO
from oxmsg.domain import constants as pid
from oxmsg.domain import model
from oxmsg.properties import Properties
from oxmsg.storage import Storage

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Step, as_text
from app.sources.limits import Budget, SpentError
from app.sources.members import Broken, Member, Members, Passed, broken

COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_PROPERTIES = "__properties_version1.0"
_EMBEDDED = "__substg1.0_3701000D"
_DATA = f"__substg1.0_{pid.PID_ATTACH_DATA_BINARY:04X}{pid.PTYP_BINARY:04X}"
# MS-OXMSG 2.4.1: the header before the properties of a message in a message is 8 bytes shorter. Some writers don't
# know; then the properties, 16 bytes each, end where those of other messages do.
_EMBEDDED_HEADER_BYTES = 24
_PROPERTY_ENTRY_BYTES = 16
# MS-OXCMSG 2.2.2.9: how an attachment is attached.
_BY_REFERENCE = {2, 3, 4, 7}
_AS_OBJECT = 6
# A message has some thirty streams, each recipient and attachment as many.
_MAX_ENTRIES = 200_000
_MAX_PROPERTY_BYTES = 4 << 20
_LONGEST_HEADERS = 64 * 1024
_NUL = re.compile("\0.*", re.DOTALL)


def is_outlook(file: BinaryIO) -> bool:
    """Whether a compound file is a message; Word, Excel and installers write such files too."""
    with _opened(file) as compound:
        return any(kid.name == _PROPERTIES for kid in compound.root.kids)


def outlook_members(file: BinaryIO, budget: Budget) -> Members:
    """Yield what is attached to a message, and so on for messages in it.

    Raises BrokenPicture, and what olefile and oxmsg do.
    """
    with _opened(file) as compound:
        root = _storage(compound, compound.root, "", budget)
        yield from _attachments(root, model.MSG_HDR_OFFSET, (), budget)


class _CompoundFile(OleFileIO):  # type: ignore[misc] # it carries no types
    """olefile's reader for hostile files: no count is believed, and none makes the time grow with its square."""

    def __init__(self, file: BinaryIO):
        self._entries = 0
        super().__init__(file)
        if self.root.size > self._filesize:
            self.close()
            raise BrokenPicture("The file claims to be longer than it is.")

    def _check_duplicate_stream(self, first_sect: int, minifat: bool = False) -> None:
        """Let two names stand for one stream: what is read is counted."""

    def _load_direntry(self, sid: int) -> Any:
        self._entries += 1
        if self._entries > _MAX_ENTRIES:
            raise BrokenPicture(f"The message has more than {_MAX_ENTRIES} streams.", limit=_MAX_ENTRIES)
        return super()._load_direntry(sid)


def _opened(file: BinaryIO) -> _CompoundFile:
    """Open a compound file whose tables of sectors fit into it. Raises BrokenPicture. MS-CFB 2.2."""
    byte_count = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(80)
    if len(header) < 80:
        raise BrokenPicture("The message breaks off.")
    sector_bytes = 1 << min(struct.unpack_from("<H", header, 30)[0], 16)
    (fat,) = struct.unpack_from("<L", header, 44)
    mini_fat, _, difat = struct.unpack_from("<3L", header, 64)
    if max(fat, mini_fat, difat) * sector_bytes > byte_count:
        raise BrokenPicture("The message claims to be longer than it is: it is not whole.")
    file.seek(0)
    return _CompoundFile(file)


@dataclass(frozen=True)
class _Stream:
    """A stream as oxmsg wants it, read when it is asked for."""

    compound: OleFileIO
    path: str
    size: int
    budget: Budget

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition("/")[2]

    @cached_property
    def bytes_(self) -> bytes:
        """The bytes of a property. Raises BrokenPicture."""
        return self.read(_MAX_PROPERTY_BYTES)

    def read(self, limit: int) -> bytes:
        """Return all bytes. Raises BrokenPicture, SpentError."""
        if self.size > limit:
            raise BrokenPicture(
                f"The stream {self.name} of the message has more than {limit} bytes.", limit=limit
            )
        self.budget.spend(self.size)
        with self.compound.openstream(self.path) as stream:
            data = cast("bytes", stream.read())
        if len(data) != self.size:  # olefile stops where the file does
            raise BrokenPicture("The message breaks off: it is shorter than it says.")
        return data


def _storage(compound: OleFileIO, entry: OleDirectoryEntry, path: str, budget: Budget) -> Storage:
    """Return oxmsg's view of a storage; its own reads all streams at once."""
    under = f"{path}/" if path else ""
    streams = [
        _Stream(compound, under + kid.name, kid.size, budget)
        for kid in entry.kids
        if kid.entry_type == STGTY_STREAM
    ]
    storages = [
        _storage(compound, kid, under + kid.name, budget)
        for kid in entry.kids
        if kid.entry_type == STGTY_STORAGE
    ]
    return Storage(path, cast("Any", tuple(streams)), tuple(storages))


def _attachments(storage: Storage, header_bytes: int, outer: tuple[Step, ...], budget: Budget) -> Members:
    message = Properties(storage, header_bytes)
    envelope = _envelope(message)
    position = 0
    for position, attached in enumerate(storage.iter_attachment_storages(), 1):
        try:
            properties = Properties(attached, model.ATTACH_HDR_OFFSET)
            steps = (*outer, replace(envelope, position=position, name=_name(properties)))
            method = properties.int_prop_value(pid.PID_ATTACH_METHOD)
        except Exception:  # noqa: BLE001 - oxmsg raises whatever the bytes lead it to
            steps = (*outer, replace(envelope, position=position))
            yield Broken(steps, BrokenPicture("The properties of the attachment can't be read."))
            continue
        embedded = next((inner for inner in attached.storages if inner.name == _EMBEDDED), None)
        data = next((stream for stream in attached.streams if stream.name == _DATA), None)
        if embedded is not None and method != _AS_OBJECT:
            yield from _embedded(embedded, steps, budget)
        elif data is not None:
            yield from _by_value(cast("Any", data), properties, steps, budget)
        elif method in _BY_REFERENCE:
            yield Broken(
                steps, UnsupportedFormat("The attachment is not in the message, only where it once was.")
            )
        else:
            yield Broken(
                steps, UnsupportedFormat("The attachment is an object of another program, not a file.")
            )
    claimed = _attachment_count(storage)
    if claimed > position:
        yield Broken(
            outer, BrokenPicture(f"The message has {position} of the {claimed} attachments it claims.")
        )
    if not position:
        yield Passed((*outer, replace(envelope, position=1)))


def _embedded(storage: Storage, steps: tuple[Step, ...], budget: Budget) -> Members:
    limit = budget.limits.max_depth
    if len(steps) >= limit:
        yield Broken(steps, BrokenPicture(f"More than {limit} containers lie in each other.", limit=limit))
    else:
        rest = len(storage.properties_stream_bytes) % _PROPERTY_ENTRY_BYTES
        is_short = rest == _EMBEDDED_HEADER_BYTES % _PROPERTY_ENTRY_BYTES
        header_bytes = _EMBEDDED_HEADER_BYTES if is_short else model.MSG_HDR_OFFSET
        yield from _attachments(storage, header_bytes, steps, budget)


def _by_value(
    data: _Stream, properties: Properties, steps: tuple[Step, ...], budget: Budget
) -> Iterator[Member | Broken]:
    try:
        content = data.read(budget.limits.max_message_bytes)
    except SpentError:
        raise
    except (OSError, BrokenPicture) as error:
        yield Broken(steps, broken("attachment", error))
    else:
        media_type = _text(properties, pid.PID_ATTACH_MIME_TAG) or ""
        yield Member(steps, io.BytesIO(content), media_type.lower().startswith("image/"))


def _attachment_count(storage: Storage) -> int:
    return int(struct.unpack_from("<L", storage.properties_stream_bytes, 20)[0])


def _envelope(message: Properties) -> Step:
    headers = HeaderParser(policy=default_policy.clone(header_factory=_plain)).parsestr(
        (_text(message, pid.PID_TRANSPORT_MESSAGE_HEADERS) or "")[:_LONGEST_HEADERS]
    )
    sender = headers.get("from")
    if sender is None:
        name = _text(message, pid.PID_SENDER_NAME)
        address = _text(message, pid.PID_SENDER_SMTP_ADDRESS) or _text(message, pid.PID_SENDER_EMAIL_ADDRESS)
        sender = f"{name} <{address}>" if name and address and name != address else name or address
    return Step(
        kind="message",
        name="",
        position=0,
        subject=_shown(_text(message, pid.PID_SUBJECT)),
        sender=_shown(sender),
        sent_at=_time(message) or _header_time(headers.get("date")),
    )


def _plain(_name: str, value: str) -> str:
    return value


def _name(properties: Properties) -> str:
    for name in (pid.PID_ATTACH_LONG_FILENAME, pid.PID_ATTACH_FILENAME, pid.PID_DISPLAY_NAME):
        if text := _text(properties, name):
            return as_text(text)
    return ""


def _text(properties: Properties, name: int) -> str | None:
    """A text property, or None where it is missing or no text: a message without a subject has pictures too."""
    try:
        text = properties.str_prop_value(name)
    except Exception:  # noqa: BLE001 - streams that are missing, code pages that nobody knows, broken UTF-16
        return None
    return None if text is None else _NUL.sub("", text)


def _shown(text: str | None) -> str | None:
    return None if text is None else as_text(text)


def _time(message: Properties) -> datetime | None:
    try:
        return message.date_prop_value(pid.PID_CLIENT_SUBMIT_TIME)
    except Exception:  # noqa: BLE001 - the year 30828
        return None


def _header_time(value: str | None) -> datetime | None:
    try:
        sent_at = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return sent_at.replace(tzinfo=UTC) if sent_at.tzinfo is None else sent_at.astimezone(UTC)
