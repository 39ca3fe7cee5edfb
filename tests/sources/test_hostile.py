"""Damage of any kind gives items, never an exception, a hang, or memory that grows."""

import resource
import time
import zipfile
from functools import cache

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.sources.containers import contents_of
from app.sources.found import Found, Refused, Skipped
from app.sources.limits import MIB, Limits
from tests.pictures import drawn, encoded
from tests.sources.made import Bytes, contents, found, jpeg, letter, outlook, pdf, refused, tarred, zipped

LIMITS = Limits(
    max_file_bytes=MIB, max_nested_bytes=4 * MIB, max_unpacked_bytes=16 * MIB, max_message_bytes=4 * MIB
)


@cache
def whole(kind: str) -> bytes:
    members = [("a.jpg", jpeg(1)), ("notes.txt", b"text " * 40), ("b.jpg", jpeg(2))]
    nested = [*members, ("c.zip", zipped(members)), ("d.eml", bytes(letter(members)))]
    return {
        "zip": lambda: zipped(nested),
        "zip of bzip2": lambda: zipped(nested, zipfile.ZIP_BZIP2),
        "zip of lzma": lambda: zipped(nested, zipfile.ZIP_LZMA),
        "tar": lambda: tarred(nested),
        "tar.gz": lambda: tarred(nested, "w:gz"),
        "tar.bz2": lambda: tarred(nested, "w:bz2"),
        "tar.xz": lambda: tarred(nested, "w:xz"),
        "eml": lambda: bytes(letter(nested)),
        "msg": lambda: outlook(nested, [("e.msg", outlook(members))]).to_bytes(),
        "pdf": lambda: pdf([[jpeg(1), encoded(drawn(3), "PNG")], [jpeg(2)]]),
    }[kind]()


KINDS = ["zip", "zip of bzip2", "zip of lzma", "tar", "tar.gz", "tar.bz2", "tar.xz", "eml", "msg", "pdf"]


def check(data: bytes, pdfs) -> list:
    started = time.monotonic()
    items = list(contents_of(Bytes(data, "input"), LIMITS, pdfs))
    assert all(isinstance(item, Found | Refused | Skipped) for item in items)
    assert all("\n" not in item.where for item in items)
    assert time.monotonic() - started < 20
    return items


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_has_nothing_to_report(kind, pdfs) -> None:
    items = check(whole(kind), pdfs)
    assert {item.data for item in found(items)} >= {jpeg(1), jpeg(2)}
    assert not refused(items)


@pytest.mark.parametrize("kind", KINDS)
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_cut_off_is_reported(kind, data, pdfs) -> None:
    good = whole(kind)
    length = data.draw(st.integers(1024 if kind == "pdf" else 600, len(good) - 1))
    items = check(good[:length], pdfs)
    if kind not in {"pdf", "eml", "tar"}:  # a PDF without its end is repaired; the others may lack zeros only
        assert refused(items)


@pytest.mark.parametrize("kind", KINDS)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_items(kind, data, pdfs) -> None:
    bad = bytearray(whole(kind))
    for _ in range(data.draw(st.integers(1, 12))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(bad), pdfs)


@pytest.mark.parametrize("kind", KINDS)
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pieces_in_another_order_give_items(kind, data, pdfs) -> None:
    good = whole(kind)
    start, end = sorted(data.draw(st.tuples(*[st.integers(1, len(good) - 1)] * 2)))
    check(good[:start] + good[end:] + good[start:end], pdfs)
    check(good[:end] + good[start:], pdfs)


@hypothesis_settings(max_examples=100)
@given(
    st.binary(max_size=2000),
    st.sampled_from([b"PK\x03\x04", b"%PDF-1.7", b"\x1f\x8b\x08", b"BZh9", b"From: x\n"]),
)
def test_noise_behind_a_mark_gives_items(noise, magic) -> None:
    if magic != b"%PDF-1.7":
        check(magic + noise, None)


def test_an_archive_that_holds_itself_ends() -> None:
    data = jpeg()
    for _ in range(30):
        data = zipped([("self.zip", data)])
    (item,) = contents(data)
    assert item.error.limit == 8


def test_the_bomb_of_archives_in_archives_ends_soon() -> None:
    layer = zipped([("0.jpg", b"\xff\xd8\xff" + bytes(MIB))])
    for _ in range(4):
        layer = zipped([(f"{number}.zip", layer) for number in range(16)])
    started = time.monotonic()
    items = contents(layer, max_unpacked_bytes=200 * MIB)
    assert items[-1].error.limit == 200 * MIB
    assert time.monotonic() - started < 30


def test_a_bomb_takes_little_memory() -> None:
    bomb = zipped([("a.zip", zipped([("b.jpg", b"\xff\xd8\xff" + bytes(400 * MIB))]))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (item,) = contents(bomb)
    assert item.error.limit == 25 * MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120 * 1024
