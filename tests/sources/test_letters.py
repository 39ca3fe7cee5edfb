"""Messages as .eml files."""

import base64
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart

import pytest

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Found, Refused, Skipped
from app.sources.letters import is_letter
from tests.sources.made import SENT_AT, contents, found, jpeg, letter, refused, zipped

TEXT = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: hello\r\n"


def test_attachments_are_found_with_the_envelope_of_their_message() -> None:
    items = contents(bytes(letter([("front.jpg", jpeg(1)), ("ü ä.bin", jpeg(2))])), "7.eml")
    assert [item.data for item in found(items)] == [jpeg(1), jpeg(2)]
    assert [item.where for item in items] == ["7.eml > part 1", "7.eml > front.jpg", "7.eml > ü ä.bin"]
    assert isinstance(items[0], Skipped)
    step = items[1].steps[0]
    assert (step.subject, step.sender) == ("Claim KD-7", "Anna Müller <anna@example.org>")
    assert items[1].sent_at == SENT_AT


def test_attachments_of_one_name_are_both_found() -> None:
    items = found(contents(bytes(letter([("a.jpg", jpeg(1)), ("a.jpg", jpeg(2))]))))
    assert [(item.data, item.steps[0].position) for item in items] == [(jpeg(1), 2), (jpeg(2), 3)]


def test_pictures_in_the_text_are_found() -> None:
    message = letter()
    message.add_alternative("<p><img src='cid:1'></p>", subtype="html")
    message.get_payload()[1].add_related(jpeg(1), "image", "jpeg", cid="<1>")
    uri = b"data:image/jpeg;base64," + base64.b64encode(jpeg(2))
    other = EmailMessage()
    other["From"], other["Subject"], other["To"] = "a@example.org", "x", "b@example.org"
    other.set_content(f"<img src='{uri.decode()}'>", subtype="html")
    message.add_attachment(other)
    inline, written = found(contents(bytes(message)))
    assert (inline.data, written.data) == (jpeg(1), jpeg(2))
    assert written.where == "input > x.eml > part 1, picture 1"


@pytest.mark.parametrize(
    "header",
    [
        b"attachment; filename*=UTF-8''%C3%BC%20front.jpg",
        b'attachment; filename="=?utf-8?B?w7wgZnJvbnQuanBn?="',
        b"attachment; filename*0*=UTF-8''%C3%BC; filename*1*=%20front.jpg",
    ],
)
def test_names_in_each_encoding_are_text(header) -> None:
    data = TEXT + b"Content-Type: application/octet-stream\r\nContent-Disposition: " + header
    data += b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(jpeg())
    (item,) = found(contents(data))
    assert item.where == "input > ü front.jpg"
    assert item.data == jpeg()


def test_a_message_in_a_message_is_a_step_of_its_own() -> None:
    outer = letter(subject="Fwd")
    outer.add_attachment(letter([("a.jpg", jpeg())], subject="Claim KD-8"))
    (item,) = found(contents(bytes(outer)))
    assert [step.subject for step in item.steps] == ["Fwd", "Claim KD-8"]
    assert item.where == "input > Claim KD-8.eml > a.jpg"
    assert item.subject == "Claim KD-8"


def test_a_message_attached_as_a_file_is_opened() -> None:
    outer = letter([("mail.eml", bytes(letter([("a.jpg", jpeg())])))])
    (item,) = found(contents(bytes(outer)))
    assert item.where == "input > mail.eml > a.jpg"


def test_a_message_that_was_attached_in_base64_is_opened_too() -> None:
    inner = base64.encodebytes(bytes(letter([("a.jpg", jpeg())])))
    data = TEXT + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + inner
    (item,) = found(contents(data))
    assert item.data == jpeg()


def test_broken_base64_is_refused_and_the_next_attachment_taken() -> None:
    data = bytes(letter([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))]))
    at = data.index(b"/9j/")
    items = contents(data[: at + 20] + b"!?" + data[at + 22 :])
    assert [type(item) for item in items] == [Skipped, Refused, Found]
    assert "base64" in items[1].error.message


def test_spaces_and_missing_padding_do_not_break_base64() -> None:
    packed = base64.encodebytes(jpeg()).replace(b"\n", b" \r\n\t").rstrip(b"= \r\n\t")
    data = TEXT + b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n" + packed
    assert found(contents(data))[0].data == jpeg()


def test_a_message_that_breaks_off_is_reported_after_what_came_before() -> None:
    data = bytes(letter([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2, (400, 300)))]))
    items = contents(data[:-3000])
    assert found(items)[0].data == jpeg(1)
    assert "breaks off" in refused(items)[-1].error.message


def test_parts_in_quoted_printable_and_as_they_are_are_read() -> None:
    message = MIMEMultipart()
    message["From"], message["Subject"], message["Date"] = "a@example.org", "x", "31 Dec 2025 10:30:00"
    plain = MIMEApplication(b"", _encoder=lambda _: None, Name="a.zip")
    del plain["Content-Transfer-Encoding"]
    plain["Content-Transfer-Encoding"] = "binary"
    message.attach(plain)
    head, _, tail = bytes(message).partition(b"binary\n\n")
    data = head + b"binary\n\n" + zipped([("a.jpg", jpeg())]) + b"\n" + tail
    (item,) = found(contents(data))
    assert item.data == jpeg()
    assert item.sent_at == datetime(2025, 12, 31, 10, 30, tzinfo=UTC)


