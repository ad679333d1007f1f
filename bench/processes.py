"""Processes of a bench: started, watched (processor time and memory, from Linux's /proc) and ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from settings import child_environment

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds for a process to start, or to end
LINE_LIMIT = 1 << 26  # bytes of a line that a process may print

_TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A bench cannot be made: what it measures does not run as it should."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where benches run: a PostgreSQL whose commits are durable (an address there, and its process), and a folder."""

    server: str
    postmaster: int
    home: Path


@dataclass(slots=True)
class Running:
    """A process of ours. `log` takes what it says to standard error."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    async def line(self, timeout: float = PATIENCE) -> str:  # noqa: ASYNC109 (one figure for all callers)
        """The next line of its standard output."""
        assert self.process.stdout is not None
        try:
            text = await asyncio.wait_for(self.process.stdout.readline(), timeout)
        except TimeoutError:
            text = b""
        if not text:
            raise BenchError(f"{self.name} says nothing more:\n{self.tail()}")
        return text.decode().rstrip("\n")

    def tell(self, value: Any) -> None:
        """Write a value as a line of JSON to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:] if self.log.exists() else ""


@asynccontextmanager
async def program(
    name: str, home: Path, *words: str, environment: dict[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run `python WORDS` for the time of the block, in `home`, so that no `.env` of a developer counts."""
    path = home / f"{name}-{secrets.token_hex(3)}.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            cwd=home,
            env=environment or child_environment(PYTHONPATH=str(ROOT)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=LINE_LIMIT,
        )
    running = Running(name, process, path)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.communicate(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


async def web_port(web: Running) -> int:
    """The port that a web process says it listens on."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and web.process.returncode is None:
        if found := re.search(r'"url": ?"http://127\.0\.0\.1:(\d+)"', web.tail()):
            return int(found[1])
        await asyncio.sleep(0.05)
    raise BenchError(f"the web process did not start:\n{web.tail()}")


async def command(home: Path, environment: dict[str, str], *words: str) -> str:
    """Run `python app.py WORDS` to its end and return its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "app.py"),
        *words,
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise BenchError(f"app.py {' '.join(words)} failed: {err.decode(errors='replace').strip()}")
    return out.decode()


@asynccontextmanager
async def database(server: str) -> AsyncIterator[str]:
    """A new, empty database on the server, dropped at the end. `server`: the address of any database there."""
    name = f"bench_{secrets.token_hex(6)}"
    await _execute(server, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, its ended children included. BenchError where there is no /proc."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICK


def family_cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children (PostgreSQL: the server and its connections)."""
    children = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(int(path.name)) == pid]
    return sum(cpu_seconds(each) for each in (pid, *children))


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    found = re.search(r"VmRSS:\s+(\d+) kB", _proc(pid, "status"))
    return int(found[1]) * 1024 if found else 0


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except BenchError:
        return 0  # it has just ended


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces (proc(5): `state` is the first)."""
    return _proc(pid, "stat").rpartition(")")[2].split()


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"/proc/{pid}/{name} cannot be read (benches need Linux): {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Watched:
    """Processor time of several processes, by name, since the watch began; of "postgres" with its connections."""

    pids: dict[str, int]
    before: dict[str, float]

    @classmethod
    def begin(cls, pids: dict[str, int]) -> Watched:
        """Begin to watch processes, by name."""
        return cls(pids, {name: cls._read(name, pid) for name, pid in pids.items()})

    def used(self) -> dict[str, float]:
        """Seconds that each process has used."""
        return {name: self._read(name, pid) - self.before[name] for name, pid in self.pids.items()}

    def each(self, count: int) -> str:
        """Milliseconds of each process for each of `count` pieces of work, in words."""
        return ", ".join(f"{name} {1000 * seconds / count:.2f}" for name, seconds in self.used().items())

    @staticmethod
    def _read(name: str, pid: int) -> float:
        return family_cpu_seconds(pid) if name == "postgres" else cpu_seconds(pid)
