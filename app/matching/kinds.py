"""What one picture is to another: the kinds of match, best first, and the rule that tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import WHOLE_IMAGE_HASHES

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
_VERIFIER_BITS = 256


@dataclass(frozen=True, slots=True)
class Rule:
    """Radii in bits, inclusive: `near` of 64 for a proposing hash, `verifier` of 256 for its consent."""

    near: int
    verifier: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is compared of one picture.

    `turned` is uint64[8, 8]: a row per transform, four hashes then the four words of the verifier
    (`fingerprints.value`); of a picture that is only compared with, the first row is enough: uint64[1, 8].
    `low_information` pictures are the same by their bytes only.
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
    """Tell what `other` is to `query`, or None where they do not match: `compare_many` of one."""
    return compare_many(query, [other], rule)[0]


def compare_many(query: Picture, others: Sequence[Picture], rule: Rule) -> list[Finding | None]:
    """Tell what each of `others` is to `query`; None for those that do not match.

    The distance under a transform is that between the hash of the query turned by it and the other's hash as
    it stands. On a tie the identity wins, then the order of TRANSFORMS.
    """
    if not others:
        return []
    own = np.stack([other.turned[0] for other in others])
    bits = np.bitwise_count(query.turned[None] ^ own[:, None, :])
    verifier = bits[:, :, _HASHES:].sum(axis=2, dtype=int)
    allowed = (bits[:, :, _PROPOSING] <= rule.near).any(axis=2) & (verifier <= rule.verifier)
    # argmin takes the first of equals: the identity, then the order of the transforms.
    best = np.where(allowed, verifier, _VERIFIER_BITS + 1).argmin(axis=1)
    found: list[Finding | None] = []
    for place, other in enumerate(others):
        kind, transform = None, 0
        if query.sha256 == other.sha256:
            kind = "same_file"
        elif query.low_information or other.low_information:
            pass
        elif query.pixel_sha256 == other.pixel_sha256:
            kind = "same_pixels"
        elif allowed[place].any():
            kind, transform = "near_duplicate", int(best[place])
        if kind is None:
            found.append(None)
        else:
            distances = [*bits[place, transform, :_HASHES], verifier[place, transform]]
            found.append(_finding(kind, transform, distances))
    return found


def _finding(kind: str, transform: int, distances: Sequence[int]) -> Finding:
    return Finding(
        kind=kind,
        transform=TRANSFORMS[transform],
        distances=dict(zip((*WHOLE_IMAGE_HASHES, "verifier"), map(int, distances), strict=True)),
    )
