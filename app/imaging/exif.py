"""The few facts of a file's EXIF that are kept, made fit for a database and for JSON."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from PIL import ExifTags, Image

Fact = str | int | float

_LONGEST_TEXT = 200
_LARGEST_NUMBER = 2**53  # beyond it browsers lose digits

_KEPT = {
    "DateTime": ExifTags.Base.DateTime,
    "Orientation": ExifTags.Base.Orientation,
}
_KEPT_FROM_CAMERA = {
    "DateTimeOriginal": ExifTags.Base.DateTimeOriginal,
    "OffsetTimeOriginal": ExifTags.Base.OffsetTimeOriginal,
    "LensModel": ExifTags.Base.LensModel,
    "ExposureTime": ExifTags.Base.ExposureTime,
    "FNumber": ExifTags.Base.FNumber,
    "FocalLength": ExifTags.Base.FocalLength,
    "ISOSpeedRatings": ExifTags.Base.ISOSpeedRatings,
    "Flash": ExifTags.Base.Flash,
}


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What the camera, or the program that wrote the file last, says about a picture."""

    taken_at: datetime | None = None
    """Aware; a camera clock without a known offset is read as UTC (`OffsetTimeOriginal` is then missing)."""
    make: str | None = None
    model: str | None = None
    software: str | None = None
    exif: Mapping[str, Fact] = field(default_factory=lambda: MappingProxyType({}))
    """Text, whole numbers and finite fractions by EXIF name; `GPSLatitude` and `GPSLongitude` in degrees."""


def camera_facts(image: Image.Image, *, keep_gps: bool) -> CameraFacts:
    """What is kept of an opened picture's EXIF; a damaged EXIF is no reason to refuse a picture."""
    try:
        return _facts(image.getexif(), keep_gps=keep_gps)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - hostile EXIF raises anything: struct.error, KeyError, ZeroDivisionError
        return CameraFacts()


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where it is missing or senseless."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _facts(exif: Image.Exif, *, keep_gps: bool) -> CameraFacts:
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    kept = {name: _fact(exif.get(tag)) for name, tag in _KEPT.items()}
    kept |= {name: _fact(camera.get(tag)) for name, tag in _KEPT_FROM_CAMERA.items()}
    if keep_gps:
        kept |= _position(exif.get_ifd(ExifTags.IFD.GPSInfo))
    return CameraFacts(
        taken_at=_moment(kept["DateTimeOriginal"], kept["OffsetTimeOriginal"]),
        make=_text(exif.get(ExifTags.Base.Make)),
        model=_text(exif.get(ExifTags.Base.Model)),
        software=_text(exif.get(ExifTags.Base.Software)),
        exif=MappingProxyType({name: fact for name, fact in kept.items() if fact is not None}),
    )


def _fact(value: Any) -> Fact | None:
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, str | bytes):
        return _text(value)
    if isinstance(value, int):
        return int(value) if abs(value) < _LARGEST_NUMBER else None
    return _fraction(value)


def _fraction(value: Any) -> float | None:
    if not isinstance(value, numbers.Rational | float):
        return None
    try:
        number = float(value)
    except (ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    """Printable text up to the first NUL, at most 200 characters; None when nothing is left."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    head = value.partition("\0")[0]
    text = "".join(character for character in head[: 2 * _LONGEST_TEXT] if character.isprintable())
    return text.strip()[:_LONGEST_TEXT] or None


def _moment(stamp: Fact | None, offset: Fact | None) -> datetime | None:
    try:
        naive = datetime.strptime(str(stamp), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - the zone follows
        zone = _zone(offset)
        return naive.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(offset: Fact | None) -> timezone:
    try:
        parsed = datetime.strptime(str(offset), "%z").utcoffset()
    except ValueError:
        return UTC
    return timezone(parsed or timedelta())


def _position(gps: Mapping[int, Any]) -> dict[str, Fact | None]:
    return {
        "GPSLatitude": _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S"),
        "GPSLongitude": _degrees(
            gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W"
        ),
    }


def _degrees(parts: Any, reference: Any, negative: str) -> float | None:
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    degrees, minutes, seconds = (_fraction(part) for part in parts)
    if degrees is None or minutes is None or seconds is None:
        return None
    position = degrees + minutes / 60 + seconds / 3600
    return round(-position if _text(reference) == negative else position, 6)
