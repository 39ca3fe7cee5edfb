"""`python -m benchmarks.keypoint_constants`: makes the constants of keypoint hashes.

The mean of descriptors of one half of the photos, and 64 directions at right angles, at random but for always being
the same. Directions learned from pairs of copies (linear discriminant analysis, principal components) find more
within a large radius, and no more within 5 bits, at as many chance neighbours: decision 14.
"""

from pathlib import Path

import click
import numpy as np

import app.fingerprints
from app.fingerprints.keypoint_kernels import NUMBERS
from app.fingerprints.keypoint_value import STORED
from app.fingerprints.keypoints import describe
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from benchmarks.copies import ALIKE, half_of, photo_files

BITS = 64
PHOTOS = 300


@click.command()
def main() -> None:
    """Compute the constants and write them where the fingerprint finds them."""
    files = [file for file in photo_files() if half_of(file) == 0 and file.parent.name not in ALIKE]
    chosen = np.random.default_rng(0).permutation(len(files))[:PHOTOS]
    descriptors = []
    for place in chosen.tolist():
        picture = normalise(files[place].read_bytes(), DecodeLimits()).image
        descriptors.append(describe(picture.convert("L"))[0][:STORED])
    mean = np.concatenate(descriptors).mean(axis=0)
    directions = np.linalg.qr(np.random.default_rng(7).normal(size=(NUMBERS, NUMBERS)))[0][:, :BITS]
    path = Path(app.fingerprints.__path__[0]) / "keypoints.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, mean=mean.astype(np.float32), directions=directions.astype(np.float32))
    click.echo(f"{path.name}: {path.stat().st_size} bytes, of {len(chosen)} photos")


if __name__ == "__main__":
    main()
