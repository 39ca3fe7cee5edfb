"""Keypoints as bytes: the hashes as they were, the places nearly so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fingerprints.keypoint_value import STORED, Keypoints


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
    return Keypoints(rng.integers(0, 2**64, (count, 4), np.uint64), places.astype(np.float32))


@given(st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_the_first_come_back_with_their_hashes_and_nearly_their_places(count, seed):
    points = some(count, seed)
    kept = min(count, STORED)
    stored = points.to_bytes()
    assert [len(part) for part in stored] == [8 * kept, 4 * kept]
    found = Keypoints.from_bytes(*stored)
    np.testing.assert_array_equal(found.codes, points.codes[:STORED, :1])
    away = np.abs(found.places - points.places[:STORED])
    assert (away[:, :2] <= 0.501).all()
    assert (np.abs(np.log2(found.places[:, 2] / points.places[:STORED, 2])) <= 0.0501).all()
    assert (np.minimum(away[:, 3], 2 * np.pi - away[:, 3]) <= np.pi / 256 + 1e-5).all()
    assert found.to_bytes() == stored


def test_extreme_hashes_and_places_come_back():
    codes = np.array([[0], [2**64 - 1], [2**63]], np.uint64)
    places = np.array([[0, 0, 3, 0], [511.999, 511.999, 236, 6.28318], [0.5, 511.5, 1e6, 3.2]], np.float32)
    found = Keypoints(codes, places).stored
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
def test_all_come_back_whole_in_every_state(count, seed):
    points = some(count, seed)
    found = Keypoints.from_whole_bytes(*points.to_whole_bytes())
    np.testing.assert_array_equal(found.codes, points.codes)
    np.testing.assert_array_equal(found.places, points.places)


@pytest.mark.parametrize(("codes", "places"), [(31, 16), (32, 15), (8, 16), (0, 16), (64, 16)])
def test_other_numbers_of_whole_bytes_are_refused(codes, places):
    with pytest.raises(ValueError, match=r"hashes do not belong|cannot reshape"):
        Keypoints.from_whole_bytes(bytes(codes), bytes(places))
