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


def drawn_jpeg(
    random: np.random.Generator, byte_count: int, *, width: int = 1600, height: int = 1200
) -> bytes:
    """A drawn colour picture as JPEG of about that many bytes: grain is added until it is as large."""
    bands = drawn_pixels(random, 3, height, width).astype(np.float64)
    colour = bands[0][..., None] + 0.3 * (np.moveaxis(bands, 0, 2) - 128)
    grain = random.standard_normal((height, width, 1))
    low, high = 0.0, 64.0
    while high - low > 0.25:
        middle = (low + high) / 2
        if len(_jpeg(colour + middle * grain)) < byte_count:
            low = middle
        else:
            high = middle
    return _jpeg(colour + low * grain)


def _jpeg(colour: NDArray[np.float64]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return file.getvalue()
