"""Bytes + claim -> stored image, its matches, its verdict. The order of the steps is docs/decisions/0002."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from PIL.Image import Image
from sqlalchemy import Connection, Engine

from app.catalog import images, new_images, session
from app.catalog.matches import EMPTY_PAGE
from app.catalog.new_images import NewImage
from app.catalog.rows import AnyRow
from app.catalog.templates import newest_stamp, switched_on
from app.errors import BrokenPicture, ClaimprintError, PictureTooLarge, Unavailable, UnusablePicture
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.value import colour_code_to_bytes, turned_to_bytes
from app.fingerprints.version import FINGERPRINT_VERSION, library_versions
from app.imaging import DecodePool, Fingerprinted
from app.recognition import recognise
from app.screening import NO_VERDICT, Answer, Screening, answer_image, screen_rows
from app.storage import Pictures, open_rendition

log = logging.getLogger(__name__)

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
class _Decoded:
    position: int
    file_name: str
    byte_count: int
    image_id: UUID
    sha256: bytes
    fingerprinted: Fingerprinted


class Intake:
    """Takes pictures in: the bytes to storage, the fingerprint from a decoding process, the row to the table."""

    def __init__(
        self,
        *,
        engine: Engine,
        screening: Screening,
        decoders: DecodePool,
        max_file_bytes: int,
    ):
        self.engine = engine
        self.screening = screening
        self.pictures = screening.pictures
        self.decoders = decoders
        self.max_file_bytes = max_file_bytes
        self._files = ThreadPoolExecutor(64, "intake-file")
        self._disk = ThreadPoolExecutor(64, "intake-disk")

    def close(self) -> None:
        """End the threads; files being taken are finished first."""
        self._files.shutdown()
        self._disk.shutdown()

    def take(
        self,
        claim_id: str,
        uploads: Sequence[Upload],
        *,
        client_id: int | None,
        labels: Mapping[str, Any],
        source: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Store pictures of one claim and find where they were used before.

        When this returns, every image in `answers` is durable and its matches are complete. Files that can't
        be taken are in `rejections`; the others are stored all the same.

        Raises Overloaded before anything is stored, StorageFull when nothing was acknowledged, and another
        Unavailable when images may be stored but their answer is not known: sending the same bytes for the
        same claim again gives the same images and the whole answer.
        """
        with self.decoders.reserve(len(uploads)):
            decoded, rejections = self._decode_all(uploads)
        if not decoded:
            return Outcome([], rejections)
        created: set[UUID] = set()
        with ExitStack() as stack:
            with self._only_stored_files_stay(decoded, created):
                connection = stack.enter_context(session.autocommit(self.engine))
                new = [new_image(claim_id, item, client_id, labels, source) for item in decoded]
                rows = self._insert(connection, new, created)
            keypoints = {item.image_id: item.fingerprinted.keypoints for item in decoded}
            return Outcome(self._answer(connection, rows, created, keypoints), rejections)

    def look_at(self, upload: Upload, *, rendition: bool = False) -> tuple[Fingerprinted, Image | None]:
        """Fingerprint a picture that is not to be stored: nothing of it stays. Raises as `take`.

        With its rendition where that is asked for, which takes some milliseconds more.
        """
        self._check_size(upload)
        image_id = uuid4()
        try:
            with self.decoders.reserve(1):
                path = self.pictures.write_original(image_id, upload.data)
                found = self.decoders.fingerprint(
                    path, self.pictures.rendition(image_id) if rendition else None
                )
            if not rendition:
                return found, None
            picture = open_rendition(self.pictures, image_id)
            picture.load()
            return found, picture
        finally:
            self.pictures.erase(image_id)

    def keep(self, pictures: Pictures, picture_id: UUID, upload: Upload) -> Fingerprinted:
        """Make a picture that is no image durable in a folder of its own, and fingerprint it. Raises as `take`.

        What a failure leaves behind is the caller's to erase.
        """
        self._check_size(upload)
        with self.decoders.reserve(1):
            path = pictures.write_original(picture_id, upload.data)
            found = self.decoders.fingerprint(path, pictures.rendition(picture_id))
        pictures.sync(picture_id)
        pictures.sync_folder(picture_id)
        return found

    def _decode_all(self, uploads: Sequence[Upload]) -> tuple[list[_Decoded], list[Rejection]]:
        """Decode the files of one request, no more of them at once than there are decoding processes.

        So the queue in front of those holds a few files of every request that waits, and not all of one.
        """
        results: dict[int, _Decoded | Exception] = {}
        positions = iter(range(len(uploads)))

        def decode_some() -> None:
            for position in positions:
                try:
                    results[position] = self._decode(position, uploads[position])
                except Exception as error:  # noqa: BLE001 - told apart below, once all files are done
                    results[position] = error

        others = [self._files.submit(decode_some) for _ in uploads[1 : self.decoders.processes]]
        decode_some()
        for other in others:
            other.result()
        decoded = [item for _, item in sorted(results.items()) if isinstance(item, _Decoded)]
        rejections: list[Rejection] = []
        for position, error in sorted(results.items()):
            if isinstance(error, UnusablePicture):
                rejections.append(Rejection(position, uploads[position].file_name, error))
            elif isinstance(error, Exception):
                for item in decoded:
                    self.pictures.erase(item.image_id)
                raise error
        return decoded, rejections

    def _decode(self, position: int, upload: Upload) -> _Decoded:
        """Make the bytes durable while a decoding process makes the fingerprint and the rendition."""
        self._check_size(upload)
        image_id = uuid4()
        try:
            path = self.pictures.write_original(image_id, upload.data)
            durable = self._disk.submit(self._digest_and_sync, image_id, upload.data)
            try:
                fingerprinted = self.decoders.fingerprint(path, self.pictures.rendition(image_id))
            finally:
                # Also after a failure: the file is erased below, and nobody may be working on it then.
                sha256 = durable.result()
            self.pictures.sync_folder(image_id)
        except BaseException:
            self.pictures.erase(image_id)
            raise
        return _Decoded(position, upload.file_name, len(upload.data), image_id, sha256, fingerprinted)

    def _check_size(self, upload: Upload) -> None:
        if not upload.data:
            raise BrokenPicture("the file is empty: it has 0 bytes")
        if len(upload.data) > self.max_file_bytes:
            raise PictureTooLarge(
                f"the file is over the limit of {self.max_file_bytes} bytes", limit=self.max_file_bytes
            )

    def _digest_and_sync(self, image_id: UUID, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        self.pictures.sync(image_id)
        return digest

    @contextmanager
    def _only_stored_files_stay(
        self, decoded: Sequence[_Decoded], created: AbstractSet[UUID]
    ) -> Iterator[None]:
        """Erase at the end the files of what is not in `created`: a replay's, and those of a failed INSERT."""
        unknown = False
        try:
            yield
        except Exception as error:
            # Where the commit may have gone through unseen, the files stay: the sweep erases them if it did not.
            unknown = session.outcome_unknown(error)
            raise
        finally:
            for item in decoded:
                if item.image_id not in created and not unknown:
                    self.pictures.erase(item.image_id)

    def _insert(self, connection: Connection, new: Sequence[NewImage], created: set[UUID]) -> list[AnyRow]:
        """Return the live row of each image in its order; put the ids of those that are new into `created`."""
        # The same bytes twice in one request are one row, listed twice.
        wanted = list({item.sha256: item for item in reversed(new)}.values())[::-1]
        found: dict[bytes, AnyRow] = {}
        for _ in range(INSERT_ATTEMPTS):
            missing = [item for item in wanted if item.sha256 not in found]
            for row in new_images.insert_images(connection, missing).values():
                found[row.sha256] = row
                created.add(row.image_id)
            replayed = [item.sha256 for item in missing if item.sha256 not in found]
            if replayed:
                found |= images.live_by_bytes(connection, missing[0].claim_id, replayed)
            if len(found) == len(wanted):
                return [found[item.sha256] for item in new]
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
            matched: set[int] = set()
            if waiting:
                matched = screen_rows(connection, self.screening, list(waiting.values()), keypoints)
            if replayed := [row.created_seq for row in rows if row.image_id not in created]:
                # With templates made since they were stored the scan may not be through, and the index may know
                # none of them: it reads them with the images that come later.
                index = self.screening.collection.current
                known = None if index is None else index.templates
                if known is None or known.newest != newest_stamp(connection):
                    known = switched_on(connection)
                recognise(connection, known, replayed)
            return [
                # A new image for which nothing was found needs no reading: only earlier ones are promised.
                Answer(row, EMPTY_PAGE, NO_VERDICT, created=True)
                if row.image_id in created and row.id not in matched
                else _of_upload(connection, row, created=row.image_id in created)
                for row in rows
            ]
        except Exception as error:
            log.warning("stored images %s got no answer", [row.image_id for row in rows], exc_info=True)
            translated = session.translated(error)
            if isinstance(translated, Unavailable):
                raise translated from error
            raise Unavailable(
                "the images are stored but could not be compared yet; send them again"
            ) from error


def _of_upload(connection: Connection, row: AnyRow, *, created: bool) -> Answer:
    """The answer of an image that has just been compared with all images before it and all templates."""
    answer = answer_image(connection, row, screened=True)
    return replace(answer, created=created, templates=replace(answer.templates, pending=0))


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


def new_image(
    claim_id: str,
    item: _Decoded,
    client_id: int | None,
    labels: Mapping[str, Any],
    source: Mapping[str, Any] | None,
) -> NewImage:
    """Return the row to insert for a decoded file."""
    decoded = item.fingerprinted
    return NewImage(
        image_id=item.image_id,
        claim_id=claim_id,
        uploaded_by=client_id,
        file_name=item.file_name,
        sha256=item.sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        byte_count=item.byte_count,
        labels=dict(labels),
        source=None if source is None else dict(source),
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
