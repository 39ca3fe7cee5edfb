"""Which small drift of the fingerprints a row was made with: the definitions never change under a name."""

import functools
from importlib import metadata

from PIL import features

# Raised when a new Pillow, libjpeg or FFT moves single bits of a hash; such values stay comparable. And when
# something is defined anew and what there was is forgotten (2: keypoints): a cluster's answers are checked by it.
FINGERPRINT_VERSION = 2

_PACKAGES = ("pillow", "numpy", "scipy", "PyWavelets")


@functools.cache
def library_versions() -> dict[str, str]:
    """Return versions of the libraries that a hash passes through, by name."""
    versions = {name.lower(): metadata.version(name) for name in _PACKAGES}
    return versions | {"jpeg": features.version("jpg") or "none"}
