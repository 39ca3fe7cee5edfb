"""Pictures for tests: drawn, or the photographs inside scikit-image's wheel; and edits of them."""

import io
import math
from functools import cache

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = (
    "claim",
    "damage",
    "date",
    "amount",
    "total",
    "paid",
    "card",
    "cash",
    "item",
    "price",
    "tax",
    "street",
)
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@cache
def photo(name: str = "astronaut") -> Image.Image:
    """One of scikit-image's photographs, mode RGB."""
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def drawn(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture with smooth random blobs: another seed, another fingerprint."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def surface(seed: int, size: tuple[int, int] = (320, 240), *, period: int = 8) -> Image.Image:
    """Stripes of a direction and period of their own, with grain."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    angle = rng.uniform(0, math.pi)
    waves = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)
    return Image.fromarray(np.clip(120 + 40 * waves + rng.normal(0, 12, x.shape), 0, 255).astype(np.uint8))


def receipt(seed: int, layout: int = 0) -> Image.Image:
    """A scanned receipt: the shop's layout, this purchase's words and sums."""
    shop, purchase = np.random.default_rng([1, layout]), np.random.default_rng([2, seed])
    image = Image.new("RGB", (600, 1200), "white")
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(int(shop.integers(18, 27))), ImageFont.load_default(44)
    draw.text((150, 40), f"MARKET {layout}", font=large, fill="black")
    y = 130
    for _ in range(int(shop.integers(12, 24))):
        words = purchase.choice(WORDS, int(purchase.integers(1, 4)))
        draw.text((40, y), " ".join(words), font=small, fill="black")
        draw.text((470, y), f"{purchase.random() * 1000:.2f}", font=small, fill="black")
        y += 36
    draw.line((40, y, 560, y), fill="black", width=3)
    draw.text((40, y + 20), f"TOTAL {purchase.random() * 10_000:.2f}", font=large, fill="black")
    return image


def letter(seed: int) -> Image.Image:
    """A scanned letter: one letterhead, its own paragraphs."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (1240, 1754), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(28)
    draw.text((120, 100), "Insurance Company", font=ImageFont.load_default(40), fill="black")
    y = 350
    for _ in range(4):
        for _ in range(int(random.integers(3, 8))):
            draw.text((120, y), " ".join(random.choice(WORDS, 12))[:75], font=font, fill="black")
            y += 42
        y += 40
    return image


def product(seed: int) -> Image.Image:
    """A product on white: a few coloured shapes in the middle."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (900, 900), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 9))):
        left, top, wide, high = random.integers((250, 250, 60, 60), (450, 450, 300, 300)).tolist()
        shape = draw.rectangle if random.random() < 0.5 else draw.ellipse
        shape((left, top, left + wide, top + high), fill=tuple(random.integers(0, 230, 3).tolist()))
    return image.filter(ImageFilter.GaussianBlur(1))


def encoded(picture: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Bytes of a picture file."""
    out = io.BytesIO()
    picture.save(out, form, **({"quality": 88} | options if form == "JPEG" else options))
    return out.getvalue()


def detailed(number: int) -> Image.Image:
    """A picture unlike the others, with much on it: blobs of all sizes."""
    random = np.random.default_rng(number)
    picture = np.zeros((480, 640, 3))
    for cells in (6, 12, 24, 48, 96):
        levels = random.normal(0, 40, (cells, cells, 3)).clip(-128, 127).astype(np.int16) + 128
        layer = Image.fromarray(levels.astype(np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, float) - 128
    return Image.fromarray((picture + 128).clip(0, 255).astype(np.uint8))
