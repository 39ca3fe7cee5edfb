"""What the workers upload: drawn fingerprints in families, each picture a turned, noisy copy of its family's.

Everything follows from numbers, so that workers which never talk to each other send the same pictures, and
sometimes the same bytes for the same claim.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS, turned_stack
from app.fingerprints.value import ALL_COLUMNS, FINGERPRINTED, LOW_INFORMATION, VERIFIER, Fingerprint, Segment

# At most MEMBERS * CLAIMS live images in a family: fewer than the matches that one answer lists.
MEMBERS = 16
CLAIMS = 5
# So many bits differ from the family's, at most: two members mostly match, and some are just too far apart.
HASH_NOISE = 0.07
VERIFIER_NOISE = 0.14
SHARE_LOW_INFORMATION = 0.06
SHARE_SAME_PIXELS = 0.12
SHARE_PAGES = 0.2
# How long workers stay with a family, how many they work on at once, and how often they return to an old one.
FAMILY_SECONDS = 0.8
FAMILIES_AT_ONCE = 2
SHARE_OLD = 0.1
SHARE_SEVERAL = 0.2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that nobody has taken: its bytes say which one it is."""

    seed: int
    family: int
    member: int

    @property
    def data(self) -> bytes:
        """The bytes to upload."""
        return f"{self.seed}.{self.family}.{self.member}".encode()

    @classmethod
    def of(cls, data: bytes) -> "Picture":
        """The picture with these bytes."""
        return cls(*(int(number) for number in data.decode().split(".")))

    @property
    def sha256(self) -> bytes:
        """Of the bytes."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True)
class Look:
    """What decoding a picture would have given."""

    fingerprint: Fingerprint
    pixel_sha256: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One upload: files for a claim, sometimes the same one twice."""

    claim_id: str
    pictures: tuple[Picture, ...]


def _composed() -> NDArray[np.intp]:
    """intp[8, 8]: at (a, b) the transform that does the work of a and then b."""
    corners = np.arange(4).reshape(2, 2)
    once = turned_stack(corners, corners.T)
    twice = np.stack([turned_stack(square, square.T) for square in once])
    same: NDArray[np.bool_] = (twice[:, :, None] == once).all(axis=(3, 4))
    return np.nonzero(same)[2].reshape(same.shape[:2])


_COMPOSED = _composed()


@lru_cache(maxsize=4096)
def look_of(picture: Picture) -> Look:
    """Draw the fingerprint of a picture."""
    rng = np.random.default_rng([picture.seed, picture.family, picture.member])
    if picture.member and rng.random() < SHARE_SAME_PIXELS:
        original = look_of(Picture(picture.seed, picture.family, 0))
        return Look(original.fingerprint, original.pixel_sha256)
    family = np.random.default_rng([picture.seed, picture.family]).integers(
        0, 1 << 64, (len(TRANSFORMS), ALL_COLUMNS), np.uint64
    )
    transform = rng.integers(len(TRANSFORMS)) if rng.random() < 0.5 else 0
    noise = rng.uniform(0, HASH_NOISE, ALL_COLUMNS)
    noise[VERIFIER] = rng.uniform(0, VERIFIER_NOISE)
    flipped = rng.random((*family.shape, 64)) < noise[None, :, None]
    turned = family[_COMPOSED[transform]] ^ np.packbits(flipped, axis=2).view(np.uint64)[:, :, 0]
    information = LOW_INFORMATION if rng.random() < SHARE_LOW_INFORMATION else FINGERPRINTED
    segments = tuple(
        Segment(tuple(turned[:, column].tolist()), 0, 0, 100, 50) for column in range(1 + picture.member % 4)
    )
    page = rng.random() < SHARE_PAGES
    fingerprint = Fingerprint(turned, 0, np.zeros(2, np.uint64), segments, information, page)
    return Look(fingerprint, hashlib.sha256(b"pixels" + picture.data).digest())


def draw_request(rng: np.random.Generator, seed: int, elapsed_seconds: float) -> Request:
    """What one of several workers sends at that time: much the same as the others."""
    newest = int(elapsed_seconds / FAMILY_SECONDS)
    if rng.random() < SHARE_OLD:
        family = int(rng.integers(newest + 1))
    else:
        family = max(newest - int(rng.integers(FAMILIES_AT_ONCE)), 0)
    count = int(rng.integers(2, 4)) if rng.random() < SHARE_SEVERAL else 1
    members = rng.integers(MEMBERS, size=count).tolist()
    return Request(
        f"claim-{family}-{rng.integers(CLAIMS)}",
        tuple(Picture(seed, family, member) for member in members),
    )
