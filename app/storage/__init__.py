"""Picture bytes on disk, by image id."""

from app.storage.pictures import Pictures
from app.storage.renditions import open_rendition

__all__ = ["Pictures", "open_rendition"]
