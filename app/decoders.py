"""The decoding processes as the settings want them. Light to import: they start while the rest still loads."""

from app.imaging.limits import DecodeLimits
from app.imaging.pool import DecodePool
from app.settings import Settings


def start_decoders(settings: Settings) -> DecodePool:
    """Start the decoding processes of one worker, in the background."""
    return DecodePool(
        settings.decode_processes,
        decode_limits(settings),
        settings.max_queued_files,
        niceness=settings.decode_niceness,
    )


def decode_limits(settings: Settings) -> DecodeLimits:
    """Return what decoding one file may cost."""
    return DecodeLimits(
        max_file_bytes=settings.max_file_bytes,
        max_pixels=settings.max_pixels,
        cpu_seconds=settings.decode_cpu_seconds,
        wall_seconds=settings.decode_wall_seconds,
        memory_bytes=settings.decode_memory_bytes,
        allow_avif=settings.allow_avif,
        allow_heic=settings.allow_heic,
        keep_gps=settings.keep_gps,
    )
