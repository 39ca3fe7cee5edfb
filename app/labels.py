"""What labels may look like, at every door."""

from collections.abc import Sized
from typing import Any

from app.errors import InvalidValue

MAX_LABELS = 32
MAX_NAME_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 256
_LARGEST_NUMBER = 2**53  # beyond, JSON's readers round


def storable(value: str) -> bool:
    """Whether PostgreSQL's jsonb and a terminal can take it: no control characters, no lone surrogates."""
    return not any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value)


def check_labels(labels: Any, *, allow_null: bool = False) -> dict[str, Any]:
    """Labels as they came, if they are some; `allow_null` where null takes a label away. Raises InvalidValue."""
    if not isinstance(labels, dict):
        raise InvalidValue("labels must be a JSON object", field="labels")
    check_label_count(labels)
    for name, value in labels.items():
        check_label_name(name)
        if value is not None or not allow_null:
            _check_value(name, value)
    return labels


def check_label_count(labels: Sized) -> None:
    """Raise InvalidValue for more labels than an image may have."""
    if len(labels) > MAX_LABELS:
        raise InvalidValue(f"more than {MAX_LABELS} labels", field="labels", limit=MAX_LABELS)


def check_label_name(name: str) -> None:
    """Raise InvalidValue for a name that no label can have."""
    if not storable(name) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidValue(
            f"a label's name must have 1 to {MAX_NAME_CHARACTERS} characters, no control characters",
            field="labels",
            limit=MAX_NAME_CHARACTERS,
        )


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) > MAX_VALUE_CHARACTERS or not storable(value):
            raise InvalidValue(
                f"label {name} must have at most {MAX_VALUE_CHARACTERS} characters, no control characters",
                field=f"labels.{name}",
                limit=MAX_VALUE_CHARACTERS,
            )
    elif not isinstance(value, bool | int | float) or abs(value) > _LARGEST_NUMBER:
        raise InvalidValue(
            f"label {name} must be a text, a boolean, or a number of at most 2^53", field=f"labels.{name}"
        )
