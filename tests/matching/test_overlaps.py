"""How one picture lies on another: the compiled loops against plain ones, drawn keypoints, and copies of photos."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageOps

from app.fingerprints.keypoint_value import STATES, TURNED, Keypoints
from app.fingerprints.keypoints import keypoints
from app.matching.overlap_kernels import find_pairs, most_agreeing
from app.matching.overlaps import (
    AGREEING_BITS,
    LEAST_AGREEING,
    LEAST_PROPOSING,
    PROPOSING_BITS,
    close_pairs,
    find_overlap,
)
from tests.pictures import PHOTOS, photo

QUERY, STORED = (500, 380), (640, 512)

# --- the kernels ---


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 12),
    st.one_of(st.integers(0, 12), st.sampled_from([63, 64, 65, 128, 160])),
    st.integers(0, 64),
    st.integers(0, 150),
)
def test_pairs_are_all_within_the_radius_and_no_more_are_written_than_there_is_room_for(
    seed, many, others, radius, room
):
    rng = np.random.default_rng(seed)
    queries, stored = (rng.integers(0, 2**64, count, np.uint64) for count in (many, others))
    # Near ones too, the first and the last.
    for place in range(min(many, others) // 2):
        stored[place], stored[-place] = (
            flipped(rng, queries[place], int(rng.integers(0, 20))) for _ in range(2)
        )
    expected = []
    for query, code in enumerate(queries.tolist()):
        for place, other in enumerate(stored.tolist()):
            bits = (code ^ other).bit_count()
            if bits <= radius:
                expected.append([query, place, bits])
    pairs = np.full((room, 3), -1, np.int64)
    assert find_pairs(queries, stored, radius, pairs) == len(expected)
    written = min(room, len(expected))
    assert pairs[:written].tolist() == expected[:written]
    assert (pairs[written:] == -1).all()


def flipped(rng, code, bits):
    """A code so many bits away."""
    mask = np.uint64(0)
    for bit in rng.choice(64, bits, replace=False):
        mask |= np.uint64(1) << np.uint64(bit)
    return code ^ mask


def plain_agreeing(queries, stored, pairs, sides, limits, tried):
    """The best count, its marks, and how near any comparison was to its limit."""
    most_off, most_scaled, most_turned = limits
    best, marks, closest = 0, [False] * len(pairs), math.inf
    for first, found, _ in pairs[:tried]:
        (x, y, size, angle), (to_x, to_y, to_size, to_angle) = queries[first], stored[found]
        own = []
        for query, place, _ in pairs:
            (qx, qy, q_size, q_angle), (sx, sy, s_size, s_angle) = queries[query], stored[place]
            around = complex(qx - x, qy - y) * (to_size / size) * np.exp(1j * (to_angle - angle))
            off = abs(complex(to_x, to_y) + around - complex(sx, sy))
            scaled = abs(math.log2(s_size / q_size) - math.log2(to_size / size))
            turned = abs(math.remainder((s_angle - q_angle) - (to_angle - angle), 2 * math.pi))
            apart = off - most_off, scaled - most_scaled, turned - most_turned
            own.append(max(apart) <= 0)
            closest = min(closest, *map(abs, apart))
        seen = [set(), set()]
        for (query, place, _), agrees in zip(pairs, own, strict=True):
            for side, cells, at in zip(sides, seen, (queries[query], stored[place]), strict=True):
                if agrees:
                    cells.add(tuple(min(max(int(part * (256 / side)), 0), 255) for part in at[:2]))
        count = min(map(len, seen))
        if count > best:
            best, marks = count, own
    return best, marks, closest


def some_places(rng, count, side, steps):
    """Few different sizes, angles and places, so that some agree by chance."""
    grid = rng.integers(0, steps, (count, 2)) * (side / steps) + rng.normal(0, 0.02 * side, (count, 2))
    sizes = 2.0 ** rng.integers(0, 2, count) * rng.uniform(3, 5, count)
    angles = rng.integers(0, 2, count) * math.pi + rng.normal(0, 0.3, count)
    return np.column_stack([grid, sizes, angles % (2 * math.pi)]).astype(np.float32)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 10),
    st.integers(1, 10),
    st.integers(0, 40),
    st.integers(1, 12),
    st.integers(2, 5),
    st.sampled_from([0.02, 0.1, 0.4]),
)
def test_agreement_is_that_of_the_plain_comparison(seed, many, others, count, tried, steps, off):
    rng = np.random.default_rng(seed)
    sides = 400.0, 300.0
    queries, stored = some_places(rng, many, sides[0], steps), some_places(rng, others, sides[1], steps)
    stored[: min(many, others) // 2] = queries[: min(many, others) // 2] * np.float32([0.7, 0.7, 0.7, 1])
    pairs = np.column_stack(
        [
            rng.integers(0, many, count),
            rng.integers(0, others, count),
            np.zeros(count, int),
        ]
    )
    limits = off * sides[1], 0.5, 0.3
    best, marks, closest = plain_agreeing(
        queries.tolist(), stored.tolist(), pairs.tolist(), sides, limits, tried
    )
    assume(closest > 1e-3)
    found = np.zeros(count, np.bool_)
    assert most_agreeing(queries, stored, pairs, *sides, *limits, tried, found) == best
    assert found.tolist() == marks


# --- drawn keypoints ---


def similarity(scale, degrees, shift):
    cosine, sine = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


def mapped(affine, places):
    return places[:, :2] @ affine[:, :2].T + affine[:, 2]


def undoubted(codes, places):
    return Keypoints(codes, places, np.zeros(len(codes), np.uint8), np.zeros(len(codes), np.uint64))


def random_points(rng, count, size):
    places = np.column_stack(
        [
            rng.uniform(0, size[0], count),
            rng.uniform(0, size[1], count),
            rng.uniform(4, 40, count),
            rng.uniform(0, 2 * math.pi, count),
        ]
    )
    return undoubted(rng.integers(0, 2**64, count, np.uint64), places.astype(np.float32))


def copied(rng, query, state, scale, degrees, shift, *, bits=3, size=QUERY):
    """Keypoints of a copy made of what `query` is of: changed as STATES says, then scaled, turned and moved.

    With them the affine map from one to the other.
    """
    x, y, sizes, angles = query.places.astype(np.float64).T
    change = np.eye(2, 3)
    if "negative" in STATES[state]:
        angles = angles + math.pi
    if "mirrored" in STATES[state]:
        x, angles = size[0] - x, math.pi - angles
        change = np.array([[-1.0, 0, size[0]], [0, 1, 0]])
    move = similarity(scale, degrees, shift)
    places = mapped(move, np.column_stack([x, y]))
    places = np.column_stack([places, sizes * scale, (angles + math.radians(degrees)) % (2 * math.pi)])
    codes = np.array([flipped(rng, code, bits) for code in query.codes ^ TURNED[state]], np.uint64)
    affine = np.column_stack([move[:, :2] @ change[:, :2], move[:, :2] @ change[:, 2] + move[:, 2]])
    return undoubted(codes, places.astype(np.float32)), affine


def together(*points):
    return undoubted(
        np.concatenate([each.codes for each in points]), np.concatenate([p.places for p in points])
    )


def first_of(points, count):
    return undoubted(points.codes[:count], points.places[:count])


def farthest_off(affine, expected, size):
    """How far a corner of the picture lands from where it should, as a share of its long side once there."""
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size], np.float64)
    off = np.hypot(*(mapped(affine, corners) - mapped(expected, corners)).T).max()
    return off / (max(size) * math.sqrt(abs(np.linalg.det(expected[:, :2]))))


@pytest.mark.parametrize("state", range(4))
def test_where_a_pattern_repeats_the_similarity_is_of_one_period(state):
    rng = np.random.default_rng(8)
    query = random_points(rng, 14, QUERY)
    copy, affine = copied(rng, query, state, 0.6, 20, (200, 40))
    # Some are only seen again half an inch down, where the pattern is the same: nearer in their hashes, and fewer.
    shifted = undoubted(query.codes[:9] ^ TURNED[state], copy.places[:9] + np.float32([0, 14, 0, 0]))
    stored = together(shifted, first_of(copy, 0), undoubted(copy.codes[5:], copy.places[5:]))
    found = find_overlap(query, QUERY, stored, STORED)
    assert found is not None
    assert found.count > 9
    right = farthest_off(found.closely()[:2], affine, QUERY)
    period_off = affine + np.array([[0, 0, 0], [0, 0, 14.0]])
    assert min(right, farthest_off(found.closely()[:2], period_off, QUERY)) < 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 3),
    st.floats(0.3, 0.75),
    st.floats(-180, 180),
    st.integers(15, 60),
    st.integers(0, 100),
)
def test_a_copy_among_others_is_found_where_it_is_in_every_state(
    seed, state, scale, degrees, shared, outliers
):
    rng = np.random.default_rng(seed)
    query = random_points(rng, shared, QUERY)
    middle = mapped(similarity(scale, degrees, (0, 0)), np.array([QUERY]) / 2)[0]
    copy, affine = copied(rng, query, state, scale, degrees, np.array(STORED) / 2 - middle)
    query = together(query, random_points(rng, outliers, QUERY))
    stored = together(random_points(rng, outliers, STORED), copy)
    found = find_overlap(query, QUERY, stored, STORED)
    assert found is not None
    assert found.state == STATES[state]
    assert farthest_off(found.homography[:2], affine, QUERY) < 1e-3
    assert farthest_off(found.closely()[:2], affine, QUERY) < 1e-3
    paired = np.column_stack([np.arange(shared), outliers + np.arange(shared)])
    assert sorted(found.pairs.tolist()) == paired.tolist()
    # Places of which two fall on one of 256 x 256 count once.
    assert 0.8 * shared - 1 <= found.count <= shared


@pytest.mark.parametrize("seed", range(20))
def test_unrelated_keypoints_do_not_agree(seed):
    rng = np.random.default_rng(seed)
    assert (
        find_overlap(random_points(rng, 400, QUERY), QUERY, random_points(rng, 160, STORED), STORED) is None
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_same_hashes_at_unrelated_places_do_not_agree(seed):
    rng = np.random.default_rng(seed)
    query, stored = random_points(rng, 100, QUERY), random_points(rng, 100, STORED)
    assert find_overlap(query, QUERY, undoubted(query.codes, stored.places), STORED) is None


def test_pairs_are_places_of_both_in_whatever_order_they_come():
    rng = np.random.default_rng(3)
    query = random_points(rng, 30, QUERY)
    copy, _ = copied(rng, query, 1, 0.8, 30, (100, 50))
    order = rng.permutation(30)
    found = find_overlap(query, QUERY, undoubted(copy.codes[order], copy.places[order]), STORED)
    assert found.pairs.dtype == np.int64
    assert (order[found.pairs[:, 1]] == found.pairs[:, 0]).all()
    assert len(found.pairs) == 30
    np.testing.assert_allclose(
        mapped(found.homography[:2], query.places[found.pairs[:, 0]]),
        copy.places[order][found.pairs[:, 1], :2],
        atol=0.05,
    )


@pytest.mark.parametrize(("shared", "is_found"), [(LEAST_AGREEING - 1, False), (LEAST_AGREEING, True)])
def test_so_many_places_must_agree(shared, is_found):
    rng = np.random.default_rng(1)
    query = random_points(rng, shared, QUERY)
    copy, _ = copied(rng, query, 0, 1, 0, (50, 60))
    assert (find_overlap(query, QUERY, copy, STORED) is not None) == is_found


@pytest.mark.parametrize(
    ("near", "is_found"), [(0, False), (LEAST_PROPOSING - 1, False), (LEAST_PROPOSING, True)]
)
def test_so_many_of_them_must_be_so_near_that_an_index_proposes_them(near, is_found):
    rng = np.random.default_rng(1)
    points = random_points(rng, 20, QUERY)
    parts = first_of(points, near), undoubted(points.codes[near:], points.places[near:])
    copies = [
        copied(rng, part, 0, 1, 0, (50, 60), bits=bits)[0]
        for part, bits in zip(parts, (PROPOSING_BITS, PROPOSING_BITS + 1), strict=True)
    ]
    assert (find_overlap(points, QUERY, together(*copies), STORED) is not None) == is_found


@pytest.mark.parametrize("state", range(len(STATES)), ids=STATES)
@pytest.mark.parametrize(
    ("near", "is_found"), [(0, False), (LEAST_PROPOSING - 1, False), (LEAST_PROPOSING, True)]
)
def test_of_those_so_near_it_is_the_same_what_they_are_sure_of(near, is_found, state):
    rng = np.random.default_rng(1)
    points = random_points(rng, 20, QUERY)
    copy, _ = copied(rng, points, state, 1, 0, (50, 60), bits=1)
    different = points.codes ^ TURNED[state] ^ copy.codes
    sure = np.where(np.arange(len(points)) < near, ~different, different)
    order = rng.permutation(len(points))
    shuffled = undoubted(copy.codes[order], copy.places[order])
    found = find_overlap(replace(points, sure=sure), QUERY, shuffled, STORED)
    assert (found is not None) == is_found


def test_those_so_near_must_agree_themselves():
    rng = np.random.default_rng(1)
    points = random_points(rng, 20, QUERY)
    copy, _ = copied(rng, points, 0, 1, 0, (50, 60), bits=PROPOSING_BITS + 1)
    near = random_points(rng, 6, QUERY)
    elsewhere = undoubted(near.codes, random_points(rng, 6, STORED).places)
    assert find_overlap(together(points, near), QUERY, together(copy, elsewhere), STORED) is None


@pytest.mark.parametrize(("bits", "count"), [(AGREEING_BITS, 20), (AGREEING_BITS + 1, 6)])
def test_pairs_farther_apart_do_not_agree(bits, count):
    rng = np.random.default_rng(1)
    points = random_points(rng, 20, QUERY)
    parts = first_of(points, 6), undoubted(points.codes[6:], points.places[6:])
    copies = [
        copied(rng, part, 0, 1, 0, (50, 60), bits=b)[0] for part, b in zip(parts, (0, bits), strict=True)
    ]
    found = find_overlap(points, QUERY, together(*copies), STORED)
    assert len(found.pairs) == count
    assert found.count == count


@pytest.mark.parametrize("doubled", ["query", "stored", "both"])
def test_a_place_given_several_times_counts_once(doubled):
    """One place has a keypoint for each of its orientations, of which codes and angles differ."""
    rng = np.random.default_rng(2)
    points = random_points(rng, LEAST_AGREEING - 1, QUERY)
    copy, _ = copied(rng, points, 0, 1.2, 10, (50, 60))
    query = points if doubled == "stored" else together(points, points, points)
    stored = copy if doubled == "query" else together(copy, copy, copy)
    assert find_overlap(query, QUERY, stored, STORED) is None
    one = random_points(rng, 1, QUERY)
    other, _ = copied(rng, one, 0, 1.2, 10, (50, 60))
    found = find_overlap(together(query, one), QUERY, together(stored, other), STORED)
    assert found.count == LEAST_AGREEING


def test_many_keypoints_in_one_place_of_one_picture_are_no_overlap():
    """As many as there are in the other one: of both, the fewer places count."""
    rng = np.random.default_rng(2)
    points = random_points(rng, 12, QUERY)
    copy, _ = copied(rng, points, 0, 1, 0, (50, 60))
    query, stored = points.places.copy(), copy.places.copy()
    query[:, :2] = 200 + np.indices((3, 4)).reshape(2, 12).T * 2.2  # 12 cells of 2 pixels
    stored[:, :2] = 300  # one
    assert find_overlap(undoubted(points.codes, query), (512, 512), undoubted(copy.codes, query), (512, 512))
    for first, second in ((query, stored), (stored, query)):
        pair = undoubted(points.codes, first), undoubted(copy.codes, second)
        assert find_overlap(pair[0], (512, 512), pair[1], (512, 512)) is None


@pytest.mark.parametrize(("many", "others"), [(0, 0), (0, 30), (30, 0), (1, 1)])
def test_without_keypoints_there_is_no_overlap(many, others):
    rng = np.random.default_rng(1)
    query, stored = random_points(rng, many, QUERY), random_points(rng, others, STORED)
    assert find_overlap(query, QUERY, stored, STORED) is None


def test_the_state_that_most_agree_on_is_told():
    """A collage of a photo and its mirror image: here more of the mirror image is left."""
    rng = np.random.default_rng(8)
    query = random_points(rng, 60, QUERY)
    plain, _ = copied(rng, first_of(query, 12), 0, 0.5, 0, (0, 0))
    mirrored, affine = copied(rng, query, 1, 0.5, 0, (300, 0))
    for stored in (together(plain, mirrored), together(mirrored, plain)):
        found = find_overlap(query, QUERY, stored, STORED)
        assert found.state == "mirrored"
        assert farthest_off(found.homography[:2], affine, QUERY) < 1e-3


@pytest.mark.parametrize("share", [0.9, 1.1])
@pytest.mark.parametrize("limit", ["place", "size", "angle"])
def test_what_is_farther_off_than_agreement_allows_does_not_agree(limit, share):
    """3 % of the stored picture's side, half an octave, 18 degrees."""
    rng = np.random.default_rng(4)
    points = random_points(rng, 16, QUERY)
    copy, _ = copied(rng, points, 0, 1, 0, (50, 60))
    ways = np.array([0] * 8 + [share] * 4 + [-share] * 4, np.float32)
    if limit == "place":
        copy.places[:, 0] += ways * np.float32(0.03 * max(STORED))
    elif limit == "size":
        copy.places[:, 2] *= 2 ** (0.5 * ways)
    else:
        copy.places[:, 3] += ways * np.float32(np.deg2rad(18))
    found = find_overlap(points, QUERY, copy, STORED)
    assert found.pairs[:, 0].tolist() == list(range(16 if share < 1 else 8))


