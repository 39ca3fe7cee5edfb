"""A fingerprint as it is stored and compared. What computes one is `whole`, which costs far more to import."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS

FINGERPRINTED = "fingerprinted"
LOW_INFORMATION = "low_information"

WHOLE_IMAGE_HASHES: tuple[str, ...] = ("ahash", "phash", "dhash", "whash")

# 64-bit words of one orientation: the hashes, then the verifier.
ROW_WORDS = len(WHOLE_IMAGE_HASHES) + 4


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
        return cls(
            np.frombuffer(stored, ">u8").reshape(len(TRANSFORMS), ROW_WORDS).astype(np.uint64), information
        )
