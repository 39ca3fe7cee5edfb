"""The messages between the pool and a decoding process: a 4-byte length, then JSON.

    pool  -> child   {"path", "rendition"}
    child -> pool    an empty message once it is ready, and one on accepting each task; then the answer,
                     {"turned", ..., "leaving"} or {"error", "message", "limit", "errno", "leaving"}

A child that is `leaving` ends after that answer. JSON, not pickle: the child has handled hostile bytes, so
what it says is data and nothing else.
"""

import json
import os
import select
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from app.errors import (
    BrokenPicture,
    ClaimprintError,
    DecoderKilled,
    PictureTooLarge,
    StorageFull,
    UnsupportedFormat,
)
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import (
    Fingerprint,
    Pattern,
    Segment,
    colour_code_from_bytes,
    colour_code_to_bytes,
    turned_from_bytes,
    turned_to_bytes,
)
from app.imaging.normalise import Normalised

ACCEPTED = b""
LONGEST_MESSAGE = 1 << 20

_LENGTH_BYTES = 4
_ERRORS: dict[str, type[ClaimprintError]] = {
    error.__name__: error
    for error in (BrokenPicture, DecoderKilled, PictureTooLarge, StorageFull, UnsupportedFormat)
}


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """What a decoding process found in one file."""

    fingerprint: Fingerprint
    pattern: Pattern
    keypoints: Keypoints
    """All that a picture is searched with, of which a part is stored; none where the information is low."""
    pixel_sha256: bytes
    format: str
    width: int
    """Of the full-size upright picture, as `height`, in pixels."""
    height: int
    taken_at: datetime | None
    camera_make: str | None
    camera_model: str | None
    camera_software: str | None
    exif: Mapping[str, str | int | float]

    @property
    def status(self) -> str:
        """`fingerprinted` or `low_information`."""
        return self.fingerprint.information


def framed(message: bytes) -> bytes:
    """A message as it travels."""
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a pipe until nothing is left. BrokenPipeError when the reader is gone."""
    while data:
        data = data[os.write(descriptor, data) :]


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes as they were read."""
        self._pending += data

    def next(self) -> bytes | None:
        """The oldest whole message, or None so far. ValueError for one that claims to be too long."""
        if len(self._pending) < _LENGTH_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(self._pending[:_LENGTH_BYTES], "big")
        if end > LONGEST_MESSAGE:
            raise ValueError("A message of the decoding process claims to be longer than any is.")
        if len(self._pending) < end:
            return None
        message = bytes(self._pending[_LENGTH_BYTES:end])
        del self._pending[:end]
        return message

    def read(self, descriptor: int, deadline: float) -> bytes | None:
        """Read on from a pipe to the next message; None at the deadline, of `time.monotonic`.

        EOFError when the other side closed its end, ValueError as `next`.
        """
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while (message := self.next()) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise EOFError
            self.feed(data)
        return message


def success(
    picture: Normalised,
    fingerprint: Fingerprint,
    pattern: Pattern,
    keypoints: Keypoints,
    pixel_sha256: bytes,
) -> dict[str, Any]:
    """The answer for a file that was fingerprinted."""
    facts = picture.facts
    return {
        "turned": turned_to_bytes(fingerprint.turned).hex(),
        "colorhash": fingerprint.colorhash,
        "colour_code": colour_code_to_bytes(fingerprint.colour_code).hex(),
        "segments": [astuple(segment) for segment in fingerprint.segments],
        "information": fingerprint.information,
        "page": fingerprint.page,
        "pattern": [part.hex() for part in pattern.to_bytes()],
        "keypoints": keypoints.to_whole_bytes().hex(),
        "sure": keypoints.sure_to_bytes().hex(),
        "pixel_sha256": pixel_sha256.hex(),
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "taken_at": facts.taken_at.isoformat() if facts.taken_at else None,
        "camera_make": facts.make,
        "camera_model": facts.model,
        "camera_software": facts.software,
        "exif": dict(facts.exif),
    }


def failure(error: Exception) -> dict[str, Any]:
    """The answer for a file that was not."""
    if isinstance(error, ClaimprintError):
        return {"error": type(error).__name__, "message": error.message, "limit": error.limit}
    if isinstance(error, OSError) and error.errno:
        return {"error": "OSError", "message": str(error.strerror), "errno": error.errno}
    return {"error": type(error).__name__, "message": str(error)}


def understood(message: bytes) -> tuple[Fingerprinted | Exception, bool]:
    """An answer read back: the result or the error to raise, and whether the child is leaving.

    ValueError, KeyError or TypeError when it is not an answer.
    """
    answer = json.loads(message)
    leaving = bool(answer.get("leaving"))
    if "error" not in answer:
        return _fingerprinted(answer), leaving
    if answer["error"] in _ERRORS:
        return _ERRORS[answer["error"]](answer["message"], limit=answer["limit"]), leaving
    if answer["error"] == "OSError":
        return OSError(answer["errno"], answer["message"]), leaving
    return RuntimeError(f"The decoding process failed: {answer['error']}: {answer['message']}"), leaving


def _fingerprinted(answer: Mapping[str, Any]) -> Fingerprinted:
    return Fingerprinted(
        fingerprint=Fingerprint(
            turned=turned_from_bytes(bytes.fromhex(answer["turned"])),
            colorhash=answer["colorhash"],
            colour_code=colour_code_from_bytes(bytes.fromhex(answer["colour_code"])),
            segments=tuple(Segment(tuple(turned), *box) for turned, *box in answer["segments"]),
            information=answer["information"],
            page=answer["page"],
        ),
        pattern=Pattern.from_bytes(*map(bytes.fromhex, answer["pattern"])),
        keypoints=Keypoints.from_whole_bytes(
            bytes.fromhex(answer["keypoints"]), bytes.fromhex(answer["sure"])
        ),
        pixel_sha256=bytes.fromhex(answer["pixel_sha256"]),
        format=answer["format"],
        width=answer["width"],
        height=answer["height"],
        taken_at=datetime.fromisoformat(answer["taken_at"]) if answer["taken_at"] else None,
        camera_make=answer["camera_make"],
        camera_model=answer["camera_model"],
        camera_software=answer["camera_software"],
        exif=answer["exif"],
    )
