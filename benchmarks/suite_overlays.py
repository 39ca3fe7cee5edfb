"""What people draw over a photo: stamps, logos, marks, stickers, bars."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.suite_places import WHITE, Colour

_STRONG: tuple[Colour, ...] = ((214, 40, 40), (29, 78, 216), (22, 130, 60), (120, 40, 160), (230, 110, 20))


def written(text: str, width: float, most: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font in which the text is that wide, or `most` high, in pixels: whatever is smaller."""
    ten = ImageFont.load_default(10).getlength(text)
    return ImageFont.load_default(max(6, min(10 * width / ten, most)))


def date_stamp(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Orange digits of a camera's clock in the lower right corner."""
    picture = photo.copy()
    year, month, day, hour, minute = random.integers((15, 1, 1, 7, 0), (27, 13, 29, 20, 60)).tolist()
    text = f"{day:02}.{month:02}.20{year}  {hour:02}:{minute:02}"
    margin = min(photo.size) // 25
    ImageDraw.Draw(picture).text(
        (photo.width - margin, photo.height - margin),
        text,
        font=written(text, photo.width * 0.36, photo.height / 12),
        anchor="rs",
        fill=(255, 138, 24),
        stroke_width=max(1, photo.width // 700),
        stroke_fill=(150, 50, 0),
    )
    return picture


def logo(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """A company's badge over 5 % of the area, in one of the corners."""
    picture = photo.copy()
    draw = ImageDraw.Draw(picture)
    area = photo.width * photo.height * 0.05
    width = min(math.sqrt(area * 2.2), photo.width * 0.9)
    height = area / width
    margin = min(photo.size) * 0.03
    corner = int(random.integers(4))
    left = margin if corner % 2 else photo.width - margin - width
    top = margin if corner // 2 else photo.height - margin - height
    colour = _STRONG[int(random.integers(len(_STRONG)))]
    draw.rounded_rectangle((left, top, left + width, top + height), height / 6, colour, WHITE, 2)
    middle, radius = top + height / 2, min(height, width / 2.5) * 0.3
    centre = left + radius * 1.6
    draw.ellipse((centre - radius, middle - radius, centre + radius, middle + radius), fill="white")
    draw.regular_polygon((centre, middle, radius * 0.8), 3, int(random.integers(90)), fill=colour)
    name = str(random.choice(("NORDCAR", "FIXIT", "Autohaus K", "ACME Ltd")))
    room = left + width - centre - radius * 1.8
    draw.text(
        (centre + radius * 1.4, middle),
        name,
        font=written(name, room, height * 0.5),
        anchor="lm",
        fill="white",
    )
    return picture


def big_mark(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Half-transparent letters along the diagonal of the whole photo."""
    text = str(random.choice(("PREVIEW", "PHOTOSTOCK", "SOLD", "carpix.example")))
    diagonal = math.hypot(*photo.size)
    font = written(text, diagonal * 0.75, min(photo.size) * 0.4)
    slope = math.degrees(math.atan2(photo.height, photo.width))
    # Written on a square, for a turned line is cut by the photo's own sides otherwise.
    side = math.ceil(diagonal)
    square = Image.new("L", (side, side))
    ImageDraw.Draw(square).text(
        (side / 2, side / 2), text, font=font, anchor="mm", fill=128, stroke_width=min(photo.size) // 120
    )
    left, top = (side - photo.width) // 2, (side - photo.height) // 2
    layer = square.rotate(slope, Image.Resampling.BILINEAR).crop(
        (left, top, left + photo.width, top + photo.height)
    )
    return Image.composite(Image.new("RGB", photo.size, "white"), photo, layer)


def stickers(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Three faces and two scribbles, opaque, over 10 % of the area."""
    picture = photo.copy()
    draw = ImageDraw.Draw(picture)
    size, area = np.array(photo.size), photo.width * photo.height
    # The faces take 7.5 % of the area, 3 pi r^2, the scribbles the rest.
    radius = math.sqrt(0.075 * area / 3 / math.pi)
    for centre in _apart(random, 3, 2 * radius, size):
        _face(draw, centre[0], centre[1], radius)
    for _ in range(2):
        start = random.uniform(0.15, 0.6, 2) * size
        ways = np.cumsum(random.uniform(-0.6, 1, (9, 2)) * math.sqrt(area) * 0.09, axis=0)
        line = [tuple(point) for point in np.clip(start + ways, 0, size).tolist()]
        colour = _STRONG[int(random.integers(len(_STRONG)))]
        draw.line(line, colour, max(2, round(math.sqrt(area) * 0.025)), "curve")
    return picture


def _apart(random: np.random.Generator, count: int, distance: float, size: np.ndarray) -> np.ndarray:
    """Points at random of which none is near another, if a few attempts find them."""
    found = np.empty((0, 2))
    for attempt in range(50):
        point = random.uniform(0.15, 0.85, 2) * size
        if attempt > 40 or np.all(np.hypot(*(found - point).T) >= distance):
            found = np.vstack([found, point])
        if len(found) == count:
            break
    return found


def _face(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), (255, 205, 50), (200, 140, 20), 2)
    for side in (-1, 1):
        eye, size = x + side * radius * 0.35, radius * 0.13
        draw.ellipse((eye - size, y - radius * 0.45, eye + size, y - radius * 0.05), (70, 45, 10))
    mouth = (x - radius * 0.55, y - radius * 0.35, x + radius * 0.55, y + radius * 0.6)
    draw.chord(mouth, 10, 170, (120, 40, 30))


def redacted(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Four black bars, as over number plates and names."""
    picture = photo.copy()
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        width, height = random.uniform((0.18, 0.035), (0.36, 0.06)) * photo.size
        left, top = random.uniform((0.02, 0.05), (0.6, 0.9)) * photo.size
        draw.rectangle((left, top, left + width, top + height), "black")
    return picture
