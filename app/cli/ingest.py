"""`claimprint ingest`: takes in a collection, from wherever its pictures are."""

import hashlib
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.allocation import give_large_blocks_back
from app.cli.opened import UNAVAILABLE, open_database, read_settings
from app.cli.tally import Tally
from app.errors import ClaimprintError, Conflict, StorageFull, Unavailable
from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.imaging import Decoders
    from app.sources.claim_rules import Rule
    from app.sources.taken import Taken

log = logging.getLogger(__name__)

SOME_REJECTED = 1
CAN_NOT_RUN = 2  # as for an option that makes no sense
_NICENESS = 10
_EXECUTORS = "processes, or dask://host:port"


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--claim-from",
    required=True,
    type=click.Choice(["parent", "name", "csv", "regex"]),
    help="Claim id: the name of the folder, in an archive of that within it; the file's name up to the first _"
    " or .; a table (--claims); or what a pattern finds (--claim-regex). What a claim id can't have becomes -.",
)
@click.option(
    "--claims",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns file (relative to it, or an address; 'mail.zip > 7.msg' for what is inside) and"
    " claim, for --claim-from csv. A column date is the claim's day; others become labels.",
)
@click.option(
    "--claim-regex",
    metavar="PATTERN",
    help="For --claim-from regex, as '^(?P<claim>.{10})'. A group date is the claim's day; others become labels.",
)
@click.option(
    "--claim-on",
    type=click.Choice(["name", "subject"]),
    help="What the pattern is looked for in: names of files, or subjects of messages.  [default: name]",
)
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that gets a line for everything taken, known, rejected or left.  [default: one in DATA_DIR/ingest]",
)
@click.option(
    "--executor",
    default="processes",
    show_default=True,
    help=f"Where pictures are fingerprinted: {_EXECUTORS}.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON line for every picture, and for progress."
)
def ingest(
    sources: tuple[str, ...],
    claim_from: str,
    claims: Path | None,
    claim_regex: str | None,
    claim_on: str | None,
    journal: Path | None,
    executor: str,
    as_json: bool,
) -> None:
    """Take in pictures with the same answers as an upload: from SOURCES, files, folders and addresses.

    Addresses are s3://, gs://, az:// and file://. Archives (zip, tar), messages (.eml, .msg) and PDFs are
    opened, also in each other. What can't be used is reported and passed over. Running it again goes on where
    it stopped: nothing is stored twice. Exit code 0: all taken; 1: some rejected; 3: broke off, also by
    Ctrl-C, a full disk or a crash: run it again.
    """
    from app.sources.claim_rules import claim_rule

    for option, given, needed in (
        ("--claims", claims, "csv"),
        ("--claim-regex", claim_regex, "regex"),
        ("--claim-on", claim_on, "regex"),
    ):
        if given is not None and claim_from != needed:
            raise click.UsageError(f"{option} is for --claim-from {needed}, not for {claim_from}")
    on = claim_on or "name"
    try:
        rule = claim_rule(claim_from, table=claims, pattern=claim_regex, on=on)  # type: ignore[arg-type]
    except ClaimprintError as error:
        raise click.UsageError(error.message) from error
    _show_any_name(as_json=as_json)
    with _ending_with_a_word():
        rule_digest = _digest(claim_from, claims, claim_regex, on)
        sys.exit(_take_in(sources, rule, rule_digest, journal, executor, as_json=as_json))


def _take_in(
    sources: Sequence[str],
    rule: "Rule",
    rule_digest: str,
    journal: Path | None,
    executor: str,
    *,
    as_json: bool,
) -> int:
    """Take all in; return the exit code."""
    from app.sources.bulk import Bulk
    from app.sources.claim_rules import Table
    from app.sources.inputs import inputs_of, name_of
    from app.sources.journal import Journal
    from app.sources.limits import Limits

    settings = read_settings()
    inputs = list(inputs_of(sources))
    if isinstance(rule, Table) and (unused := rule.lines_without(map(name_of, inputs))):
        click.echo(
            f"claimprint: {len(unused)} lines of {rule.name} are for no file of these: {unused[0]}"
            f"{', ...' if len(unused) > 1 else ''}",
            err=True,
        )
    tally = Tally(sum(getattr(source, "byte_count", 0) for source in inputs), as_json=as_json)
    whole = [source if "://" in source else os.path.abspath(source) for source in sources]  # noqa: PTH100
    path = journal or settings.data_dir / "ingest" / f"{_digest(rule_digest, *whole)}.jsonl"
    limits = replace(Limits(), max_file_bytes=settings.max_file_bytes, max_pixels=settings.max_pixels)
    # Threads that fetch and store hold Python's lock for moments; the default would have decoders wait for it.
    sys.setswitchinterval(0.0005)
    give_large_blocks_back()
    stopped = ""
    with open_database(settings, make=True) as url, Journal(path) as opened:
        from app.parts import make_parts

        settings = for_scan(settings, url)
        parts = make_parts(settings, decoders=_decoders(executor, settings))
        bulk = Bulk(
            parts.intake,
            opened,
            rule,
            limits,
            rule_digest=rule_digest,
            at_once=2 * parts.intake.decoders.processes + 2,
            stale_seconds=settings.orphan_file_seconds / 2,
        )
        try:
            _tie(parts.engine, settings)
            with (
                _stopping_cleanly(bulk.stop.set),
                tally.shown(lambda: bulk.bytes_done),
                closing(bulk.take(inputs)) as taken,
            ):
                for item in taken:
                    tally.count(item)
                    _show(item, as_json=as_json)
        except Exception as error:
            if not _leaves_a_summary(error):
                raise
            stopped = _said(error)
        finally:
            parts.close()
    if stopped:
        click.echo(f"claimprint: {stopped}", err=True)
    broke_off = bool(stopped) or bulk.broke_off
    tally.sum_up(path, broke_off=broke_off)
    return UNAVAILABLE if broke_off else SOME_REJECTED if tally.rejected else 0


