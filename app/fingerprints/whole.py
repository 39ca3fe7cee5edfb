"""The whole fingerprint of a picture: every hash, in all eight orientations where it has any."""

import numpy as np
from PIL import Image

from app.fingerprints.average import average_bits
from app.fingerprints.bits import words
from app.fingerprints.colour import colour_hash, colour_levels, thermometer
from app.fingerprints.daubechies import daubechies_bits
from app.fingerprints.difference import difference_bits
from app.fingerprints.information import information
from app.fingerprints.page import is_page
from app.fingerprints.perceptual import perceptual_bits
from app.fingerprints.reduction import reductions
from app.fingerprints.segments import segments
from app.fingerprints.value import FINGERPRINTED, Fingerprint
from app.fingerprints.wavelet import wavelet_bits


def fingerprint(image: Image.Image) -> Fingerprint:
    """Fingerprint a normalised picture (mode RGB).

    A row of `turned` is bit for bit what imagehash 4.3.2 gives for the turned picture: `average_hash`, `phash`,
    `dhash`, `whash(image_scale=64)`, `phash(hash_size=16)` as the verifier; but for the ninth column, which is
    defined in `daubechies`. `colorhash` and the segments are imagehash's too.
    """
    grey = image.convert("L")
    small = reductions(grey)
    turned = np.hstack(
        [
            words(average_bits(small.eight)),
            words(perceptual_bits(small.thirty_two, side=8)),
            words(difference_bits(small.nine)),
            words(wavelet_bits(small.sixty_four)),
            words(perceptual_bits(small.sixty_four, side=16)),
            words(daubechies_bits(small.sixty_four)),
        ]
    )
    levels = colour_levels(image)
    counts = np.array(grey.histogram())
    status = information(small.thirty_two[0], counts)
    return Fingerprint(
        turned=turned,
        colorhash=colour_hash(levels),
        colour_code=thermometer(levels),
        segments=segments(grey) if status == FINGERPRINTED else (),
        information=status,
        page=is_page(grey, counts),
    )
