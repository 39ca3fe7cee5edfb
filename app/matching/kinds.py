"""What one picture is to another: the kinds of match, best first, and the rule that tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import COLUMN_OF, FIRST_COLUMNS, VERIFIER, WHOLE_IMAGE_HASHES
from app.matching.evidence import Evidence

# Best first; the position is the rank that is stored and ordered by.
KINDS = ("same_file", "same_pixels", "near_duplicate", "edited_copy", "same_scene")
# A verdict of one of these means: this picture was used before.
COPIES = frozenset(KINDS) - {"same_scene"}
# Raised when a rule below changes its answers; stored with every match.
RULE_VERSION = 9
# Only these two propose; the others flag too many chance neighbours (docs/decisions/0004).
PROPOSING_HASHES = ("phash", "dhash")

_PROPOSING = [COLUMN_OF[name] for name in PROPOSING_HASHES]
_VERIFIER_BITS = 256
_MOST_INLIERS = 1000
_MANY_BLOCKS = 50  # of a part that has enough on it to tell
_SOME_BLOCKS = 6  # of a small part, whose shift tells none the less
_OFF = 0.1  # of what coincides: of its long side, and of a pixel's; what differs in them pulls
_REPEATED_OFF = 0.02
_OTHER_TONES = 2.0  # levels of grey, of the residual
_LEAST_SCALE = 1e-3  # below it no rendition is laid
# Of what both have in common: of a copy with something over it so much is alike together, and of any copy so much.
_LARGE, _SMALL = 0.28, 0.13
_MORE_APART = 1.25  # times as much differs in what is alike as a whole and none the less only a layout
_DOUBTED_BLOCKS = 8  # added to those of a part, not alike: of few blocks most are alike by chance
_FEW_CLOSE = 6  # keypoints: what so many agree on is no chance
_FEW_SURE = 4.0  # what it costs to have few of them, and few blocks that are alike
_SHARPEST = 0.1  # pixels that blocks may lie beside where they should and it says nothing
_SMOOTHEST = 0.3  # levels of grey, of the residual
_SMALL_FRAME = 288  # pixels of its long side
_PARTIAL = ("edited_copy", "same_scene")
# Turned counter-clockwise by none to three quarters, as a picture stands and once it is mirrored.
_TURNED = ("identity", "rotate_90", "rotate_180", "rotate_270")
_MIRRORED = ("mirror", "transpose", "flip", "transverse")


@dataclass(frozen=True, slots=True)
class Rule:
    """Radii in bits, inclusive: `near` of 64 for a proposing hash, `verifier` of 256 for its consent.

    `page_verifier` stands in the place of `verifier` where both pictures are pages: letters, forms and receipts of
    one layout are alike in all but their words.

    Two pictures that are near as wholes are none the less no near duplicates if, laid on each other, their smallest
    parts correlate by less than `near_score`, or lie `near_shift` pixels and more beside where they should.

    Of what keypoints find, a picture is a copy whose `strength` is `copy_strength`, if what both have in common
    covers `copy_cover` of one of them, for a logo is less; and of text on plain ground a share of `text_copy_share`
    is alike. What is no copy is of the same scene if as many keypoints as `scene_inliers` agree about; but forms of
    one layout are not.

    Nor is either what only has the same around something else, as two screens of one program, or two letters with
    a picture in them: laid upright at the same place, with a share of `layout_apart` and more differing in one
    rectangle, by structure or tone.
    """

    near: int
    verifier: int
    page_verifier: int
    near_score: float
    near_shift: float
    copy_strength: float
    copy_cover: float
    text_copy_share: float
    scene_inliers: int
    layout_apart: float

    def verifier_for(self, pages: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The radius of consent, pair by pair, where both pictures are pages and where not."""
        return np.where(pages, min(self.verifier, self.page_verifier), self.verifier)


@dataclass(frozen=True, slots=True)
class _Weights:
    """What each number of some evidence counts in the odds of a copy (docs/decisions/0015)."""

    share: float
    shift: float
    residual: float
    frame: float
    close: float
    few_alike: int
    """Blocks: so many that are alike are as sure as some keypoints that agree closely."""
    constant: float


