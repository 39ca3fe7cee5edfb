"""What is asked for: which fingerprint, how far, which images, which page."""

from dataclasses import dataclass, field

from app.catalog.filters import Filter
from app.collection import COLOURS, PATTERN
from app.errors import InvalidValue
from app.fingerprints.keypoint_value import KEYPOINTS
from app.fingerprints.value import COLOUR_BITS, WHOLE_IMAGE_HASHES
from app.matching.overlaps import AGREEING_BITS
from app.matching.regions import WITHIN

SEGMENTS = "segments"
# The largest distance that may be asked for: all there is, but among segments, where strangers crowd in before, and
# of keypoints that agree, of which none are more than so far apart.
MAX_DISTANCES = dict.fromkeys(WHOLE_IMAGE_HASHES, 64) | {
    COLOURS: COLOUR_BITS,
    SEGMENTS: 16,
    PATTERN: 64,
    KEYPOINTS: AGREEING_BITS,
}
HASHES = tuple(MAX_DISTANCES)
DEFAULT_DISTANCES = dict.fromkeys(HASHES, 10) | {
    SEGMENTS: WITHIN,
    PATTERN: 14,
    KEYPOINTS: AGREEING_BITS,
}
MAX_LIMIT = 200
AS_STORED = "as_stored"
ORIENTATIONS = (AS_STORED, "all")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: radius in bits (inclusive), hash, one or all orientations, which images, and the page."""

    max_distance: int = DEFAULT_DISTANCES["phash"]
    hash_name: str = "phash"
    orientations: str = AS_STORED
    limit: int = 50
    cursor: str | None = None
    wanted: Filter = field(default_factory=Filter)

    def __post_init__(self) -> None:
        """Raise InvalidValue for a field out of range."""
        if self.hash_name not in HASHES:
            raise InvalidValue(f"hash must be one of {', '.join(HASHES)}", field="hash")
        most = MAX_DISTANCES[self.hash_name]
        if not 0 <= self.max_distance <= most:
            raise InvalidValue(
                f"max_distance must be 0 to {most} bits for {self.hash_name}",
                field="max_distance",
                limit=most,
            )
        if self.orientations not in ORIENTATIONS:
            raise InvalidValue(f"orientations must be one of {', '.join(ORIENTATIONS)}", field="orientations")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidValue(f"limit must be 1 to {MAX_LIMIT}", field="limit", limit=MAX_LIMIT)
