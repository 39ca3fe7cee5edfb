"""Thumbnails of stored pictures, made of their renditions."""

import io
from uuid import UUID

from PIL import Image

from app.errors import ClaimprintError
from app.storage import Pictures

SIDE = 160  # pixels, the longer one
_QUALITY = 65

MISSING = "its picture is not there: deleted, or lost"
UNREADABLE = "its picture can't be read"


def thumbnail(pictures: Pictures, image_id: UUID) -> bytes | str:
    """A JPEG of an image, or, in words, why there is none: a report goes on without it."""
    try:
        with Image.open(io.BytesIO(pictures.read_rendition(image_id)), formats=["JPEG"]) as picture:
            picture.draft("RGB", (SIDE, SIDE))
            picture.thumbnail((SIDE, SIDE), Image.Resampling.HAMMING)
            file = io.BytesIO()
            picture.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    except FileNotFoundError:
        return MISSING
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, ClaimprintError):
        return UNREADABLE
    return file.getvalue()
