"""The whole-image fingerprint: four 64-bit hashes and the 256-bit verifier, in all eight orientations."""

import numpy as np
from PIL import Image

from app.fingerprints.average import average_bits
from app.fingerprints.bits import words
from app.fingerprints.difference import difference_bits
from app.fingerprints.information import information
from app.fingerprints.perceptual import perceptual_bits
from app.fingerprints.reduction import reductions
from app.fingerprints.value import Fingerprint
from app.fingerprints.wavelet import wavelet_bits


def fingerprint(image: Image.Image) -> Fingerprint:
    """The hashes of a normalised picture (mode RGB) and of its seven turned variants.

    Every row of the result is bit for bit what imagehash 4.3.2 gives for the turned picture:
    `average_hash`, `phash`, `dhash`, `whash(image_scale=64)`, and `phash(hash_size=16)` as the verifier.
    """
    small = reductions(image.convert("L"))
    turned = np.hstack(
        [
            words(average_bits(small.eight)),
            words(perceptual_bits(small.thirty_two, side=8)),
            words(difference_bits(small.nine)),
            words(wavelet_bits(small.sixty_four)),
            words(perceptual_bits(small.sixty_four, side=16)),
        ]
    )
    return Fingerprint(turned, information(small.thirty_two[0]))
