"""What people put a photo into: frames, bars, collages, other photos, letters."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from benchmarks import edits
from benchmarks.suite_overlays import written
from benchmarks.suite_places import (
    BLACK,
    WHITE,
    Colour,
    Copy,
    Scene,
    centred,
    fitted,
    laid,
    translation,
)

SENTENCES = (
    "We hereby report the damage to our car, which was parked in front of the house.",
    "Another driver hit its left side on Monday; please find a picture below.",
    "Let us know what repair your company will pay for, and who may do it.",
    "The police took no notes, and there are no witnesses that we know of.",
    "The garage asks for 840.00, without paint. Its offer is enclosed.",
    "Nothing was inside. The doors were locked when we came back.",
    "Thank you for an early answer: we need the car for work every day.",
)
CAPTIONS = (
    "Look what happened to my car today",
    "Delivered like this. No comment.",
    "Never park next to this wall",
    "Found broken on the second day",
)
# Of a collage's photos: what social networks show at full width on a phone.
_CELL = 640


def white_frame(photo: Image.Image, _: Scene) -> Copy:
    """The owner's white frame."""
    picture = edits.framed(photo)
    border = (picture.width - photo.width) // 2
    return Copy(picture, translation(border, border))


def dark_frame(photo: Image.Image, _: Scene) -> Copy:
    """A dark frame of 10 % of the width, with a thin bright line inside."""
    border = round(photo.width * 0.1)
    line = max(1, border // 10)
    picture = ImageOps.expand(ImageOps.expand(photo, line, (212, 190, 140)), border - line, (38, 28, 24))
    return Copy(picture, translation(border, border))


def polaroid(photo: Image.Image, scene: Scene) -> Copy:
    """A white frame with a broad foot, on which a line is written."""
    border = max(2, round(min(photo.size) * 0.06))
    return _captioned(
        photo, scene, (border, border, round(min(photo.size) * 0.22)), (250, 249, 244), (50, 50, 90)
    )


def caption_bar(photo: Image.Image, scene: Scene) -> Copy:
    """A white bar with a line of text below."""
    return _captioned(photo, scene, (0, 0, round(photo.width * 0.13)), WHITE, BLACK)


def _captioned(
    photo: Image.Image, scene: Scene, borders: tuple[int, int, int], paper: Colour, ink: Colour
) -> Copy:
    side, top, foot = borders
    picture = Image.new("RGB", (photo.width + 2 * side, photo.height + top + foot), paper)
    picture.paste(photo, (side, top))
    text = str(scene.random.choice(CAPTIONS))
    ImageDraw.Draw(picture).text(
        (picture.width / 2, picture.height - foot / 2),
        text,
        font=written(text, picture.width * 0.9, foot * 0.5),
        anchor="mm",
        fill=ink,
    )
    return Copy(picture, translation(side, top))


def letterbox(photo: Image.Image, _: Scene) -> Copy:
    """Black bars beside it, or above and below, to 16:9."""
    size = (max(photo.width, round(photo.height * 16 / 9)), max(photo.height, round(photo.width * 9 / 16)))
    return _in_middle(photo, Image.new("RGB", size))


def blurred_square(photo: Image.Image, _: Scene) -> Copy:
    """A square, a tenth larger than the photo, filled with its own blur, as social networks want it."""
    side = round(1.1 * max(photo.size))
    behind = ImageOps.fit(photo, (side, side)).filter(ImageFilter.GaussianBlur(side / 30))
    return _in_middle(photo, edits.brightness(0.85)(behind))


def _in_middle(photo: Image.Image, canvas: Image.Image) -> Copy:
    return Copy(canvas, laid(canvas, photo, centred(photo.size, (0, 0, *canvas.size))))


def collage_of_2(photo: Image.Image, scene: Scene) -> Copy:
    """With another photo, beside it if it is upright, above or below if not."""
    return _collage(photo, scene, (2, 1) if photo.height > photo.width else (1, 2))


def collage_of_4(photo: Image.Image, scene: Scene) -> Copy:
    """With three other photos, two by two."""
    return _collage(photo, scene, (2, 2))


def _collage(photo: Image.Image, scene: Scene, shape: tuple[int, int]) -> Copy:
    columns, rows = shape
    cell = fitted(photo.size, (min(_CELL, photo.width), min(_CELL, photo.height)))
    gap = max(2, max(cell) // 60)
    canvas = Image.new("RGB", (columns * (cell[0] + gap) + gap, rows * (cell[1] + gap) + gap), "white")
    others = scene.some_others(columns * rows - 1)
    own = int(scene.random.integers(columns * rows))
    placed = np.eye(3)
    for place in range(columns * rows):
        left, top = gap + place % columns * (cell[0] + gap), gap + place // columns * (cell[1] + gap)
        if place == own:
            placed = laid(canvas, photo, (left, top, left + cell[0], top + cell[1]))
        else:
            canvas.paste(ImageOps.fit(others.pop(), cell), (left, top))
    return Copy(canvas, placed)


def on_photo(photo: Image.Image, scene: Scene) -> Copy:
    """Over a third of the area of another photo, anywhere on it."""
    canvas = ImageOps.fit(scene.some_others(1)[0], photo.size)
    size = fitted(photo.size, (photo.width / math.sqrt(3), photo.height / math.sqrt(3)))
    left, top = (scene.random.random(2) * (np.array(photo.size) - size)).astype(int).tolist()
    return Copy(canvas, laid(canvas, photo, (left, top, left + size[0], top + size[1])))


def in_letter(photo: Image.Image, scene: Scene) -> Copy:
    """In a letter, over a third of the page, or less where its shape does not fit."""
    page = Image.new("RGB", (1000, 1414), (252, 252, 250))
    draw = ImageDraw.Draw(page)
    shape = photo.width / photo.height
    area = page.width * page.height / 3
    size = fitted(photo.size, (min(math.sqrt(area * shape), 860), min(math.sqrt(area / shape), 800)))
    draw.text((70, 60), "K. Sommer, 14 Mill Lane", font=ImageFont.load_default(30), fill="black")
    number = int(scene.random.integers(10_000, 99_999))
    draw.text((70, 110), f"Our claim {number}", font=ImageFont.load_default(22), fill=(60, 60, 60))
    box = centred(size, (0, 0, page.width, 0))
    top = _paragraphs(draw, scene.random, 180, 2)
    placed = laid(page, photo, (box[0], top, box[2], top + size[1]))
    _paragraphs(draw, scene.random, top + size[1] + 30, 4)
    return Copy(page, placed)


def _paragraphs(draw: ImageDraw.ImageDraw, random: np.random.Generator, top: int, count: int) -> int:
    """Write so many paragraphs, as far as the page goes, and return where they end."""
    font = ImageFont.load_default(22)
    for _ in range(count):
        for sentence in sorted(random.permutation(len(SENTENCES))[:3].tolist()):
            if top < 1340:
                draw.text((70, top), SENTENCES[sentence], font=font, fill=(20, 20, 20))
            top += 32
        top += 20
    return top
