"""Rows straight into the image table, for tests that need many and no pixels."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Engine

from app.catalog import session
from app.catalog.new_images import NewImage, insert_images
from app.fingerprints.colour import LEVELS, thermometer
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import (
    COLUMN_OF,
    VERIFIER,
    Pattern,
    Segment,
    colour_code_to_bytes,
    tiles_of_blocks,
    turned_to_bytes,
)


@dataclass(frozen=True)
class Rows:
    """Inserted rows in upload order; `turned` uint64[n, 8, 9] as in fingerprints.value."""

    image_ids: list[UUID]
    seqs: list[int]
    turned: np.ndarray


def new_image(turned: np.ndarray, *, claim_id: str = "KD-1", image_id: UUID | None = None) -> NewImage:
    """A row with these hashes (uint64[8, 9]) and otherwise unique, plausible values, some made of the hashes."""
    unique = uuid4()
    levels = turned[0].tobytes()[:14]
    return NewImage(
        image_id=image_id or uuid4(),
        claim_id=claim_id,
        uploaded_by=None,
        file_name="drawn.jpg",
        sha256=unique.bytes * 2,
        pixel_sha256=unique.bytes[::-1] * 2,
        format="JPEG",
        width=640,
        height=480,
        byte_count=1000,
        status="fingerprinted",
        **{name: int(turned[0, column]) for name, column in COLUMN_OF.items()},
        colorhash=int.from_bytes(levels[:5]),
        colour_code=colour_code_to_bytes(thermometer(np.frombuffer(levels, np.uint8) % LEVELS)),
        page=False,
        verifier=turned[0, VERIFIER].astype(">u8").tobytes(),
        turned=turned_to_bytes(turned),
        segments=segments_from(turned[0]),
        pattern=pattern_from(turned[0]),
        keypoints=keypoints_from(turned[0]),
        fingerprint_version=1,
        library_versions={},
    )


def pattern_from(own: np.ndarray) -> Pattern:
    """A pattern fingerprint made of the words of a fingerprint's first row, with tiles as 640 x 480 pixels have."""
    blocks = np.array([4, 5, 8, 11], np.uint8)
    count = int(tiles_of_blocks(blocks))
    tiles = np.resize(own, (count, 4)) + np.arange(count, dtype=np.uint64)[:, None]
    return Pattern(own[:4], tiles, np.arange(count) % 7 == 0, blocks)


def keypoints_from(own: np.ndarray) -> Keypoints:
    """None to three keypoints whose hashes are the words of a fingerprint's first row."""
    count = int(own[1]) % 4
    places = np.tile(np.float32([[9.5, 9.5, 6, 0]]), (count, 1))
    return Keypoints(own[:count].copy(), places, np.zeros(count, np.uint8), np.zeros(count, np.uint64))


def segments_from(own: np.ndarray) -> tuple[Segment, ...]:
    """One to four segments made of the words of a fingerprint's first row."""
    count = 1 + int(own[0]) % 4
    return tuple(
        Segment(tuple(np.roll(own, -place)[:8].tolist()), 10 * place, 20, 10 * place + 100 + 20 * place, 120)
        for place in range(count)
    )


def clustered(count: int, rng: np.random.Generator) -> np.ndarray:
    """Fingerprints uint64[count, 8, 9] a few random bits away from a handful of centres."""
    centres = rng.integers(0, 2**64, (5, 1, 1), dtype=np.uint64)
    turned = np.repeat(centres[rng.integers(0, 5, count)], 8, axis=1).repeat(9, axis=2)
    for _ in range(14):
        flips = np.uint64(1) << rng.integers(0, 64, turned.shape).astype(np.uint64)
        turned = turned ^ np.where(rng.random(turned.shape) < 0.6, flips, np.uint64(0))
    return turned


def insert_rows(engine: Engine, count: int, rng: np.random.Generator) -> Rows:
    """Insert clustered rows of as many claims, in one statement per hundred."""
    turned = clustered(count, rng)
    new = [new_image(item, claim_id=f"KD-{number}") for number, item in enumerate(turned)]
    seqs: dict[UUID, int] = {}
    with session.autocommit(engine) as connection:
        for start in range(0, count, 100):
            inserted = insert_images(connection, new[start : start + 100])
            seqs |= {image_id: row.created_seq for image_id, row in inserted.items()}
    return Rows([row.image_id for row in new], [seqs[row.image_id] for row in new], turned)
