"""Pictures to hash: drawn ones, real ones, and what imagehash says of them."""

from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
import skimage
from PIL import Image

from app.fingerprints.orientation import TRANSFORMS, turn

SHARED = Path(__file__).parents[3] / "shared" / "data"
WORD = 2**64 - 1


def imagehash_rows(image: Image.Image) -> np.ndarray:
    """The definition: turn the picture, hash it with imagehash, for every orientation."""
    return np.array([_imagehash_row(turn(image, transform)) for transform in TRANSFORMS], np.uint64)


def _imagehash_row(image: Image.Image) -> list[int]:
    hashes = [
        imagehash.average_hash(image),
        imagehash.phash(image),
        imagehash.dhash(image),
        imagehash.whash(image, hash_size=8, image_scale=64, mode="haar", remove_max_haar_ll=True),
    ]
    verifier = int(str(imagehash.phash(image, hash_size=16)), 16)
    return [int(str(each), 16) for each in hashes] + [verifier >> shift & WORD for shift in (192, 128, 64, 0)]


@pytest.fixture(scope="session")
def definition() -> Callable[[Image.Image], np.ndarray]:
    """What imagehash makes of a picture in all eight orientations: the oracle of `Fingerprint.turned`."""
    return imagehash_rows


@pytest.fixture(scope="session")
def real_photos() -> dict[str, Image.Image]:
    """The pictures inside scikit-image's wheel, by file name, at most 512 pixels on the long side."""
    images = {}
    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.[jp][pn]g")):
        with Image.open(path) as opened:
            images[path.name] = opened.convert("RGB")
        images[path.name].thumbnail((512, 512))
    return images


@pytest.fixture(scope="session")
def shared_photos() -> list[Path]:
    if not SHARED.is_dir():
        pytest.skip("the photos of ../shared/data are not here")
    return sorted(path for path in (SHARED / "photos").rglob("*") if path.suffix in {".jpg", ".png"})
