"""Starting PostgreSQL's programs as direct children that die with their parent, and finding strays."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.embedded.account import Account

LAUNCHER = Path(__file__).with_name("launcher.py")
STRAYS = Path(__file__).with_name("strays.py")


def launch(
    command: Sequence[str],
    *,
    account: Account,
    death_signal: signal.Signals,
    directory: int,
    output: int,
    named: bool = False,
) -> "subprocess.Popen[bytes]":
    """Run `command` as `account`; it gets `death_signal` when the calling thread ends.

    The descriptor `directory` is inherited under its own number; `output` takes both output streams. The
    child has a session of its own (Ctrl-C in a terminal is the supervisor's business) and none of the
    caller's environment (PGPORT, PGOPTIONS, ... would change the server). With `named`, an account that the
    user database does not know is given a name that only this program sees, where the kernel lets us.
    """
    arguments = (os.getpid(), int(death_signal), account.uid, account.gid, int(named))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), *map(str, arguments), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(directory,),
        start_new_session=True,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
    )


def servers_in(directory: int, account: Account) -> list[int]:
    """Process ids of the PostgreSQL processes of `account` that work in the directory of that descriptor."""
    arguments = map(str, (account.uid, account.gid, directory))
    found = subprocess.run(
        [sys.executable, "-I", "-S", str(STRAYS), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=(directory,),
        check=True,
        text=True,
    )
    return [int(line) for line in found.stdout.split()]
