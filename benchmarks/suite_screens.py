"""A photo on a screen: a phone's screenshot, a desktop's, and the screen photographed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.suite_light import cast
from benchmarks.suite_places import (
    Colour,
    Copy,
    Scene,
    centred,
    corners,
    fitted,
    laid,
    moved,
    quadrilateral,
    warped,
)

_PHONE = (720, 1560)
_DESKTOP = (1366, 768)


def phone_screenshot(photo: Image.Image, scene: Scene) -> Copy:
    """A chat on a phone: status bar, a question, the photo in a bubble at 70 % of the width, an answer, buttons."""
    width, height = _PHONE
    screen = Image.new("RGB", _PHONE, (236, 229, 221))
    draw = ImageDraw.Draw(screen)
    _phone_bars(draw, scene.random)
    _bubble(draw, (24, 230, 470, 300), (255, 255, 255), "Can you send me a picture?")
    size = fitted(photo.size, (0.7 * width, height - 730))
    right, top = width - 34, 334
    left = right - size[0]
    _bubble(draw, (left - 10, top - 10, right + 10, top + size[1] + 46), (220, 248, 198), "")
    placed = laid(screen, photo, (left, top, right, top + size[1]))
    small = ImageFont.load_default(22)
    draw.text((right - 4, top + size[1] + 36), "14:07  vv", font=small, anchor="rs", fill=(110, 130, 110))
    below = top + size[1] + 80
    _bubble(draw, (24, below, 400, below + 70), (255, 255, 255), "Oh no! How come?")
    return Copy(screen, placed)


def _phone_bars(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    width, height = _PHONE
    green, pale = (7, 94, 84), (240, 240, 240)
    draw.rectangle((0, 0, width, 190), green)
    clock = f"{random.integers(8, 20)}:{random.integers(10, 60)}"
    draw.text((36, 50), clock, font=ImageFont.load_default(28), anchor="ls", fill="white")
    for bar in range(4):
        draw.rectangle((540 + 12 * bar, 46 - 6 * bar, 547 + 12 * bar, 50), "white")
    draw.rounded_rectangle((620, 26, 676, 52), 5, None, "white", 2)
    draw.rectangle((624, 30, 624 + int(random.integers(10, 48)), 48), "white")
    draw.line([(52, 108), (32, 128), (52, 148)], "white", 5)
    draw.ellipse((76, 92, 148, 164), (180, 200, 195))
    draw.ellipse((98, 104, 126, 132), pale)
    draw.pieslice((86, 132, 138, 184), 180, 360, pale)
    draw.text((172, 124), "Claims Desk", font=ImageFont.load_default(34), anchor="ls", fill="white")
    draw.text((172, 158), "online", font=ImageFont.load_default(24), anchor="ls", fill=(200, 220, 215))
    for dot in range(3):
        draw.ellipse((672, 108 + 16 * dot, 680, 116 + 16 * dot), "white")
    draw.rounded_rectangle((20, height - 150, width - 120, height - 74), 38, "white")
    draw.text(
        (100, height - 112), "Message", font=ImageFont.load_default(30), anchor="lm", fill=(150, 150, 150)
    )
    draw.ellipse((38, height - 132, 78, height - 92), None, (150, 150, 150), 4)
    draw.ellipse((width - 100, height - 152, width - 20, height - 72), (18, 140, 126))
    draw.polygon([(width - 74, height - 132), (width - 40, height - 112), (width - 74, height - 92)], "white")
    draw.rounded_rectangle((width / 2 - 120, height - 26, width / 2 + 120, height - 18), 4, "black")


def _bubble(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], fill: Colour, text: str) -> None:
    draw.rounded_rectangle(box, 18, fill)
    font = ImageFont.load_default(30)
    draw.text((box[0] + 22, (box[1] + box[3]) / 2), text, font=font, anchor="lm", fill=(30, 30, 30))


def desktop_screenshot(photo: Image.Image, scene: Scene) -> Copy:
    """A picture viewer over the whole screen: title, tools, the photo on dark grey, the task bar."""
    width, height = _DESKTOP
    screen = Image.new("RGB", _DESKTOP, (43, 43, 43))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, width, 32), (243, 243, 243))
    name = f"IMG_{scene.random.integers(1000, 9999)}.JPG - Viewer"
    draw.text((14, 16), name, font=ImageFont.load_default(15), anchor="lm", fill=(30, 30, 30))
    for place, sign in enumerate("_□x"):
        x = width - 120 + 46 * place
        if sign == "□":
            draw.rectangle((x - 5, 11, x + 5, 21), None, (40, 40, 40))
        else:
            draw.text((x, 16), sign, font=ImageFont.load_default(17), anchor="mm", fill=(40, 40, 40))
    draw.rectangle((0, 32, width, 72), (58, 58, 58))
    for place, tool in enumerate(("Zoom", "Rotate", "Crop", "Print", "Delete", "Share")):
        x = width // 2 - 275 + 110 * place
        draw.text((x, 52), tool, font=ImageFont.load_default(15), anchor="mm", fill=(225, 225, 225))
    _task_bar(draw, scene.random)
    room = (0, 72, width, height - 40)
    size = fitted(photo.size, (width - 120, height - 40 - 72 - 36))
    placed = laid(screen, photo, centred(size, room))
    for x, way in ((26, -1), (width - 26, 1)):
        draw.line([(x - 7 * way, 380), (x + 7 * way, 398), (x - 7 * way, 416)], (220, 220, 220), 3)
    return Copy(screen, placed)


def _task_bar(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    width, height = _DESKTOP
    draw.rectangle((0, height - 40, width, height), (22, 28, 40))
    for place, colour in enumerate(
        ((0, 120, 212), (235, 190, 70), (60, 160, 90), (200, 70, 60), (150, 150, 160))
    ):
        x = 14 + 50 * place
        draw.rounded_rectangle((x, height - 32, x + 24, height - 8), 4, colour)
    clock = f"{random.integers(8, 20)}:{random.integers(10, 60)}"
    draw.text((width - 16, height - 20), clock, font=ImageFont.load_default(15), anchor="rm", fill="white")


def photographed_screen(photo: Image.Image, scene: Scene) -> Copy:
    """A screen in a dark room, from aside: its rim, its lines with their moire, a lamp's glare, bluish, soft."""
    random = scene.random
    inner = fitted(photo.size, (960, 960))
    margin, bezel, room = (round(max(inner) * share) for share in (0.015, 0.035, 0.08))
    edge = margin + bezel + room
    size = (inner[0] + 2 * edge, inner[1] + 2 * edge)
    dark: Colour = (34, 30, 28)
    flat = Image.new("RGB", size, dark)
    draw = ImageDraw.Draw(flat)
    draw.rounded_rectangle(
        (room, room, size[0] - room, size[1] - room), bezel / 2, (12, 12, 14), (52, 52, 56), 2
    )
    placed = laid(flat, photo, (edge, edge, edge + inner[0], edge + inner[1]))
    lit = (edge - margin, edge - margin, size[0] - edge + margin, size[1] - edge + margin)
    flat.paste(_with_lines(flat.crop(lit)), lit[:2])
    from_ = corners(size)
    aside = quadrilateral(from_, moved(from_, random, 0, 0.07))
    seen = warped(flat, aside, size, dark).filter(ImageFilter.GaussianBlur(0.8))
    return Copy(cast(0.92, 1.0, 1.1)(_with_glare(seen, random)), aside @ placed)


