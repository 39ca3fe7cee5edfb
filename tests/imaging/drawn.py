"""Pictures drawn for the tests, as files in memory."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def scene(width=640, height=480, seed=1):
    """A picture with large and small structure, unlike itself in any other orientation."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, name, **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def png(width, height, *, depth=8, colour=0, extra=b"", rows=None):
    """A PNG of zeros that is built row by row, so that a bomb costs the test no memory."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes(1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_with_scans(extra, size=(160, 120)):
    """A flat progressive JPEG whose last scan, a few bytes for any size, is repeated `extra` times."""
    whole = encoded(Image.new("RGB", size, "teal"), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * extra + b"\xff\xd9"


def gif_with_frames(frames):
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0" + frame * frames + b";"
