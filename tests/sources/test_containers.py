"""The way from an input to its pictures, through containers in any order."""

import io
import json
import zipfile

from app.errors import BrokenPicture, PictureTooLarge, Unavailable, UnsupportedFormat
from app.sources.containers import contents_of
from app.sources.found import Found, Refused, Skipped
from app.sources.limits import MIB
from tests.pictures import drawn, encoded
from tests.sources.made import (
    SENT_AT,
    Bytes,
    contents,
    found,
    jpeg,
    letter,
    outlook,
    pdf,
    refused,
    tarred,
    zipped,
)


def nested_mail() -> bytes:
    """A zip with an .eml with a zip with a .msg with a PDF with a JPEG."""
    report = pdf([[encoded(drawn(2), "PNG")], [jpeg(1)]])
    inner = outlook([("report.pdf", report)], subject="Inner").to_bytes()
    return zipped([("inbox/7.eml", bytes(letter([("mails.zip", zipped([("a/b.msg", inner)]))])))])


def test_a_picture_is_found_through_six_containers_with_the_bytes_it_was_put_in_with(pdfs) -> None:
    items = contents(nested_mail(), "mail.zip", pdfs)
    png, photo = found(items)
    assert photo.data == jpeg(1)
    assert png.data.startswith(b"\x89PNG")
    assert photo.where == "mail.zip > inbox/7.eml > mails.zip > a/b.msg > report.pdf > page 2, picture 1"
    assert [step.kind for step in photo.steps] == ["zip", "message", "zip", "message", "pdf"]
    assert photo.subject == "Inner"
    assert photo.sent_at == SENT_AT
    assert photo.file_name == "report.pdf, page 2, picture 1"
    assert not refused(items)


def test_the_source_of_a_picture_is_the_whole_way_as_json(pdfs) -> None:
    source = found(contents(nested_mail(), "mail.zip", pdfs))[1].source
    assert json.loads(json.dumps(source)) == {
        "path": "mail.zip",
        "within": [
            {"kind": "zip", "name": "inbox/7.eml", "position": 1},
            {
                "kind": "message",
                "subject": "Claim KD-7",
                "from": "Anna Müller <anna@example.org>",
                "sent_at": "2025-12-31T10:30:00+00:00",
                "name": "mails.zip",
                "position": 2,
            },
            {"kind": "zip", "name": "a/b.msg", "position": 1},
            {
                "kind": "message",
                "subject": "Inner",
                "from": "Anna Müller <anna@example.org>",
                "sent_at": "2025-12-31T10:30:00+00:00",
                "name": "report.pdf",
                "position": 1,
            },
            {"kind": "pdf", "page": 2, "position": 1},
        ],
    }


def test_a_picture_that_is_the_input_itself_has_no_steps() -> None:
    (item,) = found(contents(jpeg(), "KD-7/front.jpg"))
    assert (item.source, item.where, item.file_name) == (
        {"path": "KD-7/front.jpg"},
        "KD-7/front.jpg",
        "front.jpg",
    )


def test_what_is_no_container_is_handed_on_so_that_the_intake_says_what_it_is() -> None:
    for data in (b"", b"just a text", b"\0\0\0\x1cftypheic" + bytes(40)):
        assert [item.data for item in found(contents(data, "notes.txt"))] == [data]


def test_content_counts_and_not_the_name() -> None:
    (photo,) = found(contents(zipped([("a.txt", jpeg())]), "photo.jpg"))
    assert photo.data == jpeg()
    (photo,) = found(contents(jpeg(), "mail.zip"))
    assert photo.steps == ()


def test_a_text_in_a_container_is_skipped_and_a_broken_picture_is_not() -> None:
    items = contents(zipped([("readme.txt", b"hello"), ("photo.jpg", b"no picture"), ("empty.png", b"")]))
    assert [type(item) for item in items] == [Skipped, Found, Found]
    assert items[1].data == b"no picture"


def test_a_text_that_begins_with_two_letters_of_a_bitmap_is_skipped() -> None:
    items = contents(
        zipped([("cars.txt", b"BMW 320d, first registered in 2019"), ("a", encoded(drawn(1), "BMP"))])
    )
    assert [type(item) for item in items] == [Skipped, Found]


