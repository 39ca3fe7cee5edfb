"""Keypoints: described as defined, found again in copies, and each state's hashes are those of a copy so made."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from app.fingerprints import keypoints as module
from app.fingerprints.keypoint_kernels import MOST_ORIENTATIONS, NUMBERS, describe_keypoints
from app.fingerprints.keypoint_value import STATES, TURNED, canonical
from app.fingerprints.keypoints import MOST, keypoints
from tests.pictures import PHOTOS, photo

NEAR_BITS = 5
TURN = 2 * np.pi
# Of 64 n + 1 pixels, every octave has a middle of its own: turned and mirrored pyramids have the same samples.
SIZE = (449, 321)

# --- one keypoint: the kernel against the definition in float64 ---


def sampled(layer, x, y, spacing, angle, count):
    """Values on a turned grid, between pixels; beyond the picture its edge goes on."""
    offsets = (np.arange(count) - (count - 1) / 2) * spacing
    across, down = np.meshgrid(offsets, offsets)
    columns = x + np.cos(angle) * across - np.sin(angle) * down
    rows = y + np.sin(angle) * across + np.cos(angle) * down
    return ndimage.map_coordinates(layer.astype(np.float64), [rows, columns], order=1, mode="nearest")


def gradients(samples):
    """Strengths and directions, the latter from 0 to 1."""
    across = samples[1:-1, 2:] - samples[1:-1, :-2]
    down = samples[2:, 1:-1] - samples[:-2, 1:-1]
    return np.hypot(across, down), np.arctan2(down, across) / TURN % 1


def plain_orientations(layer, x, y, sigma):
    """All peaks of the histogram of directions, and how strong each is beside the strongest."""
    strengths, directions = gradients(sampled(layer, x, y, 0.75 * sigma, 0, 15))
    offsets = 0.75 * (np.arange(13) - 6)
    strengths = strengths * np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / 1.5**2)
    bins = directions * 36
    histogram = np.zeros(36)
    for place in range(36):
        apart = np.abs((bins - place + 18) % 36 - 18)
        histogram[place] = (strengths * np.clip(1 - apart, 0, None)).sum()
    for _ in range(2):
        histogram = ndimage.correlate1d(histogram, [0.25, 0.5, 0.25], mode="wrap")
    before, after = np.roll(histogram, 1), np.roll(histogram, -1)
    peaks = np.flatnonzero((histogram > before) & (histogram >= after))
    offsets = 0.5 * (before - after)[peaks] / (before - 2 * histogram + after)[peaks]
    return (peaks + offsets) * TURN / 36, histogram[peaks] / histogram.max()


def plain_descriptor(layer, x, y, sigma, angle):
    """Gradients shared among 4 x 4 cells, 3 sigmas wide each, and 8 directions; bounded, and square roots."""
    strengths, directions = gradients(sampled(layer, x, y, 0.75 * sigma, angle, 22))
    offsets = 0.75 * (np.arange(20) - 9.5)
    strengths = strengths * np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / 6.0**2)
    in_cell = np.clip(1 - np.abs(offsets - 3.0 * (np.arange(4) - 1.5)[:, None]) / 3.0, 0, None)
    apart = np.abs((directions * 8 - np.arange(8)[:, None, None] + 4) % 8 - 4)
    shares = np.clip(1 - apart, 0, None) * strengths
    sums = np.einsum("ry,cx,dyx->rcd", in_cell, in_cell, shares).ravel()
    sums = np.minimum(sums, 0.2 * np.linalg.norm(sums))
    return np.sqrt(sums / sums.sum())


def described(layers, points):
    angles = np.full((len(points), MOST_ORIENTATIONS), np.nan, np.float32)
    descriptors = np.full((len(points), MOST_ORIENTATIONS, NUMBERS), np.nan, np.float32)
    counts = np.zeros(len(points), np.int64)
    describe_keypoints(layers, np.asarray(points, np.float32), angles, descriptors, counts)
    return angles, descriptors, counts


def random_layers(rng, smooth):
    shape = rng.integers(16, 90, 2)
    layers = ndimage.gaussian_filter(rng.normal(size=(3, *shape)), (0, smooth, smooth))
    return (layers / layers.std() * 40 + 128).astype(np.float32)


def random_points(rng, layers, count):
    _, height, width = layers.shape
    columns = [rng.uniform(0, width - 1, count), rng.uniform(0, height - 1, count)]
    return np.stack(
        [*columns, rng.uniform(1.2, 5, count), rng.integers(0, 3, count)], axis=1, dtype=np.float32
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.8, 2.0, 5.0]))
def test_descriptors_are_those_of_the_definition(seed, smooth):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, smooth)
    points = random_points(rng, layers, 12)
    angles, descriptors, counts = described(layers, points)
    for (x, y, sigma, layer), own, found, count in zip(points, angles, descriptors, counts, strict=True):
        for angle, descriptor in zip(own[:count], found[:count], strict=True):
            expected = plain_descriptor(layers[int(layer)], x, y, sigma, float(angle))
            np.testing.assert_allclose(descriptor, expected, atol=4e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.8, 2.0, 5.0]))
def test_orientations_are_the_strongest_directions_around(seed, smooth):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, smooth)
    points = random_points(rng, layers, 40)
    angles, _, counts = described(layers, points)
    agree = []
    for (x, y, sigma, layer), own, count in zip(points, angles, counts, strict=True):
        expected, strengths = plain_orientations(layers[int(layer)], x, y, sigma)
        if np.abs(strengths - 0.8).min() < 0.005 or (strengths >= 0.8).sum() > MOST_ORIENTATIONS:
            continue  # it is in doubt which count
        apart = np.abs(np.exp(1j * own[:count, None]) - np.exp(1j * expected[strengths >= 0.8]))
        agree.append(apart.shape[0] == apart.shape[1] and apart.min(axis=1).max() < 0.01)
    # One in 10,000 is as strong in two bins; which of them is the peak an error of 0.0003 decides.
    assert np.mean(agree) > 0.93


def test_squares_of_a_descriptor_add_up_to_one():
    rng = np.random.default_rng(1)
    layers = random_layers(rng, 2.0)
    _, descriptors, counts = described(layers, random_points(rng, layers, 30))
    assert counts.min() >= 1
    np.testing.assert_allclose((descriptors[:, 0] ** 2).sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("degrees", range(0, 360, 15))
def test_a_slope_has_the_orientation_that_it_rises_in_clockwise_from_the_right(degrees):
    rows, columns = np.indices((60, 60)) - 30.0
    rise = np.cos(np.deg2rad(degrees)) * columns + np.sin(np.deg2rad(degrees)) * rows
    angles, _, counts = described((100 + rise).astype(np.float32)[None], [[30, 30, 2, 0]])
    assert counts.tolist() == [1]
    apart = (np.rad2deg(angles[0, 0]) - degrees) % 360
    assert min(apart, 360 - apart) < 0.5


def test_a_flat_place_has_no_orientation():
    _, _, counts = described(np.full((1, 60, 60), 90, np.float32), [[30, 30, 2, 0]])
    assert counts.tolist() == [0]


def three_faces():
    """A corner of three faces, two of them less steep: three directions are nearly as strong as the strongest."""
    rows, columns = np.indices((80, 80)) - 40.0
    steep = [
        (length * np.cos(angle), length * np.sin(angle))
        for length, angle in zip((0.97, 0.97, 1), np.deg2rad([40, 160, 280]), strict=True)
    ]
    return np.max([a * columns + b * rows for a, b in steep], axis=0).astype(np.float32)


def test_the_strongest_of_three_orientations_is_not_left_out():
    directions, strengths = plain_orientations(three_faces(), 40, 40, 2.0)
    assert (strengths >= 0.8).sum() == 3
    angles, _, counts = described(three_faces()[None], [[40, 40, 2, 0]])
    assert np.abs(angles[0, : counts[0]] - directions[strengths.argmax()]).min() < 0.02


# --- a picture's keypoints ---


@cache
def small(name):
    return ImageOps.fit(photo(name).convert("L"), SIZE, Image.Resampling.LANCZOS)


def found_again(points, state, moved, copy):
    """Share of the copy's keypoints that one of `points` lies at, once `moved`, with nearly the same hash."""
    bits = np.bitwise_count(points.codes[:, None] ^ TURNED[state] ^ copy.codes)
    off = np.hypot(*(moved[:, None, :2] - copy.places[:, :2]).transpose(2, 0, 1))
    return ((bits <= NEAR_BITS) & (off < 1.5)).any(axis=0).mean()


