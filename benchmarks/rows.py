"""Drawn images for the table: fingerprints of drawn pictures, stored as if they had been uploaded.

The pictures have the spectrum of photographs, so their hashes have chance neighbours as real ones do, which
random bits would not. One in thirty is a grainy copy of another. Stamps come from the table's own triggers.
"""

import multiprocessing
import os
import sys
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from io import StringIO
from itertools import repeat

import click
import numpy as np
from PIL import Image
from sqlalchemy import Engine, text

from app.catalog import images
from app.catalog.models import signed
from app.catalog.segments import COLUMNS as SEGMENT_COLUMNS
from app.catalog.segments import column_values
from app.fingerprints.keypoint_value import STORED, Keypoints
from app.fingerprints.keypoints import keypoints
from app.fingerprints.pattern import pattern
from app.fingerprints.value import WHOLE_IMAGE_HASHES, colour_code_to_bytes, turned_to_bytes
from app.fingerprints.version import FINGERPRINT_VERSION
from app.fingerprints.whole import fingerprint
from benchmarks.pictures import DATA, drawn_pixels
from benchmarks.sets import photo_keypoints, turned

SIDE = 64
ROWS_PER_CHUNK = 500
COPIES = 1 / 30
GRAIN = 3.0
IMAGES_PER_CLAIM = 3
COLUMNS = (
    "image_id",
    "claim_id",
    "file_name",
    "sha256",
    "pixel_sha256",
    "format",
    "width",
    "height",
    "byte_count",
    "status",
    *WHOLE_IMAGE_HASHES,
    "colorhash",
    "colour_code",
    "page",
    "pattern",
    "keypoint_count",
    "verifier",
    "turned",
    "fingerprint_version",
    "labels",
    "screened_at",
)
_NEW_SEGMENTS = (
    "CREATE TEMP TABLE new_segment (image_id uuid, ordinal smallint, hash bigint, turned bytea,"
    " x smallint, y smallint, width smallint, height smallint) ON COMMIT DROP"
)
_STORE_SEGMENTS = (
    "INSERT INTO segment SELECT created_seq, ordinal, hash, n.turned, x, y, n.width, n.height"
    " FROM new_segment n JOIN image USING (image_id)"
)

# A pattern takes ten times as long as all else: images have the tiles of one of so many.
PATTERNS = 256
_PATTERN_SIZE = (96, 128)
_NEW_PATTERNS = (
    "CREATE TEMP TABLE drawn_pattern (number integer, words bytea, tiles bytea, flat bytea, blocks bytea)"
)
_STORE_PATTERNS = (
    "INSERT INTO pattern_tiles"
    " SELECT created_seq, int8send(i.pattern) || substring(p.words, 9), tiles, flat, blocks"
    " FROM image i JOIN drawn_pattern p ON p.number = i.created_seq % :patterns"
    " WHERE i.created_seq > :after AND i.deleted_at IS NULL"
)

_KEYPOINT_SIZE = (384, 512)
_IMAGES_AFTER = text(
    "SELECT created_seq FROM image WHERE created_seq > :after AND deleted_at IS NULL ORDER BY created_seq"
)

# Of these, `multiply` makes others.
DRAWN = 3000
ROWS_PER_STATEMENT = 100_000
_DRAWN = (
    "CREATE TEMP TABLE drawn AS SELECT row_number() OVER (ORDER BY id) - 1 AS number, * FROM ("
    "SELECT * FROM image WHERE deleted_at IS NULL AND status = 'fingerprinted' AND claim_id LIKE 'drawn-%'"
    " ORDER BY id LIMIT :drawn) i"
)
_RANDOM = "random(-9223372036854775808, 9223372036854775807)"
# In the order of `COLUMNS`. What is indexed is drawn in ascending order: random places in four indexes larger than
# the server's buffers would take hours.
_MULTIPLIED = (
    "uuidv7()",
    f"'multiplied-' || n / {IMAGES_PER_CLAIM}",
    "n || '.jpg'",
    "int8send(n) || substring(sha256, 9)",
    "int8send(n) || substring(pixel_sha256, 9)",
    "format",
    "width",
    "height",
    "byte_count",
    "status",
    # A quarter of the bits is changed: no cluster around each drawn hash, and the habits of its bits are kept.
    *(f"{name} # ({_RANDOM} & {_RANDOM})" for name in WHOLE_IMAGE_HASHES),
    "colorhash",
    "colour_code",
    "page",
    _RANDOM,
    "0",
    "sha256(int8send(n))",
    "turned",
    "fingerprint_version",
    "labels",
    "screened_at",
)
_MULTIPLY = (
    f"INSERT INTO image ({', '.join(COLUMNS)}) SELECT {', '.join(_MULTIPLIED)}"
    " FROM generate_series(CAST(:first AS bigint), :last) n JOIN drawn"
    " ON number = n % (SELECT count(*) FROM drawn)"
)


def fill(engine: Engine, size: int) -> None:
    """Add drawn images until the table holds `size` live ones."""
    with engine.connect() as connection:
        held = images.count_live(connection)
        first = images.newest_seq(connection)
    if held >= size:
        return
    starts = range(first, first + size - held, ROWS_PER_CHUNK)
    with click.progressbar(
        _chunks(starts, first + size - held), length=len(starts), label="drawn images", file=sys.stderr
    ) as bar:
        for rows, segments in bar:
            with engine.begin() as connection:
                cursor = connection.connection.cursor()
                cursor.copy_expert(f"COPY image ({', '.join(COLUMNS)}) FROM STDIN", StringIO(rows))
                cursor.execute(_NEW_SEGMENTS)
                cursor.copy_expert("COPY new_segment FROM STDIN", StringIO(segments))
                cursor.execute(_STORE_SEGMENTS)
    _store_patterns(engine, first)
    store_keypoints(engine, first)
    _vacuum(engine)


