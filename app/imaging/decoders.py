"""What fingerprints files, wherever it does: the decoding processes of this machine, or a cluster's."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from app.imaging.protocol import Fingerprinted


class Decoders(Protocol):
    """So many files at once, each in a process of its own. All methods may be called from any thread."""

    @property
    def processes(self) -> int:
        """How many files are worked on at once."""

    @property
    def serving(self) -> bool:
        """Whether any file could be worked on."""

    def reserve(self, count: int) -> AbstractContextManager[None]:
        """Hold places in the queue for `count` files. Raises Overloaded."""

    def fingerprint(self, path: Path, rendition: Path | None) -> Fingerprinted:
        """Decode and fingerprint one file, and write its rendition (durable when this returns).

        Raises UnusablePicture, StorageFull, Unavailable, and OSError.
        """

    def close(self) -> None:
        """End what was started."""
