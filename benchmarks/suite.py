"""What people do to a claim photo before they use it again, and where the photo is in the result.

By families, in the table's order. Everything that is left to chance follows from the seed and the edit's name.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.edits import OWNERS
from benchmarks.suite_frames import (
    blurred_square,
    caption_bar,
    collage_of_2,
    collage_of_4,
    dark_frame,
    in_letter,
    letterbox,
    on_photo,
    polaroid,
    white_frame,
)
from benchmarks.suite_light import blurred, cast, forwarded, grainy, moving, peppered, sepia, webp
from benchmarks.suite_overlays import big_mark, date_stamp, logo, redacted, stickers
from benchmarks.suite_places import (
    BLACK,
    WHITE,
    Copy,
    Scene,
    Step,
    after,
    corners,
    cropped_to,
    kept,
    mapped,
    mirrored,
    painted,
    print_on_table,
    rotated,
    tilted,
    turned,
)
from benchmarks.suite_screens import desktop_screenshot, phone_screenshot, photographed_screen


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """An edited copy: its bytes, and the homography, float64[3, 3], from the photo's pixels to its own.

    Coordinates are continuous: the centre of the first pixel is (0.5, 0.5).
    """

    jpeg: bytes
    placed: NDArray[np.float64]


# What a chain leaves at least: of the photo's area, of its sides in pixels, and of the copy that is not something
# else. With less, it is another question.
_LEAST_SHOWN = 0.4
_LEAST_SCALE = 0.25
_LEAST_OF_COPY = 0.2


def _owners(*starts: str) -> dict[str, Step]:
    return {name: kept(edit, quality) for name, (edit, quality) in OWNERS.items() if name.startswith(starts)}


def _chained(photo: Image.Image, scene: Scene) -> Copy:
    """Three edits of three families, drawn anew until enough of the photo is left."""
    families = [family for family in _TABLE if family != "chained"]
    while True:
        drawn = [
            list(_TABLE[families[place]].values()) for place in scene.random.permutation(len(families))[:3]
        ]
        copy = after(*(steps[int(scene.random.integers(len(steps)))] for steps in drawn))(photo, scene)
        if _enough(copy, photo.size):
            return copy


def _enough(copy: Copy, size: tuple[int, int]) -> bool:
    """Whether the copy shows enough of a photo of that size, and large enough."""
    points = (np.argwhere(np.ones((32, 32))) + 0.5) / 32 * size
    seen = mapped(copy.placed, points)
    shown = np.all((seen >= 0) & (seen < copy.picture.size), axis=1).mean()
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = mapped(copy.placed, corners(size))
    area = abs((cx - ax) * (dy - by) - (dx - bx) * (cy - ay)) / 2
    least = max(
        _LEAST_SCALE**2 * size[0] * size[1], _LEAST_OF_COPY * copy.picture.width * copy.picture.height
    )
    return bool(shown >= _LEAST_SHOWN and area >= least)


_TABLE: Mapping[str, Mapping[str, Step]] = {
    "light": {
        **_owners("brightness", "contrast", "gamma", "grey-scale"),
        "warm cast": kept(cast(1.12, 1.0, 0.8)),
        "saturation 1.8": kept(lambda photo: ImageEnhance.Color(photo).enhance(1.8)),
        "sepia": kept(sepia),
        "histogram equalised": kept(ImageOps.equalize),
        "posterised to 8 values": kept(lambda photo: ImageOps.posterize(photo, 3)),
        "inverted": kept(ImageOps.invert),
    },
    "compression": {
        **_owners("compression", "scaling", "messenger"),
        "messengers, three times": painted(forwarded),
        "WebP and back": kept(webp),
    },
    "crop": {
        **{
            f"cropped to {percent} %": cropped_to(percent / 100)
            for percent in (95, 90, 80, 70, 60, 50, 40, 30, 25)
        },
        **{
            f"cropped to {percent} % at a corner": cropped_to(percent / 100, at_corner=True)
            for percent in (70, 50, 30, 25)
        },
        "mirrored and cropped to 60 %": after(mirrored, cropped_to(0.6)),
    },
    "turn": {
        "mirrored": mirrored,
        "turned by 90 degrees": turned(1),
        "turned by 180 degrees": turned(2),
        "turned by 270 degrees": turned(3),
        "mirrored and turned by 90 degrees": after(mirrored, turned(1)),
        "rotated by 1 to 5 degrees, cut": rotated(1, 5, None),
        "rotated by 5 to 20 degrees, cut": rotated(5, 20, None),
        "rotated by 5 to 20 degrees, white corners": rotated(5, 20, WHITE),
        "rotated by any angle, black corners": rotated(0, 180, BLACK),
        "mirrored and rotated by 5 to 20 degrees": after(mirrored, rotated(5, 20, None)),
    },
    "frame": {
        "white frame": white_frame,
        "dark thick frame": dark_frame,
        "instant-film frame with a caption": polaroid,
        "caption bar": caption_bar,
        "letterbox to 16:9": letterbox,
        "square over its own blur": blurred_square,
    },
    "overlay": {
        **_owners("watermark"),
        "watermark, one big line": painted(big_mark),
        "date stamp": painted(date_stamp),
        "company logo": painted(logo),
        "stickers and scribbles": painted(stickers),
        "redaction bars": painted(redacted),
    },
    "paste": {
        "collage of 2": collage_of_2,
        "collage of 4": collage_of_4,
        "on another photo": on_photo,
        "in a letter": in_letter,
    },
    "perspective": {
        "perspective, mild": tilted(0.08),
        "perspective, strong, on a table": print_on_table,
        "stretched by 10 %": kept(lambda photo: photo.resize((round(photo.width * 1.1), photo.height))),
    },
    "screen": {
        "phone screenshot": phone_screenshot,
        "desktop screenshot": desktop_screenshot,
        "photographed screen": photographed_screen,
    },
    "blur and noise": {
        "Gaussian blur": kept(blurred(0.003)),
        "motion blur": painted(moving),
        "Gaussian noise": painted(grainy),
        "salt and pepper 5 %": painted(peppered),
        "sharpened": kept(lambda photo: photo.filter(ImageFilter.UnsharpMask(2, 180, 2))),
    },
    "chained": {f"chained {which}": _chained for which in (1, 2, 3)},
}
SUITE: Mapping[str, Step] = {name: step for steps in _TABLE.values() for name, step in steps.items()}
FAMILIES: Mapping[str, str] = {name: family for family, steps in _TABLE.items() for name in steps}


def edit(name: str, photo: Image.Image, others: Sequence[Image.Image], seed: int) -> Edited:
    """The copy that the edit of that name makes of an upright RGB photo, long side at most LONG_SIDE.

    `others` are at least three unrelated photos, for collages and backgrounds. Equal input gives equal bytes;
    give each photo its own seed, or chance is the same for all: the corner of a crop, the angle of a rotation.
    KeyError for a name that is not in the suite, ValueError if an edit needs more other photos.
    """
    scene = Scene(others, np.random.default_rng((seed, zlib.crc32(name.encode()))))
    copy = SUITE[name](photo, scene)
    file = io.BytesIO()
    copy.picture.save(file, "JPEG", quality=copy.quality)
    return Edited(file.getvalue(), copy.placed)
