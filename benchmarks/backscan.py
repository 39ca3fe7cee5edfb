"""`python -m benchmarks.backscan --size 150000 --copies 2000 --keep FOLDER`: a year of claims, in and out again.

Makes the archive (`benchmarks.archive`), takes it in by `claimprint ingest`, reports by `claimprint report
duplicates`, and compares the families with what was planted. Told are the rate, beside what the cores could do at
the CPU time that decoding processes take for a picture when all cores do nothing else; the memory of the command
and its decoding processes, beside what the indexes alone take; and the time of a start of the service afterwards.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

import click

from app.decoders import decode_limits
from app.imaging import DecodePool
from app.settings import Settings
from benchmarks.archive import CLAIM_PATTERN, make_archive
from benchmarks.report import Bar, show, table
from benchmarks.service import Service

LEAST_SHARE = 0.85
MOST_GROWTH_MB = 300
COMMAND = str(Path(sys.executable).with_name("claimprint"))
SAMPLE = 600  # files that decoding processes are timed with
FIRST_PICTURES = 1000  # from here on memory is to grow with the indexes only
_POLL_SECONDS = 5.0  # Linux walks all pages of a process to tell its memory: 50 ms for some GB


@dataclass(frozen=True, slots=True)
class Scan:
    """One run of `claimprint ingest`."""

    pictures: int
    seconds: float
    decoding_cpu_seconds: float
    other_cpu_seconds: float
    memory_first_mb: float
    memory_last_mb: float
    memory_most_mb: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What a report told of what was planted."""

    copies: int
    found: int
    families: int
    false_families: int
    missed: Sequence[str]
    false: Sequence[str]