@pytest.mark.parametrize("name", PHOTOS)
def test_keypoints_are_the_same_each_time(name):
    first, second = keypoints(small(name)), keypoints(small(name).copy())
    assert (first.codes == second.codes).all()
    assert (first.places == second.places).all()


@pytest.mark.parametrize("name", PHOTOS)
def test_places_are_inside_of_the_picture_and_sizes_positive(name):
    points = keypoints(small(name))
    assert len(points) > 100
    assert points.codes.shape == points.doubts.shape == points.sure.shape == (len(points),)
    assert points.codes.dtype == np.uint64
    assert points.doubts.dtype == np.uint8
    assert points.sure.dtype == np.uint64
    assert points.places.shape == (len(points), 4)
    assert points.places.dtype == np.float32
    assert (points.places[:, :2] > 0).all()
    assert (points.places[:, :2] < SIZE).all()
    assert (points.places[:, 2] > 0).all()
    assert (np.abs(points.places[:, 3]) <= TURN).all()


def test_angles_are_from_0_to_2_pi():
    angles = np.concatenate([keypoints(small(name)).places[:, 3] for name in PHOTOS])
    assert angles.max() < TURN
    assert angles.min() >= 0


def test_no_keypoint_is_given_twice():
    for name in PHOTOS:
        points = keypoints(small(name))
        assert len(np.unique(points.places, axis=0)) == len(points)


