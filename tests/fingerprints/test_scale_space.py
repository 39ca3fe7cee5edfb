"""Blurred layers and what stands out between them: the compiled loops against plain ones, and drawn blobs."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from app.fingerprints import keypoints
from app.fingerprints.scale_space_kernels import BLURRED, DIFFERENCES, LAYERS, blur_layers, find_extrema

BORDER = 5
STEPS = 5
ROOM = 5000


def blurred(picture, taps, radii, *, sharp=True):
    layers = np.full((BLURRED, *picture.shape), np.nan, np.float32)
    blur_layers(picture, layers, taps, radii, sharp)
    return layers


def plain_layers(picture, taps, radii, blur, *, sharp):
    """Each layer from the one before, in float64, by `blur(picture, kernel)`."""
    layers = [picture.astype(np.float64)]
    for row, radius in zip(taps.astype(np.float64), radii.tolist(), strict=True):
        half = row[1 : radius + 1]
        layers.append(blur(layers[-1], np.concatenate([half[::-1], row[:1], half])))
        if len(layers) == 2 and not sharp:
            layers[1] = layers[0]
    return np.array(layers[1:])


def mirror_blur(picture, kernel):
    across = ndimage.correlate1d(picture, kernel, axis=1, mode="mirror")
    return ndimage.correlate1d(across, kernel, axis=0, mode="mirror")


def once_mirrored_blur(picture, kernel):
    """Reflected once; what is farther out still is the last pixel there."""
    for _ in range(2):
        size, radius = picture.shape[1], len(kernel) // 2
        places = np.arange(-radius, size + radius)
        places = np.where(places < 0, -places, np.where(places >= size, 2 * size - 2 - places, places))
        padded = picture[:, np.clip(places, 0, size - 1)]
        picture = np.array([np.convolve(row, kernel, mode="valid") for row in padded]).T
    return picture


def some_taps(rng, radii):
    """Other taps than those of a bell: only the reflection makes them a kernel's."""
    taps = rng.random((BLURRED, max(radii) + 1))
    return (taps / (2 * taps.sum(axis=1, keepdims=True))).astype(np.float32), np.array(radii, np.int64)


some_radii = st.lists(st.integers(0, 9), min_size=BLURRED, max_size=BLURRED)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(16, 70), st.integers(16, 70), some_radii, st.booleans())
def test_layers_are_blurred_as_scipy_blurs_with_a_mirror_at_the_edges(seed, height, width, radii, sharp):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (height, width)).astype(np.float32)
    taps, radii = some_taps(rng, radii)
    expected = plain_layers(picture, taps, radii, mirror_blur, sharp=sharp)
    np.testing.assert_allclose(blurred(picture, taps, radii, sharp=sharp), expected, rtol=1e-5, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12), some_radii)
def test_pictures_smaller_than_the_radius_are_reflected_once(seed, height, width, radii):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (height, width)).astype(np.float32)
    taps, radii = some_taps(rng, radii)
    expected = plain_layers(picture, taps, radii, once_mirrored_blur, sharp=True)
    np.testing.assert_allclose(blurred(picture, taps, radii), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 16), (17, 90), (64, 19)])
def test_the_pyramids_own_layers_are_those_of_scipy(shape):
    picture = np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)
    taps, radii = keypoints._kernels()
    expected = plain_layers(picture, taps, radii, mirror_blur, sharp=True)
    octaves = keypoints._pyramid(picture)
    np.testing.assert_allclose(octaves[0], expected, rtol=1e-5, atol=1e-3)
    for finer, coarser in pairwise(octaves):
        expected = plain_layers(finer[LAYERS, ::2, ::2], taps, radii, mirror_blur, sharp=False)
        np.testing.assert_allclose(coarser, expected, rtol=1e-5, atol=1e-3)


def test_a_flat_picture_stays_as_bright_in_all_layers():
    for layers in keypoints._pyramid(np.full((97, 64), 200, np.float32)):
        np.testing.assert_allclose(layers, 200, rtol=1e-5)


def test_a_point_is_as_wide_in_each_layer_as_its_place_among_them_says():
    """A picture counts as blurred by half a pixel as it comes; each layer has 1.6 * 2^(layer / 3) in all."""
    picture = np.zeros((129, 129), np.float32)
    picture[64, 64] = 1000
    offsets = np.arange(129) - 64
    for octave, layers in enumerate(keypoints._pyramid(picture)[:2]):
        middle = layers.shape[1] // 2
        for layer in range(BLURRED):
            shares = layers[layer, middle] / layers[layer, middle].sum()
            spread = np.sqrt((shares * (offsets[32 * octave :][: len(shares)]) ** 2).sum())
            wanted = np.sqrt((1.6 * 2 ** (layer / LAYERS)) ** 2 - 0.25 / 4**octave)
            assert spread == pytest.approx(wanted, rel=0.02)


