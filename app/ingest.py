"""Bytes + claim -> stored image, its matches, its verdict. The order of the steps is docs/decisions/0002."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

from PIL.Image import Image
from sqlalchemy import Connection, Engine

from app.catalog import images, new_images, session
from app.catalog.matches import EMPTY_PAGE
from app.catalog.new_images import NewImage
from app.catalog.rows import AnyRow
from app.catalog.template_matches import ShownTemplates
from app.catalog.templates import newest_stamp, switched_on
from app.errors import BrokenPicture, ClaimprintError, PictureTooLarge, Unavailable, UnusablePicture
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import colour_code_to_bytes, turned_to_bytes
from app.fingerprints.version import FINGERPRINT_VERSION, library_versions
from app.imaging import Decoders, Fingerprinted
from app.recognition import recognise
from app.screening import NO_VERDICT, Answer, Screening, answer_image, screen_rows
from app.storage import Pictures, open_jpeg

log = logging.getLogger(__name__)

Made = TypeVar("Made")

# A row that a concurrent delete takes away between INSERT and SELECT is inserted again, this often.
INSERT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Upload:
    """One file as it came: its name is text, never a path."""

    file_name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that was not taken, by its position in the request, and why."""

    position: int
    file_name: str
    error: ClaimprintError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files of one request, each list in the order of the request."""

    answers: Sequence[Answer]
    rejections: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file whose bytes and rendition are durable, and what it is to be stored as."""

    claim_id: str
    file_name: str
    byte_count: int
    image_id: UUID
    sha256: bytes
    fingerprinted: Fingerprinted
    client_id: int | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Fates:
    """Ids of images whose rows were stored, and of those of whose rows nobody knows: the connection was lost while
    they were committed, or the caller was interrupted. All others have none."""

    created: set[UUID] = field(default_factory=set)
    unknown: set[UUID] = field(default_factory=set)

    @contextmanager
    def inserting(self, ids: AbstractSet[UUID]) -> Iterator[None]:
        """While rows of these are inserted. What an earlier attempt left unknown stays so."""
        known = ids - self.unknown
        self.unknown |= ids
        try:
            yield
        except Exception as error:
            if not session.outcome_unknown(error):
                self.unknown -= known
            raise
        self.unknown -= known


def once(call: Callable[[], Made]) -> Made:
    """Do it, and do not try again."""
    return call()