def test_containers_that_can_not_be_opened_are_refused_and_not_taken_for_texts() -> None:
    magics = (b"Rar!\x1a\x07\x01\x00", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\x78\x9f\x3e\x22")
    items = contents(zipped([(f"{number}", magic + bytes(600)) for number, magic in enumerate(magics)]))
    assert [type(item.error) for item in refused(items)] == [UnsupportedFormat] * 4
    (item,) = contents(magics[0] + bytes(99))
    assert "RAR archives are not read" in item.error.message


def test_pictures_of_an_office_file_are_found() -> None:
    document = zipped([("[Content_Types].xml", b"<x/>"), ("word/media/image1.jpeg", jpeg(5))])
    (photo,) = found(contents(zipped([("letter.docx", document)])))
    assert photo.data == jpeg(5)
    assert photo.where == "input > letter.docx > word/media/image1.jpeg"


def test_a_member_over_the_limit_of_a_picture_is_refused_and_the_next_one_taken() -> None:
    long = jpeg() + bytes(5000)
    items = contents(zipped([("a.jpg", long), ("b.jpg", jpeg())]), max_file_bytes=len(jpeg()))
    assert isinstance(items[0], Refused)
    assert isinstance(items[0].error, PictureTooLarge)
    assert items[0].error.limit == len(jpeg())
    assert found(items)[0].data == jpeg()


def test_an_input_over_the_limit_of_a_picture_is_refused() -> None:
    (item,) = refused(contents(jpeg() + b"x", max_file_bytes=len(jpeg())))
    assert isinstance(item.error, PictureTooLarge)


def test_containers_lie_in_each_other_up_to_the_limit() -> None:
    data = jpeg()
    for _ in range(8):
        data = zipped([("x", data), ("y.jpg", jpeg(3))])
    assert len(found(contents(data))) == 9
    deeper = contents(zipped([("x", data)]))
    assert len(found(deeper)) == 8 - 1
    (item,) = refused(deeper)
    assert item.error.limit == 8
    assert len(item.steps) == 8


def test_members_are_counted_over_all_containers_of_an_input() -> None:
    inner = zipped([(f"{number}.jpg", jpeg()) for number in range(5)])
    items = contents(tarred([("a.zip", inner), ("b.zip", inner), ("c.jpg", jpeg())]), max_members=9)
    assert len(found(items)) == 6
    assert [item.error.limit for item in refused(items)] == [9]


def test_a_nested_container_over_its_limit_is_refused_and_the_next_member_taken() -> None:
    large = zipped([("a.jpg", jpeg())], zipfile.ZIP_STORED) + bytes(3 * MIB)
    items = contents(zipped([("large.zip", large), ("b.jpg", jpeg())]), max_nested_bytes=2 * MIB)
    assert [item.error.limit for item in refused(items)] == [2 * MIB]
    assert [item.where for item in found(items)] == ["input > b.jpg"]


def test_what_all_members_unpack_to_is_bounded() -> None:
    bomb = zipped([(f"{number}.jpg", b"\xff\xd8\xff" + bytes(MIB)) for number in range(50)])
    items = contents(bomb, max_unpacked_bytes=10 * MIB, max_unpacked_ratio=1)
    assert len(found(items)) == 9
    (item,) = refused(items)
    assert item.error.limit == 10 * MIB
    assert item is items[-1]


def test_an_input_that_can_not_be_read_is_refused_with_the_reason() -> None:
    class Gone(Bytes):
        def open(self) -> io.BytesIO:
            raise Unavailable("the store is away")

    (item,) = contents_of(Gone(b"", "s3://bucket/a.zip"))
    assert isinstance(item, Refused)
    assert isinstance(item.error, Unavailable)
    assert item.where == "s3://bucket/a.zip"


def test_an_input_whose_store_goes_away_while_it_is_read_ends_with_that_error() -> None:
    class Leaving(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 9000:
                raise Unavailable("the store is away")
            return super().read(size)

    class Source(Bytes):
        def open(self) -> io.BytesIO:
            return Leaving(self.data)

    data = tarred([(f"{number}.jpg", jpeg(number)) for number in range(20)])
    items = list(contents_of(Source(data)))
    assert 0 < len(found(items)) < 20
    assert isinstance(items[-1], Refused)
    assert isinstance(items[-1].error, Unavailable)


def test_members_come_one_by_one_and_the_rest_can_be_left() -> None:
    walk = contents_of(Bytes(zipped([(f"{number}.jpg", jpeg(number)) for number in range(3)])))
    assert next(walk).where == "input > 0.jpg"
    walk.close()


def test_a_name_over_two_lines_is_one_line_in_where() -> None:
    (item,) = found(contents(zipped([("a\nb\x1b.jpg", jpeg())])))
    assert item.where == "input > a\\nb\\x1b.jpg"


def test_the_error_of_a_broken_container_names_its_place_only() -> None:
    (item,) = refused(contents(zipped([("deep/broken.zip", b"PK\x03\x04" + bytes(100))])))
    assert item.where == "input > deep/broken.zip"
    assert isinstance(item.error, BrokenPicture)