def test_there_are_at_most_so_many():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (170, 170), np.uint8))
    busy = noise.resize((512, 512), Image.Resampling.BICUBIC)
    assert len(keypoints(busy)) == MOST
    assert len(keypoints(small("astronaut"))) == MOST


@pytest.mark.parametrize("size", [(1, 1), (15, 15), (9, 512), (512, 9), (15, 40), (1, 512)])
def test_a_picture_smaller_than_an_octave_has_none(size):
    for picture in (Image.effect_noise(size, 90), Image.new("L", size, 90)):
        points = keypoints(picture)
        assert len(points) == 0
        assert points.codes.shape == points.doubts.shape == points.sure.shape == (0,)
        assert points.places.shape == (0, 4)


@pytest.mark.parametrize("value", [0, 90, 255])
@pytest.mark.parametrize("size", [(512, 512), (16, 16), (16, 512), (333, 17)])
def test_a_flat_picture_has_none(size, value):
    assert len(keypoints(Image.new("L", size, value))) == 0


def test_a_view_of_a_larger_picture_has_the_keypoints_of_its_copy():
    wide = np.asarray(small("coffee"))
    view = Image.fromarray(wide[::-1, 10:400:2])
    copy = Image.fromarray(np.ascontiguousarray(wide[::-1, 10:400:2]))
    assert (keypoints(view).codes == keypoints(copy).codes).all()
    transposed = module._pyramid(np.asfortranarray(wide.astype(np.float32)))
    for own, plain in zip(transposed, module._pyramid(wide.astype(np.float32)), strict=True):
        assert (own == plain).all()


@pytest.mark.parametrize("name", PHOTOS)
def test_each_keypoint_is_described_in_the_layer_it_is_found_in(name):
    descriptors, places = module.describe(small(name))
    octaves = module._pyramid(np.asarray(small(name), np.float32))
    found = []
    for octave, layers in enumerate(octaves):
        each = module._found_in(layers, octave)
        own = np.column_stack([each[:, :2] * 2**octave + 0.5, each[:, 2] * 2 ** (octave + 1)])
        found += [
            (own_place, layers[int(here[4])], here[:3]) for own_place, here in zip(own, each, strict=True)
        ]
    for place, descriptor in zip(places[::9], descriptors[::9], strict=True):
        expected = [
            plain_descriptor(layer, *here, place[3])
            for own, layer, here in found
            if np.abs(own - place[:3]).max() < 1e-3
        ]
        assert min(np.abs(descriptor - each).max() for each in expected) < 4e-3


