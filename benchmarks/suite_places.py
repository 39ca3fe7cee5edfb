"""Where an edit puts the photo: crops, turns, rotations and perspective, each with its homography.

A homography is float64[3, 3], from pixels of the picture given to pixels of the picture returned, in
continuous coordinates: the centre of the first pixel is (0.5, 0.5), as Pillow resizes and transforms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.edits import QUALITY, Edit

Homography = NDArray[np.float64]
Colour = tuple[int, int, int]

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What an edit may use besides the photo: unrelated photos, and chance."""

    others: Sequence[Image.Image]
    random: np.random.Generator

    def some_others(self, count: int) -> list[Image.Image]:
        """Different unrelated photos; ValueError if there are too few."""
        if count > len(self.others):
            raise ValueError(f"this edit needs {count} other photos, there are {len(self.others)}")
        return [self.others[place] for place in self.random.permutation(len(self.others))[:count]]


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """A picture that shows the photo, where it does (from the photo's pixels to its own), and its JPEG quality."""

    picture: Image.Image
    placed: Homography
    quality: int = QUALITY


Step = Callable[[Image.Image, Scene], Copy]


def kept(edit: Edit, quality: int = QUALITY) -> Step:
    """An edit that leaves everything in its place, or only resizes."""

    def step(photo: Image.Image, _: Scene) -> Copy:
        picture = edit(photo)
        return Copy(picture, scaling(picture.width / photo.width, picture.height / photo.height), quality)

    return step


def painted(edit: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Step:
    """The same of an edit that leaves something to chance."""
    return lambda photo, scene: kept(lambda given: edit(given, scene.random))(photo, scene)


def after(*steps: Step) -> Step:
    """One step after the other; the lowest of their qualities."""

    def step(photo: Image.Image, scene: Scene) -> Copy:
        copy = Copy(photo, np.eye(3))
        for each in steps:
            done = each(copy.picture, scene)
            copy = Copy(done.picture, done.placed @ copy.placed, min(done.quality, copy.quality))
        return copy

    return step


def scaling(across: float, down: float) -> Homography:
    """Stretch both ways."""
    return np.diag([across, down, 1.0])


def translation(right: float, down: float) -> Homography:
    """Move by pixels."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], dtype=np.float64)


def quadrilateral(source: NDArray[np.float64], target: NDArray[np.float64]) -> Homography:
    """The homography that takes four points to four points, both float64[4, 2]."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(np.array(rows), target.ravel()), 1).reshape(3, 3)


def corners(size: tuple[int, int]) -> NDArray[np.float64]:
    """The corners of a picture, float64[4, 2], clockwise from the upper left."""
    width, height = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)


def mapped(placed: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points, float64[n, 2], where the homography takes them."""
    found = np.column_stack([points, np.ones(len(points))]) @ placed.T
    return np.asarray(found[:, :2] / found[:, 2:])


def laid(canvas: Image.Image, photo: Image.Image, box: tuple[int, int, int, int]) -> Homography:
    """Paste the photo, resized to the box, into the canvas, and return where it is."""
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    canvas.paste(photo.resize(size, Image.Resampling.BICUBIC), (left, top))
    return translation(left, top) @ scaling(size[0] / photo.width, size[1] / photo.height)


def fitted(size: tuple[int, int], room: tuple[float, float]) -> tuple[int, int]:
    """The largest size of the same shape within the room, both (width, height)."""
    factor = min(room[0] / size[0], room[1] / size[1])
    return max(8, round(size[0] * factor)), max(8, round(size[1] * factor))


def centred(size: tuple[int, int], room: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The box of that size in the middle of the room, another box."""
    left = (room[0] + room[2] - size[0]) // 2
    top = (room[1] + room[3] - size[1]) // 2
    return left, top, left + size[0], top + size[1]


def warped(photo: Image.Image, placed: Homography, size: tuple[int, int], fill: Colour) -> Image.Image:
    """The photo where the homography puts it, in a picture of that size."""
    # Pixels of the fill around it, so that slanted edges mix with it: Pillow would leave stairs.
    rim = 2
    rimmed = ImageOps.expand(photo, rim, fill)
    back = np.linalg.inv(placed @ translation(-rim, -rim))
    return rimmed.transform(
        size,
        Image.Transform.PERSPECTIVE,
        (back / back[2, 2]).ravel()[:8].tolist(),
        Image.Resampling.BICUBIC,
        fillcolor=fill,
    )


def cropped_to(share: float, *, at_corner: bool = False) -> Step:
    """Keep that share of the area, in the same shape, at the centre or at one of the corners."""

    def step(photo: Image.Image, scene: Scene) -> Copy:
        width = max(8, round(photo.width * math.sqrt(share)))
        height = max(8, round(photo.height * math.sqrt(share)))
        left, top = (photo.width - width) // 2, (photo.height - height) // 2
        if at_corner:
            corner = int(scene.random.integers(4))
            left, top = (photo.width - width) * (corner % 2), (photo.height - height) * (corner // 2)
        return Copy(photo.crop((left, top, left + width, top + height)), translation(-left, -top))

    return step


def mirrored(photo: Image.Image, _: Scene) -> Copy:
    """Swap left and right."""
    return Copy(ImageOps.mirror(photo), translation(photo.width, 0) @ scaling(-1, 1))


def turned(quarters: int) -> Step:
    """Turn counter-clockwise by so many right angles, 1 to 3."""
    how = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)[quarters - 1]

    def step(photo: Image.Image, _: Scene) -> Copy:
        placed = np.eye(3)
        width, height = photo.size
        for _quarter in range(quarters):
            placed = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]], dtype=np.float64) @ placed
            width, height = height, width
        return Copy(photo.transpose(how), placed)

    return step


