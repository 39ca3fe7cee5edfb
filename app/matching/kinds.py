"""What one picture is to another: the kinds of match, best first, and the rule that tells them apart."""

from dataclasses import dataclass

import numpy as np

from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.whole import WHOLE_IMAGE_HASHES

# Best first; the position is the rank that is stored and ordered by.
KINDS = ("same_file", "same_pixels", "near_duplicate")
# A verdict of one of these means: this picture was used before.
COPIES = frozenset(KINDS)
# Raised when a rule below changes its answers; stored with every match.
RULE_VERSION = 1
# Only these two propose; the others flag too many chance neighbours (docs/decisions/0004).
PROPOSING_HASHES = ("phash", "dhash")

_PROPOSING = [WHOLE_IMAGE_HASHES.index(name) for name in PROPOSING_HASHES]
_HASHES = len(WHOLE_IMAGE_HASHES)


@dataclass(frozen=True, slots=True)
class Rule:
    """Radii in bits, inclusive: `near` of 64 for a proposing hash, `verifier` of 256 for its consent."""

    near: int
    verifier: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is compared of one picture.

    `turned` is uint64[8, 8]: a row per transform, four hashes then the four words of the verifier
    (`fingerprints.whole`). `low_information` pictures are the same by their bytes only.
    """

    sha256: bytes
    pixel_sha256: bytes
    low_information: bool
    turned: np.ndarray


@dataclass(frozen=True, slots=True)
class Finding:
    """A match found: its kind, distances in bits by name of hash, and the transform they hold under.

    The transform turns the query into the other picture.
    """

    kind: str
    transform: str
    distances: dict[str, int]

    @property
    def rank(self) -> int:
        """Position of the kind, 0 the strongest."""
        return KINDS.index(self.kind)

    @property
    def nearest(self) -> int:
        """Bits of the verifier: the finest measure at hand of how near two copies are."""
        return self.distances["verifier"]


def compare(query: Picture, other: Picture, rule: Rule) -> Finding | None:
    """Tell what `other` is to `query`, or None where they do not match.

    The distance under a transform is that between the hash of the query turned by it and the other's hash as
    it stands. On a tie the identity wins, then the order of TRANSFORMS.
    """
    bits = np.bitwise_count(query.turned ^ other.turned[0])
    distances = np.concatenate(
        [bits[:, :_HASHES], bits[:, _HASHES:].sum(axis=1, keepdims=True)], axis=1, dtype=int
    )
    if query.sha256 == other.sha256:
        return _finding("same_file", 0, distances)
    if query.low_information or other.low_information:
        return None
    if query.pixel_sha256 == other.pixel_sha256:
        return _finding("same_pixels", 0, distances)
    proposed = (distances[:, _PROPOSING] <= rule.near).any(axis=1)
    allowed = proposed & (distances[:, -1] <= rule.verifier)
    if not allowed.any():
        return None
    return _finding("near_duplicate", int(np.where(allowed, distances[:, -1], 257).argmin()), distances)


def _finding(kind: str, transform: int, distances: np.ndarray) -> Finding:
    names = (*WHOLE_IMAGE_HASHES, "verifier")
    return Finding(
        kind=kind,
        transform=TRANSFORMS[transform],
        distances=dict(zip(names, distances[transform].tolist(), strict=True)),
    )