def _with_lines(screen: Image.Image) -> Image.Image:
    """Rows of pixels with dark gaps, and the broad coloured bands that a camera's own grid makes of them."""
    y, x = np.ogrid[: screen.height, : screen.width]
    rows = np.where(y % 3 == 0, 0.82, 1.0) * np.where(x % 3 == 0, 0.92, 1.0)
    phases = np.array([0, 1.2, 2.4], np.float32)
    ways = ((0.105 * x + 0.032 * y) + 6 * np.sin(0.004 * y))[:, :, None].astype(np.float32)
    bands = 1 + 0.07 * np.sin(ways + phases)
    return _clipped(np.asarray(screen) * rows[:, :, None].astype(np.float32) * bands)


def _with_glare(seen: Image.Image, random: np.random.Generator) -> Image.Image:
    """A bright spot of a lamp, and light that falls off to the edges."""
    y, x = np.ogrid[: seen.height, : seen.width]
    across, down = random.uniform(0.15, 0.85, 2)
    near = np.hypot(x / seen.width - across, y / seen.height - down).astype(np.float32)
    spot = 70 * np.exp(-((near / 0.22) ** 2))
    middle = np.hypot(x / seen.width - 0.5, y / seen.height - 0.5).astype(np.float32)
    return _clipped(np.asarray(seen) * (1.02 - 0.3 * middle**2)[:, :, None] + spot[:, :, None])


def _clipped(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
