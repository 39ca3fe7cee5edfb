"""What is left when the supervisor, the server or initdb is killed, and what the next start makes of it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedServer, join
from app.embedded.account import Account
from app.embedded.binaries import installed_binaries, public_copy
from app.embedded.processes import LAUNCHER, launch
from app.embedded.socket_directory import SOCKET_NAME, make_socket_directory, remove
from app.errors import StartupError
from tests.embedded.supervised import (
    Supervisor,
    can_connect,
    is_running,
    run_sql,
    socket_directory_of,
    wait_until,
)

Supervise = Callable[..., Supervisor]

FORKING_SUPERVISOR = """
import os, sys, time
from pathlib import Path
from app.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]))
if os.fork() == 0:
    server.stop()
    print(server.pid, server.url, flush=True)
    os.close(1)
    time.sleep(60)
time.sleep(60)
"""


def cluster_account(data_dir: Path) -> Account:
    found = (data_dir / "postgres").stat()
    return Account(found.st_uid, found.st_gid)


@pytest.fixture
def unrelated(data_dir: Path) -> Iterator[int]:
    """Process id of a process of the server's user that is no PostgreSQL."""
    EmbeddedServer.start(data_dir).stop()  # gives the copied files to that user
    account = cluster_account(data_dir)
    user = {"user": account.uid, "group": account.gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], cwd="/", **user) as process:
        yield process.pid
        process.kill()


def test_killed_supervisor_takes_its_server_along_and_the_next_start_works(
    data_dir: Path, supervise: Supervise
) -> None:
    supervisor = supervise(data_dir)
    pid, url = supervisor.ready()
    run_sql(url, "INSERT INTO kept VALUES ('committed')")
    supervisor.kill()
    wait_until(lambda: not is_running(pid))
    with EmbeddedServer.start(data_dir) as server:
        assert run_sql(server.url, "SELECT word FROM kept") == [("before",), ("committed",)]


def test_start_waits_for_the_server_of_a_supervisor_killed_just_now(
    shared_data_dir: Path, supervise: Supervise
) -> None:
    for _ in range(3):
        supervisor = supervise(shared_data_dir)
        supervisor.ready()
        supervisor.kill()
    with EmbeddedServer.start(shared_data_dir) as server:
        assert can_connect(server.url)


def test_killed_supervisors_do_not_pile_up_socket_directories(
    shared_data_dir: Path, supervise: Supervise
) -> None:
    urls = set()
    for _ in range(2):
        supervisor = supervise(shared_data_dir)
        urls.add(supervisor.ready()[1])
        supervisor.kill()
    with EmbeddedServer.start(shared_data_dir) as server:
        assert {server.url} == urls


def test_copy_of_a_data_directory_does_not_take_over_the_socket_of_its_original(
    data_dir: Path, supervise: Supervise
) -> None:
    supervisor = supervise(data_dir)
    supervisor.ready()
    record = (data_dir / "postgres.json").read_text()
    copied = data_dir.with_name("copied")
    copied.mkdir()
    (copied / "postgres.json").write_text(record)
    with EmbeddedServer.start(copied) as server:
        assert server.url != join(data_dir)
        assert can_connect(join(data_dir) or "")


def test_forked_child_neither_stops_the_server_nor_keeps_the_directory(
    shared_data_dir: Path, supervise: Supervise
) -> None:
    supervisor = supervise(shared_data_dir, FORKING_SUPERVISOR)
    pid, url = supervisor.ready()
    assert is_running(pid)
    assert can_connect(url)
    supervisor.kill()
    with EmbeddedServer.start(shared_data_dir) as server:
        assert can_connect(server.url)


