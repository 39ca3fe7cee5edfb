"""What the 256-bit verifier keeps of the pairs that the 64-bit hashes propose: docs/decisions/0004.

`python -m benchmarks.verifier` over the real photos: unrelated pairs flagged, and edited copies found, by
the verifier's distance.
"""

import io
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from app.fingerprints.value import VERIFIER
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from benchmarks.pictures import DATA

PROPOSED_WITHIN = 10
DISTANCES = (40, 48, 56, 64, 72, 76, 84, 130)
NOT_PROPOSED = 999
EDITED_PHOTOS = 150

EDITS: dict[str, tuple[int, Callable[[Image.Image], Image.Image]]] = {
    "recompressed": (30, lambda im: im),
    "halved": (70, lambda im: im.resize((max(8, im.width // 2), max(8, im.height // 2)))),
    "quartered": (70, lambda im: im.resize((max(8, im.width // 4), max(8, im.height // 4)))),
    "mirrored": (70, ImageOps.mirror),
    "turned": (70, lambda im: im.transpose(Image.Transpose.ROTATE_90)),
    "brighter": (70, lambda im: ImageEnhance.Brightness(im).enhance(1.4)),
    "darker": (70, lambda im: ImageEnhance.Brightness(im).enhance(0.6)),
    "contrast": (70, lambda im: ImageEnhance.Contrast(im).enhance(1.5)),
    "grey": (70, lambda im: im.convert("L")),
    "cropped by 2 % a side": (80, lambda im: ImageOps.crop(im, im.width // 50)),
}


def turned_hashes(data: bytes) -> NDArray[np.uint64]:
    """uint64[8, 9] of a file, as in fingerprints.value."""
    return fingerprint(normalise(data, DecodeLimits()).image).turned


def of_file(path: Path) -> NDArray[np.uint64]:
    return turned_hashes(path.read_bytes())


def of_edits(path: Path) -> dict[str, NDArray[np.uint64]]:
    with Image.open(path) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    found = {}
    for name, (quality, change) in EDITS.items():
        out = io.BytesIO()
        change(photo).save(out, "JPEG", quality=quality)
        found[name] = turned_hashes(out.getvalue())
    return found


def verifier_distances(query: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """int64[n]: least verifier distance over the orientations that a 64-bit hash proposes, else NOT_PROPOSED."""
    bits = np.bitwise_count(query[None] ^ others[:, None, :])
    proposed = (bits[:, :, 1] <= PROPOSED_WITHIN) | (bits[:, :, 2] <= PROPOSED_WITHIN)
    return np.where(proposed, bits[:, :, VERIFIER].sum(axis=2, dtype=np.int64), NOT_PROPOSED).min(axis=1)


def main() -> None:
    """Print both tables."""
    paths = sorted(
        path for path in (DATA / "photos").rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    if not paths:
        raise SystemExit("the folder of real photos is not here; CLAIMPRINT_DATA names it")
    some = random.Random(1).sample(paths, EDITED_PHOTOS)
    with ProcessPoolExecutor() as processes:
        turned = np.stack(list(processes.map(of_file, paths, chunksize=20)))
        edited = list(processes.map(of_edits, some, chunksize=5))
    own = turned[:, 0, :]
    folders = np.array([path.parent.name for path in paths])
    pairs = [
        (verifier_distances(turned[i], own[:i]), folders[:i] == folders[i], folders[i])
        for i in range(1, len(paths))
    ]
    count = sum(len(distances) for distances, _, _ in pairs)
    print(f"{len(paths)} photos, {count} pairs")
    copies = {
        name: np.array(
            [
                verifier_distances(found[name], own[[paths.index(path)]])[0]
                for path, found in zip(some, edited, strict=True)
            ]
        )
        for name in EDITS
    }
    print(f"{'verifier within':>15} {'pairs flagged':>14} {'of these road':>14} {'worst edit found':>17}")
    for limit in DISTANCES:
        flagged = sum(int((distances <= limit).sum()) for distances, _, _ in pairs)
        road = sum(
            int((distances[same] <= limit).sum()) for distances, same, folder in pairs if folder == "road"
        )
        worst = min(copies, key=lambda name: float((copies[name] <= limit).mean()))
        share = float((copies[worst] <= limit).mean())
        print(f"{limit:15} {flagged:14} {road:14} {share:12.3f} {worst}")


if __name__ == "__main__":
    main()
