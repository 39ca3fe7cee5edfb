"""Messages as Outlook saves them."""

import email.policy
import struct

import pytest
from aspose.email_foss import cfb, msg

from app.errors import UnsupportedFormat
from app.sources.found import Found, Skipped
from tests.sources.made import SENT_AT, contents, found, jpeg, letter, outlook, refused, zipped


def test_attachments_are_found_with_the_envelope_of_their_message() -> None:
    items = contents(outlook([("front ü.jpg", jpeg(1)), ("b.bin", jpeg(2))]).to_bytes(), "7.msg")
    assert [item.data for item in found(items)] == [jpeg(1), jpeg(2)]
    assert [item.where for item in items] == ["7.msg > front ü.jpg", "7.msg > b.bin"]
    step = items[0].steps[0]
    assert (step.subject, step.sender) == ("Claim KD-7", "Anna Müller <anna@example.org>")
    assert items[0].sent_at == SENT_AT


def test_a_message_in_a_message_is_a_step_of_its_own() -> None:
    inner = outlook([("a.jpg", jpeg(1))], subject="Claim KD-8")
    middle = outlook([("b.jpg", jpeg(2))], [("inner.msg", inner)], subject="Middle")
    outer = outlook(embedded=[("middle.msg", middle)], subject="Fwd")
    items = found(contents(outer.to_bytes()))
    assert [(item.where, item.data) for item in items] == [
        ("input > middle.msg > b.jpg", jpeg(2)),
        ("input > middle.msg > inner.msg > a.jpg", jpeg(1)),
    ]
    assert [step.subject for step in items[1].steps] == ["Fwd", "Middle", "Claim KD-8"]
    assert items[1].sent_at == SENT_AT


def test_a_message_in_a_message_has_the_short_header_that_outlook_writes_or_the_long_one() -> None:
    document = outlook(embedded=[("b.msg", outlook([("a.jpg", jpeg())], subject="Inner"))]).to_msg_document()
    attached = next(storage for storage in document.root.storages if storage.name.startswith("__attach"))
    for stream in attached.storages[0].streams:
        if stream.name == "__properties_version1.0":
            stream.data = stream.data[:24] + stream.data[32:]
    (item,) = found(contents(msg.MsgWriter.to_bytes(document)))
    assert (item.subject, item.sent_at, item.data) == ("Inner", SENT_AT, jpeg())


def test_containers_that_are_attached_are_opened() -> None:
    attached = [("a.zip", zipped([("a.jpg", jpeg(1))])), ("b.eml", bytes(letter([("b.jpg", jpeg(2))])))]
    assert [item.where for item in found(contents(outlook(attached).to_bytes()))] == [
        "input > a.zip > a.jpg",
        "input > b.eml > b.jpg",
    ]


def test_a_large_attachment_has_its_own_chain_of_sectors() -> None:
    large = jpeg(1) + bytes(300_000)
    assert found(contents(outlook([("a.jpg", large)]).to_bytes()))[0].data == large


def test_an_attachment_without_a_long_name_has_its_short_or_its_shown_one() -> None:
    message = outlook([("a long name.jpg", jpeg(1)), ("x.jpg", jpeg(2))])
    message.attachments[1].set_property(0x3001, msg.PropertyTypeCode.PTYP_STRING, "other.jpg")
    document = message.to_msg_document()
    streams = {"3707", "3704"}
    first, second = [s for s in document.root.storages if s.name.startswith("__attach")]
    _drop(first, {"3707"})
    _drop(second, streams)
    names = [item.steps[0].name for item in found(contents(msg.MsgWriter.to_bytes(document)))]
    assert names[0].lower().endswith(".jpg")
    assert names[0] != "a long name.jpg"
    assert names[1] == "other.jpg"


def _drop(storage: msg.MsgStorage, properties: set[str]) -> None:
    """Take properties away, from the list of them and their streams."""
    storage.streams[:] = [
        stream for stream in storage.streams if not any(f"1.0_{tag}" in stream.name for tag in properties)
    ]
    for stream in storage.streams:
        if stream.name == "__properties_version1.0":
            entries = [stream.data[at : at + 16] for at in range(8, len(stream.data), 16)]
            kept = [
                entry for entry in entries if f"{struct.unpack('<2xH', entry[:4])[0]:04X}" not in properties
            ]
            stream.data = stream.data[:8] + b"".join(kept)


