"""How the C library gives memory back."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_BYTES = 256 << 10


def give_large_blocks_back() -> None:
    """Have blocks of 256 KB and more returned to the system once they are freed; where that can be said.

    glibc puts larger and larger blocks, up to 32 MB, where small ones lie that stay: so memory that was read into,
    or that a search took, is never whole again. A scan grew by 60 KB a picture (docs/decisions/0018).
    """
    malloc_options = getattr(ctypes.CDLL(None), "mallopt", None)
    if malloc_options is not None:
        malloc_options(_MMAP_THRESHOLD, _BYTES)
        malloc_options(_TRIM_THRESHOLD, _BYTES)