def _store_patterns(engine: Engine, after: int) -> None:
    drawn = drawn_pixels(np.random.default_rng(after), PATTERNS, *_PATTERN_SIZE)
    patterns = [pattern(Image.fromarray(pixels)).to_bytes() for pixels in drawn]
    lines = [_line((number, *map(_bytea, parts))) for number, parts in enumerate(patterns)]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        cursor = connection.connection.cursor()
        cursor.execute(_NEW_PATTERNS)
        cursor.copy_expert("COPY drawn_pattern FROM STDIN", StringIO("".join(lines)))
        connection.execute(text(_STORE_PATTERNS), {"patterns": PATTERNS, "after": after})
        connection.execute(text("DROP TABLE drawn_pattern"))


def store_keypoints(engine: Engine, after: int) -> None:
    """Give images after a stamp the keypoints of photos by chance, or of drawn pictures; some bits are turned."""
    random = np.random.default_rng(after)
    sources = [points for points in _keypoints() if points.stored_count == STORED]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        seqs = connection.execute(_IMAGES_AFTER, {"after": after}).scalars().all()
        cursor = connection.connection.cursor()
        for first in range(0, len(seqs), ROWS_PER_CHUNK):
            lines = []
            for seq in seqs[first : first + ROWS_PER_CHUNK]:
                chosen = sources[random.integers(len(sources))]
                codes, places = replace(chosen, codes=turned(random, chosen.codes, chosen.sure)).to_bytes()
                lines.append(_line((seq, _bytea(codes), _bytea(places))))
            cursor.copy_expert("COPY image_keypoints FROM STDIN", StringIO("".join(lines)))


def _keypoints() -> list[Keypoints]:
    if (DATA / "photos").is_dir():
        return photo_keypoints()
    drawn = drawn_pixels(np.random.default_rng(0), PATTERNS, *_KEYPOINT_SIZE)
    return [keypoints(Image.fromarray(pixels).convert("L")) for pixels in drawn]


def multiply(engine: Engine, size: int) -> None:
    """Add images until the table holds `size` live ones: `DRAWN` drawn ones, and others made of them.

    Those have the width of real rows and hashes of their own, but neither segments nor keypoints. 10 million
    take some ten minutes.
    """
    fill(engine, min(size, DRAWN))
    with engine.connect() as connection:
        held = images.count_live(connection)
        first = images.newest_seq(connection)
    if held >= size:
        return
    starts = range(first, first + size - held, ROWS_PER_STATEMENT)
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET synchronous_commit = off"))
        connection.execute(text(_DRAWN), {"drawn": DRAWN})
        connection.execute(text("ANALYZE drawn"))
        connection.commit()
        with click.progressbar(starts, label="multiplied images", file=sys.stderr) as bar:
            for start in bar:
                last = min(start + ROWS_PER_STATEMENT, starts.stop) - 1
                connection.execute(text(_MULTIPLY), {"first": start, "last": last})
                connection.commit()
    engine.dispose()  # with it the settings
    _vacuum(engine)


def _vacuum(engine: Engine) -> None:
    """Leave the tables as autovacuum does those that have been there for a while."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM (ANALYZE) image, segment, pattern_tiles, image_keypoints"))


def _chunks(starts: range, end: int) -> Iterator[tuple[str, str]]:
    # A fresh interpreter each: forking would share this process's connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as processes:
        counts = [min(ROWS_PER_CHUNK, end - start) for start in starts]
        yield from processes.map(drawn_rows, starts, counts, repeat(SIDE))


def drawn_rows(first: int, count: int, side: int) -> tuple[str, str]:
    """Rows of images and of their segments in the text form of COPY, the same for the same `first`."""
    random = np.random.default_rng(first)
    pixels = drawn_pixels(random, count, side, side)
    for copy in np.flatnonzero(random.random(count) < COPIES):
        source = pixels[random.integers(count)]
        pixels[copy] = np.clip(source + random.normal(0, GRAIN, source.shape), 0, 255)
    found = [_row(random, first + place, picture) for place, picture in enumerate(pixels)]
    rows, segments = zip(*found, strict=True)
    return "".join(rows), "".join(segments)


def _row(random: np.random.Generator, number: int, picture: np.ndarray) -> tuple[str, str]:
    found = fingerprint(Image.fromarray(picture).convert("RGB"))
    image_id = uuid.UUID(bytes=random.bytes(16), version=4)
    values = (
        image_id,
        f"drawn-{number // IMAGES_PER_CLAIM}",
        f"{number}.jpg",
        _bytea(random.bytes(32)),
        _bytea(random.bytes(32)),
        "JPEG",
        1600,
        1200,
        300_000,
        found.information,
        *(signed(found.hashes[name]) for name in WHOLE_IMAGE_HASHES),
        found.colorhash,
        _bytea(colour_code_to_bytes(found.colour_code)),
        found.page,
        signed(int(random.integers(0, 1 << 64, dtype=np.uint64))),
        STORED,
        _bytea(found.verifier_bytes),
        _bytea(turned_to_bytes(found.turned)),
        FINGERPRINT_VERSION,
        "{}",
        "now",
    )
    segments = []
    for place, segment in enumerate(found.segments):
        columns = column_values(segment) | {"turned": _bytea(column_values(segment)["turned"])}
        segments.append((image_id, place, *(columns[name] for name in SEGMENT_COLUMNS)))
    return _line(values), "".join(map(_line, segments))


def _line(values: Iterable[object]) -> str:
    return "\t".join(map(str, values)) + "\n"


def _bytea(data: bytes) -> str:
    return rf"\\x{data.hex()}"
