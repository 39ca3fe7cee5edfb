"""Writing an audit to a file, whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from app.audit.families import Audit
from app.errors import InvalidValue, StorageFull
from app.storage import Pictures
from app.storage.local import FULL

FORMATS = ("html", "csv", "jsonl", "parquet")


def format_of(out: Path) -> str:
    """The format that a file's extension names. Raises InvalidValue for any other.

    >>> format_of(Path("audit.CSV"))
    'csv'
    """
    form = out.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        *others, last = (f".{name}" for name in FORMATS)
        raise InvalidValue(f"a report ends in {', '.join(others)} or {last}, not as {out.name}", field="out")
    return form


def write_audit(
    audit: Audit,
    pictures: Pictures,
    out: Path,
    form: str,
    done: Callable[[int], None] = lambda _families: None,
) -> None:
    """Write an audit to a file in one of `FORMATS`; `done` is told how many families are written, and may end it.

    Whoever opens the file meanwhile sees the one before, or none. Raises StorageFull.
    """
    beside = out.with_name(f"{out.name}.new")
    try:
        with beside.open("wb") as file:
            write_to(file, audit, pictures, form, done)
        beside.replace(out)
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(f"the disk is full; {out.name} was not written") from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_to(
    file: BinaryIO, audit: Audit, pictures: Pictures, form: str, done: Callable[[int], None]
) -> None:
    """Write it to a file that is open."""
    # Each brings along what the others need not.
    if form == "html":
        from app.audit.page import write_page

        write_page(audit, pictures, file, done)
    elif form == "csv":
        from app.audit.csv_file import write_csv

        write_csv(audit, file, done)
    elif form == "jsonl":
        from app.audit.jsonl_file import write_jsonl

        write_jsonl(audit, file, done)
    else:
        from app.audit.parquet_file import write_parquet

        write_parquet(audit, file, done)
