"""Explaining hashes: of one stored image, or of two and where they differ."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
from PIL import Image

from app.catalog.rows import AnyRow
from app.errors import NotFound
from app.fingerprints.orientation import TRANSFORMS, turn
from app.fingerprints.value import (
    COLOUR_BITS,
    COLUMN_OF,
    VERIFIER,
    WHOLE_IMAGE_HASHES,
    colour_code_from_bytes,
    turned_from_bytes,
)
from app.grids import Grid, Sheet, bits_of, draw_sheets
from app.matching.evidence import Evidence, of_whole
from app.matching.regions import WITHIN, alike
from app.overlays import draw_overlay
from app.regions import Region
from app.storage import Pictures, open_rendition

_COLOURS = 14  # values, each of seven bits
_MOST_SEGMENTS = 7
_TO_COME = "not computed yet"


def hashes_of_image(pictures: Pictures, row: AnyRow, regions: Sequence[Region]) -> bytes:
    """Draw the hashes of one live image (columns STORED of `catalog.images`) and of its largest segments: a PNG."""
    regions = _largest(regions)
    groups = [[_whole(pictures, row, 0, {})]]
    if regions:
        groups.append([_parts(pictures, row, regions, {})])
    return draw_sheets(groups)


def hashes_of_pair(
    pictures: Pictures, row: AnyRow, other: AnyRow, regions: Sequence[Region], others: Sequence[Region]
) -> bytes:
    """Draw the hashes of two live images below each other, differing bits in red: a PNG.

    `regions` are those of the first image, `others` of the other. The first image is turned as it is nearest to the
    other by the verifier. Where that is as it stands, segments that match are drawn as well.
    """
    turned, own = turned_from_bytes(row.turned), turned_from_bytes(other.turned)[0]
    bits = np.bitwise_count(turned[:, VERIFIER] ^ own[VERIFIER]).sum(axis=1, dtype=int)
    transform = int(bits.argmin())
    said = _distances(row, other, turned[transform], own)
    groups = [[_whole(pictures, row, transform, said), _whole(pictures, other, 0, said)]]
    pairs = [] if transform else _matching(regions, others)
    if pairs:
        first, second = zip(*pairs, strict=True)
        told = {
            f"segment {number}": f"{(one.hash ^ two.hash).bit_count()} of 64 differ"
            for number, (one, two) in enumerate(pairs, 1)
        }
        groups.append([_parts(pictures, row, first, told), _parts(pictures, other, second, told)])
    return draw_sheets(groups)


def overlay_of_match(pictures: Pictures, row: AnyRow) -> bytes:
    """Draw what the two images of a match (row of `catalog.matches.match_by_id`) have in common: a PNG."""
    later, earlier = (_rendition_of(pictures, each) for each in (row.later_image_id, row.earlier_image_id))
    if row.evidence:
        evidence = Evidence.from_json(row.evidence)
    else:
        evidence = of_whole(row.transform, later.size, earlier.size)
    captions = f"claim {row.later_claim_id}", f"claim {row.earlier_claim_id}, earlier"
    heading = f"{row.kind.replace('_', ' ')}: claims {row.later_claim_id} and {row.earlier_claim_id}"
    return draw_overlay(later, earlier, evidence, captions, heading)


def _largest(regions: Sequence[Region]) -> list[Region]:
    return sorted(regions, key=lambda region: -region.box.width * region.box.height)[:_MOST_SEGMENTS]


def _matching(ours: Sequence[Region], theirs: Sequence[Region]) -> list[tuple[Region, Region]]:
    """The nearest pairs of segments that match by the rule, each segment once."""
    pairs = sorted(
        (
            ((one.hash ^ two.hash).bit_count(), number, place)
            for number, one in enumerate(ours)
            for place, two in enumerate(theirs)
            if one.box.searchable and two.box.searchable and alike(one.box, two.box)
        )
    )
    chosen: list[tuple[Region, Region]] = []
    taken: set[tuple[str, int]] = set()
    for distance, number, place in pairs:
        names = {("ours", number), ("theirs", place)}
        if distance <= WITHIN and not names & taken and len(chosen) < _MOST_SEGMENTS:
            taken |= names
            chosen.append((ours[number], theirs[place]))
    return chosen


def _distances(row: AnyRow, other: AnyRow, own: np.ndarray, others: np.ndarray) -> dict[str, str]:
    found = {
        name: f"{int(np.bitwise_count(own[column] ^ others[column]))} of 64 differ"
        for name, column in COLUMN_OF.items()
        if column < min(len(own), len(others))
    }
    found["verifier"] = f"{int(np.bitwise_count(own[VERIFIER] ^ others[VERIFIER]).sum())} of 256 differ"
    if row.colour_code is not None and other.colour_code is not None:
        codes = colour_code_from_bytes(row.colour_code) ^ colour_code_from_bytes(other.colour_code)
        found["colorhash"] = f"{int(np.bitwise_count(codes).sum())} of {COLOUR_BITS} differ"
    return found


def _whole(pictures: Pictures, row: AnyRow, transform: int, said: Mapping[str, str]) -> Sheet:
    words = turned_from_bytes(row.turned)[transform]
    name = TRANSFORMS[transform]
    return Sheet(
        f"{row.claim_id}\n{name}", turn(_rendition(pictures, row), name), _grids(row, words, said), []
    )


def _parts(pictures: Pictures, row: AnyRow, regions: Sequence[Region], said: Mapping[str, str]) -> Sheet:
    grids = []
    for number, region in enumerate(regions, 1):
        name = f"segment {number}"
        bits = bits_of(np.array([region.hash], np.uint64), 8, 8)
        grids.append(Grid(name, bits, said.get(name, f"{region.hash:016x}")))
    return Sheet("segments", _rendition(pictures, row), grids, [region.box for region in regions])


def _grids(row: AnyRow, words: np.ndarray, said: Mapping[str, str]) -> Sequence[Grid]:
    grids = []
    for name in WHOLE_IMAGE_HASHES:
        column = COLUMN_OF[name]
        if column < len(words):
            bits, value = bits_of(words[column : column + 1], 8, 8), f"{int(words[column]):016x}"
        else:
            bits, value = None, _TO_COME
        grids.append(Grid(name, bits, said.get(name, value)))
    grids.append(Grid("verifier", bits_of(words[VERIFIER], 16, 16), said.get("verifier", "")))
    if row.colour_code is None:
        return [*grids, Grid("colorhash", None, _TO_COME)]
    # One column for each colour, filled from the bottom as far as its level.
    code = bits_of(colour_code_from_bytes(row.colour_code), _COLOURS, COLOUR_BITS // _COLOURS).T[::-1]
    return [*grids, Grid("colorhash", code, said.get("colorhash", f"{row.colorhash:016x}"))]


def _rendition(pictures: Pictures, row: AnyRow) -> Image.Image:
    return _rendition_of(pictures, row.image_id)


def _rendition_of(pictures: Pictures, image_id: UUID) -> Image.Image:
    try:
        return open_rendition(pictures, image_id)
    except FileNotFoundError:
        # Deleted between the look-up and here, or lost.
        raise NotFound(
            f"no picture of image {image_id}: deleted, lost or damaged", field="image_id"
        ) from None
