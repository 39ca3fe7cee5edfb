"""Zip archives: all packings, and all that is wrong with them."""

import errno
import io
import stat
import struct
import zipfile

import pytest

from app.errors import BrokenPicture, Unavailable, UnsupportedFormat
from app.sources.containers import contents_of
from app.sources.found import Refused, Skipped
from app.sources.limits import MIB
from tests.sources.made import Bytes, contents, found, jpeg, refused, zipped

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_members_of_each_packing_are_read(method) -> None:
    items = contents(zipped([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))], method))
    assert [item.data for item in found(items)] == [jpeg(1), jpeg(2)]


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_checksum_is_refused_and_the_next_member_taken(method) -> None:
    data = bytearray(zipped([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))], method))
    directory = data.index(b"PK\x01\x02")
    data[directory + 16] ^= 1
    data[14] ^= 1
    items = contents(bytes(data))
    assert [type(item) for item in items] == [Refused, type(items[1])]
    assert "CRC" in items[0].error.message
    assert items[1].data == jpeg(2)


def test_a_disk_that_fails_at_a_member_is_no_fault_of_the_archive() -> None:
    data = zipped([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))])
    bad = data.index(b"PK\x03\x04", 4)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == bad:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    class Source(Bytes):
        def open(self) -> io.BytesIO:
            return Failing(self.data)

    items = list(contents_of(Source(data)))
    assert items[0].data == jpeg(1)
    assert isinstance(items[1].error, Unavailable)


def test_names_that_are_not_unicode_are_text() -> None:
    data = bytearray(zipped([("xb.jpg", jpeg())]))
    for at in (data.index(b"xb.jpg"), data.rindex(b"xb.jpg")):
        data[at] = 0x81  # ü in code page 437
    assert found(contents(bytes(data)))[0].where == "input > üb.jpg"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_both_taken() -> None:
    items = found(contents(zipped([("a.jpg", jpeg(1)), ("a.jpg", jpeg(2))])))
    assert [(item.data, item.steps[0].position) for item in items] == [(jpeg(1), 1), (jpeg(2), 2)]


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "..\\a.jpg", "C:\\a.jpg"])
def test_a_name_that_leads_out_is_refused_and_the_next_member_taken(name) -> None:
    items = contents(zipped([(name, jpeg(1)), ("b.jpg", jpeg(2))]))
    assert "leads out" in refused(items)[0].error.message
    assert [item.data for item in found(items)] == [jpeg(2)]


def test_folders_are_no_members_and_links_are_skipped() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("folder")
        link = zipfile.ZipInfo("link.jpg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    (item,) = contents(file.getvalue())
    assert isinstance(item, Skipped)
    assert item.where == "input > link.jpg"


def test_an_encrypted_member_is_refused_and_the_next_one_taken() -> None:
    data = bytearray(zipped([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    items = contents(bytes(data))
    assert isinstance(items[0].error, UnsupportedFormat)
    assert "encrypted" in items[0].error.message
    assert items[1].data == jpeg(2)


def test_an_unknown_packing_is_refused() -> None:
    data = bytearray(zipped([("a.jpg", jpeg(1))]))
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 9  # deflate64
    (item,) = contents(bytes(data))
    assert isinstance(item.error, UnsupportedFormat)


def test_a_truncated_archive_is_refused() -> None:
    whole = zipped([("a.jpg", jpeg(1))])
    (item,) = contents(whole[: len(whole) // 2])
    assert isinstance(item.error, BrokenPicture)
    assert "not whole" in item.error.message


def test_an_empty_archive_has_no_members() -> None:
    assert contents(zipped([])) == []


def test_an_archive_with_a_comment_is_read() -> None:
    assert found(contents(zipped([("a.jpg", jpeg())], comment=b"x" * 0xFFFF)))


def overlapping(kernel: bytes, count: int) -> bytes:
    """An archive whose members all are one and the same data."""
    one = zipped([("a.jpg", kernel)])
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    entry = one[start:end]
    finish = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, count * len(entry), start, 0)
    return one[:start] + entry * count + finish


def test_members_that_share_their_bytes_are_refused() -> None:
    items = contents(overlapping(b"\xff\xd8\xff" + bytes(MIB), 50))
    assert len(refused(items)) == 50
    assert "overlaps" in items[0].error.message


def test_a_directory_of_more_members_than_allowed_is_refused_before_it_is_read() -> None:
    data = overlapping(jpeg(), 5000)
    (item,) = contents(data, max_members=4999)
    assert item.error.limit == 4999


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_of_a_dense_packing_takes_little_memory(method) -> None:
    import tracemalloc

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, archive.open("a.jpg", "w") as member:
        member.write(b"\xff\xd8\xff")
        for _ in range(300):
            member.write(bytes(MIB))
    tracemalloc.start()
    try:
        (item,) = contents(file.getvalue(), max_file_bytes=2 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert item.error.limit == 2 * MIB
    assert peak < 30 * MIB


def test_an_lzma_member_that_asks_for_a_huge_dictionary_is_refused() -> None:
    data = bytearray(zipped([("a.jpg", jpeg())], zipfile.ZIP_LZMA))
    at = data.index(b"a.jpg") + len("a.jpg") + 4
    struct.pack_into("<L", data, at + 1, 1 << 31)
    (item,) = contents(bytes(data))
    assert "dictionary" in item.error.message


def test_a_long_archive_in_the_64_bit_form_is_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as member:
        member.write(jpeg())
    assert found(contents(file.getvalue()))[0].data == jpeg()
