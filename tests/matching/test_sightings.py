"""Details of pictures looked for in others: from either side the same as by comparing each with each."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from app.fingerprints.keypoint_value import STATES, TURNED, Keypoints, canonical
from app.fingerprints.keypoints import keypoints
from app.index.sets import SetIndex
from app.matching.overlaps import LEAST_PROPOSING, PROPOSING_BITS
from app.matching.regions import Box
from app.matching.sightings import Detail, Details, Sighting, pictures_near, sighting
from tests.matching.test_near_keypoints import plain_near
from tests.matching.test_overlaps import copied, random_points, undoubted
from tests.pictures import photo

SIZE = (500, 380)
BOX = Box(150, 100, 240, 200)


def stored(points: Keypoints) -> Keypoints:
    return undoubted(points.codes, points.places)


def in_state(points: Keypoints, state: int) -> Keypoints:
    """Keypoints of which those of another picture are near in this state."""
    return replace(points, codes=points.codes ^ TURNED[state])


def indexed(images: Sequence[Keypoints]) -> SetIndex:
    """An index of pictures' keypoints, by their numbers."""
    hashes, states = canonical(np.concatenate([np.empty(0, np.uint64), *(image.codes for image in images)]))
    counts = np.array([len(image) for image in images], np.int64)
    return SetIndex.build(hashes, np.arange(len(images)), counts, states)


def plain_sighting(detail: Detail, image: Keypoints) -> Sighting | None:
    """By comparing each with each, in those states in which two keypoints at least are near."""
    near = plain_near(detail.keypoints, image, PROPOSING_BITS)
    states = [
        state for state in range(len(STATES)) if sum(row[0] == state for row in near) >= LEAST_PROPOSING
    ]
    return sighting(detail, image, SIZE, states) if states else None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 5), st.integers(0, PROPOSING_BITS + 2))
