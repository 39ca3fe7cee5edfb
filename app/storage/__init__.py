"""Picture bytes on disk, by image id."""

from app.storage.pictures import Pictures

__all__ = ["Pictures"]