@pytest.mark.parametrize(("size", "octaves"), [((15, 99), 0), ((16, 99), 1), ((31, 64), 2), ((512, 384), 5)])
def test_octaves_are_halved_as_long_as_they_have_16_pixels(size, octaves):
    found = module._pyramid(np.zeros(size, np.float32))
    shapes = [(-(-size[0] // 2**octave), -(-size[1] // 2**octave)) for octave in range(octaves)]
    assert [layers.shape[1:] for layers in found] == shapes


def ellipse(x, y, long, short, degrees, light):
    """A picture with one blob: x and y of its middle, sigmas along both axes, and which way the long one lies."""
    rows, columns = np.indices((200, 260)) + 0.5
    angle = np.deg2rad(degrees)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    blob = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return Image.fromarray(np.rint(120 + light * blob).astype(np.uint8))


@pytest.mark.parametrize("light", [110, -110])
@pytest.mark.parametrize(
    ("x", "y", "long", "short"), [(60.2, 80.9, 3, 2.5), (150, 91, 6, 5), (131.3, 99, 12, 10)]
)
def test_the_heaviest_keypoint_of_a_picture_with_one_blob_is_that_blob(x, y, long, short, light):
    points = keypoints(ellipse(x, y, long, short, 30, light))
    place = points.places[0]
    assert place[:2] == pytest.approx([x, y], abs=0.05 * short + 0.1)
    assert place[2] == pytest.approx(2 * np.sqrt(long * short / 2 ** (1 / 3)), rel=0.1)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_turned_picture_has_the_same_keypoints_at_the_turned_places(name):
    picture = small(name)
    width, height = picture.size
    points = keypoints(picture)
    x, y, size, angle = points.places.T
    for turn, moved, turned in (
        (Image.Transpose.ROTATE_90, (y, width - x), -0.5 * np.pi),
        (Image.Transpose.ROTATE_180, (width - x, height - y), np.pi),
        (Image.Transpose.ROTATE_270, (height - y, x), 0.5 * np.pi),
    ):
        copy = keypoints(picture.transpose(turn))
        # Patches that share out the places lie otherwise on the copy, so that other ones are left out.
        assert found_again(points, 0, np.stack(moved, axis=1), copy) > 0.9
        expected = np.stack([*moved, size, angle + turned], axis=1)
        assert same_places(expected, copy.places) > 0.9


def same_places(expected, found):
    """Share of places that are found with nearly the same size and angle."""
    off = np.hypot(*(expected[:, None, :2] - found[:, :2]).transpose(2, 0, 1)) < 0.5
    scaled = np.abs(np.log2(expected[:, None, 2] / found[:, 2])) < 0.1
    turned = np.abs((expected[:, None, 3] - found[:, 3] + np.pi) % TURN - np.pi) < 0.05
    return (off & scaled & turned).any(axis=1).mean()


def changed(picture, state):
    if "mirrored" in STATES[state]:
        picture = ImageOps.mirror(picture)
    return ImageOps.invert(picture) if "negative" in STATES[state] else picture


@pytest.mark.parametrize("state", range(len(STATES)), ids=STATES)
@pytest.mark.parametrize("name", PHOTOS)
def test_codes_of_a_state_are_those_of_a_picture_so_changed(name, state):
    picture = small(name)
    points, copy = keypoints(picture), keypoints(changed(picture, state))
    moved = points.places.copy()
    if "mirrored" in STATES[state]:
        moved[:, 0] = picture.width - moved[:, 0]
    assert found_again(points, state, moved, copy) > 0.97


def test_directions_are_at_right_angles_and_turned_round_as_the_bits_say():
    constants = module._constants()
    np.testing.assert_allclose(constants.directions.T @ constants.directions, np.eye(64), atol=1e-5)
    for order, turned in zip(module.orders(), TURNED.tolist(), strict=True):
        signs = np.array([-1 if turned >> (63 - bit) & 1 else 1 for bit in range(64)])
        np.testing.assert_allclose(constants.directions[order], constants.directions * signs, atol=1e-5)
        np.testing.assert_allclose(constants.mean[order], constants.mean, atol=1e-6)


@pytest.mark.parametrize("state", range(len(STATES)), ids=STATES)
def test_the_first_bits_tell_the_state_but_where_there_is_doubt(state):
    """Of keypoints found again, a few in a thousand."""
    told = wrong = 0
    for name in PHOTOS:
        picture = small(name)
        points, copy = keypoints(picture), keypoints(changed(picture, state))
        moved = points.places[:, :2].copy()
        if "mirrored" in STATES[state]:
            moved[:, 0] = picture.width - moved[:, 0]
        off = np.hypot(*(moved[:, None] - copy.places[:, :2]).transpose(2, 0, 1))
        bits = np.bitwise_count(points.codes[:, None] ^ TURNED[state] ^ copy.codes)
        query, stored = np.nonzero((off < 0.5) & (bits <= NEAR_BITS))
        other = canonical(points.codes)[1][query] ^ canonical(copy.codes)[1][stored] ^ state
        wrong += np.count_nonzero(other & ~points.doubts[query])
        told += len(query)
        assert 0.05 < (points.doubts != 0).mean() < 0.4
    assert told > 500
    assert wrong <= 0.01 * told


def test_what_is_sure_is_the_same_in_copies():
    """Of keypoints found again within five bits, all but one in a hundred; and half of the bits are sure."""
    told = wrong = 0
    for name in PHOTOS:
        picture = small(name)
        stored, copy = keypoints(picture), keypoints(picture.filter(ImageFilter.GaussianBlur(1)))
        assert 24 < np.bitwise_count(copy.sure).mean() < 40
        told_by = (copy.sure >> np.uint64(63)) | (copy.sure >> np.uint64(62) & np.uint64(1)) << np.uint64(1)
        assert (told_by == ~copy.doubts & 3).all()
        off = np.hypot(*(copy.places[:, None, :2] - stored.places[:, :2]).transpose(2, 0, 1))
        different = copy.codes[:, None] ^ stored.codes
        query, own = np.nonzero((off < 0.5) & (np.bitwise_count(different) <= 5))
        wrong += np.count_nonzero(different[query, own] & copy.sure[query])
        told += len(query)
    assert told > 300
    assert wrong <= 0.01 * told


@pytest.mark.parametrize("state", range(len(STATES)), ids=STATES)
def test_codes_of_another_state_are_not_those_of_a_picture(state):
    picture = small("chelsea")
    points, copy = keypoints(picture), keypoints(changed(picture, state))
    for other in set(range(len(STATES))) - {state}:
        bits = np.bitwise_count(points.codes[:, None] ^ TURNED[other] ^ copy.codes)
        assert (bits.min(axis=0) <= NEAR_BITS).mean() < 0.1


@pytest.mark.parametrize("name", PHOTOS)
def test_a_part_of_a_picture_has_keypoints_of_the_whole(name):
    picture = small(name)
    left, top = 96, 64  # whole steps of the coarser octaves
    part = keypoints(picture.crop((left, top, left + 257, top + 193)))
    whole = keypoints(picture)
    assert len(part) > 20
    # The others weigh less in the whole than those that count.
    assert found_again(whole, 0, whole.places[:, :2] - (left, top), part) > 0.5


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_of_half_the_size_has_keypoints_of_the_whole(name):
    picture = small(name)
    half = keypoints(picture.resize((225, 161), Image.Resampling.LANCZOS))
    whole = keypoints(picture)
    factor = np.array([225 / 449, 161 / 321])
    assert len(half) > 20
    assert found_again(whole, 0, whole.places[:, :2] * factor, half) > 0.75


def crowded():
    """Many strong blobs in the left quarter, few weak ones in the other three."""
    values = np.full((256, 512), 120.0)
    rows, columns = np.indices(values.shape)
    strong = [(x, y, 100) for x in range(10, 120, 13) for y in range(10, 250, 13)]
    weak = [(x, y, 60) for x in range(171, 500, 43) for y in range(21, 250, 43)]
    for x, y, light in strong + weak:
        values += light * np.exp(-(((columns - x) / 3.5) ** 2) - ((rows - y) / 3) ** 2)
    return Image.fromarray(np.rint(values).astype(np.uint8))


def test_no_part_of_a_picture_has_all_of_the_first_keypoints():
    places = keypoints(crowded()).places
    assert (places[:, 0] < 140).sum() > 150
    assert 30 <= (places[:80, 0] < 140).sum() <= 60


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 80))
def test_the_n_th_of_a_patch_counts_an_n_th_of_its_weight(seed, count):
    rng = np.random.default_rng(seed)
    octaves = rng.integers(0, 3, count)
    found = rng.random((count, 5), np.float32)
    found[:, :2] *= (480 / 2.0**octaves)[:, None]
    patches = [tuple(each) for each in np.floor(found[:, :2] * 2.0 ** octaves[:, None] * 12 / 480).tolist()]
    weights = found[:, 3].tolist()
    expected = []
    for place, patch in enumerate(patches):
        rank = sum(
            weights[other] > weights[place] or (weights[other] == weights[place] and other < place)
            for other in range(count)
            if patches[other] == patch
        )
        expected.append(weights[place] / (1 + rank))
    order = module._by_weight(found, octaves, 480)
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_allclose(np.array(expected)[order], sorted(expected, reverse=True), rtol=1e-6)


def test_the_first_keypoints_are_the_heaviest():
    """A few blobs far from each other: the larger and the stronger ones come first."""
    values = np.full((400, 400), 120.0)
    rows, columns = np.indices(values.shape) + 0.5
    wanted = []
    for number, (light, sigma) in enumerate([(100, 12), (100, 5), (40, 5), (40, 2.5), (15, 2.5)]):
        x, y = 70.3 + 65 * number, 60.8 + 140 * (number % 3)
        along, across = (columns - x) / (1.2 * sigma), (rows - y) / sigma
        values += light * np.exp(-0.5 * (along**2 + across**2))
        wanted.append((x, y))
    places = keypoints(Image.fromarray(np.rint(values).astype(np.uint8))).places
    seen = [int(np.hypot(*(np.array(wanted) - place[:2]).T).argmin()) for place in places]
    assert list(dict.fromkeys(seen)) == [0, 1, 2, 3, 4]
