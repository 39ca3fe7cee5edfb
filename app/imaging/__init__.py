"""Bytes -> safe, normalised pixels and their fingerprint, in processes that can be killed.

decoders    `Decoders`: what fingerprints files, wherever it does
pool        `DecodePool`: hands files to decoding processes, keeps their limits, replaces those that die
cluster     `ClusterDecoders`: the workers of a Dask cluster, with such a pool each
child       what runs in such a process: normalise, write the rendition, fingerprint, answer
bounds      how such a process bounds itself; protocol: the messages between the two
normalise   bytes -> `Normalised`, the one picture that all hashes are computed from
formats     the format by content, and whether the structure is fit to be decoded
exif        the few facts of EXIF that are kept
limits      `DecodeLimits`: what one file may cost
"""

from app.imaging.decoders import Decoders
from app.imaging.limits import DecodeLimits
from app.imaging.pool import DecodePool
from app.imaging.protocol import Fingerprinted

__all__ = ["DecodeLimits", "DecodePool", "Decoders", "Fingerprinted"]
