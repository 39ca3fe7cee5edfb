from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fingerprints.orientation import TRANSFORMS
from app.matching.evidence import Evidence, of_whole
from app.matching.kinds import KINDS, Finding, Picture, Rule, compare
from tests.rules import rule

RULE = rule(near=10, verifier=56, page_verifier=24)
WORDS = st.integers(0, 2**64 - 1)


def picture(
    turned: np.ndarray, sha: int = 0, pixels: int = 0, *, low: bool = False, page: bool = False
) -> Picture:
    return Picture(sha.to_bytes(32), pixels.to_bytes(32), low, turned, page)


def flipped(word: int, bits: int) -> int:
    return word ^ ((1 << bits) - 1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two fingerprints, near each other in some orientations and far in the others."""
    other = np.array([[draw(WORDS) for _ in range(8)]] * 8, np.uint64)
    query = np.zeros((8, 8), np.uint64)
    for transform in range(8):
        for column in range(8):
            bits = draw(st.sampled_from((0, 1, 5, 6, 7, 9, 10, 11, 13, 14, 15, 40)))
            query[transform, column] = flipped(int(other[0, column]), bits)
    return query, other


def plainly(
    query: np.ndarray, other: np.ndarray, rule: Rule, pages: tuple[bool, bool]
) -> tuple[str, int] | None:
    """The rule as it is written: transform and verifier distance of a near duplicate."""
    limit = rule.page_verifier if all(pages) else rule.verifier
    best: tuple[int, int] | None = None
    for transform in range(8):
        bits = [int(a ^ b).bit_count() for a, b in zip(query[transform], other[0], strict=True)]
        verifier = sum(bits[4:])
        if (bits[1] <= rule.near or bits[2] <= rule.near) and verifier <= limit:
            best = min(best or (verifier, transform), (verifier, transform))
    return None if best is None else (TRANSFORMS[best[1]], best[0])


@given(pairs(), st.tuples(st.booleans(), st.booleans()))
def test_near_duplicate_is_what_the_rule_says(
    pair: tuple[np.ndarray, np.ndarray], pages: tuple[bool, bool]
) -> None:
    query, other = pair
    found = compare(picture(query, 1, 1, page=pages[0]), picture(other, 2, 2, page=pages[1]), RULE)
    expected = plainly(query, other, RULE, pages)
    assert (None if found is None else (found.transform, found.nearest)) == expected
    if found is not None:
        assert found.kind == "near_duplicate"


def fingerprints(bits: dict[int, int], transform: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pair 40 bits apart everywhere but under one transform, where columns differ in the bits given."""
    other = np.zeros((8, 8), np.uint64)
    query = np.full((8, 8), flipped(0, 40), np.uint64)
    for column in range(8):
        query[transform, column] = flipped(0, bits.get(column, 40))
    return query, other


def kind_of(query: np.ndarray, other: np.ndarray) -> str | None:
    found = compare(picture(query, 1, 1), picture(other, 2, 2), RULE)
    return found and found.kind


def test_radii_are_inclusive() -> None:
    verifier = {4: 14, 5: 14, 6: 14, 7: 14}
    assert kind_of(*fingerprints({1: 10} | verifier)) == "near_duplicate"
    assert kind_of(*fingerprints({1: 11} | verifier)) is None
    assert kind_of(*fingerprints({2: 10} | verifier)) == "near_duplicate"
    assert kind_of(*fingerprints({1: 10} | verifier | {7: 15})) is None


def test_neither_a_hash_nor_the_verifier_flags_alone() -> None:
    assert kind_of(*fingerprints({1: 0, 2: 0})) is None
    assert kind_of(*fingerprints({0: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0})) is None


def test_hash_and_verifier_must_agree_under_the_same_transform() -> None:
    query, other = fingerprints({1: 0}, transform=2)
    query[5, 4:] = 0
    assert kind_of(query, other) is None


def test_identity_wins_a_tie() -> None:
    query, other = np.zeros((8, 8), np.uint64), np.zeros((8, 8), np.uint64)
    found = compare(picture(query, 1, 1), picture(other, 2, 2), RULE)
    assert found is not None
    assert found.transform == "identity"


def test_same_bytes_come_before_same_pixels_and_those_before_near() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    kinds = [
        compare(picture(zeros, 1, 1), picture(zeros, 1, 1), RULE),
        compare(picture(zeros, 1, 1), picture(zeros, 2, 1), RULE),
        compare(picture(zeros, 1, 1), picture(zeros, 2, 2), RULE),
        compare(picture(zeros, 1, 1), picture(~zeros, 2, 2), RULE, seen()),
        compare(picture(zeros, 1, 1), picture(~zeros, 2, 2), RULE, seen(shift=2.0)),
    ]
    assert [found and found.kind for found in kinds] == list(KINDS)
    assert [found and found.rank for found in kinds] == [0, 1, 2, 3, 4]


ASIDE = np.array([[0.5, 0, 0], [0, 0.5, 50.0], [0, 0, 1.0]])


def laid_upright(**changed: Any) -> Evidence:
    """Two pictures at the same place, with the same around something else."""
    told = {"score": 0.9, "inliers": 50, "bits": 1, "close": 50, "shift": 0.1, "alike": 80, "blocks": 100}
    told |= {"residual": 0.2, "apart": 0.21, "together": 0.2}
    return replace(of_whole("identity", (200, 400), (100, 200)), **(told | changed))


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, None),
        ({"apart": 0.2}, None),
        ({"apart": 0.199}, "edited_copy"),
        ({"alike": 5, "shift": 1.5}, None),
        ({"together": 0.28}, "edited_copy"),
        ({"homography": np.array([[0.5, 0, 19.0], [0, 0.5, -19.0], [0, 0, 1.0]])}, None),
        ({"homography": np.array([[0.5, 0, 0], [0, 0.5, 21.0], [0, 0, 1.0]])}, "edited_copy"),
        ({"homography": ASIDE, "together": 0.12, "residual": 2.1}, None),
        ({"homography": ASIDE, "together": 0.13, "residual": 2.1}, "edited_copy"),
        ({"homography": ASIDE, "together": 0.12, "residual": 2.0}, "edited_copy"),
        ({"homography": ASIDE + np.diag([0.03, 0, 0]), "together": 0.12, "residual": 2.1}, "edited_copy"),
        ({"homography": np.array([[0.5, 0.06, 0], [-0.06, 0.5, 0], [0, 0, 1.0]])}, "edited_copy"),
        ({"homography": np.array([[0.5, 0, 0], [0, 0.65, 0], [0, 0, 1.0]])}, "edited_copy"),
        ({"homography": np.array([[-0.5, 0, 100], [0, 0.5, 0], [0, 0, 1.0]])}, "edited_copy"),
        ({"apart": 0.0, "blocks": 0, "alike": 0, "shift": 12.0}, "same_scene"),
    ],
)
def test_what_has_the_same_around_something_else_is_no_match(
    changed: dict[str, Any], kind: str | None
) -> None:
    zeros = np.zeros((8, 8), np.uint64)
    found = compare(picture(zeros, 1, 1), picture(~zeros, 2, 2), RULE, laid_upright(**changed))
    assert (None if found is None else found.kind) == kind


