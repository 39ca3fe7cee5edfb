"""What every storage of pictures does."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.errors import BrokenPicture, StartupError
from app.storage import Pictures
from app.storage.local import LocalPictures


def shrink(original: Path, rendition: Path) -> int:
    """Stands for a decoding process: half of the bytes are the rendition."""
    data = original.read_bytes()
    rendition.write_bytes(data[::2])
    return len(data)


def stored(pictures: Pictures, data: bytes = b"camera") -> UUID:
    picture_id = uuid4()
    pictures.store(picture_id, data, shrink)
    return picture_id


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_original_and_rendition_are_read_as_they_were_stored(pictures: Pictures) -> None:
    picture_id = uuid4()
    assert pictures.store(picture_id, b"camera", shrink) == 6
    assert pictures.read_original(picture_id) == b"camera"
    assert pictures.read_rendition(picture_id) == b"cmr"


def test_what_is_stored_is_there_for_another_process(open_some: Callable[..., Pictures]) -> None:
    picture_id = stored(open_some())
    assert open_some().read_original(picture_id) == b"camera"
    assert open_some().read_rendition(picture_id) == b"cmr"


def test_an_error_of_the_decoder_leaves_nothing(pictures: Pictures, tmp_path: Path) -> None:
    def fail(_original: Path, rendition: Path) -> None:
        rendition.write_bytes(b"half")
        raise BrokenPicture("the decoder refused it")

    picture_id = uuid4()
    with pytest.raises(BrokenPicture):
        pictures.store(picture_id, b"camera", fail)
    for read in (pictures.read_original, pictures.read_rendition):
        with pytest.raises(FileNotFoundError):
            read(picture_id)
    assert list(pictures.old_pictures(-60)) == []
    assert files_below(tmp_path) == []


def test_originals_are_not_kept_where_they_are_not_wanted(
    open_some: Callable[..., Pictures], tmp_path: Path
) -> None:
    pictures = open_some(store_originals=False)
    picture_id = stored(pictures, b"the camera's bytes")
    with pytest.raises(FileNotFoundError):
        pictures.read_original(picture_id)
    assert pictures.read_rendition(picture_id) == b"the camera's bytes"[::2]
    assert b"the camera's bytes" not in [path.read_bytes() for path in files_below(tmp_path)]


def test_originals_from_before_they_were_unwanted_stay(open_some: Callable[..., Pictures]) -> None:
    picture_id = stored(open_some())
    after = open_some(store_originals=False)
    stored(after)
    assert after.read_original(picture_id) == b"camera"


def test_bytes_that_are_looked_at_do_not_stay(pictures: Pictures, tmp_path: Path) -> None:
    with pictures.staged(b"camera") as files:
        assert shrink(files.original, files.rendition) == 6
        assert files.rendition.read_bytes() == b"cmr"
    with pytest.raises(BrokenPicture), pictures.staged(b"camera"):
        raise BrokenPicture("the decoder refused it")
    assert files_below(tmp_path) == []
    assert list(pictures.old_pictures(-60)) == []


def test_files_for_reading_have_the_bytes_and_are_missing_where_there_are_none(pictures: Pictures) -> None:
    picture_id = stored(pictures)
    with pictures.original_file(picture_id) as original, pictures.rendition_file(picture_id) as rendition:
        assert (original.read_bytes(), rendition.read_bytes()) == (b"camera", b"cmr")
    assert pictures.read_original(picture_id) == b"camera"
    for missing in (pictures.original_file, pictures.rendition_file):
        with pytest.raises(FileNotFoundError), missing(uuid4()):
            pass


def test_erased_pictures_are_gone_and_the_others_stay(pictures: Pictures) -> None:
    first, second, kept = (stored(pictures) for _ in range(3))
    pictures.erase(first, second, uuid4())
    pictures.erase(first)
    for gone in (first, second):
        for read in (pictures.read_original, pictures.read_rendition):
            with pytest.raises(FileNotFoundError):
                read(gone)
    assert pictures.read_original(kept) == b"camera"


def test_a_picture_without_original_is_erased_too(open_some: Callable[..., Pictures]) -> None:
    pictures = open_some(store_originals=False)
    picture_id = stored(pictures)
    pictures.erase(picture_id)
    assert list(pictures.old_pictures(-60)) == []


def test_renditions_come_in_the_order_asked_for_and_none_for_those_gone(pictures: Pictures) -> None:
    ids = [stored(pictures, bytes([number])) for number in range(40)]
    asked = [*reversed(ids), uuid4()]
    expected = [bytes([number]) for number in reversed(range(40))]
    assert list(pictures.read_renditions(asked)) == [*expected, None]


def test_only_pictures_written_long_ago_are_listed_each_once(pictures: Pictures) -> None:
    ids = {stored(pictures) for _ in range(5)}
    assert list(pictures.old_pictures(3600)) == []
    assert sorted(pictures.old_pictures(-60)) == sorted(ids)


def test_what_is_no_picture_is_neither_listed_nor_in_the_way(pictures: Pictures) -> None:
    picture_id = stored(pictures)
    pictures.tie("ours")
    assert list(pictures.old_pictures(-60)) == [picture_id]


def test_pictures_of_another_database_are_refused(open_some: Callable[..., Pictures]) -> None:
    open_some().tie("ours")
    open_some().tie("ours")
    with pytest.raises(StartupError, match="belong to another database"):
        open_some().tie("theirs")


def test_templates_are_apart_from_images(open_some: Callable[..., Pictures]) -> None:
    picture_id = stored(open_some())
    templates = open_some("templates")
    assert list(templates.old_pictures(-60)) == []
    templates.erase(picture_id)
    assert open_some().read_original(picture_id) == b"camera"


def test_files_and_their_names_are_on_the_disk_before_a_local_store_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr("app.storage.local.os.fsync", noting)
    pictures = LocalPictures(tmp_path)
    files = pictures.files(stored(pictures))
    assert synced == [files.original, files.original.parent]
    pictures.close()


def test_a_folder_can_be_named_by_a_url(open_in: Any, tmp_path: Path) -> None:
    pictures = open_in(f"file://{tmp_path}/claim%20photos")()
    picture_id = stored(pictures)
    (path,) = (tmp_path / "claim photos" / "pictures").glob(f"??/{picture_id}.original")
    assert path.read_bytes() == b"camera"
