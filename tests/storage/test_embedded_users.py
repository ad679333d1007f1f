"""The users of the embedded PostgreSQL, many or killed: they share one server and lose nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from storage import embedded, embedded_place, embedded_process, embedded_programs
from storage.embedded import EmbeddedError, running
from tests.support.embedded_server import (
    FAST,
    copy_of,
    kill_server,
    postmaster,
    processes_with,
    query,
    refuses,
    user,
    wait_for,
)

pytest_plugins = ["tests.support.embedded_homes"]


def test_a_killed_initdb_is_cleaned_up_and_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A starter killed during initdb leaves nothing that counts; the next waits for its programs, then begins anew."""
    home = folder / "home"
    partial = home / "postgres" / "data.partial"
    with user(home) as first:
        wait_for((partial / "global" / "pg_control").exists)
        (initdb,) = processes_with(str(partial))
        os.kill(initdb, signal.SIGSTOP)
        first.crash()
    try:
        with monkeypatch.context() as patience:
            patience.setattr(embedded_process, "SILENT_TIMEOUT", 0.2)
            with pytest.raises(EmbeddedError, match="in use"), running(home):
                pass
        assert (partial / "global" / "pg_control").exists()
    finally:
        os.kill(initdb, signal.SIGCONT)
    assert not (home / "postgres" / "data").exists()
    with running(home, settings=FAST) as server:
        assert query(server.dsn, "SELECT 1") == 1
    assert not partial.exists()


def test_a_reused_process_id_is_neither_believed_nor_killed(home: Path, folder: Path) -> None:
    """A pid file that names somebody else's process does not stop the start, and that process lives on."""
    home = copy_of(home, folder / "home")
    with user(home) as crashed:
        dsn = crashed.answer()
        data = home / "postgres" / "data"
        crashed.crash()
        # PostgreSQL itself is misled only by a process of its own account.
        with subprocess.Popen(["sleep", "60"], user=data.stat().st_uid) as other:
            try:
                pid, rest = (data / "postmaster.pid").read_text().split("\n", 1)
                socket_dir = Path(rest.splitlines()[3])
                socket_lock = socket_dir / ".s.PGSQL.5432.lock"
                os.kill(int(pid), signal.SIGKILL)
                wait_for(lambda: refuses(dsn))
                (data / "postmaster.pid").write_text(f"{other.pid}\n{rest}")
                socket_lock.write_text(socket_lock.read_text().replace(pid, str(other.pid), 1))
                with running(home) as server:
                    assert query(server.dsn, "SELECT number FROM kept") == 1
                assert other.poll() is None
            finally:
                other.kill()


@pytest.mark.parametrize("major", [16, 18])
def test_a_kill_of_everything_loses_no_committed_row(homes: dict[int, Path], folder: Path, major: int) -> None:
    """After SIGKILL of the user and of all the server's processes, the next start has every row that was committed."""
    home = copy_of(homes[major], folder / "home")
    with running(home, major=major) as server, user(home, major=major) as writer:
        writer.answer()
        query(server.dsn, "CREATE TABLE rows (number int)")
        for number in range(8):
            writer.ask(f"INSERT INTO rows VALUES ({number}) RETURNING number")
        writer.process.kill()
        kill_server(server)
    with running(home, major=major) as server:
        assert query(server.dsn, "SELECT array_agg(number ORDER BY number) FROM rows") == list(range(8))
        assert "not properly shut down" in server.log_file.read_text()


