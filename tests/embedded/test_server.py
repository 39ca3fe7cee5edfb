import json
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from app.embedded import EmbeddedServer, join
from app.embedded.account import NOBODY, Account
from app.embedded.processes import launch
from app.embedded.server import MAX_LOG_BYTES
from app.errors import StartupError
from tests.embedded.supervised import can_connect, is_running, run_sql, socket_directory_of, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root's rights")


def test_data_survives_a_stop_and_a_start(data_dir: Path) -> None:
    with EmbeddedServer.start(data_dir) as server:
        run_sql(server.url, "INSERT INTO kept VALUES ('after')")
    with EmbeddedServer.start(data_dir) as server:
        assert run_sql(server.url, "SELECT word FROM kept") == [("before",), ("after",)]


def test_existing_cluster_answers_within_a_second(shared_data_dir: Path) -> None:
    seconds = []
    for _ in range(2):  # the first reads the files into the page cache
        begun = time.perf_counter()
        EmbeddedServer.start(shared_data_dir).stop()
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 1


def test_first_start_says_that_it_makes_the_database(tmp_path: Path) -> None:
    said: list[str] = []
    data_dir = tmp_path / "new" / "data"
    for _ in range(2):
        EmbeddedServer.start(data_dir, log=said.append).stop()
    assert said == [f"making the database in {data_dir}"]


