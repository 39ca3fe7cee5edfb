"""Tar archives, plain and packed."""

import gzip
import io
import lzma
import os
import random
import tarfile
from pathlib import Path

import pytest

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Skipped
from app.sources.limits import MIB
from tests.sources.made import contents, found, jpeg, refused, tarred, zipped

MODES = ["w:", "w:gz", "w:bz2", "w:xz"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", MODES)
def test_members_are_read_from_each_form_and_packing(mode, form) -> None:
    long = "/".join(["a" * 70] * 2) + "/ü.jpg"
    data = tarred([(long, jpeg(1)), ("text.txt", b"x" * 512), ("b.jpg", jpeg(2))], mode, format=form)
    items = contents(data, "claims.tar")
    assert [item.data for item in found(items)] == [jpeg(1), jpeg(2)]
    assert items[0].where == f"claims.tar > {long}"
    assert [item.steps[0].position for item in items] == [1, 2, 3]
    assert not refused(items)


@pytest.mark.parametrize("mode", MODES)
def test_a_nested_archive_is_read(mode) -> None:
    (photo,) = found(contents(zipped([("a.tgz", tarred([("b.jpg", jpeg())], mode))])))
    assert photo.data == jpeg()


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_archive_is_reported_after_what_came_before(mode) -> None:
    # bzip2 packs 900 kB at a time.
    members = [(f"{number}.jpg", jpeg() + random.Random(number).randbytes(90_000)) for number in range(60)]
    whole = tarred(members, mode)
    items = contents(whole[: len(whole) * 2 // 3])
    assert 0 < len(found(items)) < 60
    assert [item.data for item in found(items)[:3]] == [data for _, data in members[:3]]
    assert refused(items)


def test_an_archive_cut_between_two_members_is_reported() -> None:
    whole = tarred([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))])
    second = whole.index(b"b.jpg\0")
    items = contents(whole[:second])
    assert len(found(items)) == 1
    assert "end mark" in refused(items)[0].error.message


def test_a_header_that_makes_no_sense_is_reported() -> None:
    data = bytearray(tarred([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))]))
    data[data.index(b"b.jpg\0") + 150] ^= 0xFF
    items = contents(bytes(data))
    assert len(found(items)) == 1
    assert isinstance(refused(items)[0].error, BrokenPicture)


def with_a_link(kind: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("b.jpg")
        info.size = len(jpeg())
        archive.addfile(info, io.BytesIO(jpeg()))
    return file.getvalue()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_out_and_devices_are_refused_and_the_next_member_taken(kind) -> None:
    items = contents(with_a_link(kind))
    assert isinstance(refused(items)[0].error, UnsupportedFormat)
    assert len(found(items)) == 1


def test_symbolic_links_are_skipped_as_in_zip_archives() -> None:
    items = contents(with_a_link(tarfile.SYMTYPE))
    assert isinstance(items[0], Skipped)
    assert items[0].where == "input > a.jpg"
    assert [item.data for item in found(items)] == [jpeg()]


def linked(folder: Path, mode: str) -> bytes:
    """An archive, as tar writes it, of three names of one file among others."""
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    for number, name in enumerate(names):
        if name in {"b.jpg", "d.jpg"}:
            os.link(folder / "a.jpg", folder / name)
        else:
            (folder / name).write_bytes(jpeg(number))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            archive.add(folder / name, f"./KD-7/{name}")
    return file.getvalue()


def test_a_hard_link_is_the_content_that_it_is_for(tmp_path) -> None:
    items = contents(linked(tmp_path, "w:"))
    assert [item.data for item in found(items)] == [jpeg(number) for number in (0, 0, 2, 0, 4)]
    assert [item.file_name for item in items] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


def test_a_hard_link_in_a_packed_archive_is_refused(tmp_path) -> None:
    items = contents(linked(tmp_path, "w:gz"))
    assert [item.data for item in found(items)] == [jpeg(number) for number in (0, 2, 4)]
    assert [type(item.error) for item in refused(items)] == [UnsupportedFormat] * 2


def test_a_hard_link_to_a_hard_link_is_the_same_content() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as archive:
        info = tarfile.TarInfo("a.zip")
        data = zipped([("x.jpg", jpeg(1))])
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
        for name, target in (("b.zip", "./a.zip"), ("c.zip", "b.zip")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            archive.addfile(link)
    items = contents(file.getvalue())
    assert [item.where for item in items] == [f"input > {name}.zip > x.jpg" for name in "abc"]
    assert [item.data for item in found(items)] == [jpeg(1)] * 3


def test_hard_links_are_counted_as_what_they_unpack_to() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(jpeg()) + MIB
        archive.addfile(info, io.BytesIO(jpeg() + bytes(MIB)))
        for number in range(100):
            link = tarfile.TarInfo(f"{number}.jpg")
            link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
            archive.addfile(link)
    items = contents(file.getvalue(), max_unpacked_bytes=20 * MIB, max_unpacked_ratio=1)
    assert len(found(items)) == 19
    assert refused(items)[-1].error.limit == 20 * MIB


def test_a_name_that_leads_out_is_refused() -> None:
    items = contents(tarred([("../a.jpg", jpeg(1)), ("/b.jpg", jpeg(1)), ("c.jpg", jpeg(2))]))
    assert len(refused(items)) == 2
    assert len(found(items)) == 1


def test_a_sparse_member_is_refused() -> None:
    data = bytearray(tarred([("a.jpg", jpeg())], format=tarfile.GNU_FORMAT))
    data[156:157] = tarfile.GNUTYPE_SPARSE
    checksum = sum(data[:148]) + sum(data[156:512]) + 8 * 32
    data[148:156] = b"%06o\0 " % checksum
    items = contents(bytes(data))
    assert "sparse" in refused(items)[0].error.message


def test_a_packed_file_that_is_no_archive_is_refused() -> None:
    for packed in (gzip.compress(jpeg()), lzma.compress(jpeg())):
        (item,) = contents(packed)
        assert isinstance(item.error, UnsupportedFormat)


def test_a_header_that_claims_gigabytes_of_attributes_is_refused() -> None:
    info = tarfile.TarInfo("attributes")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    bomb = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(20 * MIB))
    (item,) = refused(contents(bomb))
    assert item.error.limit == MIB


def test_what_lies_between_the_pictures_of_a_packed_archive_is_bounded_too() -> None:
    bomb = tarred([("zeros.txt", bytes(40 * MIB)), ("a.jpg", jpeg())], "w:gz")
    items = contents(bomb, max_unpacked_bytes=20 * MIB, max_unpacked_ratio=1)
    assert not found(items)
    assert refused(items)[-1].error.limit == 20 * MIB


def test_an_archive_of_xz_files_one_after_the_other_is_read() -> None:
    plain = tarred([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))])
    packed = lzma.compress(plain[:700]) + lzma.compress(plain[700:])
    assert len(found(contents(packed))) == 2
