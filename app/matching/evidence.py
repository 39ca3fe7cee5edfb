"""Why one picture is told to be a copy of another, or to show the same: how they lie on each other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.fingerprints.keypoint_value import STATES, Keypoints
from app.fingerprints.page import is_text
from app.matching.alignment import BLOCK, FRAMES, HOPELESS, NO_TONES, Alignment, align, overlap_of
from app.matching.homographies import Homography, linear_at, mapped
from app.matching.impulses import without_impulses
from app.matching.overlaps import LEAST_AGREEING, Overlap, close_pairs

Size = tuple[int, int]
Polygon = NDArray[np.float64]

# What each orientation does to places of a picture whose sides are 1.
_TURNS = {
    "identity": [[1, 0, 0], [0, 1, 0]],
    "mirror": [[-1, 0, 1], [0, 1, 0]],
    "rotate_90": [[0, 1, 0], [-1, 0, 1]],
    "rotate_180": [[-1, 0, 1], [0, -1, 1]],
    "rotate_270": [[0, -1, 1], [1, 0, 0]],
    "flip": [[1, 0, 0], [0, -1, 1]],
    "transpose": [[0, 1, 0], [1, 0, 0]],
    "transverse": [[0, -1, 1], [-1, 0, 1]],
}
FEW_INLIERS = 16
"""Places that agree: with fewer nothing is of the same scene (`Settings.scene_inliers`)."""
_MOST_POINTS = 40  # kept to be drawn
_OUTER = 0.05  # of the places that agree may be outliers


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """How a picture lies on another one; both in pixels of their renditions, of which the first ends at 1.

    `homography` float64[3, 3] takes places of the picture to places of the other; `region` and `other_region`
    float64[n, 2] are the corners of what both have in common; `points` float64[m, 4] some of the places that agree,
    x and y in both.
    """

    state: str
    """One of `keypoint_value.STATES`: what was done to the picture beside moving, turning and scaling."""
    inliers: int
    """Places that agree about."""
    bits: int
    """Distance of the hashes of keypoints that agree, at the median."""
    close: int
    """Keypoints that agree almost exactly, once the pictures were laid on each other."""
    score: float
    """Median correlation of the blocks that were compared, -1 to 1; 1 where none had to be."""
    shift: float
    """Pixels of the frame they were compared in that blocks lie beside where they should, at the median."""
    alike: int
    """Blocks that correlate by .5 and more."""
    blocks: int
    residual: float
    """Levels of grey by which alike blocks are brighter or darker than one tone curve tells, at the median."""
    frame: int
    """The long side of the frame they were compared in, in pixels, 320 at most."""
    apart: float
    """Share of the blocks that differ in structure or tone, and are together in one rectangle."""
    together: float
    """How much of what both have in common is a rectangle that mostly is blocks that do not differ, 0 to 1."""
    cover: float
    """How much of either picture what both have in common is, of that of which it is more; 0 to 1."""
    page: bool
    """Whether what both have in common is text on plain ground."""
    homography: Homography
    region: Polygon
    other_region: Polygon
    points: NDArray[np.float64]

    @property
    def mirrored(self) -> bool:
        """Whether the picture is a mirror image of the other."""
        return bool(STATES.index(self.state) & 1)

    @property
    def negative(self) -> bool:
        """Whether it is a negative of it."""
        return bool(STATES.index(self.state) & 2)

    @property
    def scale(self) -> float:
        """Pixels of the other for one of the picture, at the middle of what they have in common."""
        return float(np.sqrt(abs(np.linalg.det(linear_at(self.homography, self.region.mean(axis=0))))))

    @property
    def angle(self) -> float:
        """Degrees by which the picture, mirrored first if it is `mirrored`, is turned counter-clockwise to be as
        the other; -180 to 180."""
        across, down = linear_at(self.homography, self.region.mean(axis=0)).T
        if self.mirrored:
            across = -across
        # Both axes say it: a shear, or the middle of a perspective, turns one more than the other.
        return float(-np.degrees(np.arctan2(across[1] - down[0], across[0] + down[1])))

    def swapped(self) -> Self:
        """The same, seen from the other picture."""
        back = np.linalg.inv(self.homography)
        return type(self)(
            self.state,
            self.inliers,
            self.bits,
            self.close,
            self.score,
            self.shift,
            self.alike,
            self.blocks,
            self.residual,
            self.frame,
            self.apart,
            self.together,
            self.cover,
            self.page,
            back / back[2, 2],
            self.other_region,
            self.region,
            self.points[:, [2, 3, 0, 1]],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, places to a tenth of a pixel."""
        return {
            "state": self.state,
            "inliers": self.inliers,
            "bits": self.bits,
            "close": self.close,
            "score": round(self.score, 4),
            "shift": round(self.shift, 3),
            "alike": self.alike,
            "blocks": self.blocks,
            "residual": round(self.residual, 2),
            "frame": self.frame,
            "apart": round(self.apart, 3),
            "together": round(self.together, 3),
            "cover": round(self.cover, 3),
            "page": self.page,
            "homography": self.homography.tolist(),
            "region": self.region.round(1).tolist(),
            "other_region": self.other_region.round(1).tolist(),
            "points": self.points.round(1).tolist(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_json` gave; what it did not tell before rule 9 speaks for nothing."""
        return cls(
            stored["state"],
            stored["inliers"],
            stored["bits"],
            stored.get("close", 0),
            stored["score"],
            stored.get("shift", float(BLOCK)),
            stored.get("alike", 0),
            stored["blocks"],
            stored.get("residual", NO_TONES),
            stored.get("frame", FRAMES[1]),
            stored.get("apart", 0.0) if "residual" in stored else 0.0,  # of rule 8 it is a number of blocks
            stored.get("together", 0.0),
            stored.get("cover", 1.0),
            stored.get("page", False),
            np.array(stored["homography"], np.float64),
            np.array(stored["region"], np.float64).reshape(-1, 2),
            np.array(stored["other_region"], np.float64).reshape(-1, 2),
            np.array(stored["points"], np.float64).reshape(-1, 4),
        )


def examine(
    picture: Image.Image,
    keypoints: Keypoints,
    other: Image.Image,
    overlap: Overlap,
    other_keypoints: Keypoints,
) -> Evidence | None:
    """Lay a picture of mode L on another one as their keypoints agree that it lies; None where it can't be."""
    own, their = without_impulses(picture, other)
    told = _examined(own, keypoints, their, overlap, other_keypoints)
    if told is None or (told.alike < HOPELESS * told.blocks and told.inliers < FEW_INLIERS):
        return told  # neither copy nor scene, text or not
    if not (is_text_around(other, told.points[:, 2:]) and is_text_around(picture, told.points[:, :2])):
        return told
    if own is not picture:  # thin strokes are no noise
        told = _examined(picture, keypoints, other, overlap, other_keypoints)
    return None if told is None else replace(told, page=True)


def examine_whole(picture: Image.Image, other: Image.Image, transform: str) -> Evidence | None:
    """Lay a picture of mode L on another one as a whole, turned by one of `orientation.TRANSFORMS`."""
    own, their = without_impulses(picture, other)
    whole = of_whole(transform, picture.size, other.size)
    found = align(own, their, [whole.homography])
    if found is None:
        return None
    return replace(
        whole,
        score=found.score,
        shift=found.shift,
        alike=found.alike,
        blocks=found.blocks,
        residual=found.residual,
        frame=found.frame,
        apart=found.apart,
        together=found.together,
        homography=found.homography,
    )


def _examined(
    picture: Image.Image,
    keypoints: Keypoints,
    other: Image.Image,
    overlap: Overlap,
    other_keypoints: Keypoints,
) -> Evidence | None:
    negative = bool(STATES.index(overlap.state) & 2)
    found = align(picture, other, overlap.starts(), negative=negative)
    if found is None:
        return None
    return _evidence(found, keypoints, picture.size, overlap, other_keypoints, other.size)


def is_text_around(picture: Image.Image, places: NDArray[np.float64]) -> bool:
    """Whether text is where most of the places of a picture are, dark on light or light on dark."""
    (left, top), (right, bottom) = (
        np.quantile(places, [_OUTER, 1 - _OUTER], axis=0).round().astype(int).tolist()
    )
    part = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return is_text(part) or is_text(ImageOps.invert(part))


def unexamined(
    keypoints: Keypoints,
    size: Size,
    overlap: Overlap,
    other_keypoints: Keypoints,
    other_size: Size,
    *,
    page: bool,
) -> Evidence | None:
    """What keypoints alone tell, of a picture that can't be compared: nothing correlates. None as in `examine`.

    `page` tells whether it is known to be one.
    """
    told = Alignment(
        overlap.homography,
        score=-1.0,
        shift=float(BLOCK),
        alike=0,
        blocks=0,
        residual=NO_TONES,
        frame=FRAMES[1],
        apart=0.0,
        together=0.0,
    )
    found = _evidence(told, keypoints, size, overlap, other_keypoints, other_size)
    return None if found is None else replace(found, page=page)


def _evidence(
    found: Alignment,
    keypoints: Keypoints,
    size: Size,
    overlap: Overlap,
    other_keypoints: Keypoints,
    other_size: Size,
) -> Evidence | None:
    other_region = overlap_of(found.homography, size, other_size)
    if len(other_region) < 3:
        return None
    # Not the other picture as a whole: far from where it was laid, a tilt may put it behind the camera.
    region = mapped(np.asarray(np.linalg.inv(found.homography), np.float64), other_region)
    close = close_pairs(overlap, found.homography, keypoints, other_keypoints, region, max(other_size))
    pairs = (close if len(close) >= LEAST_AGREEING else overlap.pairs)[:_MOST_POINTS]
    points = np.hstack([keypoints.places[pairs[:, 0], :2], other_keypoints.places[pairs[:, 1], :2]])
    return Evidence(
        state=overlap.state,
        inliers=overlap.count,
        bits=overlap.bits,
        close=min(len(np.unique(close[:, 0])), len(np.unique(close[:, 1]))),
        score=found.score,
        shift=found.shift,
        alike=found.alike,
        blocks=found.blocks,
        residual=found.residual,
        frame=found.frame,
        apart=found.apart,
        together=found.together,
        cover=max(_share(region, size), _share(other_region, other_size)),
        page=False,
        homography=found.homography,
        region=region,
        other_region=other_region,
        points=points.astype(np.float64),
    )


def _share(polygon: Polygon, size: Size) -> float:
    """How much of a picture a polygon is (Gauss's area formula)."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 / (size[0] * size[1]))


def of_whole(transform: str, size: Size, other_size: Size) -> Evidence:
    """How a picture lies on another that it is as a whole, turned by one of `orientation.TRANSFORMS`."""
    turned = np.array([*_TURNS[transform], [0, 0, 1]], np.float64)
    homography = np.diag([*other_size, 1.0]) @ turned @ np.diag([1 / size[0], 1 / size[1], 1.0])
    mirrored = bool(np.linalg.det(turned) < 0)
    regions = (np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64) for w, h in (size, other_size))
    region, other_region = regions
    return Evidence(
        state=STATES[mirrored],
        inliers=0,
        bits=0,
        close=0,
        score=1.0,
        shift=0.0,
        alike=0,
        blocks=0,
        residual=0.0,
        frame=FRAMES[1],
        apart=0.0,
        together=0.0,
        cover=1.0,
        page=False,
        homography=homography,
        region=region,
        other_region=other_region,
        points=np.empty((0, 4)),
    )
