"""What people do to a photo before they send it again: name -> edited JPEG."""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

QUALITY = 80
LONG_SIDE = 1024
"""Photos are shrunk to it before they are edited: what edits cost is not what is measured."""

Edit = Callable[[Image.Image], Image.Image]

_HALF = 128


def brightness(factor: float) -> Edit:
    """Multiply all values."""
    return lambda photo: ImageEnhance.Brightness(photo).enhance(factor)


def contrast(factor: float) -> Edit:
    """Multiply all distances from the mean."""
    return lambda photo: ImageEnhance.Contrast(photo).enhance(factor)


def gamma(power: float) -> Edit:
    """Raise all values, 0 to 1, to a power."""
    curve = np.rint(255 * (np.arange(256) / 255) ** power).astype(int).tolist()
    return lambda photo: photo.point(3 * curve)


def scaled(factor: float) -> Edit:
    """Resize, as a messenger does."""
    return lambda photo: photo.resize(
        (max(8, round(photo.width * factor)), max(8, round(photo.height * factor))), Image.Resampling.BICUBIC
    )


def cropped(share: float) -> Edit:
    """Cut that share of the width, and of the height, from each side."""
    return lambda photo: photo.crop(
        (
            round(photo.width * share),
            round(photo.height * share),
            round(photo.width * (1 - share)),
            round(photo.height * (1 - share)),
        )
    )


def corner_mark(photo: Image.Image) -> Image.Image:
    """Write a line with a dark rim into the lower right corner, a quarter of the width long."""
    marked = photo.copy()
    size = max(8, photo.width // 24)
    draw = ImageDraw.Draw(marked)
    font = ImageFont.load_default(size)
    draw.text(
        (photo.width - size // 2, photo.height - size // 2),
        "CLAIM 2026",
        font=font,
        anchor="rs",
        fill="white",
        stroke_width=1,
        stroke_fill="black",
    )
    return marked


def tiled_mark(photo: Image.Image) -> Image.Image:
    """Lay half-transparent slanted text over the whole photo, as stock libraries do."""
    side = max(photo.size)
    layer = Image.new("L", (2 * side, 2 * side))
    draw = ImageDraw.Draw(layer)
    size = max(8, side // 16)
    font = ImageFont.load_default(size)
    for line, y in enumerate(range(0, 2 * side, 3 * size)):
        for x in range(-line % 2 * 3 * size, 2 * side, 8 * size):
            draw.text((x, y), "SAMPLE", font=font, fill=_HALF)
    layer = layer.rotate(30).crop((side // 2, side // 2, side // 2 + photo.width, side // 2 + photo.height))
    return Image.composite(Image.new("RGB", photo.size, "white"), photo, layer)


def framed(photo: Image.Image) -> Image.Image:
    """Put a white frame around it, of 4 % of the width."""
    return ImageOps.expand(photo, round(photo.width * 0.04), "white")


def _unchanged(photo: Image.Image) -> Image.Image:
    return photo


def _grey(photo: Image.Image) -> Image.Image:
    return photo.convert("L").convert("RGB")


def _messenger(photo: Image.Image) -> Image.Image:
    return brightness(1.15)(scaled(0.5)(photo))


# What a 64-bit hash of the whole picture is meant to survive: the list of the collection's owner.
OWNERS: Mapping[str, tuple[Edit, int]] = {
    "brightness 0.6": (brightness(0.6), QUALITY),
    "brightness 1.4": (brightness(1.4), QUALITY),
    "contrast 0.6": (contrast(0.6), QUALITY),
    "contrast 1.5": (contrast(1.5), QUALITY),
    "gamma 0.6": (gamma(0.6), QUALITY),
    "gamma 1.6": (gamma(1.6), QUALITY),
    "watermark, corner": (corner_mark, QUALITY),
    "watermark, all over": (tiled_mark, QUALITY),
    "compression, quality 30": (_unchanged, 30),
    "compression, quality 10": (_unchanged, 10),
    "scaling 0.5": (scaled(0.5), QUALITY),
    "scaling 0.25": (scaled(0.25), QUALITY),
    "scaling 2": (scaled(2), QUALITY),
    "grey-scale": (_grey, QUALITY),
    "messenger: half, brighter, quality 40": (_messenger, 40),
}
TURNED: Mapping[str, tuple[Edit, int]] = {
    "mirrored": (ImageOps.mirror, QUALITY),
    "turned by 90 degrees": (lambda photo: photo.transpose(Image.Transpose.ROTATE_90), QUALITY),
}
# What it is not meant to survive; shown beside the others.
BEYOND: Mapping[str, tuple[Edit, int]] = {
    "cropped by 1 % a side": (cropped(0.01), QUALITY),
    "cropped by 2 % a side": (cropped(0.02), QUALITY),
    "cropped by 5 % a side": (cropped(0.05), QUALITY),
    "cropped by 15 % a side": (cropped(0.15), QUALITY),
    "rotated by 1 degree": (
        lambda photo: photo.rotate(1, Image.Resampling.BICUBIC, fillcolor="white"),
        QUALITY,
    ),
    "white frame of 4 %": (framed, QUALITY),
}
EDITS = {**OWNERS, **TURNED, **BEYOND}


def shrunk(photo: Image.Image) -> Image.Image:
    """Return the photo upright, in RGB, with its long side at most LONG_SIDE."""
    upright = ImageOps.exif_transpose(photo).convert("RGB")
    upright.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return upright


def edited(photo: Image.Image) -> dict[str, bytes]:
    """All edits of a shrunk photo, as JPEG files, by name."""
    return {name: _jpeg(edit(photo), quality) for name, (edit, quality) in EDITS.items()}


def _jpeg(photo: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return file.getvalue()