def test_one_hash_all_over_both_pictures_is_no_overlap():
    """All 160,000 pairs are within the radius."""
    rng = np.random.default_rng(1)
    query, stored = random_points(rng, 400, QUERY), random_points(rng, 400, STORED)
    codes = np.full(400, 7, np.uint64)
    query, stored = undoubted(codes, query.places), undoubted(codes, stored.places)
    assert find_overlap(query, QUERY, stored, STORED) is None


def test_of_too_many_pairs_the_nearest_are_kept():
    """A copy is found among 200 keypoints of one hash in both: pairs of those are farther apart."""
    rng = np.random.default_rng(1)
    query = random_points(rng, 20, QUERY)
    copy, affine = copied(rng, query, 0, 0.7, 20, (150, 50), bits=1)
    crowd, other = random_points(rng, 200, QUERY), random_points(rng, 200, STORED)
    crowd.codes[:] = 7
    other.codes[:] = 1
    found = find_overlap(together(crowd, query), QUERY, together(other, copy), STORED)
    assert found.count >= 20
    assert farthest_off(found.homography[:2], affine, QUERY) < 0.01


def test_150_nearer_pairs_that_agree_on_nothing_hide_no_copy():
    rng = np.random.default_rng(1)
    query, decoys = random_points(rng, 20, QUERY), random_points(rng, 150, QUERY)
    copy, affine = copied(rng, query, 0, 0.7, 20, (150, 50), bits=PROPOSING_BITS)
    elsewhere = undoubted(decoys.codes, random_points(rng, 150, STORED).places)
    found = find_overlap(together(decoys, query), QUERY, together(elsewhere, copy), STORED)
    assert found.count >= 20
    assert farthest_off(found.homography[:2], affine, QUERY) < 0.01


