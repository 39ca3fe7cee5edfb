"""How a process that reads hostile bytes bounds itself, and keeps its answers apart."""

import os
import resource
import signal
import sys
from pathlib import Path


def address_space() -> int:
    """Bytes of address space that this process has taken."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[0]
    return int(pages) * resource.getpagesize()


OVER_CPU = signal.SIGPROF
"""What a process dies of that has used more CPU than `limit_cpu` lets it."""


def limit_cpu(seconds: int) -> None:
    """End this process once it has used so many more CPU seconds."""
    # Not by RLIMIT_CPU: Linux holds that against another clock, of ticks, than it tells a process, and the two
    # drift: by ten seconds in a quarter of an hour of decoding, which good pictures were refused for.
    signal.setitimer(signal.ITIMER_PROF, seconds)


def answers_alone() -> int:
    """Return the descriptor for answers, which nobody else writes to; leave Ctrl-C and cores to the parent."""
    # Whatever a library prints must not end up between two answers.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes stdin
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return answers
