"""How kernels get compiled: once, into a cache that every later start only reads.

Plain `njit(cache=True)` raises where no cache folder can be written, even if the image build has filled one:
the very case of a container with a read-only root. Here a folder that holds the kernels is good enough, and
without one they are compiled in memory.

Loading from the cache also leaves out what only compiling needs (numba's table of all typed functions,
scipy): a start with a filled cache takes 0.35 s in all where plain `njit(cache=True)` takes 0.75 s.
"""

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    NullCache,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numba.core.runtime.nrt import rtsys

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError)  # read-only, full, or cut short by a crash


class _FilledFolder:
    """Makes a cache locator accept a folder that can't be written if kernels of its source file are in it."""

    def ensure_cache_path(self) -> None:
        try:
            super().ensure_cache_path()  # type: ignore[misc]
        except OSError:
            kernels = f"{Path(self._py_file).stem}.*.nbi"  # type: ignore[attr-defined]
            if not any(Path(self.get_cache_path()).glob(kernels)):  # type: ignore[attr-defined]
                raise

    def get_source_stamp(self) -> str:
        # Kernels are made of functions of each other's files, and numba would look at the kernel's own alone.
        return _stamp_of_all_kernels()


@cache
def _stamp_of_all_kernels() -> str:
    files = sorted(Path(__file__).parent.glob("*/*kernels.py"))
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


class _ProvidedFolder(_FilledFolder, UserProvidedCacheLocator):
    """`NUMBA_CACHE_DIR`."""


class _FolderOfSource(_FilledFolder, InTreeCacheLocator):
    """`__pycache__` beside the source file."""


class _FolderOfUser(_FilledFolder, UserWideCacheLocator):
    """The user's own cache folder."""


class _Folders(CompileResultCacheImpl):
    _locator_classes = [_ProvidedFolder, _FolderOfSource, _FolderOfUser]  # noqa: RUF012 - the name is numba's


class _KernelCache(FunctionCache):
    """numba's cache of one function; when its folder fails, that costs time, never the kernel."""

    _impl_class = _Folders

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # memory for arrays: all that loaded code needs
        try:
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except _UNUSABLE:
            with suppress(*_UNUSABLE):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(*_UNUSABLE):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def entry_point(kernel: _Kernel) -> _Kernel:
    """A compiled kernel without the look at its arguments' types that costs a call 0.2 to 0.3 us.

    They must be those of its signature: an array of another type is a TypeError at best.
    """
    (overload,) = cast("Any", kernel).overloads.values()
    return cast("_Kernel", overload.entry_point)


def compiled(signature: Any) -> Callable[[_Kernel], _Kernel]:
    """Decorator: compile a function for one numba signature, or load it from the cache; it drops the GIL."""
    return partial(_compile, signature=signature, nogil=True)


def keeping_gil(kernel: _Kernel) -> _Kernel:
    """The same kernel, made to keep the GIL: for calls so short that waiting to have it back would take longer."""
    function = cast("Any", kernel).py_func
    name = f"{function.__name__}_keeping_gil"  # for a place of its own in the cache
    twin = FunctionType(function.__code__, function.__globals__, name)
    twin.__qualname__, twin.__module__ = name, function.__module__
    (signature,) = cast("Any", kernel).signatures
    return cast("_Kernel", _compile(twin, signature, nogil=False))


def _compile(function: _Kernel, signature: Any, nogil: bool) -> _Kernel:
    kernel: Any = njit(nogil=nogil)(function)
    try:
        cache: Any = _KernelCache(function)  # type: ignore[no-untyped-call]
    except RuntimeError:  # no folder at all
        cache = NullCache()
    kernel._cache = cache  # noqa: SLF001 - `enable_caching` takes no other class
    kernel.compile(signature)
    kernel.disable_compile()
    return cast("_Kernel", kernel)
