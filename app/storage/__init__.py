"""Picture bytes by image id, in a local folder or in object storage; and reports on disk, by job id."""

from app.storage.pictures import Pictures
from app.storage.places import open_pictures
from app.storage.renditions import DamagedRenditionError, open_jpeg, open_rendition
from app.storage.reports import Reports

__all__ = ["DamagedRenditionError", "Pictures", "Reports", "open_jpeg", "open_pictures", "open_rendition"]