def test_an_attachment_by_reference_is_refused() -> None:
    document = outlook([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))]).to_msg_document()
    storage = next(s for s in document.root.storages if s.name.startswith("__attach"))
    _drop(storage, {"3701"})
    _set_method(storage, 4)
    items = contents(msg.MsgWriter.to_bytes(document))
    assert isinstance(refused(items)[0].error, UnsupportedFormat)
    assert found(items)[0].data == jpeg(2)


def _set_method(storage: msg.MsgStorage, method: int) -> None:
    for stream in storage.streams:
        if stream.name == "__properties_version1.0":
            data = bytearray(stream.data)
            for at in range(8, len(data), 16):
                if struct.unpack_from("<2xH", data, at)[0] == 0x3705:
                    struct.pack_into("<L", data, at + 8, method)
            stream.data = bytes(data)


def test_a_message_without_attachments_is_skipped() -> None:
    (item,) = contents(outlook().to_bytes())
    assert isinstance(item, Skipped)


def compound_file() -> bytes:
    """A file of the same form that is no message, as Word 97 writes it."""
    document = cfb.CFBDocument(cfb.CFBStorage("Root Entry"))
    document.root.add_stream(cfb.CFBStream("WordDocument", b"text" * 2000))
    return cfb.CFBWriter.to_bytes(document)


def test_another_file_of_the_same_form_is_no_message() -> None:
    assert isinstance(contents(compound_file())[0], Found)
    assert isinstance(contents(zipped([("a.doc", compound_file())]))[0], Skipped)


@pytest.mark.parametrize("offset", [44, 64, 72])
def test_a_table_of_sectors_that_is_longer_than_the_file_is_refused_at_once(offset) -> None:
    data = bytearray(outlook([("a.jpg", jpeg())]).to_bytes())
    struct.pack_into("<L", data, offset, 0x7FFFFFFF)
    assert "not whole" in refused(contents(bytes(data)))[0].error.message


def test_a_truncated_message_is_reported() -> None:
    whole = outlook([("a.jpg", jpeg(1) + bytes(100_000)), ("b.jpg", jpeg(2) + bytes(100_000))]).to_bytes()
    for length in (600, len(whole) // 2, len(whole) - 600):
        assert refused(contents(whole[:length]))


def test_an_attachment_that_is_shorter_than_it_says_is_refused() -> None:
    data = bytearray(outlook([("a.jpg", jpeg(1) + bytes(100_000)), ("b.jpg", jpeg(2))]).to_bytes())
    entry = data.index("__substg1.0_37010102".encode("utf-16-le"))
    struct.pack_into("<L", data, entry + 120, 150_000)
    items = contents(bytes(data))
    assert [item.where for item in refused(items)] == ["input > a.jpg"]
    assert [item.data for item in found(items)] == [jpeg(2)]


def test_what_the_attachments_of_a_message_unpack_to_is_bounded() -> None:
    data = outlook([("a.jpg", jpeg(1) + bytes(100_000)), ("b.jpg", jpeg(2))]).to_bytes()
    (item,) = refused(contents(data, max_message_bytes=50_000))
    assert item.error.limit == 50_000
    items = contents(data, max_file_bytes=10, max_unpacked_bytes=90_000, max_unpacked_ratio=0)
    assert items[-1].error.limit == 90_000


def test_a_signed_message_is_the_message_that_outlook_keeps_of_it() -> None:
    letter_bytes = letter([("a.jpg", jpeg())]).as_bytes(policy=email.policy.SMTP)
    body = letter_bytes[letter_bytes.index(b"Content-Type: multipart/mixed") :]
    whole = body.replace(b"MIME-Version: 1.0\r\n", b"")
    (item,) = found(contents(outlook([("smime.p7m", whole)]).to_bytes()))
    assert item.data == jpeg()
    assert [step.kind for step in item.steps] == ["message", "message"]
