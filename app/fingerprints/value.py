"""A fingerprint as it is stored and compared. What computes one is `whole`, which costs far more to import."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS

FINGERPRINTED = "fingerprinted"
LOW_INFORMATION = "low_information"

WHOLE_IMAGE_HASHES: tuple[str, ...] = ("ahash", "phash", "dhash", "whash", "whash_db4")
"""64 bits each, with a value for every orientation."""

# Columns of `Fingerprint.turned`. Rows stored before `whash_db4` was defined end before it.
COLUMN_OF = {"ahash": 0, "phash": 1, "dhash": 2, "whash": 3, "whash_db4": 8}
VERIFIER = slice(4, 8)
FIRST_COLUMNS = 8
PATTERN_WORDS = 4
COLOUR_BITS = 98
"""Of the colours' thermometer code: the largest distance."""
ALL_COLUMNS = 9

_PATTERN_BYTES = 8 * PATTERN_WORDS
_BLOCKS = 4
_ROWS = len(TRANSFORMS)


@dataclass(frozen=True, slots=True)
class Segment:
    """One crop-resistant region: the 64-bit hashes of its box, and the box in pixels of the normalised picture."""

    turned: tuple[int, ...]
    """Eight: of the box turned by each of `TRANSFORMS`, unsigned."""
    left: int
    top: int
    right: int
    bottom: int

    @property
    def hash(self) -> int:
        """Of the box as it stands."""
        return self.turned[0]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The hashes of one normalised picture, as it stands and turned."""

    turned: NDArray[np.uint64]
    """(8, 9): a row per transform in the order of `TRANSFORMS`, row 0 being the picture as it stands.
    `COLUMN_OF` names the columns of hashes, `VERIFIER` those of the 256-bit verifier, highest word first."""
    colorhash: int
    """42 bits, as imagehash writes them; the same in every orientation, as is the code."""
    colour_code: NDArray[np.uint64]
    """(2,): the thermometer code of the colours, 98 bits that can be compared (`fingerprints.colour`)."""
    segments: Sequence[Segment]
    """Regions of the picture as it stands; none where the information is low."""
    information: str
    """`fingerprinted`, or `low_information` when the hashes have nothing to hold on to."""
    page: bool
    """Whether it is text on a plain light ground: such pictures are alike, and must be nearer to be copies."""

    @property
    def hashes(self) -> dict[str, int]:
        """The picture's own 64-bit hashes by name, unsigned."""
        return {name: int(self.turned[0, COLUMN_OF[name]]) for name in WHOLE_IMAGE_HASHES}

    @property
    def verifier_bytes(self) -> bytes:
        """The picture's own 256-bit perceptual hash as 32 big-endian bytes."""
        return self.turned[0, VERIFIER].astype(">u8").tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """The pattern fingerprint of one picture: what `pattern` makes.

    `words` uint64[4] of the whole picture, of which the first alone is a 64-bit fingerprint too. `tiles`
    uint64[t, 4] in the order of `tiles.tile_boxes`. `flat` bool[t]: tiles without a pattern, whose words mean
    nothing. `blocks` uint8[4]: rows and columns of blocks at the coarser scale and at the finer, of which the tiles
    are made.
    """

    words: NDArray[np.uint64]
    tiles: NDArray[np.uint64]
    flat: NDArray[np.bool_]
    blocks: NDArray[np.uint8]

    @property
    def hash(self) -> int:
        """The first word."""
        return int(self.words[0])

    def to_bytes(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Big-endian words, 32 bytes; of the tiles, 32 each; flat or not, a bit each, the first highest; blocks."""
        return (
            self.words.astype(">u8").tobytes(),
            self.tiles.astype(">u8").tobytes(),
            np.packbits(self.flat).tobytes(),
            self.blocks.tobytes(),
        )

    @classmethod
    def from_bytes(
        cls,
        words: bytes | memoryview,
        tiles: bytes | memoryview,
        flat: bytes | memoryview,
        blocks: bytes | memoryview,
    ) -> "Pattern":
        """What `to_bytes` wrote. ValueError for other numbers of bytes."""
        sizes = tuple(len(part) for part in (words, tiles, flat, blocks))
        shape = np.frombuffer(blocks, np.uint8)
        count = int(tiles_of_blocks(shape)) if len(shape) == _BLOCKS else -1
        if sizes != (_PATTERN_BYTES, _PATTERN_BYTES * count, (count + 7) // 8, _BLOCKS):
            raise ValueError(f"a pattern of {list(shape)} blocks does not have parts of {sizes} bytes")
        found = np.frombuffer(tiles, ">u8").astype(np.uint64).reshape(-1, PATTERN_WORDS)
        bits = np.unpackbits(np.frombuffer(flat, np.uint8))[:count].astype(np.bool_)
        return cls(np.frombuffer(words, ">u8").astype(np.uint64), found, bits, shape)


def tiles_of_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many tiles blocks uint8[..., 4] make: two by two of each scale's, overlapping by half."""
    gaps = blocks.astype(np.int64) - 1
    return gaps[..., 0] * gaps[..., 1] + gaps[..., 2] * gaps[..., 3]


def turned_to_bytes(turned: NDArray[np.uint64]) -> bytes:
    """`Fingerprint.turned` as big-endian words: the first eight columns row by row, then the ninth: 576 bytes.

    So the picture's own hashes and verifier are the first 64 bytes, and what has no ninth column is 512 bytes.
    """
    first, ninth = turned[:, :FIRST_COLUMNS], turned[:, FIRST_COLUMNS:]
    return first.astype(">u8").tobytes() + ninth.astype(">u8").tobytes()


def turned_from_bytes(stored: bytes | memoryview, rows: int = _ROWS) -> NDArray[np.uint64]:
    """What `turned_to_bytes` wrote, uint64 (8, 9) or (8, 8), or of that the first row alone: uint64 (1, 9 or 8).

    ValueError for another number of bytes.
    """
    words = np.frombuffer(stored, ">u8").astype(np.uint64)
    first, ninth = np.split(words, [rows * FIRST_COLUMNS])
    return np.hstack([first.reshape(rows, FIRST_COLUMNS), ninth.reshape(rows, len(ninth) // rows)])


def colour_code_to_bytes(code: NDArray[np.uint64]) -> bytes:
    """`Fingerprint.colour_code` as two big-endian words: 16 bytes."""
    return code.astype(">u8").tobytes()


def colour_code_from_bytes(stored: bytes | memoryview) -> NDArray[np.uint64]:
    """What `colour_code_to_bytes` wrote: uint64 (2,)."""
    return np.frombuffer(stored, ">u8").astype(np.uint64)