def parabola(around):
    """Gradient and curvatures, by x, y and layer, in the middle of 27 values."""

    def at(step):
        return around[1 + step[2]][1 + step[1]][1 + step[0]]

    steps = np.eye(3, dtype=int)
    gradient = [(at(step) - at(-step)) / 2 for step in steps]
    curved = [[Fraction(0)] * 3 for _ in steps]
    for row, first in enumerate(steps):
        curved[row][row] = at(first) + at(-first) - 2 * at(0 * first)
        for column, second in enumerate(steps[:row]):
            both, apart = first + second, first - second
            curved[row][column] = curved[column][row] = (at(both) + at(-both) - at(apart) - at(-apart)) / 4
    return gradient, curved


def offsets_of(gradient, curved):
    """Where the parabola has its extremum, by Cramer's rule; None where it has none."""
    whole = determinant(curved)
    if whole == 0:
        return None
    offsets = []
    for column in range(3):
        swapped = [
            [*row[:column], -slope, *row[column + 1 :]] for row, slope in zip(curved, gradient, strict=True)
        ]
        offsets.append(determinant(swapped) / whole)
    return offsets


def counts_as(value, curved, least, most_edge):
    """Whether an extremum is strong enough and no edge."""
    trace = curved[0][0] + curved[1][1]
    area = curved[0][0] * curved[1][1] - curved[0][1] ** 2
    return abs(value) >= least and area > 0 and trace**2 * most_edge < (most_edge + 1) ** 2 * area


def searched(shape, layer, y, x):
    height, width = shape[1:]
    return 1 <= layer <= LAYERS and BORDER <= x < width - BORDER and BORDER <= y < height - BORDER


def plain_refined(differences, layer, y, x, least, most_edge):
    """The extremum of a parabola, in fractions; None where there is none that counts."""
    for _ in range(STEPS):
        around = differences[layer - 1 : layer + 2, y - 1 : y + 2, x - 1 : x + 2].tolist()
        around = [[[Fraction(value) for value in row] for row in plane] for plane in around]
        gradient, curved = parabola(around)
        offsets = offsets_of(gradient, curved)
        if offsets is None:
            return None
        if all(abs(part) < Fraction(1, 2) for part in offsets):
            value = around[1][1][1] + sum(g * part for g, part in zip(gradient, offsets, strict=True)) / 2
            place = layer + offsets[2]
            refined = x + offsets[0], y + offsets[1], place, abs(value), min(max(round(place), 1), LAYERS)
            return [float(part) for part in refined] if counts_as(value, curved, least, most_edge) else None
        x, y, layer = x + round(offsets[0]), y + round(offsets[1]), layer + round(offsets[2])
        if not searched(differences.shape, layer, y, x):
            return None
    return None


def determinant(m):
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def plain_extrema(layers, least, most_edge):
    """All 26 neighbours of every place, in the order of layers, rows and columns."""
    differences = np.diff(layers.astype(np.float64), axis=0)
    largest = ndimage.maximum_filter(differences, 3)
    smallest = ndimage.minimum_filter(differences, 3)
    candidates = (differences == largest) & (differences > least / 2)
    candidates |= (differences == smallest) & (differences < -least / 2)
    found = []
    for layer, y, x in np.argwhere(candidates).tolist():
        if not searched(differences.shape, layer, y, x):
            continue
        around = differences[layer - 1 : layer + 2, y - 1 : y + 2, x - 1 : x + 2].ravel()
        if (around[:13] == around[13]).any():  # of equals the first one counts
            continue
        refined = plain_refined(differences, layer, y, x, least, most_edge)
        if refined is not None:
            found.append(refined)
    return np.array(found, np.float64).reshape(-1, 5)


def extrema(layers, least=0.34, most_edge=20.0, room=ROOM):
    found = np.full((room, 5), np.nan, np.float32)
    return found[: find_extrema(layers, least, most_edge, found)]


