"""Reading a multipart form: every part known, bounded, and complete, or a clear 4xx."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import InvalidValue, RequestTooLarge
from app.ingest import Upload
from app.labels import check_labels, storable
from app.parts import Parts
from app.storage.local import full_disk_is_an_answer

# A camera file stays in memory; what is larger goes to a temporary file.
SPOOL_BYTES = 8 * 1024 * 1024
MAX_FIELD_BYTES = 64 * 1024
MAX_FILE_NAME_CHARACTERS = 255

Model = TypeVar("Model", bound=BaseModel)


class _Parser(MultiPartParser):
    """Starlette's parser, which also refuses a body that breaks off."""

    spool_max_size = SPOOL_BYTES
    _ended = False

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._ended:
            # The file that broke off is in no form yet.
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("it breaks off before its closing boundary")
        return form


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form: the files in their order, and the text fields by name."""

    files: Sequence[Upload]
    fields: dict[str, str]


async def read_form(
    request: Request, parts: Parts, *, file_part: str, max_files: int, fields: Collection[str]
) -> Form:
    """Read the body of a multipart request whole.

    Files must be in parts named `file_part`, at least one and at most `max_files`; text parts must be among
    `fields`. Files past the size limit keep one byte more than allowed, which the intake then refuses. Raises
    InvalidValue, RequestTooLarge.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != "multipart/form-data":
        raise InvalidValue(
            f"send multipart/form-data with the pictures in parts named {file_part}", field="content-type"
        )
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=len(fields) + 1,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        with full_disk_is_an_answer():
            form = await parser.parse()
    except UnicodeError as error:
        raise InvalidValue("the multipart body does not fit the charset it names", field="body") from error
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise RequestTooLarge(
                f"more than {max_files} files in one request", field=file_part, limit=max_files
            ) from error
        raise InvalidValue(f"the multipart body can't be read: {error.message}", field="body") from error
    try:
        texts: dict[str, str] = {}
        files: list[Upload] = []
        limit = parts.settings.max_file_bytes
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != file_part:
                    raise InvalidValue(
                        f"a file came in part {_quoted(name)}, not {file_part}", field=_quoted(name)
                    )
                with full_disk_is_an_answer():
                    files.append(Upload(_file_name(value.filename), await value.read(limit + 1)))
            elif name in fields and name not in texts:
                texts[name] = value
            else:
                raise InvalidValue(
                    f"part {_quoted(name)} is unknown, repeated, or a file sent without a file name",
                    field=_quoted(name),
                )
    finally:
        await form.close()
    if not files:
        raise InvalidValue(f"send at least one file in a part named {file_part}", field=file_part)
    return Form(files, texts)


def read_labels(value: str | None) -> dict[str, Any]:
    """Read the optional `labels` part: a JSON object of short texts, numbers and booleans."""
    if value is None:
        return {}
    return check_labels(read_json(value, "labels"))


def read_json(value: str | bytes, field: str) -> Any:
    """Parse JSON as the standard has it: no NaN, no lone surrogates, no endless nesting. Raises InvalidValue."""
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{field} is not valid JSON", field=field) from error


async def read_body(request: Request) -> Any:
    """Read a body that is JSON; none at all is an empty object. Raises InvalidValue, RequestTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FIELD_BYTES:
            raise RequestTooLarge(
                f"the body is over the limit of {MAX_FIELD_BYTES} bytes", limit=MAX_FIELD_BYTES
            )
    return read_json(bytes(body), "body") if body else {}


def checked_body(model: type[Model], body: Any) -> Model:
    """A body as a model of it. Raises RequestValidationError, which names the fields."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(
            [item | {"loc": ("body", *item["loc"])} for item in error.errors()]
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _file_name(value: str | None) -> str:
    """Return the client's file name as harmless text; it is shown, and never used as a path."""
    name = "".join(c if storable(c) else "�" for c in value or "")
    return name[:MAX_FILE_NAME_CHARACTERS] or "unnamed"


def _quoted(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:40]) or "(without a name)"
