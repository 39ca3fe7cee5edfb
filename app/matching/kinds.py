"""What one picture is to another: the kinds of match, best first, and the rule that tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import COLUMN_OF, FIRST_COLUMNS, VERIFIER, WHOLE_IMAGE_HASHES

# Best first; the position is the rank that is stored and ordered by.
KINDS = ("same_file", "same_pixels", "near_duplicate")
# A verdict of one of these means: this picture was used before.
COPIES = frozenset(KINDS)
# Raised when a rule below changes its answers; stored with every match.
RULE_VERSION = 2
# Only these two propose; the others flag too many chance neighbours (docs/decisions/0004).
PROPOSING_HASHES = ("phash", "dhash")

_PROPOSING = [COLUMN_OF[name] for name in PROPOSING_HASHES]
_VERIFIER_BITS = 256


@dataclass(frozen=True, slots=True)
class Rule:
    """Radii in bits, inclusive: `near` of 64 for a proposing hash, `verifier` of 256 for its consent.

    `page_verifier` stands in the place of `verifier` where both pictures are pages: letters, forms and receipts of
    one layout are alike in all but their words.
    """

    near: int
    verifier: int
    page_verifier: int

    def verifier_for(self, pages: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The radius of consent, pair by pair, where both pictures are pages and where not."""
        return np.where(pages, min(self.verifier, self.page_verifier), self.verifier)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is compared of one picture.

    `turned` is uint64[8, 9], a row per transform as in `fingerprints.value.Fingerprint`; of a picture that is only
    compared with, the first row is enough. Pictures stored before `whash_db4` was defined have no ninth column
    and no `colour_code` (uint64[2]). `low_information` pictures are the same by their bytes only.
    """

    sha256: bytes
    pixel_sha256: bytes
    low_information: bool
    turned: np.ndarray
    page: bool = False
    colour_code: np.ndarray | None = None


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
    own = np.stack([other.turned[0, :FIRST_COLUMNS] for other in others])
    bits = np.bitwise_count(query.turned[None, :, :FIRST_COLUMNS] ^ own[:, None, :])
    verifier = bits[:, :, VERIFIER].sum(axis=2, dtype=int)
    limits = rule.verifier_for(np.array([query.page and other.page for other in others]))
    allowed = (bits[:, :, _PROPOSING] <= rule.near).any(axis=2) & (verifier <= limits[:, None])
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
            distances = _distances(query, other, transform)
            found.append(Finding(kind, TRANSFORMS[transform], distances))
    return found


def _distances(query: Picture, other: Picture, transform: int) -> dict[str, int]:
    """Bits by name of every fingerprint that both have."""
    bits = [
        (ours ^ theirs).bit_count()
        for ours, theirs in zip(query.turned[transform].tolist(), other.turned[0].tolist(), strict=False)
    ]
    found = {name: bits[COLUMN_OF[name]] for name in WHOLE_IMAGE_HASHES if COLUMN_OF[name] < len(bits)}
    if query.colour_code is not None and other.colour_code is not None:
        found["colorhash"] = int(np.bitwise_count(query.colour_code ^ other.colour_code).sum())
    return found | {"verifier": sum(bits[VERIFIER])}