@pytest.mark.parametrize(("apart", "kind"), [(0.249, "near_duplicate"), (0.25, None)])
def test_what_is_alike_as_a_whole_is_a_layout_only_if_more_differs(apart: float, kind: str | None) -> None:
    zeros = np.zeros((8, 8), np.uint64)
    found = compare(picture(zeros, 1, 1), picture(zeros, 2, 2), RULE, laid_upright(apart=apart))
    assert (None if found is None else found.kind) == kind


def seen(**changed: Any) -> Evidence:
    """What a copy looks like, but for what is given."""
    told = {"score": 0.9, "inliers": 40, "bits": 4, "close": 30, "shift": 0.2, "alike": 380, "blocks": 400}
    return replace(of_whole("rotate_90", (100, 80), (80, 100)), **(told | changed))


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "edited_copy"),
        ({"inliers": 6, "bits": 10}, "edited_copy"),
        ({"close": 4}, "edited_copy"),
        ({"close": 1}, "edited_copy"),
        ({"close": 4, "alike": 40, "blocks": 40}, "edited_copy"),
        ({"close": 1, "alike": 10, "blocks": 10}, "same_scene"),
        ({"frame": 287, "residual": 0.4}, "edited_copy"),
        ({"frame": 287, "residual": 0.4, "shift": 0.5}, "edited_copy"),
        ({"frame": 287, "residual": 4.0, "shift": 0.5}, "same_scene"),
        ({"frame": 288, "residual": 4.0, "shift": 0.5}, "edited_copy"),
        ({"frame": 287, "residual": 1.5, "shift": 0.5}, "edited_copy"),
        ({"frame": 100, "residual": 1.5, "shift": 0.5}, "same_scene"),
        ({"frame": 287, "residual": 0.4, "shift": 0.5, "alike": 90, "blocks": 90, "close": 1}, "edited_copy"),
        ({"frame": 287, "residual": 0.4, "shift": 0.5, "alike": 9, "blocks": 9, "close": 1}, "same_scene"),
        ({"cover": 0.12}, "edited_copy"),
        ({"cover": 0.119}, "same_scene"),
        ({"cover": 0.119, "inliers": RULE.scene_inliers - 1}, None),
        ({"alike": 200}, "edited_copy"),
        ({"alike": 100}, "same_scene"),
        ({"shift": 0.6}, "edited_copy"),
        ({"shift": 1.5}, "same_scene"),
        ({"shift": 0.6, "alike": 250, "close": 6}, "same_scene"),
        ({"shift": 0.6, "alike": 30, "blocks": 30}, "edited_copy"),
        ({"shift": 0.6, "alike": 12, "blocks": 12}, "same_scene"),
        ({"shift": 1.5, "inliers": RULE.scene_inliers}, "same_scene"),
        ({"shift": 1.5, "inliers": RULE.scene_inliers - 1}, None),
        ({"score": -1.0, "shift": 12.0, "close": 0, "inliers": 5, "alike": 0, "blocks": 0}, None),
    ],
)
def test_a_part_is_a_copy_by_its_pixels_and_of_the_same_scene_by_its_keypoints(changed, kind) -> None:
    zeros = np.zeros((8, 8), np.uint64)
    found = compare(picture(zeros, 1, 1), picture(~zeros, 2, 2), RULE, seen(**changed))
    assert (found and found.kind) == kind
    if found:
        assert found.transform == "rotate_90"
        assert found.distances["phash"] == 64
        assert found.nearest >= 0


