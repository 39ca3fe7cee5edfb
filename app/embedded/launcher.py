"""What happens between fork and PostgreSQL: a program of its own, never imported.

    launcher.py PARENT SIGNAL UID GID NAMED PROGRAM [ARGUMENT ...]

It gives up root's rights for UID and GID (when it has them), asks the kernel to send SIGNAL once the thread
that forked it dies, and becomes PROGRAM. A fresh interpreter does this, because Python code between fork and
exec can hang in a process that has threads, as this service has.
"""

import contextlib
import ctypes
import os
import pwd
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWNS = 0x00020000  # linux/sched.h
CLONE_NEWUSER = 0x10000000
MS_REC = 0x4000  # linux/mount.h
MS_PRIVATE = 0x40000

libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Become the program named by `arguments`; returns only by raising."""
    parent, death_signal, uid, gid, named = (int(argument) for argument in arguments[:5])
    program = arguments[5:]
    os.chdir("/")  # the directory of the caller may be closed to the account
    os.umask(0o077)
    if named:
        with contextlib.suppress(OSError):  # initdb then says itself what it misses
            _name_account(uid, gid)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # A change of user clears the death signal, so it comes after; exec keeps it.
    _check(libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit("the supervisor died before PostgreSQL started")
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


def _name_account(uid: int, gid: int) -> None:
    """Give `uid` a name: initdb asks for it, and a bare container has users that no file names.

    In a mount namespace of this process alone, `/etc` becomes an empty file system with a `passwd` of one
    line. OSError when the kernel, or the sandbox of a container, does not allow that.
    """
    try:
        pwd.getpwuid(uid)
    except KeyError:
        pass
    else:
        return
    own = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWNS if own[0] == 0 else CLONE_NEWNS | CLONE_NEWUSER))
    if own[0] != 0:
        Path("/proc/self/uid_map").write_text(f"{own[0]} {own[0]} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{own[1]} {own[1]} 1")
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    _check(libc.mount(b"tmpfs", b"/etc", b"tmpfs", 0, b"mode=0755"))
    passwd = Path("/etc/passwd")
    passwd.write_text(f"claimprint:x:{uid}:{gid}::/:/bin/false\n")
    passwd.chmod(0o644)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