def test_given_keypoints_stay_as_they_are():
    rng = np.random.default_rng(1)
    query = random_points(rng, 30, QUERY)
    copy, _ = copied(rng, query, 3, 1, 0, (0, 0))
    before = [part.copy() for each in (query, copy) for part in (each.codes, each.places)]
    for part in (query.codes, query.places, copy.codes, copy.places):
        part.flags.writeable = False
    assert find_overlap(query, QUERY, copy, STORED).state == STATES[3]
    after = [part for each in (query, copy) for part in (each.codes, each.places)]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("sliced", ["query", "stored"])
def test_every_other_keypoint_is_searched_too(sliced):
    """Arrays that are no longer contiguous."""
    rng = np.random.default_rng(1)
    query = random_points(rng, 40, QUERY)
    stored, _ = copied(rng, query, 1, 0.7, 30, (200, 100))
    if sliced == "query":
        query = undoubted(query.codes[::2], query.places[::2])
    else:
        stored = undoubted(stored.codes[::2], stored.places[::2])
    assert find_overlap(query, QUERY, stored, STORED).pairs.shape == (20, 2)


@pytest.mark.parametrize("noise", [0, 0.3])
def test_keypoints_on_a_line_tell_how_the_picture_lies(noise):
    rng = np.random.default_rng(3)
    points = random_points(rng, 12, QUERY)
    points.places[:, 0] = np.linspace(20, 480, 12)
    points.places[:, 1] = 200 + rng.normal(0, noise, 12)
    copy, affine = copied(rng, points, 0, 0.9, 12, (60, 40))
    copy.places[:, :2] += rng.normal(0, noise, (12, 2))
    found = find_overlap(points, QUERY, copy, STORED)
    assert found.count == 12
    assert farthest_off(found.homography[:2], affine, QUERY) < 0.05


