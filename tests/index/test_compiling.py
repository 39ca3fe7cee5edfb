"""Kernels are compiled once, loaded from wherever they are, and never missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.index import id_kernels

ROOT = Path(__file__).parents[2]
KERNELS = 33

# Root may write anywhere, so the test says what a read-only root would say: no probe, no file for writing.
READ_ONLY = """
import builtins, errno, os, tempfile
def refuse(*args, **kwargs):
    raise OSError(errno.EROFS, "read-only file system")
def open_to_read(file, mode="r", *args, **kwargs):
    return (refuse if set(mode) & set("wax+") else plain_open)(file, mode, *args, **kwargs)
plain_open, builtins.open = builtins.open, open_to_read
tempfile.TemporaryFile = os.makedirs = refuse
"""

SEARCH = """
import sys
import numpy as np
from app.fingerprints import pattern_kernels
from app.index import band_kernels, id_kernels, join_kernels, kernels, table_kernels, tree_kernels
from app.matching import cluster_kernels, place_kernels
from app.index.adaptive import Adaptive
from app.index.bktree import BKTree
hashes = np.arange(5000, dtype=np.uint64)
assert len(BKTree.build(hashes, np.arange(5000)).within(0, 1)) == 14
assert len(BKTree.build(hashes, np.arange(5000)).within_many(hashes[:2], 1)) == 28
hashes = np.arange(10000, dtype=np.uint64)
assert len(Adaptive.build(hashes, np.arange(10000)).within(0, 1)) == 15
assert len(Adaptive.build(hashes, np.arange(10000)).within_many(hashes[:2], 1)) == 30
modules = kernels, tree_kernels, band_kernels, table_kernels, join_kernels, id_kernels
modules += pattern_kernels, cluster_kernels, place_kernels
values = {id(value): value for module in modules for value in vars(module).values()}.values()
compiled = [kernel for kernel in values if getattr(kernel, "_can_compile", True) is False]
loaded = sum(sum(kernel.stats.cache_hits.values()) for kernel in compiled)
print(len(compiled), loaded, "scipy.linalg" in sys.modules)
"""


def run(program, cache, home="/nonexistent"):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(  # noqa: PLW1510 - the message says more than the exit code
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels_in_all, loaded, scipy = done.stdout.split()
    return int(kernels_in_all), int(loaded), scipy == "True"


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory):
    """A cache as the install step leaves it."""
    cache = tmp_path_factory.mktemp("kernels")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error", "-m", "app.kernels"], env=environment, check=True)
    return cache


@pytest.fixture
def own_cache(filled_cache, tmp_path):
    return shutil.copytree(filled_cache, tmp_path / "kernels")


def test_the_install_step_leaves_nothing_to_compile(filled_cache):
    assert run(SEARCH, filled_cache) == (KERNELS, KERNELS, False)


def test_a_filled_cache_is_used_on_a_read_only_root(filled_cache):
    assert run(READ_ONLY + SEARCH, filled_cache) == (KERNELS, KERNELS, False)


def test_without_any_folder_to_write_kernels_are_compiled_in_memory(tmp_path):
    source = shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"import sys; sys.path.insert(0, {str(source.parent)!r})\n" + READ_ONLY + SEARCH
    kernels_in_all, loaded, _ = run(program, tmp_path / "missing")
    assert (kernels_in_all, loaded) == (KERNELS, 0)


def test_a_cache_cut_short_by_a_crash_is_compiled_anew_and_repaired(own_cache):
    for name in ("tree_kernels.search_tree-*.nbc", "kernels.scan-*.nbi"):
        file = next(own_cache.rglob(name))
        file.write_bytes(file.read_bytes()[:100])
    assert run(SEARCH, own_cache)[:2] == (KERNELS, KERNELS - 2)
    assert run(SEARCH, own_cache)[:2] == (KERNELS, KERNELS)


def test_a_change_of_any_file_of_kernels_compiles_those_of_all_anew(tmp_path):
    source = shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"import sys; sys.path.insert(0, {str(source.parent)!r})\n" + SEARCH
    cache = tmp_path / "cache"
    assert run(program, cache)[:2] == (KERNELS, 0)
    assert run(program, cache)[:2] == (KERNELS, KERNELS)
    with (source / "index" / "kernels.py").open("a") as file:
        file.write("# changed\n")
    assert run(program, cache)[:2] == (KERNELS, 0)


def test_a_call_never_compiles():
    with pytest.raises(TypeError, match="No matching definition"):
        id_kernels.locate(np.zeros(3), np.zeros(3, np.uint32), np.zeros(3, np.int64))
