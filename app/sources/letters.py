"""The attachments and pictures of an .eml file."""

import base64
import binascii
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import EmailPolicy
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Step, as_text
from app.sources.limits import Limits
from app.sources.members import Broken, Member, Members, Passed

# The standard library's parser of structured headers takes a time that grows with the square of their length: up to
# 0.1 s for one of 4096 characters. A name of 255 letters has 2300 when each is written as three escapes.
_LONGEST_HEADER = 4096
_USUAL_HEADER = 500
_MAX_UNUSUAL_CHARACTERS = 128 * 1024
_HEADERS_READ = {
    "content-type",
    "content-disposition",
    "content-transfer-encoding",
    "from",
    "subject",
    "date",
}
_KNOWN_HEADERS = frozenset(
    b"received from to subject date message-id mime-version return-path delivered-to content-type sender".split()
)
_HEADER = re.compile(rb"([!-9;-~]{1,76}):[ \t\r\n]")
_HEADERS_NEEDED = 3
_NEXT_IN_MAILBOX = re.compile(rb"\n\r?\nFrom [^\r\n]*\d{4}\r?\n")
_ENCRYPTED = {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}
_SIGNED_ONLY = "signed-data"
_DATA_URI = re.compile(rb"data:image/[\w.+-]{1,40};base64,([A-Za-z0-9+/=%\s]+)", re.ASCII)
_SPACE = b" \t\r\n\f\v"
# How Outlook keeps a signed message: as an attachment that begins with this header, and has no others.
_WHOLE = re.compile(rb"content-type:[ \t\r\n]*multipart/", re.IGNORECASE)


def is_letter(head: bytes) -> bool:
    """Whether a file that begins like this has the headers of a message; nothing else tells one."""
    if _WHOLE.match(head):
        return True
    block = re.split(rb"\r?\n\r?\n", head.removeprefix(b"\xef\xbb\xbf"), maxsplit=1)[0]
    names: set[bytes] = set()
    for number, line in enumerate(block.splitlines(keepends=True)):
        if line[:1] in {b" ", b"\t"} and number:
            continue
        header = _HEADER.match(line)
        if header is None:
            if number == 0 and line.startswith(b"From "):
                continue
            return False if len(block) < len(head) else len(names & _KNOWN_HEADERS) >= _HEADERS_NEEDED
        names.add(header[1].lower())
    return len(names & _KNOWN_HEADERS) >= _HEADERS_NEEDED


