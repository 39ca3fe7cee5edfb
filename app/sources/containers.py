"""From one input to its pictures, through archives, messages and PDFs in any order."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import BinaryIO, Protocol, cast

from app.errors import BrokenPicture, PictureTooLarge, StorageFull, Unavailable
from app.sources.found import Found, Refused, Skipped, Step, last_part
from app.sources.kinds import CONTAINERS, HEAD_BYTES, Kind, kind_of, unread
from app.sources.letters import letter_members
from app.sources.limits import MIB, Budget, Limits, SpentError
from app.sources.members import Broken, Member, Members, Passed, broken
from app.sources.outlook import is_outlook, outlook_members
from app.sources.pdf import PdfReaders, pdf_members
from app.sources.tars import tar_members
from app.sources.zips import zip_members

_IN_MEMORY_BYTES = 4 * MIB
_PIECE = MIB

Content = Found | Skipped | Refused


class Source(Protocol):
    """What has contents: a name and a file; see `inputs.Input`."""

    @property
    def name(self) -> str:
        """As text."""

    @property
    def byte_count(self) -> int:
        """Of the file."""

    def open(self) -> BinaryIO:
        """Return the file, seekable. Raises Unavailable, BrokenPicture."""


def contents_of(
    source: Source, limits: Limits | None = None, pdfs: PdfReaders | None = None
) -> Iterator[Content]:
    """Yield the pictures of an input and what else there is in it, in order; never raises for what it reads.

    What is no container is one Found, whatever it is: the intake says what is wrong with it. An input that
    can't be read to its end gives a Refused, whose error is Unavailable where trying again may help. `pdfs`
    are processes to share between inputs; without them each input with a PDF starts its own.
    """
    limits = limits or Limits()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(closing(source.open()))
            readers = pdfs or stack.enter_context(PdfReaders(limits))
            yield from _Contents(source, limits, readers).of_input(file)
        except (SpentError, StorageFull, Unavailable) as error:
            yield Refused(source.name, (), error)
        except Exception as error:  # noqa: BLE001 - the next input may be better
            yield Refused(source.name, (), broken("file", error))


class _Contents:
    def __init__(self, source: Source, limits: Limits, pdfs: PdfReaders):
        self.path = source.name
        self.limits = limits
        self.budget = Budget(limits, source.byte_count)
        self.pdfs = pdfs

    def of_input(self, file: BinaryIO) -> Iterator[Content]:
        head = file.read(HEAD_BYTES)
        kind = kind_of(head, self.path)
        file.seek(0)
        if kind is Kind.UNREAD:
            yield Refused(self.path, (), unread(head))
        elif kind in CONTAINERS and not self._is_other(kind, file):
            yield from self._of_container(kind, file, ())
        else:
            yield self._picture((), file.read(self.limits.max_file_bytes + 1))

    def _of_container(self, kind: Kind, file: BinaryIO, steps: tuple[Step, ...]) -> Iterator[Content]:
        members = self._members(kind, file)
        try:
            while True:
                try:
                    member = next(members)
                except StopIteration:
                    return
                except (SpentError, StorageFull, Unavailable):
                    raise
                except Exception as error:  # noqa: BLE001 - parsers raise whatever hostile bytes lead them to
                    yield Refused(self.path, steps, broken(kind.value, error))
                    return
                self.budget.count_member()
                yield from self._of_member(member, (*steps, *member.steps))
        finally:
            cast("Iterator[object] | io.IOBase", members).close()  # type: ignore[union-attr]

    def _members(self, kind: Kind, file: BinaryIO) -> Members:
        if kind is Kind.ZIP:
            return zip_members(file, self.budget)
        if kind is Kind.TAR:
            return tar_members(file, self.budget)
        if kind is Kind.LETTER:
            return letter_members(file, self.limits)
        if kind is Kind.COMPOUND:
            return outlook_members(file, self.budget)
        return pdf_members(file, self.pdfs)

    def _of_member(self, member: Member | Broken | Passed, steps: tuple[Step, ...]) -> Iterator[Content]:
        if isinstance(member, Broken):
            yield Refused(self.path, steps, member.error)
            return
        if isinstance(member, Passed):
            yield Skipped(self.path, steps)
            return
        try:
            head = self._read(member.stream, HEAD_BYTES)
            kind = kind_of(head, last_part(steps[-1].name))
            if kind is Kind.OTHER and member.is_picture:
                kind = Kind.PICTURE
            if kind is Kind.PICTURE:
                rest = self.limits.max_file_bytes + 1 - len(head)
                content: Content = self._picture(steps, head + self._read(member.stream, rest))
            elif kind is Kind.UNREAD:
                content = Refused(self.path, steps, unread(head))
            elif kind is Kind.OTHER:
                content = Skipped(self.path, steps)
            elif len(steps) >= self.limits.max_depth:
                limit = self.limits.max_depth
                error = BrokenPicture(f"More than {limit} containers lie in each other.", limit=limit)
                content = Refused(self.path, steps, error)
            else:
                yield from self._of_nested(kind, head, member.stream, steps)
                return
        except (SpentError, StorageFull, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001
            content = Refused(self.path, steps, broken("member", error))
        yield content

    def _of_nested(
        self, kind: Kind, head: bytes, stream: BinaryIO, steps: tuple[Step, ...]
    ) -> Iterator[Content]:
        """Open a container in a container: a copy of it, as only few streams can be read at any place."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
            copied = copy.write(head)
            while piece := self._read(stream, _PIECE):
                copied += copy.write(piece)
                if copied > self.limits.max_nested_bytes:
                    limit = self.limits.max_nested_bytes
                    raise BrokenPicture(f"The container unpacks to more than {limit} bytes.", limit=limit)
            copy.seek(0)
            file = cast("BinaryIO", copy)
            if self._is_other(kind, file):
                yield Skipped(self.path, steps)
            else:
                yield from self._of_container(kind, file, steps)

    def _is_other(self, kind: Kind, file: BinaryIO) -> bool:
        """Whether the file is of a kind that also holds other things than messages."""
        if kind is not Kind.COMPOUND:
            return False
        try:
            return not is_outlook(file)
        finally:
            file.seek(0)

    def _read(self, stream: BinaryIO, size: int) -> bytes:
        """Read as many bytes as there are, and count them."""
        pieces = []
        left = size
        while left > 0 and (piece := stream.read(min(left, _PIECE))):
            pieces.append(piece)
            left -= len(piece)
            self.budget.spend(len(piece))
        return b"".join(pieces)

    def _picture(self, steps: tuple[Step, ...], data: bytes) -> Content:
        limit = self.limits.max_file_bytes
        if len(data) > limit:
            error = PictureTooLarge(f"The file has more than {limit} bytes, the limit.", limit=limit)
            return Refused(self.path, steps, error)
        return Found(self.path, steps, bytes(data))