@contextmanager
def _ending_with_a_word() -> Iterator[None]:
    """Whatever ends the run before its end is told in a line, with the exit code for that."""
    try:
        yield
    except BrokenPipeError:
        # Nobody reads what is printed any more; nor is the rest of it to be a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        said = "nobody reads the answers any more"
    except KeyboardInterrupt:
        said = "ended by Ctrl-C"
    except (Unavailable, StorageFull, Conflict) as error:
        said = error.message
    except ClaimprintError as error:
        # No second run would come further: an address of no known kind, the pictures of another database.
        click.echo(f"claimprint: {error.message}", err=True)
        sys.exit(CAN_NOT_RUN)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - 1 would say that the run came to its end
        said = _said(error)
    else:
        return
    click.echo(f"claimprint: {said}\nstopped; run it again to go on", err=True)
    sys.exit(UNAVAILABLE)


def _leaves_a_summary(error: Exception) -> bool:
    """Whether to sum up what was taken before: not where nobody reads it, nor where no second run would go on."""
    if isinstance(error, ClaimprintError):
        return isinstance(error, StorageFull | Unavailable)
    return not isinstance(error, BrokenPipeError)


def _said(error: Exception) -> str:
    """One line about what ended the run; where nobody foresaw it, the log has the rest."""
    from app.catalog import session

    translated = session.translated(error)
    if isinstance(translated, ClaimprintError):
        return translated.message
    log.error("the run ended by an error that nobody foresaw", exc_info=error)
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")


def _show_any_name(*, as_json: bool) -> None:
    """A terminal that lacks a letter is no reason to stop; JSON is UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", encoding="utf-8" if as_json else None)


def _digest(*parts: object) -> str:
    """What tells one way to tell claims, or one set of sources, from another."""
    texts = [part.read_text("utf-8", "replace") if isinstance(part, Path) else str(part) for part in parts]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def for_scan(settings: Settings, database_url: str) -> Settings:
    """Those of a scan: unless told otherwise, one decoding process more than a service has, for some always wait
    until what they wrote is on the disk; and all of them yield to the one thread that compares, for which all would
    wait in the end."""
    update = {
        "database_url": database_url,
        "decode_processes": settings.decode_processes + 1,
        "decode_niceness": _NICENESS,
    }
    told = settings.model_fields_set - {"database_url"}
    update = {name: value for name, value in update.items() if name not in told}
    return settings.model_copy(update=update)


def _decoders(executor: str, settings: Settings) -> "Decoders | None":
    if executor == "processes":
        return None
    if not executor.startswith("dask://"):
        raise click.BadParameter(f"{executor} is none of {_EXECUTORS}", param_hint="--executor")
    from app.decoders import decode_limits
    from app.imaging.cluster import ClusterDecoders

    return ClusterDecoders(executor, decode_limits(settings))


@contextmanager
def _stopping_cleanly(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, or SIGTERM, has what is under way finished; another one ends it at once."""

    def first(number: int, _: object) -> None:
        signal.signal(number, signal.default_int_handler)
        click.echo("\nfinishing what is under way; once more ends it at once", err=True)
        stop()

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(item: "Taken", *, as_json: bool) -> None:
    from app.matching.kinds import COPIES
    from app.sources.journal import LEFT, SKIPPED

    if as_json:
        click.echo(json.dumps(_as_json(item), ensure_ascii=False))
        return
    if item.error is not None:
        became = "left for the next run" if item.state == LEFT else item.state
        click.echo(f"{item.where}: {became}: {item.error.message}", err=True)
    elif item.state != SKIPPED and item.answer is not None and item.answer.verdict in COPIES:
        own = item.answer.row
        # None where so much in its own claim is like it that no other is among the best that are told.
        other = next((row for row in item.answer.matches.rows if row.claim_id != own.claim_id), None)
        found = "" if other is None else f" of image {other.image_id} in claim {other.claim_id}"
        click.echo(f"{item.where}: {item.verdict}{found}")


def _as_json(item: "Taken") -> dict[str, Any]:
    """A picture's line: the members of an upload's answer, and where the picture was and what became of it."""
    from app.ingest import Outcome, Rejection
    from app.matching.kinds import COPIES
    from app.web.schemas import upload_json

    claim_id = item.claimed.claim_id if item.claimed else ""
    rejections = [] if item.error is None else [Rejection(0, item.where, item.error)]
    answers = [] if item.answer is None else [item.answer]
    members = upload_json(claim_id, Outcome(answers, rejections)).model_dump(mode="json", exclude_none=False)
    if item.answer is None and item.image_id:
        members["duplicate"] = item.verdict in COPIES
        members["images"] = [{"image_id": item.image_id, "verdict": item.verdict, "created": False}]
    return {"path": item.where, "state": item.state, **members}


def _tie(engine: "Engine", settings: Settings) -> None:
    from app.catalog import schema, workers
    from app.serving import tie_pictures

    schema.migrate(engine)
    with engine.connect() as connection:
        tie_pictures(settings, str(workers.collection_id(connection)))
