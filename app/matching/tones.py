"""By how much pictures that were laid on each other differ in brightness, beyond what one tone curve tells.

Copies were made brighter, flatter, or squeezed at either end, all over; so the greys of one tell those of the
other, but for noise and what is stuck on. Of a thing photographed again, or of unlike pictures that share a form,
they do not.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS, _LEAST_TOLD = 8, 5  # of a curve; and blocks that a step is the median of
_STEEPEST = 3.0  # beyond its ends
_WHITE = 255.0
_USUAL_SPREAD = 25.0  # of greys, squared: what is flatter says little of how steep a line is


def residuals(own: Floats, other: Floats, alike: NDArray[np.bool_]) -> Floats:
    """Levels of grey, float64 of the same shape, by which each block is beside the curve that those `alike` tell.

    `own` and `other` are mean greys of blocks that lie on each other, NaN of those that do not, which stays;
    `alike` is true of one at least, and of none of those. The lesser of both directions counts: where one picture
    is all white, the other may have any of many greys.
    """
    there = abs(other - _told(own, own[alike], other[alike]))
    back = abs(own - _told(other, other[alike], own[alike]))
    return np.minimum(there, back)


def _told(greys: Floats, known: Floats, told: Floats) -> Floats:
    """What a curve through medians of the known greys, and of those told for them, tells for some greys; a line
    where they are few."""
    each = max(_LEAST_TOLD, len(known) // _STEPS)
    steps = len(known) // each
    if steps < 2:
        across, up = known.mean(keepdims=True), told.mean(keepdims=True)
        spread, common = ((known - across) ** 2).mean(), ((known - across) * (told - up)).mean()
        steepness = (common + _USUAL_SPREAD) / (spread + _USUAL_SPREAD)
    else:
        first = (len(known) - steps * each) // 2
        chosen = np.argsort(known)[first : first + steps * each].reshape(steps, each)
        across, up = np.median(known[chosen], axis=1), np.median(told[chosen], axis=1)
        steepness = (up[-1] - up[0]) / (across[-1] - across[0] + 1.0)
    beyond = np.minimum(greys - across[0], 0) + np.maximum(greys - across[-1], 0)
    steepness = min(max(float(steepness), 0.0), _STEEPEST)
    return np.asarray(np.clip(np.interp(greys, across, up) + steepness * beyond, 0.0, _WHITE))
