"""PostgreSQL in a folder: what Stepgate uses when no DATABASE_URL is set.

The first user starts the server, the last one to leave stops it. Users are counted by the kernel: each holds a shared
flock of ``users.lock`` as long as it lives, so a killed user leaves too; its server stays for the next one. The data is
as durable as PostgreSQL makes it (fsync is on). The parts: embedded_place (where, and as whom), embedded_programs (the
binaries), embedded_cluster (create the data), embedded_process (the server).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from storage.embedded_cluster import DATABASE, SUPERUSER
from storage.embedded_place import EmbeddedError, Location, locate, prepare
from storage.embedded_process import PORT, START_TIMEOUT, STOP_TIMEOUT, open_shared, start, stop, try_lock
from storage.embedded_programs import installed, usable

__all__ = ["EmbeddedError", "EmbeddedPostgres", "Location", "locate", "running"]


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server. ``version`` is its major version, ``moved_from`` the home if the data is kept elsewhere."""

    dsn: str
    data_dir: Path
    socket_dir: Path
    log_file: Path
    version: int
    moved_from: Path | None


@contextmanager
def running(home: Path, *, major: int = 18, settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedPostgres]:
    """The server of a home folder, for the time of the context; blocks while it starts (seconds the first time).

    ``settings`` are PostgreSQL settings that the process which starts the server adds; those of a server that runs
    already stay as they are. Raises EmbeddedError, with the remedy, if there can be no server.
    """
    with _explained(home):
        location = locate(home, major=major)
        programs = usable(installed(major), location)
        prepare(location)
        users = open_shared(location.folder / "users.lock", location)
    try:
        with _explained(home), _alone(location):
            fcntl.flock(users, fcntl.LOCK_SH)
            server = start(location, programs, settings or {})
        yield EmbeddedPostgres(
            dsn=_dsn(server.socket_dir),
            data_dir=location.data_dir,
            socket_dir=server.socket_dir,
            log_file=location.log_file,
            version=major,
            moved_from=location.moved_from,
        )
    finally:
        try:
            with _explained(home), _alone(location):
                if try_lock(users):
                    stop(location)
        finally:
            os.close(users)


def _dsn(socket_dir: Path) -> str:
    """An address for asyncpg and libpq; explicit, so that PGPORT and PGSSLMODE of the environment do not count."""
    host = quote(os.fsencode(socket_dir), safe="/")
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={host}&port={PORT}&sslmode=disable"


@contextmanager
def _alone(location: Location) -> Iterator[None]:
    """Be the only process that starts or stops the server of this data."""
    handle = open_shared(location.folder / "start.lock", location)
    deadline = time.monotonic() + START_TIMEOUT + 2 * STOP_TIMEOUT
    try:
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Another Stepgate process starts or stops the database of {location.folder} and does not finish: "
                    f"end that process (it holds {location.folder / 'start.lock'}) and try again."
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


@contextmanager
def _explained(home: Path) -> Iterator[None]:
    """Turn the operating system's errors into sentences for the operator."""
    try:
        yield
    except OSError as error:
        where = error.filename or home
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason, remedy = "the disk is full", "free some space, or set STEPGATE_HOME to a folder on another disk"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f"the account with the id {os.geteuid()} may not write there"
            remedy = "give it the folder, or set STEPGATE_HOME to a folder that it may write"
        else:
            reason, remedy = str(error.strerror), "set STEPGATE_HOME to a folder on a local disk, or set DATABASE_URL"
        raise EmbeddedError(f"The embedded PostgreSQL cannot use {where}: {reason}; {remedy}.") from error
