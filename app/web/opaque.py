"""The opaque ids of images and jobs, as they stand in paths and queries."""

from uuid import UUID

from app.errors import NotFound


def opaque_id(value: str, field: str) -> UUID:
    """Read an id that this service made. Anything else names nothing: NotFound."""
    try:
        parsed = UUID(value)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != value:
        raise NotFound(f"no {field.removesuffix('_id')} of this id", field=field)
    return parsed
