"""Edits of values, in their places: colours, blur, noise, and the ways of messengers."""

import io
import math

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.edits import Edit, scaled


def cast(red: float, green: float, blue: float) -> Edit:
    """Multiply the values of each colour."""
    curves = [min(255, round(value * factor)) for factor in (red, green, blue) for value in range(256)]
    return lambda photo: photo.point(curves)


def sepia(photo: Image.Image) -> Image.Image:
    """Brown as old prints, by the matrix of the W3C's filter effects."""
    matrix = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
    return photo.convert("RGB", matrix)


def blurred(share: float) -> Edit:
    """Out of focus: the radius is a share of the long side."""
    return lambda photo: photo.filter(ImageFilter.GaussianBlur(share * max(photo.size)))


def moving(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Shaken by 1.5 % of the long side, in any direction."""
    half = max(1, round(0.0075 * max(photo.size)))
    angle = random.uniform(0, math.pi)
    steps = np.arange(-half, half + 1)
    # Steps both ways, so that nothing moves in the mean.
    offsets = np.rint(np.outer(steps, (math.sin(angle), math.cos(angle)))).astype(int) + half
    values = np.pad(np.asarray(photo, np.uint16), ((half, half), (half, half), (0, 0)), "edge")
    total = np.zeros((photo.height, photo.width, 3), np.uint16)
    for down, right in offsets.tolist():
        total += values[down : down + photo.height, right : right + photo.width]
    return Image.fromarray((total // len(steps)).astype(np.uint8))


def grainy(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Gaussian noise with a standard deviation of 20 of 255, as by night."""
    noise = random.standard_normal((photo.height, photo.width, 3), np.float32)
    return Image.fromarray(np.clip(np.asarray(photo) + 20 * noise, 0, 255).astype(np.uint8))


def peppered(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Salt and pepper: 5 % of all pixels white or black."""
    values, chance = np.array(photo), random.random((photo.height, photo.width), np.float32)
    values[chance < 0.025] = 0
    values[chance > 0.975] = 255
    return Image.fromarray(values)


def forwarded(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Three times through messengers that shrink it to three quarters and compress it with quality 40 to 60."""
    for quality in random.integers(40, 61, 3).tolist():
        photo = round_trip(scaled(0.75)(photo), "JPEG", quality)
    return photo


def webp(photo: Image.Image) -> Image.Image:
    """Saved by a web page, which serves WebP of quality 60."""
    return round_trip(photo, "WEBP", 60)


def round_trip(photo: Image.Image, form: str, quality: int) -> Image.Image:
    """What is left after saving in that format."""
    file = io.BytesIO()
    photo.save(file, form, quality=quality)
    with Image.open(file) as opened:
        return opened.convert("RGB")