def smooth_layers(rng, height, width, *, smooth, step):
    """Layers whose differences are smooth and multiples of a step: floats hold them exactly, and some are equal."""
    differences = ndimage.gaussian_filter(
        rng.normal(size=(DIFFERENCES, height, width)), (0.6, smooth, smooth)
    )
    differences = np.rint(differences * (8 / np.abs(differences).max() / step)) * step
    return np.concatenate([np.zeros((1, height, width)), differences.cumsum(axis=0)]).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(11, 44),
    st.integers(11, 44),
    st.sampled_from([0.8, 1.5, 3.0]),
    st.sampled_from([1.0, 0.25, 1 / 64]),
    st.sampled_from([0.34, 2.3]),
    st.sampled_from([2.0, 5.0, 20.0]),
)
def test_extrema_are_those_of_the_plain_search(seed, height, width, smooth, step, least, most_edge):
    layers = smooth_layers(np.random.default_rng(seed), height, width, smooth=smooth, step=step)
    expected = plain_extrema(layers, least, most_edge)
    found = extrema(layers, least, most_edge)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_every_limit_of_the_search_leaves_something_out():
    """Else the comparison with the plain search would say nothing of it."""
    layers = smooth_layers(np.random.default_rng(3), 44, 44, smooth=1.5, step=1 / 64)
    counts = [len(extrema(layers, *limits)) for limits in ((0.01, 1e6), (2.3, 1e6), (0.01, 5.0), (0.01, 2.0))]
    assert counts[0] > counts[1] > 0
    assert counts[0] > counts[2] > counts[3] > 0


@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (10, 60), (60, 10), (11, 11), (3, 11), (9, 512)])
def test_nothing_is_found_in_what_is_all_border_or_hardly_more(shape):
    layers = np.random.default_rng(1).normal(0, 50, (BLURRED, *shape)).astype(np.float32)
    inner = max(shape[0] - 2 * BORDER, 0) * max(shape[1] - 2 * BORDER, 0)
    assert len(extrema(layers)) <= inner


@pytest.mark.parametrize("value", [0, 0.1, 255])
def test_a_constant_picture_has_no_extrema(value):
    for layers in keypoints._pyramid(np.full((80, 90), value, np.float32)):
        assert len(extrema(layers)) == 0


def test_a_slope_has_no_extrema():
    slope = np.add.outer(np.arange(90.0), 2 * np.arange(80.0)).astype(np.float32)
    for layers in keypoints._pyramid(slope):
        assert len(extrema(layers)) == 0


def bell(shape, x, y, sigma, height=100.0):
    rows, columns = np.indices(shape)
    return (100 + height * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2)).astype(
        np.float32
    )


@pytest.mark.parametrize("height", [100.0, -80.0])
@pytest.mark.parametrize(("x", "y", "sigma"), [(40.3, 35.8, 2.2), (50, 41, 2.6), (33.5, 44.5, 3.1)])
def test_a_blob_is_found_at_its_place_and_size_and_nothing_else_is(x, y, sigma, height):
    """Differences of two blurs, a factor of k = 2^(1/3) apart, are largest in it at sigma / sqrt(k); it comes
    blurred by half a pixel already."""
    layers = keypoints._pyramid(bell((90, 100), x, y, sigma, height))[0]
    (found,) = extrema(layers)
    wanted = np.sqrt((sigma**2 - 0.25) / 2 ** (1 / LAYERS))
    assert found[:2] == pytest.approx([x, y], abs=0.1)
    assert 1.6 * 2 ** (found[2] / LAYERS) == pytest.approx(wanted, rel=0.03)
    assert found[4] == np.clip(np.rint(found[2]), 1, LAYERS)


def test_a_bar_is_left_out_as_an_edge_and_counts_where_edges_do():
    rows, columns = np.indices((90, 90))
    bar = np.exp(-0.5 * ((columns - 45) ** 2 / 2.5**2 + (rows - 45) ** 2 / 25.0**2))
    layers = keypoints._pyramid((100 * bar).astype(np.float32))[0]
    assert len(extrema(layers, most_edge=20.0)) == 0
    found = extrema(layers, most_edge=1e6)
    assert np.hypot(found[:, 0] - 45, found[:, 1] - 45).min() < 0.1


def test_no_more_is_found_than_there_is_room_for_and_that_is_the_first():
    layers = smooth_layers(np.random.default_rng(4), 60, 60, smooth=1.0, step=1 / 64)
    every = extrema(layers)
    assert len(every) > 8
    for room in (0, 1, 7, len(every), len(every) + 1):
        found = np.full((room + 1, 5), -1, np.float32)
        count = find_extrema(layers, 0.34, 20.0, found[:room])
        assert count == min(room, len(every))
        assert (found[:count] == every[:count]).all()
        assert (found[count:] == -1).all()


def test_kernels_refuse_arrays_that_are_not_contiguous():
    layers = np.zeros((BLURRED, 40, 80), np.float32)
    with pytest.raises(TypeError):
        find_extrema(layers[:, :, ::2], 0.34, 20.0, np.empty((5, 5), np.float32))
    with pytest.raises(TypeError):
        blur_layers(layers[0, :, ::2], layers[:, :, :40].copy(), *keypoints._kernels(), True)