# In small frames pictures taken within moments lie as exactly on each other as copies do, and tones tell;
# photographed screens, whose tones are bands, are large.
_LARGE_WEIGHTS = _Weights(
    share=9.0, shift=-3.3, residual=0.0, frame=0.0, close=0.3, few_alike=50, constant=-6.1
)
_SMALL_WEIGHTS = _Weights(
    share=5.0, shift=-6.0, residual=-2.0, frame=2.0, close=0.0, few_alike=24, constant=-2.7
)


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

    The transform turns the query into the other picture, about so where `evidence` tells better. `nearest` is less
    for the better of two of a kind.
    """

    kind: str
    transform: str
    distances: dict[str, int]
    nearest: int
    evidence: Evidence | None = None

    @property
    def rank(self) -> int:
        """Position of the kind, 0 the strongest."""
        return KINDS.index(self.kind)


def compare(query: Picture, other: Picture, rule: Rule, evidence: Evidence | None = None) -> Finding | None:
    """Tell what `other` is to `query`, or None where they do not match: `compare_many` of one."""
    return compare_many(query, [other], rule, [evidence])[0]


def compare_many(
    query: Picture,
    others: Sequence[Picture],
    rule: Rule,
    evidence: Sequence[Evidence | None] | None = None,
) -> list[Finding | None]:
    """Tell what each of `others` is to `query`; None for those that do not match.

    `evidence` is of each, where its keypoints have told any, from the query to it. The distance under a
    transform is that between the hash of the query turned by it and the other's hash as it stands. On a tie the
    identity wins, then the order of TRANSFORMS.
    """
    if not others:
        return []
    told = [None] * len(others) if evidence is None else evidence
    own = np.stack([other.turned[0, :FIRST_COLUMNS] for other in others])
    bits = np.bitwise_count(query.turned[None, :, :FIRST_COLUMNS] ^ own[:, None, :])
    verifier = bits[:, :, VERIFIER].sum(axis=2, dtype=int)
    limits = rule.verifier_for(np.array([query.page and other.page for other in others]))
    allowed = (bits[:, :, _PROPOSING] <= rule.near).any(axis=2) & (verifier <= limits[:, None])
    # argmin takes the first of equals: the identity, then the order of the transforms.
    best = np.where(allowed, verifier, _VERIFIER_BITS + 1).argmin(axis=1)
    found: list[Finding | None] = []
    for place, (other, seen) in enumerate(zip(others, told, strict=True)):
        kind, transform = None, 0
        if query.sha256 == other.sha256:
            kind = "same_file"
        elif query.low_information or other.low_information:
            pass
        elif query.pixel_sha256 == other.pixel_sha256:
            kind = "same_pixels"
        elif allowed[place].any() and not _contradicted(seen, int(verifier[place, best[place]]), rule):
            kind, transform = "near_duplicate", int(best[place])
        elif seen is not None and (kind := kind_of_part(seen, rule)) is not None:
            transform = nearest_transform(seen)
        if kind is None:
            found.append(None)
        else:
            distances = _distances(query, other, transform)
            found.append(
                Finding(kind, TRANSFORMS[transform], distances, _nearest(kind, distances, seen), seen)
            )
    return found


def _contradicted(evidence: Evidence | None, bits: int, rule: Rule) -> bool:
    """Whether pictures alike as wholes, with verifiers so many bits apart, were laid on each other and differ: two
    frames of one road, say; or are text, as was seen only then, and not near enough for that."""
    if evidence is None:
        return False
    return differs(evidence, rule) or (evidence.page and bits > rule.page_verifier)


def differs(evidence: Evidence, rule: Rule) -> bool:
    """Whether pictures that were laid on each other have much to compare, for their size, and are not the same in
    it."""
    many = evidence.blocks >= _MANY_BLOCKS
    if many and (evidence.score < rule.near_score or is_layout(evidence, _MORE_APART * rule.layout_apart)):
        return True
    some = evidence.blocks >= _SOME_BLOCKS and evidence.frame < _SMALL_FRAME
    return (many or some) and evidence.shift >= rule.near_shift


def is_layout(evidence: Evidence, least_apart: float) -> bool:
    """Whether two pictures lie upright on each other, and where much of one of them is, the other has something
    else: at the same place, or exactly upright anywhere, as under marks that repeat, if hardly anything is the same
    together and tones are not."""
    if evidence.apart < least_apart or evidence.together >= _LARGE:
        return False
    (across, skewed, right), (turned, down, below) = (evidence.homography / evidence.homography[2, 2])[
        :2
    ].tolist()
    scale = max(abs(across * down - skewed * turned) ** 0.5, _LEAST_SCALE)
    off: float = max(abs(across - scale), abs(down - scale), abs(skewed), abs(turned)) / scale
    long_side = float(np.ptp(evidence.other_region, axis=0).max())
    if float(max(abs(right), abs(below))) < _OFF * long_side:
        return off < _OFF
    return off < _REPEATED_OFF and evidence.together < _SMALL and evidence.residual > _OTHER_TONES


def kind_of_part(evidence: Evidence, rule: Rule) -> str | None:
    """What a picture is to one that it has a part in common with; None for what may be chance, or a layout."""
    if is_layout(evidence, rule.layout_apart):
        return None
    copy = strength(evidence) >= rule.copy_strength and evidence.cover >= rule.copy_cover
    if copy and (not evidence.page or evidence.alike >= rule.text_copy_share * evidence.blocks):
        return "edited_copy"
    return "same_scene" if evidence.inliers >= rule.scene_inliers and not evidence.page else None


def strength(evidence: Evidence) -> float:
    """The logarithm of the odds of a copy against another picture of the same, by how much of it is alike, how
    exactly that lies where it should, how many keypoints agree almost exactly, and, in small frames, how small they
    are and how well tones tell each other.

    By logistic regression on the copies and the strangers of one half of the photos, but for what it costs to have
    little that is sure, which was set by hand (docs/decisions/0015).
    """
    weights = _SMALL_WEIGHTS if evidence.frame < _SMALL_FRAME else _LARGE_WEIGHTS
    sure = max(max(evidence.close, 0.5) / _FEW_CLOSE, evidence.alike / weights.few_alike)
    return (
        weights.share * evidence.alike / (evidence.blocks + _DOUBTED_BLOCKS)
        + weights.shift * log(evidence.shift + _SHARPEST)
        + weights.residual * log(evidence.residual + _SMOOTHEST)
        + weights.frame * log(evidence.frame / _SMALL_FRAME)
        + weights.close * log(1 + evidence.close)
        + _FEW_SURE * log(min(sure, 1.0))
        + weights.constant
    )


def nearest_transform(evidence: Evidence) -> int:
    """The place in TRANSFORMS of the orientation that is nearest to how a picture lies on another."""
    quarter = round(evidence.angle / 90) % 4
    return TRANSFORMS.index((_MIRRORED if evidence.mirrored else _TURNED)[quarter])


def _nearest(kind: str, distances: Mapping[str, int], evidence: Evidence | None) -> int:
    """Bits of the verifier: the finest measure of how near whole pictures are. Of parts, what is told of those."""
    if evidence is None or kind not in _PARTIAL:
        return distances["verifier"]
    if kind == "edited_copy":
        return round(1000 * (1 - evidence.score))
    return max(0, _MOST_INLIERS - evidence.inliers)


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
