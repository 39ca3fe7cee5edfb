"""Picture bytes on disk, by image id; and reports, by job id."""

from app.storage.pictures import Pictures
from app.storage.renditions import open_rendition
from app.storage.reports import Reports

__all__ = ["Pictures", "Reports", "open_rendition"]
