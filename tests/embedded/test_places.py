"""Whose cluster, which user, which socket directory."""

import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from app.embedded.account import NOBODY, Account, account_for
from app.embedded.cluster import cluster_owner
from app.embedded.socket_directory import (
    MAX_SOCKET_BYTES,
    SOCKET_NAME,
    is_usable,
    make_socket_directory,
    remove,
    restore,
)
from app.errors import StartupError

OWN = Account(os.geteuid(), os.getegid())


def user(name: str, uid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/false"))


@pytest.mark.parametrize(
    ("users", "account"),
    [
        ([user("root", 0), user("daemon", 1), user("nobody", 99)], Account(99, 99)),
        ([user("root", 0), user("daemon", 1), user("bin", 2)], Account(1, 1)),
        ([user("root", 0)], Account(NOBODY, NOBODY)),
        ([], Account(NOBODY, NOBODY)),
    ],
)
def test_root_takes_the_first_fitting_user(
    monkeypatch: pytest.MonkeyPatch, users: list[pwd.struct_passwd], account: Account
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    assert account_for(None) == account
    assert account_for(Account(0, 0)) == account


def test_root_goes_on_under_the_owner_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert account_for(Account(1234, 1235)) == Account(1234, 1235)


def test_ordinary_user_is_told_whose_cluster_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account_for(Account(1000, 7)).uid == 1000
    with pytest.raises(StartupError, match="belongs to user id 1234 and this is user id 1000"):
        account_for(Account(1234, 1235))


def test_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(StartupError, match="made by PostgreSQL 16, this is 18"):
        cluster_owner(tmp_path)


def test_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    assert cluster_owner(tmp_path) is None
    (tmp_path / "postgres").mkdir()
    assert cluster_owner(tmp_path) is None
    (tmp_path / "postgres" / "holiday.jpg").touch()
    with pytest.raises(StartupError, match="no PostgreSQL cluster"):
        cluster_owner(tmp_path)


@pytest.mark.parametrize("name", ["n" * 80, "comma,separated", "per%cent"])
def test_socket_goes_elsewhere_when_the_temporary_directory_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    directory = make_socket_directory(OWN)
    assert directory.parent == Path("/tmp")
    assert len(os.fsencode(directory / SOCKET_NAME)) <= MAX_SOCKET_BYTES
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    remove(directory)
    assert not directory.exists()


def test_only_a_closed_directory_of_the_account_is_used_again(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    assert not is_usable(directory, OWN)
    directory.mkdir(mode=0o700)
    assert is_usable(directory, OWN)
    assert not is_usable(directory, Account(OWN.uid + 1, OWN.gid))
    directory.chmod(0o755)
    assert not is_usable(directory, OWN)
    directory.chmod(0o700)
    (tmp_path / "link").symlink_to(directory)
    assert not is_usable(tmp_path / "link", OWN)


def test_socket_path_that_somebody_else_took_is_not_used(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir(mode=0o755)
    with pytest.raises(FileExistsError):
        restore(directory, OWN)
