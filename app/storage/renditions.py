"""Opening renditions: the service wrote them itself, so they may be decoded in any process."""

import io
from uuid import UUID

from PIL import Image

from app.storage.pictures import Pictures


def open_rendition(pictures: Pictures, picture_id: UUID) -> Image.Image:
    """The normalised picture, mode RGB. Raises FileNotFoundError, as after a deletion."""
    return open_jpeg(pictures.read_rendition(picture_id))


def open_jpeg(rendition: bytes) -> Image.Image:
    """The normalised picture in the bytes of a rendition, mode RGB."""
    return Image.open(io.BytesIO(rendition), formats=["JPEG"])
