"""The whole-image fingerprint: four 64-bit hashes and the 256-bit verifier, in all eight orientations."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.average import average_bits
from app.fingerprints.bits import words
from app.fingerprints.difference import difference_bits
from app.fingerprints.information import FINGERPRINTED, information
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.perceptual import perceptual_bits
from app.fingerprints.reduction import reductions
from app.fingerprints.wavelet import wavelet_bits

WHOLE_IMAGE_HASHES: tuple[str, ...] = ("ahash", "phash", "dhash", "whash")

_SHAPE = (len(TRANSFORMS), len(WHOLE_IMAGE_HASHES) + 4)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The hashes of one normalised picture, as it stands and turned."""

    turned: NDArray[np.uint64]
    """(8, 8): a row per transform in the order of `TRANSFORMS`, row 0 being the picture as it stands.
    Columns 0 to 3: the hashes as listed in `WHOLE_IMAGE_HASHES`; 4 to 7: the verifier, highest word first."""
    information: str
    """`fingerprinted`, or `low_information` when the hashes have nothing to hold on to."""

    @property
    def hashes(self) -> dict[str, int]:
        """The picture's own 64-bit hashes by name, unsigned."""
        return dict(zip(WHOLE_IMAGE_HASHES, self.turned[0, :4].tolist(), strict=True))

    @property
    def verifier(self) -> tuple[int, int, int, int]:
        """The picture's own 256-bit perceptual hash, most significant word first."""
        first, second, third, fourth = self.turned[0, 4:].tolist()
        return first, second, third, fourth

    @property
    def verifier_bytes(self) -> bytes:
        """The verifier as 32 big-endian bytes."""
        return self.turned[0, 4:].astype(">u8").tobytes()

    def to_bytes(self) -> bytes:
        """`turned` in row order, 64 big-endian words: 512 bytes."""
        return self.turned.astype(">u8").tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes, information: str = FINGERPRINTED) -> Self:
        """What `to_bytes` wrote; the information is stored beside it. ValueError unless 512 bytes."""
        return cls(np.frombuffer(stored, ">u8").reshape(_SHAPE).astype(np.uint64), information)


def fingerprint(image: Image.Image) -> Fingerprint:
    """The hashes of a normalised picture (mode RGB) and of its seven turned variants.

    Every row of the result is bit for bit what imagehash 4.3.2 gives for the turned picture:
    `average_hash`, `phash`, `dhash`, `whash(image_scale=64)`, and `phash(hash_size=16)` as the verifier.
    """
    small = reductions(image.convert("L"))
    turned = np.hstack(
        [
            words(average_bits(small.eight)),
            words(perceptual_bits(small.thirty_two, side=8)),
            words(difference_bits(small.nine)),
            words(wavelet_bits(small.sixty_four)),
            words(perceptual_bits(small.sixty_four, side=16)),
        ]
    )
    return Fingerprint(turned, information(small.thirty_two[0]))
