"""Keypoints: places of a picture that are found again in a part of it, each with a 64-bit hash of what is
around it.

A keypoint's descriptor (`keypoint_kernels`) less the mean of many is projected on 64 fixed directions at right
angles, and the signs are its hash. It has a place, a size and an angle of its own, so that a crop, a turned,
scaled or pasted copy has keypoints of nearly the same hashes, whose places tell where the copy is. Mirrored and
negative copies have them too: what their descriptors would be is these numbers in another order, and each direction
is one that this order leaves as it is or turns round. So some bits of the hash are the others, always the same
(`TURNED`), and two directions tell such copies from each other.
"""

import math
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.keypoint_kernels import (
    CELLS,
    DIRECTIONS,
    MOST_ORIENTATIONS,
    NUMBERS,
    describe_keypoints,
)
from app.fingerprints.keypoint_value import Floats, Keypoints
from app.fingerprints.scale_space_kernels import BLURRED, LAYERS, blur_layers, find_extrema

MOST = 400
"""Keypoints of a picture that is searched with. Of a pasted copy there is only its share of them; 600 found 0.3
% more of the hardest."""

_SIGMA = 1.6  # of the first layer, in pixels (Lowe, section 3.3)
_SIGMA_BEFORE = 0.5  # that a picture is blurred by as it comes
_LEAST_SIDE = 16  # pixels of an octave
_MOST_FOUND = 4000  # in an octave: of noise blown up threefold there are 530
_LEAST_STRENGTH = 0.34  # levels of grey: weak ones are what smooth surfaces have
_MOST_EDGE = 20.0
_SURE = 0.035  # of a value: a bit is the same in copies. Between copies values differ by 0.007, mostly
_PATCHES = 12  # along the long side: of each, many count less, so that no part of a picture has all


def keypoints(grey: Image.Image) -> Keypoints:
    """Find up to MOST keypoints of a picture of mode L, normalised or smaller; of a flat one there are none."""
    return _hashed(*describe(grey))


def describe(grey: Image.Image) -> tuple[Floats, Floats]:
    """Descriptors float32[k, NUMBERS] and places of keypoints, which `keypoints` makes hashes of."""
    pyramid = _pyramid(np.asarray(grey, np.float32))
    found = [_found_in(layers, octave) for octave, layers in enumerate(pyramid)]
    octaves = np.repeat(np.arange(len(found)), [len(each) for each in found])
    each = np.concatenate([np.empty((0, 5), np.float32), *found])
    order = _by_weight(each, octaves, max(grey.size))[:MOST]
    angles = np.empty((len(order), MOST_ORIENTATIONS), np.float32)
    descriptors = np.empty((len(order), MOST_ORIENTATIONS, NUMBERS), np.float32)
    counts = np.zeros(len(order), np.int64)
    for octave, layers in enumerate(pyramid):
        own = np.flatnonzero(octaves[order] == octave)
        if len(own):
            described = angles[own], descriptors[own], counts[own]
            describe_keypoints(layers, np.ascontiguousarray(each[order[own]][:, [0, 1, 2, 4]]), *described)
            angles[own], descriptors[own], counts[own] = described
    places = np.repeat(each[order][:, :3], counts, axis=0)
    factors = np.repeat(2.0 ** octaves[order], counts)[:, None]
    oriented = np.arange(MOST_ORIENTATIONS) < counts[:, None]
    places = np.concatenate(
        [places[:, :2] * factors + 0.5, 2 * places[:, 2:] * factors, angles[oriented][:, None]], axis=1
    ).astype(np.float32)
    return descriptors[oriented][:MOST], places[:MOST]


def _pyramid(picture: Floats) -> list[Floats]:
    """Octaves of blurred layers, float32[BLURRED, h, w], each of half the size of the one before."""
    octaves: list[Floats] = []
    while min(picture.shape) >= _LEAST_SIDE:
        layers = np.empty((BLURRED, *picture.shape), np.float32)
        blur_layers(np.ascontiguousarray(picture), layers, *_kernels(), not octaves)
        octaves.append(layers)
        picture = layers[LAYERS, ::2, ::2]
    return octaves


