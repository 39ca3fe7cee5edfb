"""Rows straight into the image table, for tests that need many and no pixels."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Engine

from app.catalog import images, session


@dataclass(frozen=True)
class Rows:
    """Inserted rows in upload order; `turned` uint64[n, 8, 8] as in fingerprints.whole."""

    image_ids: list[UUID]
    seqs: list[int]
    turned: np.ndarray


def new_image(turned: np.ndarray, *, claim_id: str = "KD-1", image_id: UUID | None = None) -> images.NewImage:
    """A row with these hashes (uint64[8, 8]) and otherwise unique, plausible values."""
    own = turned[0].tolist()
    unique = uuid4()
    return images.NewImage(
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
        ahash=own[0],
        phash=own[1],
        dhash=own[2],
        whash=own[3],
        verifier=turned[0, 4:].astype(">u8").tobytes(),
        turned=turned.astype(">u8").tobytes(),
        fingerprint_version=1,
        library_versions={},
    )


def clustered(count: int, rng: np.random.Generator) -> np.ndarray:
    """Fingerprints uint64[count, 8, 8] a few random bits away from a handful of centres."""
    centres = rng.integers(0, 2**64, (5, 1, 1), dtype=np.uint64)
    turned = np.repeat(centres[rng.integers(0, 5, count)], 8, axis=1).repeat(8, axis=2)
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
            inserted = images.insert_images(connection, new[start : start + 100])
            seqs |= {image_id: row.created_seq for image_id, row in inserted.items()}
    return Rows([row.image_id for row in new], [seqs[row.image_id] for row in new], turned)