def test_both_sides_find_what_comparing_each_with_each_finds(
    seed: int, many: int, pictures: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    details = [Detail(random_points(rng, int(rng.integers(0, 14)), SIZE), SIZE) for _ in range(many)]
    images = []
    for number in range(pictures):
        points = random_points(rng, int(rng.integers(0, 14)), SIZE)
        if details and number % 2:
            own = details[int(rng.integers(many))].keypoints
            points, _ = copied(rng, own, int(rng.integers(len(STATES))), 1.1, 30, (9, 5), bits=bits)
        images.append(stored(points))
    plain = {
        (number, place): seen
        for number, detail in enumerate(details)
        for place, image in enumerate(images)
        if (seen := plain_sighting(detail, image)) is not None
    }
    index = Details(details)
    assert len(index) == many
    assert {
        (number, place): seen
        for place, image in enumerate(images)
        for number, seen in index.seen_in(image, SIZE).items()
    } == plain

    found = {}
    for number, detail in enumerate(details):
        for place, states in pictures_near(indexed(images), detail).items():
            seen = sighting(detail, images[place], SIZE, states)
            if seen is not None:
                found[number, place] = seen
    assert found == plain


def test_many_details_are_found_as_few_are() -> None:
    """More hashes than are scanned: they stand in tables."""
    rng = np.random.default_rng(2)
    details = [Detail(random_points(rng, 40, SIZE), SIZE) for _ in range(60)]
    index = Details(details)
    images = [
        stored(copied(rng, details[number].keypoints, number % 4, 1.2, 50, (9, 5), bits=3)[0])
        for number in range(0, 60, 7)
    ]
    everything = indexed(images * 20)
    for place, image in enumerate(images):
        seen = index.seen_in(image, SIZE)
        assert seen == {7 * place: sighting(details[7 * place], image, SIZE)}
        near = pictures_near(everything, details[7 * place])
        assert set(near) == set(range(place, 20 * len(images), len(images)))
        assert all(states == [7 * place % 4] for states in near.values())


def test_a_tilt_that_puts_the_far_end_of_the_picture_behind_the_camera_hides_no_detail() -> None:
    tilt = np.array([[1, 0, 0], [0, 1, 0], [0.0027, 0, 1]])
    rng = np.random.default_rng(4)
    points = random_points(rng, 30, (128, 96))
    there = np.hstack([points.places[:, :2], np.ones((30, 1))]) @ tilt.T
    depths = there[:, 2:]
    places = np.hstack([there[:, :2] / depths, points.places[:, 2:3] / depths, points.places[:, 3:]])
    image = undoubted(points.codes, places.astype(np.float32))
    seen = sighting(Detail(points, (128, 96)), image, (512, 384))
    assert seen is not None
    assert (seen.box.x, seen.box.y) == (0, 0)


def test_copies_drawn_so_are_found_at_all() -> None:
    """What the test above compares is something."""
    rng = np.random.default_rng(1)
    points = random_points(rng, 12, SIZE)
    for state in range(len(STATES)):
        copy, _ = copied(rng, points, state, 1.1, 30, (9, 5), bits=3)
        assert sighting(Detail(points, SIZE), stored(copy), SIZE) is not None


def test_a_part_is_what_lies_in_its_box() -> None:
    points = keypoints(photo("coffee").convert("L").resize((512, 341)))
    detail = Detail.within(points, BOX)
    places = detail.keypoints.places
    assert detail.size == (BOX.width, BOX.height)
    assert 20 < len(places) < len(points)
    assert ((places[:, :2] >= 0) & (places[:, :2] < detail.size)).all()
    x, y = points.places[:, :2].T
    inside = (x >= BOX.x) & (x < BOX.x + BOX.width) & (y >= BOX.y) & (y < BOX.y + BOX.height)
    assert np.array_equal(detail.keypoints.codes, points.codes[inside])
    assert np.allclose(places, points.places[inside] - np.array([BOX.x, BOX.y, 0, 0]))


EDITS = {
    "identity": lambda picture: picture,
    "rotate_180": lambda picture: picture.rotate(180),
    "rotate_90": lambda picture: picture.rotate(90, expand=True),
    "mirror": ImageOps.mirror,
    "flip": ImageOps.flip,
}


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("transform", EDITS)
def test_a_part_of_a_photo_is_seen_where_it_is(transform: str, negative: bool) -> None:
    picture = photo("coffee").convert("L").resize((512, 341))
    detail = Detail.within(keypoints(picture), BOX)
    marked = Image.new("L", picture.size)
    marked.paste(255, (BOX.x, BOX.y, BOX.x + BOX.width, BOX.y + BOX.height))
    image, place = EDITS[transform](picture), EDITS[transform](marked).getbbox()
    if negative:
        image = ImageOps.invert(image)
    seen = sighting(detail, keypoints(image).stored, image.size)
    assert seen is not None
    assert seen.transform == transform
    assert seen.bits <= 4
    box = seen.box
    assert np.abs(np.subtract((box.x, box.y, box.x + box.width, box.y + box.height), place)).max() <= 4


def test_the_box_ends_where_the_picture_does() -> None:
    picture = photo("coffee").convert("L").resize((512, 341))
    detail = Detail.within(keypoints(picture), BOX)
    cut = picture.crop((BOX.x + 80, BOX.y + 60, 512, 341))
    seen = sighting(detail, keypoints(cut).stored, cut.size)
    assert seen is not None
    assert (seen.box.x, seen.box.y) == (0, 0)
    assert abs(seen.box.width - 160) <= 4
    assert abs(seen.box.height - 140) <= 4


def test_an_unrelated_photo_shows_no_part() -> None:
    detail = Detail.within(keypoints(photo("coffee").convert("L")), Box(0, 0, 600, 400))
    assert sighting(detail, keypoints(photo("chelsea").convert("L")).stored, photo("chelsea").size) is None


def none_at_all() -> Keypoints:
    return undoubted(np.empty(0, np.uint64), np.empty((0, 4), np.float32))


def test_nothing_is_seen_of_no_parts_and_in_no_keypoints() -> None:
    none = none_at_all()
    some = stored(random_points(np.random.default_rng(3), 20, SIZE))
    empty = Detail(none, SIZE)
    assert Details([]).seen_in(some, SIZE) == {}
    assert Details([empty]).seen_in(some, SIZE) == {}
    assert (
        Details([Detail(random_points(np.random.default_rng(3), 20, SIZE), SIZE)]).seen_in(none, SIZE) == {}
    )
    assert pictures_near(indexed([some]), empty) == {}


def test_the_state_is_that_of_the_hashes() -> None:
    rng = np.random.default_rng(5)
    points = random_points(rng, 20, SIZE)
    image = stored(points)
    index = indexed([none_at_all(), image])
    for state in range(len(STATES)):
        assert pictures_near(index, Detail(in_state(points, state), SIZE)) == {1: [state]}
    assert sighting(Detail(points, SIZE), image, SIZE) == Sighting(0, "identity", Box(0, 0, *SIZE))