def test_a_line_of_text_tells_how_its_page_lies():
    page = Image.new("L", (512, 400), "white")
    font = ImageFont.load_default(32)
    ImageDraw.Draw(page).text((30, 180), "Claim 4711: damage to kitchen", font=font, fill="black")
    affine = similarity(0.6, 20, (60, 20))
    copy = placed_on((512, 512), page, affine, fill=255)
    found = find_overlap(keypoints(page), page.size, keypoints(copy), copy.size)
    assert found.count >= LEAST_AGREEING
    assert farthest_off(found.homography[:2], affine, page.size) < 0.05


# --- copies of photos ---


@cache
def small(name):
    picture = photo(name).copy()
    picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
    return picture


@cache
def points_of(name):
    return keypoints(small(name).convert("L"))


def placed_on(canvas, picture, affine, fill=(128, 128, 128)):
    """The picture put on a canvas by an affine map."""
    back = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2].ravel().tolist()
    return picture.transform(canvas, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC, fillcolor=fill)


def edits(picture):
    """Copies by name: what became of it, where it is, and in which state it is found."""
    width, height = picture.size
    mirror = np.array([[-1.0, 0, width], [0, 1, 0]])
    left, top = 0.2 * width // 1, 0.25 * height // 1
    cut = picture.crop((int(left), int(top), int(0.9 * width), int(0.95 * height)))
    turned = similarity(0.8, 25, (140, 20))
    half = width // 2, height // 2
    halved = np.array([[half[0] / width, 0, 0], [0, half[1] / height, 0]])
    lower = round(0.85 * height)
    stretched = np.array([[1.0, 0, 0], [0, lower / height, 0]])
    crop = np.array([[1.0, 0, -left], [0, 1, -top]])
    upright = np.array([[0.0, 1, 0], [-1, 0, width]])
    return {
        "itself": (picture, np.eye(2, 3), 0),
        "turned": (placed_on((512, 512), picture, turned), turned, 0),
        "upright": (picture.transpose(Image.Transpose.ROTATE_90), upright, 0),
        "half": (picture.resize(half, Image.Resampling.LANCZOS), halved, 0),
        "stretched": (picture.resize((width, lower), Image.Resampling.LANCZOS), stretched, 0),
        "crop": (cut, crop, 0),
        "mirror": (ImageOps.mirror(picture), mirror, 1),
        "flip": (ImageOps.flip(picture), np.array([[1.0, 0, 0], [0, -1, height]]), 1),
        "negative": (ImageOps.invert(picture), np.eye(2, 3), 2),
        "negative mirror": (ImageOps.invert(ImageOps.mirror(picture)), mirror, 3),
        "mirrored crop": (ImageOps.mirror(cut), np.array([[-1.0, 0, cut.width + left], [0, 1, -top]]), 1),
        "turned negative": (placed_on((512, 512), ImageOps.invert(picture), turned), turned, 2),
    }