def processes_below(pid: int) -> Iterator[tuple[int, str]]:
    """Ids of a process and all below it, each with its command's name."""
    below = defaultdict(list)
    names = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            names[int(entry.name)] = stat[stat.index("(") + 1 : stat.rindex(")")]
            below[int(stat.rpartition(")")[2].split()[1])].append(int(entry.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        waiting += below[one]
        if one in names:
            yield one, names[one]


def memory_mb(pid: int) -> float:
    """Memory of a process, what it shares counted in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def decode_cpu_ms(files: Sequence[Path], folder: Path, cores: int) -> float:
    """Mean CPU time that decoding processes take for a file, one of them on each core and nothing else there."""
    pool = DecodePool(cores, decode_limits(Settings(_env_file=None)), max_queued=cores)  # type: ignore[call-arg]
    try:
        pool.ready(60)
        children = [pid for pid, _ in processes_below(os.getpid()) if _is_decoder(pid)]
        with ThreadPoolExecutor(cores) as threads:

            def fingerprint(some: Sequence[Path]) -> float:
                before = sum(map(cpu_seconds, children))
                list(threads.map(lambda path: pool.fingerprint(path, folder / f"{uuid4()}.jpg"), some))
                return (sum(map(cpu_seconds, children)) - before) / len(some) * 1e3

            fingerprint(files[:20])
            return fingerprint(files)
    finally:
        pool.close()


def _is_decoder(pid: int) -> bool:
    try:
        return b"app.imaging.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def scan(sources: Path, data: Path) -> Scan:
    """Take the archive in; the answers go to `ingest.jsonl` beside the data."""
    command = [
        COMMAND,
        "ingest",
        str(sources),
        "--claim-from",
        "regex",
        "--claim-regex",
        CLAIM_PATTERN,
        "--json",
    ]
    environment = os.environ | {"DATA_DIR": str(data), "DATABASE_URL": ""}
    answers = data.with_name("ingest.jsonl")
    done, memory = 0, []
    with answers.open("w") as out:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        over = threading.Event()
        decoding: dict[int, float] = {}
        others: dict[int, float] = {}

        def watch() -> None:
            while not over.wait(_POLL_SECONDS):
                total = 0.0
                for pid, name in processes_below(process.pid):
                    (decoding if _is_decoder(pid) else others)[pid] = cpu_seconds(pid)
                    if name != "postgres":
                        total += memory_mb(pid)
                memory.append((done, total))

        watcher = threading.Thread(target=watch)
        started = time.perf_counter()
        watcher.start()
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            done += '"path"' in line
        code = process.wait()
        seconds = time.perf_counter() - started
        over.set()
        watcher.join()
    if code not in (0, 1):
        raise SystemExit(f"ingest ended with {code}")
    first = next((total for count, total in memory if count >= FIRST_PICTURES), 0.0)
    summary = json.loads(answers.read_text().splitlines()[-1])["summary"]
    return Scan(
        pictures=summary["new"],
        seconds=seconds,
        decoding_cpu_seconds=sum(decoding.values()),
        other_cpu_seconds=sum(others.values()),
        memory_first_mb=first,
        # Of the last minute: what is freed at the end, or moves for a moment, says nothing.
        memory_last_mb=median([total for _, total in memory[-12:]] or [0.0]),
        memory_most_mb=max((total for _, total in memory), default=0.0),
    )


def index_memory_mb(data: Path) -> float:
    """What the indexes of a collection take that an intake holds, by themselves."""
    script = (
        "import json, sys; from pathlib import Path\n"
        "from app.settings import Settings; from app.cli.opened import open_engine\n"
        "from app.collection import Collection, KeypointCollection; from app.catalog import session\n"
        "from app.index.engines import ENGINES; from benchmarks.backscan import memory_mb; import os\n"
        "settings = Settings(_env_file=None, data_dir=Path(sys.argv[1]))\n"
        "with open_engine(settings) as engine, session.autocommit(engine) as connection:\n"
        "    ours = [kind(engine, ENGINES['auto']) for kind in (Collection, KeypointCollection)]\n"
        "    connection.exec_driver_sql('SELECT 1'); before = memory_mb(os.getpid())\n"
        "    held = [each.caught_up(connection) for each in ours]\n"
        "    print(memory_mb(os.getpid()) - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return float(done.stdout.splitlines()[-1])


def truth_of(report: Path, truth: Path) -> Truth:
    """Compare the families of a report, as JSON lines, with what was planted."""
    planted = [json.loads(line) for line in truth.read_text().splitlines()]
    shown = {(each["claim"], each["sha256"]): each["shown"] for each in planted}
    copies = [each for each in planted if each["edit"] is not None]
    families, together, false = 0, set(), []
    for line in report.read_text().splitlines():
        images = json.loads(line)["images"]
        of_family = [(image["claim_id"], image["sha256"]) for image in images]
        kinds = Counter(shown[key] for key in of_family)
        families += 1
        together |= {
            (key, one) for key in of_family for one, count in kinds.items() if count > 1 and shown[key] == one
        }
        if len(kinds) > 1:
            false.append(
                ", ".join(
                    f"{image['file_name']} ({(image['match'] or {}).get('kind', '')})" for image in images
                )
            )
    missed = [each for each in copies if ((each["claim"], each["sha256"]), each["shown"]) not in together]
    return Truth(
        copies=len(copies),
        found=len(copies) - len(missed),
        families=families,
        false_families=len(false),
        missed=[f"{each['claim']}_{each['number']}, {each['edit']}" for each in missed],
        false=false,
    )


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list that gets the seconds that the block takes."""
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def report(data: Path, out: Path) -> float:
    """Write a report; return the seconds it takes."""
    with timed() as seconds:
        subprocess.run(
            [COMMAND, "report", "duplicates", "--out", str(out)],
            env=os.environ | {"DATA_DIR": str(data), "DATABASE_URL": ""},
            check=True,
            capture_output=True,
        )
    return seconds[0]


@click.command()
@click.option("--size", default=150_000, show_default=True, help="Pictures, copies among them.")
@click.option("--copies", default=2_000, show_default=True, help="Copies that are planted.")
@click.option(
    "--keep", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to work in."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(size: int, copies: int, keep: Path, as_json: bool) -> None:
    """Scan a year of claims."""
    keep = keep.absolute()
    archive, data = keep / "archive", keep / "data"
    cores = len(os.sched_getaffinity(0))
    if not (archive / "truth.jsonl").exists():
        make_archive(archive, size, copies, cores)
    plain = sorted((archive / "sources").glob("*/*/*.jpg"))
    scratch = keep / "scratch"
    scratch.mkdir(exist_ok=True)
    cpu_ms = decode_cpu_ms(plain[:: max(1, len(plain) // SAMPLE)][:SAMPLE], scratch, cores)
    shutil.rmtree(scratch)
    shutil.rmtree(data, ignore_errors=True)
    done = scan(archive / "sources", data)
    reports = {form: report(data, keep / f"audit.{form}") for form in ("jsonl", "html")}
    found = truth_of(keep / "audit.jsonl", archive / "truth.jsonl")
    index_mb = index_memory_mb(data)
    with Service(data) as service:
        ready = service.seconds_to_ready
    share = done.pictures * cpu_ms / 1e3 / (cores * done.seconds)
    growth = done.memory_last_mb - done.memory_first_mb - index_mb
    rows = [
        ["pictures taken in", f"{done.pictures}"],
        ["seconds", f"{done.seconds:.0f}"],
        ["pictures a second", f"{done.pictures / done.seconds:.1f}"],
        ["CPU ms to fingerprint a picture, all cores at it", f"{cpu_ms:.1f}"],
        ["... while all else goes on", f"{done.decoding_cpu_seconds / done.pictures * 1e3:.1f}"],
        ["CPU ms of all else, a picture", f"{done.other_cpu_seconds / done.pictures * 1e3:.1f}"],
        ["share of what the cores could fingerprint", f"{share:.2f}"],
        [f"MB at the {FIRST_PICTURES}th picture, at the end, at most",
         f"{done.memory_first_mb:.0f}, {done.memory_last_mb:.0f}, {done.memory_most_mb:.0f}"],
        ["MB of the indexes by themselves", f"{index_mb:.0f}"],
        ["planted copies, found", f"{found.copies}, {found.found}"],
        ["families told, false", f"{found.families}, {found.false_families}"],
        ["seconds to report as JSON lines, as a page", f"{reports['jsonl']:.1f}, {reports['html']:.1f}"],
        ["MB of the page", f"{(keep / 'audit.html').stat().st_size / 1e6:.1f}"],
        ["seconds from start to ready afterwards", f"{ready:.1f}"],
    ]  # fmt: skip
    told = io.StringIO()
    told.write(table(["back-scan", "figure"], rows))
    for name, lines in (("missed", found.missed), ("false", found.false)):
        told.write("".join(f"\n{name}: {line}" for line in lines))
    bars = [
        Bar("lost of what the cores could fingerprint", 1 - share, 1 - LEAST_SHARE, "of it"),
        Bar("memory beyond the indexes' own growth", growth, MOST_GROWTH_MB, "MB"),
        Bar("copies missed", len(found.missed), 0, "copies"),
        Bar("false families", found.false_families, 0, "families"),
    ]
    figures = {
        "scan": asdict(done),
        "cpu_ms": cpu_ms,
        "share": share,
        "index_mb": index_mb,
        "truth": asdict(found),
        "reports": reports,
        "ready": ready,
    }
    show(figures, told.getvalue(), bars, as_json=as_json)


if __name__ == "__main__":
    main()