@cache
def _kernels() -> tuple[Floats, NDArray[np.int64]]:
    """Taps and radii as `blur_layers` takes them."""
    sigmas = [math.sqrt(_SIGMA**2 - _SIGMA_BEFORE**2)]
    for layer in range(1, BLURRED):
        before, own = (_SIGMA * 2 ** (number / LAYERS) for number in (layer - 1, layer))
        sigmas.append(math.sqrt(own**2 - before**2))
    radii = np.array([math.ceil(3.5 * sigma) for sigma in sigmas])
    offsets = np.arange(radii.max() + 1)
    taps = np.exp(-0.5 * (offsets / np.array(sigmas)[:, None]) ** 2) * (offsets <= radii[:, None])
    taps /= 2 * taps.sum(axis=1, keepdims=True) - taps[:, :1]
    return taps.astype(np.float32), radii.astype(np.int64)


def _found_in(layers: Floats, octave: int) -> Floats:
    """Extrema of an octave: x, y and sigma in its pixels, weight, layer; float32[n, 5]."""
    found = np.empty((_MOST_FOUND, 5), np.float32)
    found = found[: find_extrema(layers, _LEAST_STRENGTH, _MOST_EDGE, found)]
    # What two neighbours were refined to may be one and the same.
    _, firsts = np.unique(np.round(found[:, :3] * 8), axis=0, return_index=True)
    found = found[np.sort(firsts)]
    sigma = _SIGMA * 2 ** (found[:, 2] / LAYERS)
    found[:, 2] = sigma
    # Large ones are found again more often than strong ones: both count.
    found[:, 3] *= sigma * 2**octave
    return found


def _by_weight(found: Floats, octaves: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The order of keypoints, heaviest first, where the n-th of a patch of the picture has an n-th of its
    weight."""
    patches = np.floor(found[:, :2] * 2.0 ** octaves[:, None] * (_PATCHES / side)).astype(np.int64)
    patch = patches[:, 0] + _PATCHES * patches[:, 1]
    weights = found[:, 3]
    together = np.lexsort((-weights, patch))
    _, starts, counts = np.unique(patch[together], return_index=True, return_counts=True)
    ranks = np.empty(len(found), np.int64)
    ranks[together] = np.arange(len(found)) - np.repeat(starts, counts)
    return np.argsort(-weights / (1 + ranks), kind="stable")


def _hashed(descriptors: Floats, places: Floats) -> Keypoints:
    """Keypoints of descriptors float32[k, NUMBERS] and their places."""
    constants = _constants()
    values = (descriptors - constants.mean) @ constants.directions
    sizes = np.abs(values)
    doubts = sizes[:, :2] < constants.margins
    sure = sizes >= _SURE
    sure[:, :2] = ~doubts
    return Keypoints(
        _as_hashes(values > 0),
        places,
        doubts[:, 0].astype(np.uint8) | doubts[:, 1].astype(np.uint8) << np.uint8(1),
        _as_hashes(sure),
    )


def _as_hashes(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Numbers uint64[k] of bits bool[k, 64], the highest first."""
    return np.packbits(bits, axis=-1).view(">u8")[..., 0].astype(np.uint64)


def orders() -> list[NDArray[np.int64]]:
    """Where each number of a descriptor is found once the picture is as each of STATES says.

    Mirrored across the keypoint's own direction: rows and directions run the other way. A negative turns every
    gradient, and so the keypoint, by half a turn: rows and columns run the other way.
    """
    numbers = np.arange(NUMBERS).reshape(CELLS, CELLS, DIRECTIONS)
    mirrored = numbers[::-1, :, -np.arange(DIRECTIONS) % DIRECTIONS]
    negative = numbers[::-1, ::-1]
    return [each.ravel() for each in (numbers, mirrored, negative, mirrored[::-1, ::-1])]


class _Constants(NamedTuple):
    """What `benchmarks.keypoint_constants` made: the mean float32[NUMBERS], the directions float32[NUMBERS, 64],
    and below which values float32[2] of the first two there is doubt."""

    mean: Floats
    directions: Floats
    margins: Floats


@cache
def _constants() -> _Constants:
    with (
        resources.files("app.fingerprints").joinpath("keypoints.npz").open("rb") as file,
        np.load(file) as kept,
    ):
        return _Constants(*(kept[name] for name in _Constants._fields))
