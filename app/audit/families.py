"""What an audit tells: families of copies, their images, and what each image is to an earlier one."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.catalog.filters import Filter

Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lie:
    """How a picture lies on an earlier one, as its keypoints told; corners in pixels of the renditions.

    `scale` is pixels of the earlier picture for one of this; `angle` degrees by which this one, mirrored first if
    it is, is turned counter-clockwise. `share` of this picture, and `other_share` of the earlier one, 0 to 1, is
    what both have in common.
    """

    scale: float
    angle: float
    mirrored: bool
    negative: bool
    region: Polygon
    other_region: Polygon
    share: float
    other_share: float
    inliers: int
    close: int
    score: float
    shift: float


@dataclass(frozen=True, slots=True)
class Link:
    """The strongest match of an image with an earlier one of its family, which stands at the place `to` there.

    `transform` turns the image into the earlier one; `nearest` and `distances` are those of the match.
    """

    to: int
    kind: str
    transform: str
    nearest: int
    distances: Mapping[str, int]
    lie: Lie | None


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a family; the first has no link, and none has that is only joined by later ones.

    `day` is that of its label claimed_at, else of its upload.
    """

    image_id: UUID
    claim_id: str
    sha256: bytes
    file_name: str
    source: Any
    uploaded_at: dt.datetime
    taken_at: dt.datetime | None
    day: dt.date
    labels: Mapping[str, Any]
    size: tuple[int, int]
    link: Link | None


@dataclass(frozen=True, slots=True)
class Family:
    """Two and more images in upload order that copies join."""

    members: Sequence[Member]
    claims: int

    @property
    def across(self) -> bool:
        """Whether its images are of several claims."""
        return self.claims > 1

    @property
    def first_upload(self) -> dt.datetime:
        """When the first of its images was uploaded."""
        return min(member.uploaded_at for member in self.members)

    @property
    def first_day(self) -> dt.date:
        """The first of its images' days."""
        return min(member.day for member in self.members)

    @property
    def order(self) -> tuple[Any, ...]:
        """Across claims first, largest first; of several as large, by bytes and ids, not by who came first."""
        least = min((member.sha256, member.image_id) for member in self.members)
        return not self.across, -len(self.members), -self.claims, least


@dataclass(frozen=True, slots=True)
class Audit:
    """Families in the order of the report, as of a moment.

    Of `images` that the filter means, `not_compared_yet` wait for being compared with all others: families of
    theirs may be missing.
    """

    as_of: dt.datetime
    wanted: Filter
    images: int
    not_compared_yet: int
    families: Sequence[Family]

    @property
    def members(self) -> int:
        """Images in families."""
        return sum(len(family.members) for family in self.families)

    @property
    def claims(self) -> int:
        """Claims with an image in a family."""
        return len({member.claim_id for family in self.families for member in family.members})

    @property
    def across(self) -> int:
        """How many families, the first ones, are of several claims."""
        return sum(family.across for family in self.families)