class Intake:
    """Takes pictures in: the bytes to storage, the fingerprint from a decoding process, the row to the table."""

    def __init__(
        self,
        *,
        engine: Engine,
        screening: Screening,
        decoders: Decoders,
        max_file_bytes: int,
    ):
        self.engine = engine
        self.screening = screening
        self.pictures = screening.pictures
        self.decoders = decoders
        self.max_file_bytes = max_file_bytes
        self._files = ThreadPoolExecutor(64, "intake-file")
        self._digests = ThreadPoolExecutor(64, "intake-digest")

    def close(self) -> None:
        """End the threads; files being taken are finished first."""
        self._files.shutdown()
        self._digests.shutdown()

    def take(
        self,
        claim_id: str,
        uploads: Sequence[Upload],
        *,
        client_id: int | None,
        labels: Mapping[str, Any],
    ) -> Outcome:
        """Store pictures of one claim and find where they were used before.

        When this returns, every image in `answers` is durable and its matches are complete. Files that can't
        be taken are in `rejections`; the others are stored all the same.

        Raises Overloaded before anything is stored, StorageFull when nothing was acknowledged, and another
        Unavailable when images may be stored but their answer is not known: sending the same bytes for the
        same claim again gives the same images and the whole answer.
        """
        with self.decoders.reserve(len(uploads)):
            arrived, rejections = self._receive_all(claim_id, uploads)
        arrivals = [replace(each, client_id=client_id, labels=labels) for each in arrived]
        return Outcome(self.store(arrivals) if arrivals else [], rejections)

    def receive(self, claim_id: str, upload: Upload) -> Arrival:
        """Make the bytes durable while a decoding process makes the fingerprint and the rendition.

        Nothing of the file stays when this fails; otherwise it is for `store` or `refuse`. Raises as `take`.
        """
        self._check_size(upload)
        image_id = uuid4()
        digest = self._digests.submit(lambda: hashlib.sha256(upload.data).digest())
        fingerprinted = self.pictures.store(image_id, upload.data, self.decoders.fingerprint)
        return Arrival(claim_id, upload.file_name, len(upload.data), image_id, digest.result(), fingerprinted)

    def store(
        self, arrivals: Sequence[Arrival], *, attempt: Callable[[Callable[[], Any]], Any] = once
    ) -> list[Answer]:
        """Store files that were received, of any claims, in one statement, and find where they were used before.

        The answers are in the order of the files, and as complete as those of `take`, which raises the same.
        `attempt` does each of the two steps; it may try again what raised, for both are safe to repeat.
        """
        fates = _Fates()
        new = [new_image(each) for each in arrivals]
        keypoints = {each.image_id: each.fingerprinted.keypoints for each in arrivals}

        def insert() -> list[AnyRow]:
            with session.autocommit(self.engine) as connection:
                return self._insert(connection, new, fates)

        def answer() -> list[Answer]:
            with session.autocommit(self.engine) as connection:
                return self._answer(connection, rows, fates.created, keypoints)

        with self._only_stored_files_stay(arrivals, fates):
            rows: list[AnyRow] = attempt(insert)
        answers: list[Answer] = attempt(answer)
        return answers

    def again(self, rows: Sequence[AnyRow]) -> list[Answer]:
        """Answer for images that are stored already (columns STORED): those that were not compared yet are. Raises
        Unavailable."""
        with session.autocommit(self.engine) as connection:
            return self._answer(connection, rows, frozenset(), {})

    def refuse(self, *arrivals: Arrival) -> None:
        """Erase files that were received and are not to be stored."""
        self.pictures.discard(*(each.image_id for each in arrivals))

    def look_at(self, upload: Upload, *, rendition: bool = False) -> tuple[Fingerprinted, Image | None]:
        """Fingerprint a picture that is not to be stored: nothing of it stays. Raises as `take`.

        With its rendition where that is asked for, which takes some milliseconds more.
        """
        self._check_size(upload)
        with self.decoders.reserve(1), self.pictures.staged(upload.data) as files:
            found = self.decoders.fingerprint(files.original, files.rendition if rendition else None)
            return found, open_jpeg(files.rendition.read_bytes()) if rendition else None

    def keep(self, pictures: Pictures, picture_id: UUID, upload: Upload) -> Fingerprinted:
        """Make a picture that is no image durable among its like, and fingerprint it. Raises as `take`."""
        self._check_size(upload)
        with self.decoders.reserve(1):
            return pictures.store(picture_id, upload.data, self.decoders.fingerprint)

    def _receive_all(self, claim_id: str, uploads: Sequence[Upload]) -> tuple[list[Arrival], list[Rejection]]:
        """Receive the files of one request, no more of them at once than there are decoding processes.

        So the queue in front of those holds a few files of every request that waits, and not all of one.
        """
        results: dict[int, Arrival | Exception] = {}
        positions = iter(range(len(uploads)))

        def decode_some() -> None:
            for position in positions:
                try:
                    results[position] = self.receive(claim_id, uploads[position])
                except UnusablePicture as error:
                    results[position] = error
                except Exception as error:  # noqa: BLE001 - raised below, once nobody works on a file
                    results[position] = error
                    return

        others = [self._files.submit(decode_some) for _ in uploads[1 : self.decoders.processes]]
        decode_some()
        for other in others:
            other.result()
        arrived = [item for _, item in sorted(results.items()) if isinstance(item, Arrival)]
        rejections: list[Rejection] = []
        for position, error in sorted(results.items()):
            if isinstance(error, UnusablePicture):
                rejections.append(Rejection(position, uploads[position].file_name, error))
            elif isinstance(error, Exception):
                self.refuse(*arrived)
                raise error
        return arrived, rejections

    def _check_size(self, upload: Upload) -> None:
        if not upload.data:
            raise BrokenPicture("the file is empty: it has 0 bytes")
        if len(upload.data) > self.max_file_bytes:
            raise PictureTooLarge(
                f"the file is over the limit of {self.max_file_bytes} bytes", limit=self.max_file_bytes
            )

    @contextmanager
    def _only_stored_files_stay(self, arrivals: Sequence[Arrival], fates: "_Fates") -> Iterator[None]:
        """Erase at the end the files of what was surely not stored: a replay's, and those of a failed INSERT."""
        try:
            yield
        finally:
            # Where the commit may have gone through unseen, the files stay: the sweep erases them if it did not.
            self.refuse(*(item for item in arrivals if item.image_id not in fates.created | fates.unknown))

    def _insert(self, connection: Connection, new: Sequence[NewImage], fates: "_Fates") -> list[AnyRow]:
        """Return the live row of each image in its order, and tell the fate of all."""
        # The same bytes twice for one claim are one row, listed twice.
        wanted = {(item.claim_id, item.sha256): item for item in reversed(new)}
        found: dict[tuple[str, bytes], AnyRow] = {}
        for _ in range(INSERT_ATTEMPTS):
            missing = [item for key, item in reversed(wanted.items()) if key not in found]
            with fates.inserting({item.image_id for item in missing}):
                inserted = new_images.insert_images(connection, missing)
                fates.created |= inserted.keys()
            for row in inserted.values():
                found[row.claim_id, row.sha256] = row
            if replayed := wanted.keys() - found.keys():
                found |= images.live_by_bytes(connection, replayed)
            # Also of an attempt before this one, whose commit went through unseen.
            fates.created |= {row.image_id for row in found.values()} & {item.image_id for item in new}
            if len(found) == len(wanted):
                fates.unknown.clear()
                return [found[item.claim_id, item.sha256] for item in new]
        raise Unavailable(
            "the same pictures are being deleted and uploaded at the same moment; send them again"
        )

    def _answer(
        self,
        connection: Connection,
        rows: Sequence[AnyRow],
        created: AbstractSet[UUID],
        keypoints: Mapping[UUID, Keypoints],
    ) -> list[Answer]:
        """Screen what is not screened yet, and read the matches. The images are stored whatever happens here."""
        waiting = {row.id: row for row in rows if row.screened_at is None}
        try:
            # Before it is searched: keypoints that are found meanwhile may not be compared yet.
            lacking = images.count_to_fill(connection)
            matched: set[int] = set()
            if waiting:
                matched = screen_rows(connection, self.screening, list(waiting.values()), keypoints)
            index = self.screening.collection.current
            known = None if index is None else index.templates
            if replayed := [row.created_seq for row in rows if row.image_id not in created]:
                # With templates made since they were stored the scan may not be through, and the index may know
                # none of them: it reads them with the images that come later.
                if known is None or known.newest != newest_stamp(connection):
                    known = switched_on(connection)
                recognise(connection, known, replayed)
            unmade = 0 if known is None else known.unmade
            answers = [
                # A new image for which nothing was found needs no reading: only earlier ones are promised.
                Answer(row, EMPTY_PAGE, NO_VERDICT, created=True, templates=ShownTemplates(pending=unmade))
                if row.image_id in created and row.id not in matched
                else _of_upload(connection, row, created=row.image_id in created, unmade=unmade)
                for row in rows
            ]
            return [replace(each, parts_pending=lacking) for each in answers] if lacking else answers
        except Exception as error:
            log.warning("stored images %s got no answer", [row.image_id for row in rows], exc_info=True)
            translated = session.translated(error)
            if isinstance(translated, Unavailable):
                raise translated from error
            raise Unavailable(
                "the images are stored but could not be compared yet; send them again"
            ) from error


