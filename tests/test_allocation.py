"""Memory that is given back."""

import subprocess
import sys

import pytest

# Once a block of 16 MB was freed, glibc puts one of 1 MB among the small ones; `hblks` counts what it does not.
SCRIPT = """
import ctypes, sys
from app.allocation import give_large_blocks_back
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()] + [
        (f"more{number}", ctypes.c_size_t) for number in range(5)]
told = ctypes.CDLL(None).mallinfo2
told.restype = Told
if sys.argv[1] == "given back":
    give_large_blocks_back()
del (large := [bytearray(16 << 20)])[:]
before = told().hblks
held = bytearray(1 << 20)
print(told().hblks - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does")
@pytest.mark.parametrize(("way", "blocks"), [("as it is", 0), ("given back", 1)])
def test_large_blocks_are_given_back(way: str, blocks: int) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True)
    assert int(done.stdout) == blocks
