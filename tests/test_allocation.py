"""Memory that is given back."""

import subprocess
import sys

import pytest

# Once a block of 16 MB was freed, glibc puts one of 1 MB among the small ones; `hblks` counts what it does not.
SCRIPT = """
import ctypes
from app.allocation import give_large_blocks_back
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()] + [
        (f"more{number}", ctypes.c_size_t) for number in range(5)]
told = ctypes.CDLL(None).mallinfo2
told.restype = Told
give_large_blocks_back()
del (large := [bytearray(16 << 20)])[:]
before = told().hblks
held = bytearray(1 << 20)
print(told().hblks - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does")
def test_large_blocks_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1  # 0 without, but where the heap can't grow
