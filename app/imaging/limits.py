"""What decoding one file may cost."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds on one file, and which formats and facts are taken from it; all sizes inclusive."""

    max_file_bytes: int = 25 * MIB
    max_pixels: int = 50_000_000
    """Width times height, as the header claims them."""
    max_jpeg_scans: int = 100
    """A camera writes 1, a progressive encoder about 10; 10 000 extra scans cost 51 s of CPU."""
    max_scanned_pixels: int = 600_000_000
    """Pixels times scans of a progressive JPEG: 50 megapixels in 12 scans, or 2 in a hundred."""
    max_png_chunks: int = 1000
    """A million text chunks cost 3.3 s and 209 MB. Image data in pieces of 1 KiB or more is not counted."""
    cpu_seconds: int = 10
    wall_seconds: float = 15.0
    memory_bytes: int = 1024 * MIB
    """Address space that one file may add to its process."""
    allow_avif: bool = False
    allow_heic: bool = False
    keep_gps: bool = False
