"""What the contents of one input may cost."""

from dataclasses import dataclass

from app.errors import BrokenPicture

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one input and what is in it; all inclusive. Declared sizes are never trusted."""

    max_file_bytes: int = 25 * MIB
    """One picture."""
    max_depth: int = 8
    """Containers within each other, the input being the first."""
    max_members: int = 1_000_000
    """Members of all containers in one input."""
    max_nested_bytes: int = GIB
    """One container inside another, unpacked; it lies in a temporary file."""
    max_message_bytes: int = 160 * MIB
    """One .eml file, or one attachment of a .msg file: they are parsed in memory. Mail servers end at 150 MB."""
    max_message_parts: int = 10_000
    """Parts of one .eml file: an empty part takes 5 bytes there and a kilobyte of memory."""
    max_unpacked_bytes: int = 4 * GIB
    """All that is unpacked of one input, or `max_unpacked_ratio` times its size where that is more."""
    max_unpacked_ratio: int = 100
    """Photos don't shrink when packed; the text of a mail archive does, to a tenth."""
    max_pages: int = 10_000
    """Pages of one PDF."""
    max_pictures: int = 100_000
    """Picture objects on the pages of one PDF, the repeated ones counted too."""
    max_pixels: int = 50_000_000
    """Width times height of one picture in a PDF, as uploads have it."""
    min_side: int = 16
    """A picture in a PDF with fewer pixels on a side is a line, a dot or a shade."""
    pdf_cpu_seconds: int = 300
    """For one PDF."""
    pdf_wall_seconds: float = 60.0
    """From one picture of a PDF to the next."""
    pdf_memory_bytes: int = 2 * GIB
    """Address space that one PDF may add to its process: 50 megapixels are decoded, masked and written."""


class SpentError(BrokenPicture):
    """All that one input may unpack to, or hold, is used up: nothing more of it is read."""


class Budget:
    """Counts what is unpacked of one input."""

    def __init__(self, limits: Limits, byte_count: int):
        self.limits = limits
        self.max_bytes = max(limits.max_unpacked_bytes, limits.max_unpacked_ratio * byte_count)
        self._bytes = 0
        self._members = 0

    @property
    def members_left(self) -> int:
        """How many more members may come."""
        return self.limits.max_members - self._members

    def spend(self, byte_count: int) -> None:
        """Count unpacked bytes. Raises SpentError."""
        self._bytes += byte_count
        if self._bytes > self.max_bytes:
            raise SpentError(
                f"The input unpacks to more than {self.max_bytes} bytes; what is left of it is not read.",
                limit=self.max_bytes,
            )

    def count_member(self) -> None:
        """Count a member of any container. Raises SpentError."""
        self._members += 1
        if self._members > self.limits.max_members:
            limit = self.limits.max_members
            raise SpentError(
                f"The input has more than {limit} members; what is left of it is not read.", limit=limit
            )
