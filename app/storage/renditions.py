"""Opening renditions: the service wrote them itself, so they may be decoded in any process."""

import io
from uuid import UUID

from PIL import Image

from app.storage.pictures import Pictures


def open_rendition(pictures: Pictures, picture_id: UUID) -> Image.Image:
    """The normalised picture, mode RGB. Raises FileNotFoundError, as after a deletion."""
    data = pictures.rendition(picture_id).read_bytes()
    return Image.open(io.BytesIO(data), formats=["JPEG"])
