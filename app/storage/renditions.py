"""Opening renditions: the service wrote them itself, so they may be decoded in any process."""

import io
from uuid import UUID

from PIL import Image

from app.storage.pictures import Pictures


class DamagedRenditionError(FileNotFoundError):
    """The file is there and is no picture any more: whoever can do without a lost one can do without it."""


def open_rendition(pictures: Pictures, picture_id: UUID) -> Image.Image:
    """The normalised picture, mode RGB. Raises FileNotFoundError, as after a deletion."""
    return open_jpeg(pictures.read_rendition(picture_id))


def open_jpeg(rendition: bytes) -> Image.Image:
    """The normalised picture in the bytes of a rendition, mode RGB. Raises DamagedRenditionError."""
    try:
        picture = Image.open(io.BytesIO(rendition), formats=["JPEG"])
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedRenditionError(f"a rendition of {len(rendition)} bytes is damaged: {error}") from error
    return picture
