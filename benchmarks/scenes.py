"""Drawn scenes: pictures of the sizes that claims have, each its own; for as many as there are no photos."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

# Of messengers, and of small cameras.
SIZES = ((640, 480), (800, 600), (1024, 768), (1280, 960), (1600, 1200))
SHARES = (0.2, 0.25, 0.3, 0.15, 0.1)
# Cells across of the layers that a ground is the sum of, and how far each goes from grey.
LAYERS = ((5, 70), (23, 40), (97, 24), (240, 14))
MOST_THINGS = 14


def drawn_scene(seed: int) -> Image.Image:
    """A ground of cloudy colours with things on it, mode RGB; another seed, another picture throughout."""
    random = np.random.default_rng([7, seed])
    size = SIZES[random.choice(len(SIZES), p=SHARES)]
    if random.random() < 0.3:
        size = size[::-1]
    small = Image.new("RGB", (size[0] // 2, size[1] // 2), tuple(random.integers(70, 190, 3).tolist()))
    for cells, strength in LAYERS:
        small = ImageChops.add(small, _clouds(random, cells, strength, small.size), offset=-128)
    image = small.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, MOST_THINGS))):
        _draw_thing(random, draw, size)
    return image


def drawn_jpeg(seed: int) -> bytes:
    """That scene as a file, of a quality of its own."""
    file = io.BytesIO()
    drawn_scene(seed).save(file, "JPEG", quality=70 + seed % 25)
    return file.getvalue()


def _clouds(random: np.random.Generator, cells: int, strength: int, size: tuple[int, int]) -> Image.Image:
    across, down = cells, max(2, cells * size[1] // size[0])
    values: NDArray[np.uint8] = random.integers(
        128 - strength, 129 + strength, (down, across, 3), dtype=np.uint8
    )
    return Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)


def _draw_thing(random: np.random.Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """A filled shape with an edge: a polygon, an ellipse, or a bundle of lines."""
    middle = random.random(2) * size
    reach = random.uniform(0.04, 0.3) * min(size)
    colour = tuple(random.integers(0, 256, 3).tolist())
    edge = tuple(random.integers(0, 256, 3).tolist())
    kind = random.integers(3)
    if kind == 0:
        corners = int(random.integers(3, 9))
        angles = np.sort(random.random(corners) * 2 * np.pi)
        far = reach * random.uniform(0.4, 1, corners)
        points = np.stack([middle[0] + far * np.cos(angles), middle[1] + far * np.sin(angles)], 1)
        draw.polygon([tuple(point) for point in points.tolist()], colour, edge, int(random.integers(1, 5)))
    elif kind == 1:
        half = reach * random.uniform(0.3, 1, 2)
        draw.ellipse(
            [*(middle - half).tolist(), *(middle + half).tolist()], colour, edge, int(random.integers(1, 6))
        )
    else:
        for _ in range(int(random.integers(2, 9))):
            ends = middle + random.uniform(-reach, reach, (2, 2))
            draw.line([tuple(end) for end in ends.tolist()], colour, int(random.integers(1, 7)))
