"""What the tests of the embedded PostgreSQL share: queries, users in processes of their own, crashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from storage.embedded import EmbeddedPostgres

#: Settings for tests in which durability plays no part.
FAST = {"fsync": "off"}
ROOT = Path(__file__).resolve().parents[2]

# A user in a process of its own. Lines on its standard input are SQL; each is answered by one line. The end of the
# input ends it; after Ctrl-C it answers "interrupted" and goes on (a thread waits for the signal, because a handler
# could run anywhere, and not at all while the read blocks). It becomes another account only after its imports, because
# that account may not be able to read this Python.
USER = """
import asyncio, os, signal, sys, threading
from pathlib import Path
import asyncpg
from storage import embedded, embedded_place

if sys.argv[3]:
    embedded_place.ROOT_STATE = (Path(sys.argv[3]),)
if sys.argv[4]:
    uid, gid = map(int, sys.argv[4].split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)

async def query(dsn, sql):
    link = await asyncpg.connect(dsn)
    try:
        return await link.fetchval(sql)
    finally:
        await link.close()

def interrupted():
    while signal.sigwait({signal.SIGINT}):
        print("interrupted", flush=True)

try:
    with embedded.running(Path(sys.argv[1]), major=int(sys.argv[2])) as server:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        threading.Thread(target=interrupted, daemon=True).start()
        print(server.dsn, flush=True)
        for line in iter(sys.stdin.readline, ""):
            print(asyncio.run(query(server.dsn, line)), flush=True)
except embedded.EmbeddedError as error:
    sys.exit(f"EmbeddedError: {error}")
"""


def query(dsn: str, sql: str) -> Any:
    """Run one statement in a connection of its own; the first value of its result."""

    async def ask() -> Any:
        link = await asyncpg.connect(dsn)
        try:
            return await link.fetchval(sql)
        finally:
            await link.close()

    return asyncio.run(ask())


def refuses(dsn: str) -> bool:
    """Whether no server answers."""
    try:
        query(dsn, "SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return True
    return False


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that root's unprivileged server may enter (pytest's own are private), removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="stepgate-embedded-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        for left in path.glob("**/data/postmaster.pid"):  # of a test that failed
            with contextlib.suppress(OSError):
                os.kill(int(left.read_text().split()[0]), signal.SIGQUIT)
        shutil.rmtree(path, ignore_errors=True)


class User:
    """A process that uses the server of a home folder."""

    def __init__(
        self, home: Path, *, major: int = 18, prefix: Sequence[str] = (), state: str = "", account: str = ""
    ) -> None:
        command = [*prefix, sys.executable, "-c", USER, str(home), str(major), state, account]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def answer(self) -> str:
        """The next line that the process writes; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, sql: str) -> str:
        """Let the process run a statement."""
        assert self.process.stdin is not None
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        return self.answer()

    def leave(self) -> tuple[int, str]:
        """Let the process end; its exit status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def crash(self) -> None:
        """End the process without a chance to tidy up."""
        self.process.kill()
        self.process.communicate(timeout=10)


@contextlib.contextmanager
def user(home: Path, **how: Any) -> Iterator[User]:
    """A user that is gone at the end of the context, whatever happens in it."""
    made = User(home, **how)
    try:
        yield made
    finally:
        made.crash()


def postmaster(data_dir: Path) -> int:
    """The process id of the server of a data folder."""
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])


def processes_with(text: str) -> list[int]:
    """Ids of the processes whose command line has a text, this one excepted."""
    listing = subprocess.run(["ps", "-ww", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    found = [line.split(maxsplit=1) for line in listing.splitlines() if text in line]
    return [int(pid) for pid, _ in found if int(pid) != os.getpid()]


def kill_server(server: EmbeddedPostgres) -> None:
    """SIGKILL every process of a server, the children first, and wait for their end."""
    pids = query(server.dsn, "SELECT array_agg(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for pid in [*pids, postmaster(server.data_dir)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is true; fail when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def copy_of(home: Path, target: Path) -> Path:
    """A copy of a home for a test that does it violence."""
    subprocess.run(["cp", "-a", home, target], check=True)
    return target
