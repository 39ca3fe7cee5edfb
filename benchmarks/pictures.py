"""Picture files to measure with: real ones from a folder outside the project, and drawn ones."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(os.environ.get("CLAIMPRINT_DATA", Path(__file__).parents[2] / "shared" / "data"))

# Amplitude falls with the frequency to this power. So steep a fall gives drawn pictures chance neighbours as
# often as real photos have them: difference hashes within 10 bits in 4 of 10,000 unrelated pairs.
STEEPNESS = 1.7

JPEG_WIDTH, JPEG_HEIGHT = 1600, 1200
ENLARGED = 4  # drawn smaller: grain stands in for the finest detail


def camera_files() -> list[Path]:
    """Files as cameras wrote them, by name."""
    files = sorted(path for path in (DATA / "camera").glob("*") if path.suffix.lower() == ".jpg")
    if not files:
        raise SystemExit(f"no camera files in {DATA / 'camera'}; CLAIMPRINT_DATA names the folder above it")
    return files


def drawn_pixels(random: np.random.Generator, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Pictures with the spectrum of photographs and random phases: uint8 (count, height, width).

    Amplitude falls as a power of frequency: Field, "The statistics of natural images" (JOSA A, 1987).
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    frequency[0, 0] = np.inf
    shape = (count, *frequency.shape)
    spectrum = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) * frequency**-STEEPNESS
    values = np.fft.irfft2(spectrum, (height, width))
    values *= 50 / values.std(axis=(1, 2), keepdims=True)
    return np.clip(values + 128, 0, 255).astype(np.uint8)


def drawn_jpegs(random: np.random.Generator, count: int, byte_count: int) -> list[bytes]:
    """Different colour pictures of 1600 x 1200 as JPEG, each of about that many bytes."""
    pictures = [_drawn_colours(random) for _ in range(count)]
    # One amount of grain, found by halving, makes all of them as large: they are alike but for their phases.
    low, high = 0.0, 64.0
    while high - low > 0.25:
        middle = (low + high) / 2
        if len(_jpeg(pictures[0], random, middle)) < byte_count:
            low = middle
        else:
            high = middle
    return [_jpeg(picture, random, low) for picture in pictures]


def _drawn_colours(random: np.random.Generator) -> Image.Image:
    """Three fields that go mostly together, as red, green and blue do in photographs."""
    height, width = JPEG_HEIGHT // ENLARGED, JPEG_WIDTH // ENLARGED
    grey, *tints = drawn_pixels(random, 4, height, width).astype(np.float64)
    colours = grey[..., None] + 0.3 * (np.stack(tints, axis=2) - 128)
    small = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    return small.resize((JPEG_WIDTH, JPEG_HEIGHT), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image, random: np.random.Generator, grain: float) -> bytes:
    pixels = np.asarray(picture) + random.normal(0, grain, (JPEG_HEIGHT, JPEG_WIDTH, 1))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return file.getvalue()
