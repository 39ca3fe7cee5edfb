"""The JSON of matches: what one stored image is to another, and why."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.catalog.matches import MatchPage
from app.catalog.rows import AnyRow
from app.fingerprints.orientation import TRANSFORMS, inverse
from app.matching.evidence import Evidence as Found
from app.matching.kinds import KINDS
from app.web import examples
from app.web.examples import shown
from app.web.times import Time

Kind = Literal[KINDS]  # type: ignore[valid-type]
Transform = Literal[TRANSFORMS]  # type: ignore[valid-type]
TURNS = "Rotations are counter-clockwise; mirror swaps left and right, flip top and bottom."
KIND_WORDS = (
    "same_file: the same bytes. same_pixels: the same picture after normalisation (upright, at most 512 px)."
    " near_duplicate: within the distances of the rule, in any of eight orientations. edited_copy: a part of one,"
    " turned, scaled or pasted, is the other's pixel by pixel. same_scene: the same thing or place was photographed"
    " again; never by itself a duplicate."
)

Corner = tuple[float, float]


class Evidence(BaseModel):
    """How the image asked about lies on the one found: places are pixels of their renditions."""

    model_config = shown(examples.EVIDENCE)

    scale: float = Field(description="Pixels of the image found for one of the image asked about.")
    angle: float = Field(
        description="Degrees by which the image asked about, mirrored first if it is, is turned counter-clockwise."
    )
    mirrored: bool = Field(description="Left and right are swapped.")
    negative: bool = Field(description="Light and dark are swapped.")
    homography: list[list[float]] = Field(
        description="3 x 3: takes x, y, 1 of the image asked about to the one found."
    )
    region: list[Corner] = Field(description="Corners, x and y, of what both show in the image asked about.")
    found_region: list[Corner] = Field(description="The same in the image found.")
    inliers: int = Field(description="Keypoints that agree about.")
    close: int = Field(description="Keypoints that agree almost exactly.")
    score: float = Field(description="Median correlation of the pixels, block by block, -1 to 1.")
    shift: float = Field(
        description="Pixels, of 320 at most along the region, that these blocks lie beside where they should."
    )


SOURCE_WORDS = (
    "Where `claimprint ingest` found it: the path or address, and in it, outermost first, the archives, messages"
    " (subject, sender, time) and pages. null for an upload, and for portals."
)


class Match(BaseModel):
    """One stored image found for another, with kind and evidence."""

    model_config = shown(examples.MATCH)

    match_id: str
    image_id: str
    claim_id: str
    relation: Literal["same_claim", "other_claim"]
    kind: Kind = Field(description=KIND_WORDS)
    distances: dict[str, int] = Field(
        description="Bits, by name of hash; the verifier has 256, colorhash 98, the others 64."
    )
    transform: Transform = Field(
        description=f"Turns the image asked about into this one, or nearly so. {TURNS}"
    )
    evidence: Evidence | None = Field(
        description="How one lies on the other, by keypoints that agree or as a whole; drawn at"
        " `/matches/{match_id}/overlay.png`."
    )
    source: dict[str, Any] | None = Field(description=SOURCE_WORDS)
    uploaded_at: Time


def evidence_json(found: Found) -> Evidence:
    """Evidence, seen from the image asked about."""
    return Evidence(
        scale=round(found.scale, 4),
        angle=round(found.angle, 2),
        mirrored=found.mirrored,
        negative=found.negative,
        homography=found.homography.tolist(),
        region=_corners(found.region),
        found_region=_corners(found.other_region),
        inliers=found.inliers,
        close=found.close,
        score=round(found.score, 4),
        shift=round(found.shift, 3),
    )


def match_json(row: AnyRow, claim_id: str, client_id: int | None) -> Match:
    """One row of `catalog.matches.matches_of`, seen from an image of `claim_id`.

    `client_id` is given for a portal key: it is not told what letters and messages others have.
    """
    return Match(
        match_id=str(row.match_id),
        image_id=str(row.image_id),
        claim_id=row.claim_id,
        relation="same_claim" if row.claim_id == claim_id else "other_claim",
        kind=row.kind,
        distances=row.distances,
        transform=row.transform if row.other_is_earlier else inverse(row.transform),
        evidence=_evidence_of(row),
        source=row.source if client_id is None else None,
        uploaded_at=row.uploaded_at,
    )


def matches_json(page: MatchPage, claim_id: str, client_id: int | None) -> list[Match]:
    """The rows of a page of matches; see `match_json`."""
    return [match_json(row, claim_id, client_id) for row in page.rows]


def _evidence_of(row: AnyRow) -> Evidence | None:
    if not row.evidence:
        return None
    found = Found.from_json(row.evidence)
    return evidence_json(found if row.other_is_earlier else found.swapped())


def _corners(polygon: Any) -> list[Corner]:
    return [(round(x, 1), round(y, 1)) for x, y in polygon.tolist()]