def test_an_ending_makes_a_message_of_what_has_hardly_a_header() -> None:
    data = b"Content-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(jpeg())
    assert not is_letter(data)
    assert found(contents(data, "x.eml"))[0].data == jpeg()
    assert found(contents(zipped([("x.eml", data)])))[0].data == jpeg()


def test_headers_make_a_message_of_a_file_without_an_ending() -> None:
    assert found(contents(bytes(letter([("a.jpg", jpeg())])), "cur/1700.M1P2.host:2,S"))[0].steps
    assert is_letter(b"From someone Thu Jan  1 00:00:00 1970\n" + TEXT)
    assert not is_letter(b"Dear Anna: I write to you.\nYours: Bert\n\nBye: x")
    assert not is_letter(b"")


def test_a_mailbox_is_refused_and_not_read_as_its_first_message() -> None:
    one = b"From a@example.org Wed Dec 31 10:30:00 2025\n" + bytes(letter([("a.jpg", jpeg())])) + b"\n"
    assert found(contents(one))
    (item,) = contents(one + one)
    assert isinstance(item.error, UnsupportedFormat)


def test_an_encrypted_message_is_refused() -> None:
    data = TEXT + b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n"
    (item,) = contents(data + b"Content-Transfer-Encoding: base64\r\n\r\nMIIB")
    assert "encrypted" in item.error.message


# The outermost of a signed message, as openssl writes it.
SIGNED = bytes.fromhex("3080 0609 2a864886f70d010702 a080 3080 020101")


def test_a_message_that_is_signed_as_a_whole_is_refused_and_a_signature_beside_one_is_none() -> None:
    header = b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
    (item,) = contents(
        TEXT + header + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(SIGNED)
    )
    assert "smime.p7m" in item.error.message
    (item,) = contents(zipped([("smime.p7m", SIGNED)]))
    assert "smime.p7m" in item.error.message
    message = letter([("a.jpg", jpeg()), ("smime.p7s", SIGNED)])
    message.add_attachment(SIGNED, maintype="application", subtype="pkcs7-signature")
    items = contents(bytes(message))
    assert len(found(items)) == 1
    assert not refused(items)


@pytest.mark.parametrize(
    "header", [b"", b"; boundary=b", b"; boundary=b\r\nContent-Transfer-Encoding: base64"]
)
def test_parts_that_can_not_be_told_apart_are_reported(header: bytes) -> None:
    body = b"--a\r\nContent-Type: image/jpeg\r\n\r\n..."
    (item,) = contents(TEXT + b"Content-Type: multipart/mixed" + header + b"\r\n\r\n" + body)
    assert isinstance(item.error, BrokenPicture)
    assert "boundary" in item.error.message


def test_a_message_over_its_limits_is_refused() -> None:
    (item,) = contents(bytes(letter([("a.jpg", jpeg())])), max_message_bytes=1000)
    assert item.error.limit == 1000
    parts = TEXT + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\n\n" * 200_000
    (item,) = contents(parts)
    assert item.error.limit == 10_000


def test_messages_lie_in_each_other_up_to_the_limit() -> None:
    message = letter([("a.jpg", jpeg())])
    for _ in range(12):
        outer = letter()
        outer.add_attachment(message)
        message = outer
    items = contents(message.as_bytes(policy=email.policy.default))
    assert not found(items)
    assert [item.error.limit for item in refused(items)] == [8]


def test_multiparts_in_each_other_without_end_are_refused() -> None:
    data = TEXT
    for number in range(3000):
        data += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number)
    (item,) = contents(data)
    assert isinstance(item.error, BrokenPicture)


@pytest.mark.parametrize("name", [b"Subject", b"From", b"Content-Type", b"Content-Disposition", b"Date"])
def test_a_header_of_a_megabyte_takes_no_time(name) -> None:
    import time

    for filler in (b"(" * 1_000_000, b"=?utf-8?q?a?= " * 70_000, b"a;b=" * 250_000, b'"\\' * 500_000):
        started = time.monotonic()
        contents(TEXT + name + b": " + filler + b"\n\nhello")
        assert time.monotonic() - started < 5


def test_long_headers_of_many_parts_take_no_time() -> None:
    import time

    parts = [b"--b\nContent-Type: %d;" % number + b"a;b=" * 1000 + b"\n\nx\n" for number in range(2000)]
    started = time.monotonic()
    items = contents(TEXT + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"".join(parts))
    assert time.monotonic() - started < 30
    assert "long headers" in refused(items)[0].error.message


def test_a_long_name_in_another_script_is_whole() -> None:
    name = "写" * 250 + ".jpg"
    assert found(contents(bytes(letter([(name, jpeg())]))))[0].steps[0].name == name
