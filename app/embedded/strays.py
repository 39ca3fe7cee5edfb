"""Lists the PostgreSQL processes that work in a directory: a program of its own, never imported.

    strays.py UID GID DESCRIPTOR

PostgreSQL's processes have their cluster as working directory. The kernel shows that to a process of the same
user, but not to root without CAP_SYS_PTRACE (containers), so this program becomes that user first.
"""

import os
import sys


def main(uid: int, gid: int, directory: int) -> None:
    """Print the process ids of the PostgreSQL processes of `uid` in that directory, one a line."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    wanted = os.fstat(directory)
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - few imports, a quick start
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                name = file.read()
            if name == "postgres\n" and os.path.samestat(os.stat(f"/proc/{pid}/cwd"), wanted):  # noqa: PTH116
                print(pid)  # noqa: T201
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is somebody else's


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