def rotated(least: float, most: float, fill: Colour | None) -> Step:
    """Rotate either way by an angle in degrees: with corners of that colour, or cut until none is seen."""

    def step(photo: Image.Image, scene: Scene) -> Copy:
        angle = math.radians(scene.random.uniform(least, most)) * scene.random.choice((-1, 1))
        cos, sin = math.cos(angle), math.sin(angle)
        width, height = photo.size
        size = (
            math.ceil(width * abs(cos) + height * abs(sin)),
            math.ceil(width * abs(sin) + height * abs(cos)),
        )
        if fill is None:
            size = _inscribed(photo.size, angle)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        placed = translation(size[0] / 2, size[1] / 2) @ turn @ translation(-width / 2, -height / 2)
        return Copy(warped(photo, placed, size, fill or BLACK), placed)

    return step


def _inscribed(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """Size of the largest upright rectangle within a rotated one (stackoverflow.com/a/16778797)."""
    sin, cos = abs(math.sin(angle)), abs(math.cos(angle))
    width, height = size
    long, short = max(size), min(size)
    if short <= 2 * sin * cos * long:
        # Two of its corners touch one long side, the others the middle line.
        half = short / 2
        found = (half / sin, half / cos) if width >= height else (half / cos, half / sin)
    else:
        double = cos * cos - sin * sin
        found = ((width * cos - height * sin) / double, (height * cos - width * sin) / double)
    return max(8, math.floor(found[0])), max(8, math.floor(found[1]))


def tilted(share: float) -> Step:
    """Take it from slightly aside, near enough that its edges are outside: corners move out, up to that share."""

    def step(photo: Image.Image, scene: Scene) -> Copy:
        from_ = corners(photo.size)
        placed = quadrilateral(from_, moved(from_, scene.random, 0, -share))
        return Copy(warped(photo, placed, photo.size, BLACK), placed)

    return step


def print_on_table(photo: Image.Image, scene: Scene) -> Copy:
    """Photograph a print that lies on a table, from aside: corners move in by 3 to 18 % of the sides."""
    random = scene.random
    from_ = corners(photo.size)
    placed = quadrilateral(from_, moved(from_, random, 0.03, 0.18))
    table: Colour = (176, 150, 118)
    picture = warped(photo, placed, photo.size, table)
    # One lamp lights the print and the table, so the far side of both is darker.
    near, far = random.permutation(4)[:2]
    light = np.full((2, 2), 235)
    light.flat[near], light.flat[far] = 255, 190
    shade = Image.fromarray(light.astype(np.uint8)).resize(photo.size, Image.Resampling.BILINEAR)
    return Copy(Image.composite(picture, Image.new("RGB", photo.size), shade), placed)


def moved(
    points: NDArray[np.float64], random: np.random.Generator, least: float, most: float
) -> NDArray[np.float64]:
    """Corners moved, each at random, towards the middle by shares of the sides; outwards if negative."""
    sides = points.max(axis=0) - points.min(axis=0)
    inwards = np.sign(points.mean(axis=0) - points)
    shares = least + (most - least) * random.random((4, 2))
    return np.asarray(points + inwards * shares * sides)