def letter_members(file: BinaryIO, limits: Limits) -> Members:
    """Yield what is attached to a message, its pictures in the text, and so on for messages in it.

    Raises BrokenPicture for one that is too long or breaks off, UnsupportedFormat for a mailbox or an encrypted
    message.
    """
    data = file.read(limits.max_message_bytes + 1)
    if len(data) > limits.max_message_bytes:
        raise BrokenPicture(
            f"The message has more than {limits.max_message_bytes} bytes.", limit=limits.max_message_bytes
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data.startswith(b"From ") and _NEXT_IN_MAILBOX.search(data):
        raise UnsupportedFormat("The file is a mailbox of several messages; save them as files of their own.")
    counts = _Counts(limits)
    policy = cast("Any", _Policy)(message_factory=counts.part, counts=counts)
    message = BytesParser(policy=policy).parsebytes(data)
    del data
    yield from _parts(cast("EmailMessage", message), (), limits)


class _Counts:
    """What one message has had of parts and of long headers, in all that lie in it."""

    def __init__(self, limits: Limits):
        self._parts_left = limits.max_message_parts
        self._limit = limits.max_message_parts
        self._characters_left = _MAX_UNUSUAL_CHARACTERS
        self.parsed: dict[tuple[str, str], Any] = {}

    def part(self, *args: Any, **kwargs: Any) -> EmailMessage:
        """Return a new part. Raises BrokenPicture."""
        self._parts_left -= 1
        if self._parts_left < 0:
            raise BrokenPicture(f"The message has more than {self._limit} parts.", limit=self._limit)
        return EmailMessage(*args, **kwargs)

    def header(self, name: str, value: str) -> str:
        """Return as much of a header as is read. Raises BrokenPicture."""
        value = value[:_LONGEST_HEADER]
        if name.lower() in _HEADERS_READ:
            self._characters_left -= max(0, len(value) - _USUAL_HEADER)
        if self._characters_left < 0:
            raise BrokenPicture("The message has more long headers than any real one.")
        return value


class _Policy(EmailPolicy):
    """The modern policy on headers of bounded length."""

    counts: _Counts | None = None

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return the header's name and the beginning of its value. Raises BrokenPicture."""
        name, value = super().header_source_parse(sourcelines)
        return name, value if self.counts is None else self.counts.header(name, value)

    def header_fetch_parse(self, name: str, value: str) -> Any:
        """Return a header parsed; a long one is parsed once, and not each time that it is asked for."""
        if self.counts is None or len(value) <= _USUAL_HEADER or name.lower() not in _HEADERS_READ:
            return super().header_fetch_parse(name, value)
        key = (name.lower(), value)
        if key not in self.counts.parsed:
            self.counts.parsed[key] = super().header_fetch_parse(name, value)
        return self.counts.parsed[key]


def _parts(message: EmailMessage, outer: tuple[Step, ...], limits: Limits) -> Members:
    envelope = Step(
        kind="message",
        name="",
        position=0,
        subject=_header(message, "subject"),
        sender=_header(message, "from"),
        sent_at=_sent_at(message),
    )
    for position, part in enumerate(_leaves(message), 1):
        name = _file_name(part)
        steps = (*outer, replace(envelope, name=name, position=position))
        if part.get_content_type() in _ENCRYPTED and part.get_param("smime-type") != _SIGNED_ONLY:
            yield Broken(steps, UnsupportedFormat("The message is encrypted."))
        elif part.get_content_type().endswith("pkcs7-signature"):
            yield Passed(steps)
        elif part.get_content_maintype() == "multipart" and str(part.get_payload()).strip():
            yield Broken(
                steps, BrokenPicture("Its parts can't be told apart: the boundary between them is missing.")
            )
        elif part.get_content_maintype() == "message" and part.is_multipart():
            yield from _messages_in(part, steps, limits)
        else:
            yield from _file_in(part, steps)
    if any(type(defect).__name__ == "CloseBoundaryNotFoundDefect" for defect in message.defects):
        yield Broken(outer, BrokenPicture("The message breaks off before its end."))


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    """Parts with a content of their own, and whole messages."""
    is_whole = message.get_content_maintype() != "multipart" or message.get_content_type() in _ENCRYPTED
    if is_whole or not message.is_multipart():
        yield message
    else:
        for part in cast("list[EmailMessage]", message.get_payload()):
            yield from _leaves(part)


def _messages_in(part: EmailMessage, steps: tuple[Step, ...], limits: Limits) -> Members:
    for inner in cast("list[EmailMessage]", part.get_payload()):
        if len(steps) >= limits.max_depth:
            limit = limits.max_depth
            yield Broken(
                steps, BrokenPicture(f"More than {limit} containers lie in each other.", limit=limit)
            )
        elif str(part.get("content-transfer-encoding", "")).strip().lower() in {"base64", "quoted-printable"}:
            # Not allowed, and written all the same: then the parser saw no more than one block of text.
            yield Member(
                steps, _stream(_decoded(str(inner.get_payload()), str(part["content-transfer-encoding"])))
            )
        else:
            yield from _parts(inner, steps, limits)


def _file_in(part: EmailMessage, steps: tuple[Step, ...]) -> Iterator[Member | Broken | Passed]:
    is_picture = part.get_content_maintype() == "image"
    encoding = str(part.get("content-transfer-encoding", "")).strip().lower()
    try:
        if encoding == "base64":
            data = _decoded(str(part.get_payload()), encoding)
        else:
            data = cast("bytes | None", part.get_payload(decode=True)) or b""
    except binascii.Error as error:
        yield Broken(steps, BrokenPicture(f"The attachment's base64 can't be read: {error}."))
        return
    if part.get_content_maintype() == "text" and not steps[-1].name:
        yield Passed(steps)
        if part.get_content_subtype() == "html":
            yield from _pictures_in_text(data, steps)
    else:
        yield Member(steps, _stream(data), is_picture)


def _pictures_in_text(html: bytes, steps: tuple[Step, ...]) -> Iterator[Member | Broken]:
    for number, match in enumerate(_DATA_URI.finditer(html), 1):
        place = (*steps[:-1], replace(steps[-1], name=f"part {steps[-1].position}, picture {number}"))
        try:
            data = _decoded(unquote_to_bytes(match[1]).decode("ascii"), "base64")
        except (binascii.Error, UnicodeDecodeError):
            yield Broken(place, BrokenPicture("The base64 of a picture in the text can't be read."))
        else:
            yield Member(place, _stream(data), is_picture=True)


def _decoded(text: str, encoding: str) -> bytes:
    """Decode base64 strictly, or quoted-printable. Raises binascii.Error."""
    data = text.encode("ascii", "surrogateescape")
    if encoding.strip().lower() == "quoted-printable":
        return binascii.a2b_qp(data)
    packed = data.translate(None, _SPACE).rstrip(b"=")
    return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)


def _stream(data: bytes) -> BinaryIO:
    return io.BytesIO(data)


def _file_name(part: EmailMessage) -> str:
    try:
        name = part.get_filename()
        if not name and part.get_content_type() == "message/rfc822" and part.is_multipart():
            inner = cast("list[Message]", part.get_payload())[0]
            name = f"{inner.get('subject') or 'message'}.eml"
    except Exception:  # noqa: BLE001 - the standard library trips over some headers; a name is no reason to fail
        return ""
    return as_text(name or "")


def _header(message: EmailMessage, name: str) -> str | None:
    try:
        value = message.get(name)
    except Exception:  # noqa: BLE001
        return None
    return None if value is None else as_text(str(value))


def _sent_at(message: EmailMessage) -> datetime | None:
    try:
        sent_at = parsedate_to_datetime(str(message.get("date")))
        # Without a zone, or with the -0000 that stands for an unknown one, it is UTC.
        return sent_at.replace(tzinfo=UTC) if sent_at.tzinfo is None else sent_at.astimezone(UTC)
    except Exception:  # noqa: BLE001
        return None