def test_processes_that_start_at_once_share_one_server(folder: Path) -> None:
    """Four first users of an empty home get the same life of the same server."""
    home = folder / "home"
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(user(home)) for _ in range(4)]
        dsns = {one.answer() for one in users}
        lives = {one.ask("SELECT pg_postmaster_start_time()::text") for one in users}
        assert (len(dsns), len(lives)) == (1, 1)
        assert [one.leave()[0] for one in users] == [0, 0, 0, 0]
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_the_server_stays_until_its_last_user_leaves(home: Path) -> None:
    """The starter may leave first; the server ends with the last user, not before."""
    with user(home) as first, user(home) as second:
        assert first.answer() == second.answer()
        assert first.leave() == (0, "")
        assert second.ask("SELECT number FROM kept") == "1"
        assert second.leave() == (0, "")
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_the_next_user_takes_over_after_a_crash_of_the_last(home: Path) -> None:
    """A killed user leaves its server running; the next user works with it and ends it."""
    with user(home) as crashed:
        crashed.answer()
        begun = crashed.ask("SELECT pg_postmaster_start_time()::text")
        crashed.crash()
        with running(home) as server:
            assert query(server.dsn, "SELECT pg_postmaster_start_time()::text") == begun
            assert not refuses(server.dsn)
    assert refuses(server.dsn)
    assert not (server.data_dir / "postmaster.pid").exists()


def test_ctrl_c_does_not_reach_the_server(home: Path) -> None:
    """The terminal's SIGINT goes to the user's process group; its server still takes the last commits."""
    with user(home) as interrupted:
        interrupted.answer()
        os.killpg(interrupted.process.pid, signal.SIGINT)
        assert interrupted.answer() == "interrupted"
        assert interrupted.ask("UPDATE kept SET number = number RETURNING number") == "1"
        assert interrupted.leave() == (0, "")


def test_a_copy_of_a_used_home_is_not_taken_for_the_original(home: Path, folder: Path) -> None:
    """The copied pid file names the original's server, which answers; the copy starts its own."""
    with running(home) as server:
        with running(copy_of(home, folder / "copy")) as copy:
            assert query(copy.dsn, "SHOW data_directory") == str(folder / "copy" / "postgres" / "data")
        assert query(server.dsn, "SELECT number FROM kept") == 1


def test_a_server_started_by_hand_is_left_alone(home: Path, folder: Path) -> None:
    """Its process is named with the way to stop it, its pid file stays, and it keeps working."""
    location = embedded.locate(home)
    programs = embedded_programs.installed(18)
    run_as, account = embedded_place.run_as, location.account
    sockets = folder / "sockets"
    sockets.mkdir()
    sockets.chmod(0o777)
    options: list[str | Path] = [programs.postgres, "-D", location.data_dir, "-k", sockets, "-c", "listen_addresses="]
    run_as(account, ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *options])
    dsn = f"postgresql://stepgate@/stepgate?host={sockets}&port=5432"
    wait_for(lambda: not refuses(dsn))
    pid = postmaster(location.data_dir)
    try:
        with pytest.raises(EmbeddedError, match=rf"did not start .*process {pid}.*pg_ctl stop"), running(home):
            pass
        assert postmaster(location.data_dir) == pid
        assert query(dsn, "SELECT number FROM kept") == 1
    finally:
        os.kill(pid, signal.SIGINT)
        wait_for(lambda: not (location.data_dir / "postmaster.pid").exists())


def test_data_in_use_by_an_unreachable_server_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server's lock is held and no socket answers, nothing is started beside it."""
    monkeypatch.setattr(embedded_process, "SILENT_TIMEOUT", 0.2)
    location = embedded.locate(home)
    handle = embedded_process.open_shared(location.folder / "server.lock", location)
    assert embedded_process.try_lock(handle)
    with pytest.raises(EmbeddedError, match="cannot be reached from here"), running(home):
        pass
    os.close(handle)
    assert not (location.data_dir / "postmaster.pid").exists()


def test_a_starter_that_hangs_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start does not wait for ever for the first."""
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.1)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.0)
    location = embedded.locate(home)
    handle = embedded_process.open_shared(location.folder / "start.lock", location)
    assert embedded_process.try_lock(handle)
    with pytest.raises(EmbeddedError, match=r"Another Stepgate process .*start\.lock"), running(home):
        pass
    os.close(handle)
