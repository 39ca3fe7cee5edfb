"""Evidence: how one picture lies on another, in numbers that a person can check."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.fingerprints.keypoints import keypoints
from app.fingerprints.orientation import TRANSFORMS, turn
from app.matching.evidence import Evidence, examine, of_whole, unexamined
from app.matching.kinds import kind_of_part, nearest_transform
from app.matching.overlaps import find_overlap
from tests.pictures import letter, photo, receipt
from tests.rules import rule


def grey() -> Image.Image:
    return photo().convert("L").resize((384, 384))


def seen(picture: Image.Image, other: Image.Image) -> Evidence:
    points, own = keypoints(picture), keypoints(other).stored
    overlap = find_overlap(points, picture.size, own, other.size)
    assert overlap is not None
    found = examine(picture, points, other, overlap, own)
    assert found is not None
    return found


def mapped(homography: np.ndarray, places: np.ndarray) -> np.ndarray:
    there = np.column_stack([places, np.ones(len(places))]) @ homography.T
    return there[:, :2] / there[:, 2:]


def test_a_crop_lies_where_it_was_cut_out():
    found = seen(grey().crop((100, 60, 300, 280)), grey())
    assert found.state == "as it is"
    assert found.scale == pytest.approx(1, abs=0.01)
    assert found.angle == pytest.approx(0, abs=0.5)
    np.testing.assert_allclose(
        sorted((found.region.round() + 0).tolist()), [[0, 0], [0, 220], [200, 0], [200, 220]], atol=1
    )
    np.testing.assert_allclose(
        sorted(found.other_region.round().tolist()), [[100, 60], [100, 280], [300, 60], [300, 280]], atol=1
    )
    assert found.score > 0.95
    assert found.cover == pytest.approx(1, abs=0.02)


def test_what_two_crops_have_in_common_covers_a_part_of_the_smaller():
    found = seen(grey().crop((0, 0, 280, 300)), grey().crop((140, 100, 400, 400)))
    assert found.cover == pytest.approx(140 * 200 / (260 * 300), abs=0.02)
    assert found.swapped().cover == found.cover


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_transform_is_told_that_turns_the_picture_into_the_other(transform):
    other = grey()
    undone = {"rotate_90": "rotate_270", "rotate_270": "rotate_90"}.get(transform, transform)
    found = seen(turn(other, undone), other)
    assert TRANSFORMS[nearest_transform(found)] == transform
    assert found.mirrored == (transform in {"mirror", "flip", "transpose", "transverse"})
    np.testing.assert_allclose(
        mapped(found.homography, np.array([[50.0, 20], [300, 200]])),
        mapped(of_whole(transform, other.size, other.size).homography, np.array([[50.0, 20], [300, 200]])),
        atol=1.5,
    )


def test_angle_and_scale_are_those_by_which_the_picture_becomes_the_other():
    whole = grey()
    # Turned clockwise and halved: to be as the other it has to be turned back and doubled.
    copy = whole.rotate(-25, Image.Resampling.BICUBIC).crop((80, 80, 304, 304)).resize((112, 112))
    found = seen(copy, whole)
    assert found.angle == pytest.approx(25, abs=1)
    assert found.scale == pytest.approx(2, abs=0.03)


def test_a_negative_is_told():
    found = seen(ImageOps.invert(grey()), grey())
    assert found.negative
    assert not found.mirrored
    assert found.score > 0.95


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_whole_pictures_lie_on_each_other_as_pillow_turns_them(transform):
    picture = Image.new("L", (6, 4))
    picture.putpixel((4, 1), 255)
    turned = turn(picture, transform)
    found = of_whole(transform, picture.size, turned.size)
    (place,) = mapped(found.homography, np.array([[4.5, 1.5]]))
    assert turned.getpixel((int(place[0]), int(place[1]))) == 255
    assert TRANSFORMS[nearest_transform(found)] == transform


def test_seen_from_the_other_side_all_is_the_other_way_round():
    found = seen(turn(grey().crop((100, 60, 300, 280)), "mirror").rotate(10), grey())
    back = found.swapped()
    assert back.scale == pytest.approx(1 / found.scale, rel=0.02)
    assert back.mirrored
    np.testing.assert_array_equal(back.region, found.other_region)
    np.testing.assert_allclose(
        mapped(back.homography, mapped(found.homography, found.region)), found.region, atol=0.1
    )
    np.testing.assert_array_equal(back.swapped().points, found.points)


def test_evidence_comes_back_from_json():
    found = seen(grey().crop((100, 60, 300, 280)), grey())
    again = Evidence.from_json(json.loads(json.dumps(found.to_json())))
    for name in ("state", "inliers", "bits", "close", "alike", "blocks", "page"):
        assert getattr(again, name) == getattr(found, name)
    assert again.shift == pytest.approx(found.shift, abs=1e-3)
    np.testing.assert_array_equal(again.homography, found.homography)
    np.testing.assert_allclose(again.region, found.region, atol=0.051)
    np.testing.assert_allclose(again.points, found.points, atol=0.051)
    assert again.score == pytest.approx(found.score, abs=1e-4)


def test_of_a_crop_keypoints_agree_almost_exactly_and_those_are_shown():
    found = seen(grey().crop((100, 60, 300, 280)), grey())
    assert found.close >= 20
    assert found.shift < 0.3
    assert found.alike > 0.9 * found.blocks
    np.testing.assert_allclose(
        mapped(found.homography, found.points[:, :2]), found.points[:, 2:], atol=0.004 * 384 + 0.01
    )


@pytest.mark.parametrize("draw", [letter, receipt])
def test_what_is_text_is_told_in_whatever_light(draw):
    page = draw(3).convert("L").resize((384, 512))
    shade = np.linspace(0.55, 1, 384)[None, :]
    shaded = Image.fromarray((np.asarray(page) * shade).astype(np.uint8)).rotate(4, fillcolor=90)
    assert seen(page, page).page
    assert seen(shaded, page).page
    assert not seen(grey(), grey()).page


def test_evidence_of_before_close_keypoints_were_counted_is_still_read():
    stored = seen(grey(), grey()).to_json()
    for name in ("close", "shift", "alike", "page"):
        del stored[name]
    assert Evidence.from_json(stored).close == 0


@pytest.mark.parametrize("draw", [letter, receipt])
def test_pages_of_one_layout_are_no_copies_of_each_other_and_copies_are(draw):
    one, other = (draw(seed).convert("L").resize((384, 512)) for seed in (3, 4))
    assert kind_of_part(seen(one, one), rule()) == "edited_copy"
    assert kind_of_part(seen(one.crop((0, 0, 384, 400)), one), rule()) == "edited_copy"
    assert kind_of_part(seen(one, other), rule()) is None


def test_a_copy_full_of_impulses_is_found():
    noisy = np.asarray(grey()).copy()
    random = np.random.default_rng(5)
    where = random.uniform(size=noisy.shape) < 0.05
    noisy[where] = random.choice([0, 255], where.sum())
    found = seen(Image.fromarray(noisy), grey())
    assert kind_of_part(found, rule()) == "edited_copy"
    assert found.score > 0.8


@pytest.mark.parametrize("negatives", [(True, False), (False, True), (True, True)])
def test_pages_of_one_layout_are_no_copies_as_negatives_either(negatives):
    pages = [receipt(seed).convert("L").resize((384, 512)) for seed in (3, 4)]
    one, other = (
        ImageOps.invert(page) if negative else page for page, negative in zip(pages, negatives, strict=True)
    )
    found = seen(one, other)
    assert found.page
    assert kind_of_part(found, rule()) is None


def test_what_can_not_be_compared_is_a_page_if_it_is_known_to_be_one():
    points = keypoints(grey())
    overlap = find_overlap(points, (384, 384), points.stored, (384, 384))
    for page in (True, False):
        found = unexamined(points, (384, 384), overlap, points.stored, (384, 384), page=page)
        assert found.page == page
        assert kind_of_part(found, rule()) == (None if page else "same_scene")