def _of_upload(connection: Connection, row: AnyRow, *, created: bool, unmade: int) -> Answer:
    """The answer of an image that has just been compared with all images before it, and all templates but those
    that are to be made anew."""
    answer = answer_image(connection, row, screened=True)
    return replace(answer, created=created, templates=replace(answer.templates, pending=unmade))


def pixel_columns(fingerprinted: Fingerprinted) -> dict[str, Any]:
    """Values of the columns that come from the pixels: those an upload sets and a rehash sets again."""
    fingerprint = fingerprinted.fingerprint
    return {
        "pixel_sha256": fingerprinted.pixel_sha256,
        "status": fingerprinted.status,
        **fingerprint.hashes,
        "colorhash": fingerprint.colorhash,
        "colour_code": colour_code_to_bytes(fingerprint.colour_code),
        "page": fingerprint.page,
        "verifier": fingerprint.verifier_bytes,
        "turned": turned_to_bytes(fingerprint.turned),
        "fingerprint_version": FINGERPRINT_VERSION,
        "library_versions": library_versions(),
    }


def new_image(item: Arrival) -> NewImage:
    """Return the row to insert for a file that was received."""
    decoded = item.fingerprinted
    return NewImage(
        image_id=item.image_id,
        claim_id=item.claim_id,
        uploaded_by=item.client_id,
        file_name=item.file_name,
        sha256=item.sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        byte_count=item.byte_count,
        labels=dict(item.labels),
        source=None if item.source is None else dict(item.source),
        exif=dict(decoded.exif),
        taken_at=decoded.taken_at,
        camera_make=decoded.camera_make,
        camera_model=decoded.camera_model,
        camera_software=decoded.camera_software,
        segments=decoded.fingerprint.segments,
        pattern=decoded.pattern,
        keypoints=decoded.keypoints,
        **pixel_columns(decoded),
    )
