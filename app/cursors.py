"""Opaque cursors of the plain listings: a few integers, bound to what they list."""

import base64
import binascii
import hashlib
import struct

from app.errors import InvalidCursor


def encode_cursor(subject: str, *numbers: int) -> str:
    """Opaque text that only a listing of the same subject accepts."""
    packed = _digest(subject) + struct.pack(f">{len(numbers)}q", *numbers)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(value: str, subject: str, count: int) -> tuple[int, ...]:
    """Read `count` integers back. Raises InvalidCursor for another listing's cursor, or for anything else."""
    try:
        packed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        numbers = struct.unpack(f">8x{count}q", packed)
    except (binascii.Error, struct.error, ValueError) as error:
        raise InvalidCursor("cursor is not one that this service handed out", field="cursor") from error
    if packed[:8] != _digest(subject):
        raise InvalidCursor("cursor belongs to another query", field="cursor")
    return numbers


def _digest(subject: str) -> bytes:
    return hashlib.sha256(subject.encode()).digest()[:8]