def test_second_start_names_the_directory_and_the_process_that_holds_it(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        with pytest.raises(StartupError, match=f"{shared_data_dir} is in use by process {os.getpid()}:"):
            EmbeddedServer.start(shared_data_dir)
        assert can_connect(server.url)
        assert join(shared_data_dir) == server.url


def test_start_is_refused_outside_the_main_thread(shared_data_dir: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedServer.start(shared_data_dir)
        except StartupError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_durable_settings_hold_whatever_the_files_say(data_dir: Path) -> None:
    with (data_dir / "postgres" / "postgresql.auto.conf").open("a") as file:
        file.write("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nlisten_addresses = '*'\n")
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
    }
    with EmbeddedServer.start(data_dir) as server:
        found = run_sql(server.url, "SELECT name, setting FROM pg_settings ORDER BY name")
    assert {name: setting for name, setting in found if name in wanted} == wanted


def test_service_owns_its_database_and_is_no_superuser(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        query = "SELECT datname, rolname, rolsuper FROM pg_database d JOIN pg_roles r ON r.oid = datdba"
        assert run_sql(server.url, f"{query} WHERE datname = current_database()") == [
            ("claimprint", "claimprint", False)
        ]


def test_text_is_sorted_by_code_point_and_cased_by_unicode(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        assert run_sql(server.url, "SELECT 'a' < 'B', 'é' > 'z', upper('é')") == [(False, True, "É")]


def test_no_tcp_socket_is_opened(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        log = (shared_data_dir / "postgres.log").read_text().splitlines()
        listening = [line.partition("listening on ")[2] for line in log if "listening on " in line]
        assert listening[-1] == f'Unix socket "{socket_directory_of(server.url)}/.s.PGSQL.5432"'
        assert all(place.startswith("Unix socket") for place in listening)
        # its sixth line: the first TCP address, empty when there is none
        assert (shared_data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[5] == ""


def test_port_in_the_environment_of_a_client_changes_nothing(
    shared_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6000")
    with EmbeddedServer.start(shared_data_dir) as server:
        assert can_connect(server.url)


def test_programs_get_no_environment_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    directory = os.open(tmp_path, os.O_RDONLY)
    with (tmp_path / "shown").open("wb") as output:
        account = Account(os.geteuid() or NOBODY, os.getegid() or NOBODY)
        process = launch(
            ["/usr/bin/env"],
            account=account,
            death_signal=signal.SIGKILL,
            directory=directory,
            output=output.fileno(),
        )
        assert process.wait() == 0
    os.close(directory)
    names = {line.partition("=")[0] for line in (tmp_path / "shown").read_text().splitlines()}
    assert names == {"PATH", "LC_ALL", "TZ"}


def test_data_directory_with_a_long_path_works(data_dir: Path) -> None:
    deep = data_dir.parent / "/".join(["a-rather-long-name-for-one-directory"] * 40)
    deep.mkdir(parents=True)
    assert len(os.fsencode(deep)) > 1024  # PostgreSQL's own limit, beyond the 107 bytes of a socket
    moved = data_dir.rename(deep / "data")
    with EmbeddedServer.start(moved) as server:
        assert join(moved) == server.url
        assert run_sql(server.url, "SELECT word FROM kept") == [("before",)]


def test_directories_of_the_user_keep_their_modes(data_dir: Path) -> None:
    for directory in (data_dir.parent, data_dir):
        directory.chmod(0o700)
    with EmbeddedServer.start(data_dir) as server:
        assert run_sql(server.url, "SELECT word FROM kept") == [("before",)]
    for directory in (data_dir.parent, data_dir, data_dir / "postgres"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert data_dir.stat().st_uid == os.geteuid()


@as_root
def test_root_gives_the_server_and_its_files_to_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    data_dir = tmp_path / "data"
    with EmbeddedServer.start(data_dir) as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        ids = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if ":" in line}
        owner = (data_dir / "postgres").stat().st_uid
        assert owner != 0
        assert ids["Uid"] == [str(owner)] * 4
        assert "0" not in ids["Gid"]
        assert ids["Groups"] == []
        assert int(ids["CapEff"][0], 16) == 0


def test_socket_directory_is_closed_to_others_and_goes_with_the_server(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        directory = socket_directory_of(server.url)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert directory.stat().st_uid == (shared_data_dir / "postgres").stat().st_uid
    assert not directory.exists()


def test_failed_start_shows_the_log_and_gives_the_directory_free(data_dir: Path) -> None:
    settings = data_dir / "postgres" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "no such line\n")
    with pytest.raises(StartupError, match=r"(?s)ended with status.*postgres\.log:.*syntax error"):
        EmbeddedServer.start(data_dir)
    settings.write_text(good)
    with EmbeddedServer.start(data_dir) as server:
        assert can_connect(server.url)


def test_unusable_data_directory_is_a_startup_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=f"data directory {tmp_path / 'file'}"):
        EmbeddedServer.start(tmp_path / "file")


def test_large_log_is_put_aside(data_dir: Path) -> None:
    (data_dir / "postgres.log").write_bytes(b"\n" * (MAX_LOG_BYTES + 1))
    EmbeddedServer.start(data_dir).stop()
    assert (data_dir / "postgres.log.1").stat().st_size == MAX_LOG_BYTES + 1
    assert b"ready to accept connections" in (data_dir / "postgres.log").read_bytes()


def test_stop_is_final_and_may_be_repeated(shared_data_dir: Path) -> None:
    server = EmbeddedServer.start(shared_data_dir)
    pid = server.pid
    assert pid is not None
    assert server.poll() is None
    server.stop()
    server.stop()
    assert not is_running(pid)
    assert server.pid is None
    assert server.poll() == 0
    with pytest.raises(StartupError, match="stopped"):
        server.restart()


def test_server_that_was_killed_is_brought_back_at_the_same_url(data_dir: Path) -> None:
    with EmbeddedServer.start(data_dir) as server:
        url, pid = server.url, server.pid
        assert pid is not None
        run_sql(url, "INSERT INTO kept VALUES ('committed')")
        os.kill(pid, 9)
        wait_until(lambda: server.poll() == -9)
        server.restart()
        assert server.poll() is None
        assert server.pid != pid
        assert server.url == url == join(data_dir)
        assert json.loads((data_dir / "postgres.json").read_text())["pid"] == server.pid
        assert run_sql(url, "SELECT word FROM kept") == [("before",), ("committed",)]


def test_restart_leaves_a_running_server_alone(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        pid = server.pid
        server.restart()
        assert server.pid == pid


def test_busy_backend_of_a_killed_server_does_not_hold_up_the_restart(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        busy = threading.Thread(target=can_connect_for_long, args=(server.url,))
        busy.start()
        count = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT count%' AND state = 'active'"
        wait_until(lambda: run_sql(server.url, count))
        backend = run_sql(server.url, count)[0][0]
        assert isinstance(backend, int)
        assert server.pid is not None
        os.kill(server.pid, 9)
        wait_until(lambda: server.poll() is not None)
        assert is_running(backend)
        server.restart()
        assert not is_running(backend)
        assert can_connect(server.url)
        busy.join()


def can_connect_for_long(url: str) -> None:
    """A query that computes without a pause in which it could notice that its postmaster is gone."""
    with pytest.raises(Exception, match=r"server closed the connection|terminating connection"):
        run_sql(url, "SELECT count(*) FROM generate_series(1, 1000000000)")


def test_socket_directory_that_was_swept_away_is_made_again(shared_data_dir: Path) -> None:
    with EmbeddedServer.start(shared_data_dir) as server:
        assert server.pid is not None
        os.kill(server.pid, 9)
        wait_until(lambda: server.poll() is not None)
        directory = socket_directory_of(server.url)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
        server.restart()
        assert can_connect(server.url)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