def test_ctrl_c_in_the_terminal_is_not_for_the_server(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_other_process_joins_the_running_server(shared_data_dir: Path, supervise: Supervise) -> None:
    assert join(shared_data_dir) is None
    supervisor = supervise(shared_data_dir)
    _, url = supervisor.ready()
    assert join(shared_data_dir) == url
    assert run_sql(url, "SELECT word FROM kept") == [("before",)]
    supervisor.close()


def test_nothing_is_joined_after_a_stop_or_a_kill(shared_data_dir: Path, supervise: Supervise) -> None:
    EmbeddedServer.start(shared_data_dir).stop()
    assert join(shared_data_dir) is None
    supervisor = supervise(shared_data_dir)
    supervisor.ready()
    supervisor.kill()
    assert (shared_data_dir / "postgres.json").exists()
    assert join(shared_data_dir) is None
    assert join(shared_data_dir / "never made") is None


def test_join_waits_for_a_server_that_is_starting(data_dir: Path, supervise: Supervise) -> None:
    supervisor = supervise(data_dir)
    lock = data_dir / "postgres.lock"
    wait_until(lambda: lock.exists() and lock.read_text())
    assert not (data_dir / "postgres.json").exists()
    url = join(data_dir)
    assert url is not None
    assert run_sql(url, "SELECT word FROM kept") == [("before",)]
    assert url == supervisor.ready()[1]


def test_join_waits_for_a_server_that_is_brought_back(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.poll() is not None)
        with pytest.raises(StartupError, match=f"{shared_data_dir} did not become ready within 0.1 s"):
            join(shared_data_dir, timeout_seconds=0.1)
        server.restart()
        assert join(shared_data_dir) == server.url


def test_joining_does_not_keep_a_server_from_starting(shared_data_dir: Path) -> None:
    EmbeddedServer.start(shared_data_dir).stop()
    over = threading.Event()

    def join_all_the_time() -> None:
        while not over.is_set():
            join(shared_data_dir)

    threads = [threading.Thread(target=join_all_the_time) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            EmbeddedServer.start(shared_data_dir).stop()
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_kill_during_initdb_leaves_no_cluster_and_the_next_start_makes_one(
    tmp_path: Path, supervise: Supervise
) -> None:
    supervisor = supervise(tmp_path)
    wait_until((tmp_path / "postgres.draft" / "base").exists)
    supervisor.kill()
    assert not (tmp_path / "postgres").exists()
    with EmbeddedServer.start(tmp_path) as server:
        assert can_connect(server.url)
    assert not (tmp_path / "postgres.draft").exists()


def test_leftover_of_an_initdb_is_removed(tmp_path: Path) -> None:
    draft = tmp_path / "postgres.draft" / "base"
    draft.mkdir(parents=True)
    (draft / "1").write_text("half a table")
    with EmbeddedServer.start(tmp_path) as server:
        assert can_connect(server.url)
    assert not (tmp_path / "postgres.draft").exists()


def test_lock_files_that_name_an_unrelated_process_are_overcome(
    data_dir: Path, unrelated: int, supervise: Supervise
) -> None:
    supervisor = supervise(data_dir)
    pid, url = supervisor.ready()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    supervisor.kill()
    for path in (data_dir / "postgres" / "postmaster.pid", socket_directory_of(url) / f"{SOCKET_NAME}.lock"):
        _, rest = path.read_text().split("\n", 1)
        path.write_text(f"{unrelated}\n{rest}")
    with EmbeddedServer.start(data_dir) as server:
        assert server.url == url
        assert run_sql(url, "SELECT word FROM kept") == [("before",)]
    assert is_running(unrelated)


def test_server_that_somebody_started_by_hand_is_left_alone(data_dir: Path, tmp_path: Path) -> None:
    EmbeddedServer.start(data_dir).stop()
    account = cluster_account(data_dir)
    binaries = installed_binaries() if os.geteuid() != 0 else public_copy(installed_binaries())
    directory = os.open(data_dir / "postgres", os.O_RDONLY)
    sockets = make_socket_directory(account)
    with (tmp_path / "log").open("wb") as log:
        by_hand = launch(
            [
                str(binaries.postgres),
                f"-D/proc/self/fd/{directory}",
                "-clisten_addresses=",
                f"-cunix_socket_directories={sockets}",
            ],
            account=account,
            death_signal=signal.SIGQUIT,
            directory=directory,
            output=log.fileno(),
        )
    os.close(directory)
    pid_file = data_dir / "postgres" / "postmaster.pid"
    try:
        wait_until(lambda: pid_file.exists() and "ready" in pid_file.read_text())
        with pytest.raises(StartupError, match=rf"did not start runs on .*\[.*{by_hand.pid}"):
            EmbeddedServer.start(data_dir)
        assert by_hand.poll() is None
        assert pid_file.exists()
    finally:
        by_hand.send_signal(signal.SIGQUIT)
        by_hand.wait()
        remove(sockets)


def test_launcher_gives_up_when_its_parent_is_gone_already(tmp_path: Path) -> None:
    arguments = [os.getpid() + 1, int(signal.SIGINT), os.geteuid(), os.getegid(), 0, "/bin/echo", "started"]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "supervisor died" in ended.stderr
