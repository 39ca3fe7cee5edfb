"""The limits that a process sets itself."""

import subprocess
import sys

from app.imaging.bounds import OVER_CPU

BURNING = """
import time
from app.imaging.bounds import limit_cpu

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

for _ in range(4):
    limit_cpu(1)
    burn(0.5)
print("each has its own time", flush=True)
burn(60)
"""


def test_each_task_has_its_cpu_seconds_and_no_more() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURNING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "each has its own time\n"
    assert done.returncode == -OVER_CPU
