"""Keypoints as bytes: the hashes as they were, the places nearly so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fingerprints.keypoint_value import STORED, TURNED, WHOLE_BYTES, Keypoints, canonical


def some(count: int, seed: int) -> Keypoints:
    rng = np.random.default_rng(seed)
    places = np.stack(
        [
            rng.uniform(0, 512, count),
            rng.uniform(0, 512, count),
            3 * 2 ** rng.uniform(0, 6, count),
            rng.uniform(0, 2 * np.pi, count),
        ],
        axis=1,
    )
    codes, sure = rng.integers(0, 2**64, (2, count), np.uint64)
    return Keypoints(codes, places.astype(np.float32), rng.integers(0, 4, count, np.uint8), sure)


@given(st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_the_first_come_back_with_their_hashes_and_nearly_their_places(count, seed):
    points = some(count, seed)
    kept = min(count, STORED)
    stored = points.to_bytes()
    assert [len(part) for part in stored] == [8 * kept, 4 * kept]
    found = Keypoints.from_bytes(*stored)
    np.testing.assert_array_equal(found.codes, points.codes[:STORED])
    assert not found.doubts.any()
    away = np.abs(found.places - points.places[:STORED])
    assert (away[:, :2] <= 0.501).all()
    assert (np.abs(np.log2(found.places[:, 2] / points.places[:STORED, 2])) <= 0.0501).all()
    assert (np.minimum(away[:, 3], 2 * np.pi - away[:, 3]) <= np.pi / 256 + 1e-5).all()
    assert found.to_bytes() == stored


def test_extreme_hashes_and_places_come_back():
    codes = np.array([0, 2**64 - 1, 2**63], np.uint64)
    places = np.array([[0, 0, 3, 0], [511.999, 511.999, 236, 6.28318], [0.5, 511.5, 1e6, 3.2]], np.float32)
    found = Keypoints(codes, places, np.zeros(3, np.uint8), np.zeros(3, np.uint64)).stored
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_allclose(found.places[:, :2], [[0.5, 0.5], [511.5, 511.5], [0.5, 511.5]])
    assert found.places[1, 3] == 0  # a whole turn is none


@pytest.mark.parametrize(
    ("codes", "places"), [(1, 0), (8, 3), (8, 5), (7, 4), (16, 4), (8 * STORED + 8, 4 * STORED + 4)]
)
def test_other_numbers_of_bytes_are_refused(codes, places):
    with pytest.raises(ValueError, match=f"{codes} and {places} bytes"):
        Keypoints.from_bytes(bytes(codes), bytes(places))


@given(st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_all_come_back_whole(count, seed):
    points = some(count, seed)
    stored, sure = points.to_whole_bytes(), points.sure_to_bytes()
    assert len(stored) == WHOLE_BYTES * count
    found = Keypoints.from_whole_bytes(memoryview(stored), sure)
    np.testing.assert_array_equal(found.sure, points.sure)
    np.testing.assert_array_equal(found.first(7).sure, points.sure[:7])
    assert not Keypoints.from_whole_bytes(stored).sure.any()
    np.testing.assert_array_equal(found.codes, points.codes)
    np.testing.assert_array_equal(found.places, points.places)
    np.testing.assert_array_equal(found.doubts, points.doubts)


@pytest.mark.parametrize("length", [1, WHOLE_BYTES - 1, WHOLE_BYTES + 1])
def test_other_numbers_of_whole_bytes_are_refused(length):
    with pytest.raises(ValueError, match="buffer size must be a multiple"):
        Keypoints.from_whole_bytes(bytes(length))


@pytest.mark.parametrize("length", [0, 7, 16])
def test_what_is_sure_of_other_numbers_of_keypoints_is_refused(length):
    with pytest.raises(ValueError, match="sure of 1"):
        Keypoints.from_whole_bytes(bytes(WHOLE_BYTES), bytes(length))


def test_whole_bytes_with_doubts_about_what_is_no_state_are_refused():
    with pytest.raises(ValueError, match="more than the states"):
        Keypoints.from_whole_bytes(bytes(WHOLE_BYTES - 1) + b"\x04")


CODES = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1 << 62, 1 << 63, 3 << 62, 2**64 - 1])


@given(CODES)
def test_a_picture_so_changed_in_any_way_has_the_same_canonical_hash(code):
    hashes, states = canonical(np.uint64(code) ^ TURNED)
    assert len(set(hashes.tolist())) == 1
    assert int(hashes[0]) >> 62 == 0
    assert sorted(states.tolist()) == [0, 1, 2, 3]
    assert ((states ^ states[0]) == np.arange(4)).all()
    assert (hashes ^ TURNED[states]).tolist() == (np.uint64(code) ^ TURNED).tolist()


def test_what_two_states_turn_is_what_their_sum_turns():
    for one in range(4):
        for other in range(4):
            assert TURNED[one] ^ TURNED[other] == TURNED[one ^ other]
    assert [int(bits) >> 62 for bits in TURNED] == [0, 0b10, 0b01, 0b11]
