"""Files and folders as they are named."""

import errno
import os
import socket
from pathlib import Path

import pytest

from app.errors import InvalidValue, Unavailable
from app.sources.containers import contents_of
from app.sources.found import Refused
from app.sources.inputs import inputs_of
from tests.sources.made import found, jpeg


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(*named) -> list[str]:
    return [item.where if isinstance(item, Refused) else here(item.name) for item in inputs_of(named)]


def here(name: str) -> str:
    """A name below the current folder."""
    folder = f"{Path.cwd()}/"
    assert name.startswith(folder)
    return name.removeprefix(folder)


def test_a_folder_is_read_in_order_and_without_what_is_hidden(folder) -> None:
    for name in (
        "b/2.jpg",
        "b/10.jpg",
        "a.jpg",
        "c.jpg",
        ".hidden.jpg",
        ".git/x.jpg",
        "b/.x",
        "b/c/d.jpg",
        "Thumbs.db",
        "b/desktop.ini",
    ):
        put(folder / "in" / name)
    assert names("in") == ["in/a.jpg", "in/c.jpg", "in/b/10.jpg", "in/b/2.jpg", "in/b/c/d.jpg"]


def test_a_file_has_its_size_a_stamp_and_names(folder) -> None:
    put(folder / "KD-7" / "front.jpg", jpeg())
    (item,) = inputs_of(["KD-7/front.jpg"])
    assert (item.byte_count, item.folder_name, item.file_name) == (len(jpeg()), "KD-7", "front.jpg")
    assert [picture.data for picture in found(contents_of(item))] == [jpeg()]
    (again,) = inputs_of(["KD-7/front.jpg"])
    assert again.stamp == item.stamp
    os.utime(folder / "KD-7" / "front.jpg", ns=(5, 5))
    (touched,) = inputs_of(["KD-7/front.jpg"])
    assert touched.stamp != item.stamp


def test_a_file_in_the_current_folder_has_that_folder(folder) -> None:
    put(folder / "a.jpg")
    (item,) = inputs_of(["a.jpg"])
    assert item.folder_name == folder.name


def test_odd_names_work_and_are_told_apart(folder) -> None:
    (folder / "in").mkdir()
    odd = [b"a,b.jpg", b"b\nc.jpg", b"d \xff.jpg", b"d \xfe.jpg", b"e > f.jpg", b"g%41.jpg"]
    for name in odd:
        (folder / os.fsdecode(b"in/" + name)).write_bytes(name)
    items = list(inputs_of(["in"]))
    assert [here(item.name) for item in items] == [
        "in/a,b.jpg",
        "in/b\\nc.jpg",
        "in/d \\xfe.jpg",
        "in/d \\xff.jpg",
        "in/e > f.jpg",
        "in/g%41.jpg",
    ]
    assert [found(contents_of(item))[0].data for item in items] == sorted(odd)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_of_links_end_and_a_folder_is_read_once(folder) -> None:
    put(folder / "in" / "a" / "x.jpg")
    (folder / "in" / "a" / "up").symlink_to(folder / "in")
    (folder / "in" / "b").symlink_to(folder / "in" / "a")
    (folder / "in" / "c.jpg").symlink_to(folder / "in" / "a" / "x.jpg")
    (folder / "in" / "self").symlink_to("self")
    assert names("in") == ["in/c.jpg", "in/self", "in/a/x.jpg"]
    (loop,) = [item for item in inputs_of(["in"]) if isinstance(item, Refused)]
    assert loop.path == "in/self"


def test_what_is_not_there_is_reported_and_the_rest_goes_on(folder) -> None:
    put(folder / "a.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere")
    items = list(inputs_of(["nothing", "dangling.jpg", "", "x\0y", "a.jpg"]))
    assert [type(item) for item in items[:4]] == [Refused] * 4
    assert "No such file" in items[0].error.message
    assert here(items[4].name) == "a.jpg"


def test_an_empty_folder_is_reported(folder) -> None:
    put(folder / "in" / ".hidden")
    (folder / "in" / "sub").mkdir()
    (item,) = inputs_of(["in"])
    assert "no files" in item.error.message


def test_what_is_no_plain_file_is_reported(folder) -> None:
    (folder / "in").mkdir()
    os.mkfifo(folder / "in" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("in/socket")
        items = list(inputs_of(["in"]))
    assert [type(item) for item in items] == [Refused, Refused]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_reported(folder) -> None:
    put(folder / "in" / "secret" / "a.jpg")
    put(folder / "in" / "b.jpg")
    (folder / "in" / "secret").chmod(0)
    try:
        items = list(inputs_of(["in"]))
    finally:
        (folder / "in" / "secret").chmod(0o700)
    assert [type(item) for item in items[1:]] == [Refused]


def test_a_folder_that_is_gone_when_its_turn_comes_is_reported(folder) -> None:
    put(folder / "in" / "a.jpg")
    put(folder / "in" / "sub" / "b.jpg").unlink()
    walk = inputs_of(["in"])
    next(walk)
    (folder / "in" / "sub").rmdir()
    (item,) = walk
    assert isinstance(item, Refused)


def test_a_file_that_is_gone_when_it_is_opened_is_refused(folder) -> None:
    (item,) = inputs_of([str(put(folder / "a.jpg"))])
    (folder / "a.jpg").unlink()
    (refused,) = contents_of(item)
    assert "No such file" in refused.error.message


def failing(monkeypatch, owner, name: str, number: int, only: str) -> None:
    """Have a call fail with this error of the system, for paths that end so."""
    call = getattr(owner, name)

    def fail(path, *given):
        if str(path).endswith(only):
            raise OSError(number, os.strerror(number))
        return call(path, *given)

    monkeypatch.setattr(owner, name, fail)


AWAY = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN]
THE_FILES = [errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO]


@pytest.mark.parametrize("number", [*AWAY, *THE_FILES])
def test_a_share_that_goes_away_is_no_fault_of_the_file(folder, monkeypatch, number) -> None:
    put(folder / "in" / "a.jpg")
    put(folder / "in" / "sub" / "b.jpg")
    (item, _) = inputs_of(["in"])
    with monkeypatch.context() as patch:
        failing(patch, Path, "open", number, "a.jpg")
        (opened,) = contents_of(item)
    with monkeypatch.context() as patch:
        failing(patch, os, "stat", number, "a.jpg")
        listed, other = inputs_of(["in"])
        (named,) = inputs_of(["in/a.jpg"])
    with monkeypatch.context() as patch:
        failing(patch, os, "scandir", number, "sub")
        _, walked = inputs_of(["in"])
    assert other.file_name == "b.jpg"
    for refused in (opened, listed, named, walked):
        assert isinstance(refused.error, Unavailable) == (number in AWAY)
        assert os.strerror(number) in refused.error.message


def test_a_deep_tree_is_read(folder) -> None:
    deep = folder / "in"
    for _ in range(400):
        deep /= "d"
    put(deep / "a.jpg")
    assert len(names("in")) == 1


def test_a_file_address_is_a_path(folder) -> None:
    put(folder / "in" / "a b.jpg")
    assert names(f"file://{folder}/in/a%20b.jpg") == ["in/a b.jpg"]
    assert names(f"file://{folder}/in") == ["in/a b.jpg"]


def test_an_address_that_makes_no_sense_is_an_error() -> None:
    for address in ("ftp://host/a", "https://host/a", "file://host/a", "s3://", "s3:///a"):
        with pytest.raises(InvalidValue):
            list(inputs_of([address]))