def test_of_text_nearly_all_must_be_the_same() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    query, other = picture(zeros, 1, 1), picture(~zeros, 2, 2)
    least = round(400 * RULE.text_copy_share)
    kinds = [compare(query, other, RULE, seen(page=True, alike=alike)) for alike in (least, least - 1)]
    assert [found and found.kind for found in kinds] == ["edited_copy", None]


def test_what_whole_images_tell_comes_before_what_parts_do() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    for told in (seen(score=RULE.near_score, alike=0), seen(score=0.0, blocks=49), seen(score=1.0)):
        found = compare(picture(zeros, 1, 1), picture(zeros, 2, 2), RULE, told)
        assert found is not None
        assert (found.kind, found.transform) == ("near_duplicate", "identity")
        assert found.evidence is told


def test_what_differs_when_laid_on_each_other_is_no_near_duplicate() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    query, other = picture(zeros, 1, 1), picture(zeros, 2, 2)
    found = compare(query, other, RULE, seen(score=RULE.near_score - 0.01, alike=0, blocks=50))
    assert found is not None
    assert found.kind == "same_scene"
    assert compare(query, other, RULE, seen(score=0.0, alike=0, blocks=50, inliers=6)) is None
    for same in (picture(zeros, 1, 1), picture(zeros, 2, 1)):  # by its bytes, and by its pixels
        found = compare(query, same, RULE, seen(score=0.0, blocks=50))
        assert found is not None
        assert found.kind in {"same_file", "same_pixels"}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"shift": RULE.near_shift - 0.01}, "near_duplicate"),
        ({"shift": RULE.near_shift}, None),
        ({"shift": RULE.near_shift, "blocks": 50}, None),
        ({"shift": RULE.near_shift, "blocks": 49}, "near_duplicate"),
        ({"shift": RULE.near_shift, "frame": 287, "blocks": 6}, None),
        ({"shift": RULE.near_shift, "frame": 287, "blocks": 5}, "near_duplicate"),
        ({"shift": RULE.near_shift, "frame": 288, "blocks": 6}, "near_duplicate"),
        (
            {"shift": RULE.near_shift, "alike": 400, "close": 30},
            "edited_copy",
        ),  # its parts may tell none the less
    ],
)
def test_what_lies_beside_where_it_should_is_no_near_duplicate(changed, kind) -> None:
    zeros = np.zeros((8, 8), np.uint64)
    told = seen(**{"alike": 0, "inliers": 6, "close": 0} | changed)
    found = compare(picture(zeros, 1, 1), picture(zeros, 2, 2), RULE, told)
    assert (found and found.kind) == kind


def test_of_two_edited_copies_that_whose_pixels_agree_better_is_nearer() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    better, worse = (
        compare(picture(zeros, 1, 1), picture(~zeros, 2, 2), RULE, seen(score=score))
        for score in (0.97, 0.85)
    )
    assert better is not None
    assert worse is not None
    assert better.nearest < worse.nearest


def test_pictures_of_low_information_have_no_parts_in_common() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    assert compare(picture(zeros, 1, 1, low=True), picture(~zeros, 2, 2), RULE, seen()) is None


def test_pictures_of_low_information_match_by_their_bytes_only() -> None:
    zeros = np.zeros((8, 8), np.uint64)
    for low, other_low in ((True, True), (True, False), (False, True)):
        query, other = picture(zeros, 1, 1, low=low), picture(zeros, 2, 1, low=other_low)
        assert compare(query, other, RULE) is None
        same = compare(query, picture(zeros, 1, 1, low=other_low), RULE)
        assert isinstance(same, Finding)
        assert same.kind == "same_file"


def test_what_is_text_only_once_it_is_laid_on_the_other_needs_a_nearer_verifier_too() -> None:
    """Forms of one layout, photographed: too dark to be known for pages."""
    limit = RULE.page_verifier
    for bits, kind in ((limit, "near_duplicate"), (limit + 4, "edited_copy")):
        query, other = fingerprints(
            {1: 0, 4: bits // 4, 5: bits // 4, 6: bits // 4, 7: bits - 3 * (bits // 4)}
        )
        told = seen(page=True, alike=400)
        found = compare(picture(query, 1, 1), picture(other, 2, 2), RULE, told)
        assert found is not None
        assert found.kind == kind
    told = seen(page=True, alike=380)
    assert compare(picture(query, 1, 1), picture(other, 2, 2), RULE, told) is None