EDITS = sorted(edits(Image.new("RGB", (64, 64))))


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_a_copy_of_a_photo_is_found_where_it_is(name, edit):
    picture = small(name)
    copy, affine, state = edits(picture)[edit]
    query, stored = points_of(name), keypoints(copy.convert("L"))
    found = find_overlap(query, picture.size, stored, copy.size)
    assert found is not None
    assert found.state == STATES[state]
    assert found.count >= 20
    assert farthest_off(found.homography[:2], affine, picture.size) < 0.015


@pytest.mark.parametrize("name", PHOTOS)
def test_different_photos_do_not_overlap(name):
    for other in set(PHOTOS) - {name}:
        sizes = small(name).size, small(other).size
        assert find_overlap(points_of(name), sizes[0], points_of(other), sizes[1]) is None


# --- tilted copies ---


def tilted(places, homography):
    moved = np.column_stack([places[:, :2], np.ones(len(places))]) @ homography.T
    return moved[:, :2] / moved[:, 2:]


@pytest.mark.parametrize("seed", range(5))
def test_a_tilted_copy_is_found_where_it_is(seed):
    """Far from its middle an affine map puts it up to 30 pixels wrong."""
    rng = np.random.default_rng(seed)
    query = random_points(rng, 60, QUERY)
    copy, affine = copied(rng, query, 0, 0.8, 10, (60, 20))
    true = np.vstack([affine, [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 1, 0], [2e-4, 3e-4, 1]])
    copy.places[:, :2] = tilted(query.places, true)
    stored = together(copy, random_points(rng, 60, STORED))
    found = find_overlap(together(query, random_points(rng, 60, QUERY)), QUERY, stored, STORED)
    np.testing.assert_allclose(tilted(query.places, found.homography), copy.places[:, :2], atol=0.5)


def test_close_pairs_are_those_that_lie_where_the_homography_says_and_are_as_large():
    rng = np.random.default_rng(4)
    query = random_points(rng, 40, QUERY)
    copy, affine = copied(rng, query, 0, 0.8, 10, (60, 20))
    homography = np.vstack([affine, [0, 0, 1]])
    region = np.array([[0, 0], [QUERY[0], 0], QUERY, [0, QUERY[1]]], np.float64)
    copy.places[:10, 0] += 3  # beside where they should be
    copy.places[10:15, 2] *= 2  # twice as large
    copy.codes[15:18] = ~copy.codes[15:18]  # another hash
    overlap = find_overlap(query, QUERY, copy, STORED)
    found = close_pairs(overlap, homography, query, copy, region, 512)
    assert sorted(found.tolist()) == [[number, number] for number in range(18, 40)]
    elsewhere = homography + np.array([[0, 0, 50], [0, 0, 0], [0, 0, 0]])
    assert close_pairs(overlap, elsewhere, query, copy, region, 512).shape == (0, 2)
