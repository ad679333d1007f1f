"""The server of the embedded PostgreSQL: start, find, stop.

Whether a server lives is asked of a file lock that the server and all its children inherit, never of a process id
alone: after a crash that id may be another program's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage import embedded_place
from storage.embedded_cluster import DATABASE, SUPERUSER, ensure_cluster, failure
from storage.embedded_place import EmbeddedError, Location, digest, run_as
from storage.embedded_programs import Programs

PORT = 5432  # only a part of the socket's file name: there is no TCP
LOG_LIMIT_BYTES = 4 * 1024 * 1024
DEFAULT_SETTINGS = {"shared_buffers": "64MB", "max_connections": "100"}
#: Seconds until a start is given up. Recovery after a crash counts, and reads at most some checkpoints' worth of log.
START_TIMEOUT = 120.0
#: Seconds to wait for a server that holds the lock but has no socket: one that is ending, or one we cannot reach.
SILENT_TIMEOUT = 20.0
STOP_TIMEOUT = 60.0
POLL_INTERVAL = 0.01

State = Literal["silent", "starting", "ready"]


@dataclass(frozen=True, slots=True)
class Server:
    """What postmaster.pid says of a server; not to be believed before its socket answers."""

    pid: int
    data_dir: Path
    port: int
    socket_dir: Path
    ready: bool

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.socket_dir / f".s.PGSQL.{self.port}"


def open_shared(path: Path, location: Location) -> int:
    """Open (or make) a file for root and the server's account alike, to append; returns the file descriptor."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if location.account is not None and os.fstat(handle).st_uid == 0:
        os.fchown(handle, location.account.uid, location.account.gid)
    return handle


def try_lock(handle: int) -> bool:
    """Take the exclusive flock if nobody else holds one."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def start(location: Location, programs: Programs, settings: Mapping[str, str]) -> Server:
    """Return the server of the data, started (and its cluster created) if none lives. One caller at a time.

    Raises EmbeddedError with the end of the server's log if it does not come up, OSError if a file cannot be used.
    """
    begun = time.monotonic()
    log_start: int | None = None
    while True:
        handle = open_shared(location.folder / "server.lock", location)
        try:
            if try_lock(handle):
                if log_start is not None:
                    raise failure(location, "PostgreSQL ended while it started", _log_tail(location, log_start))
                _forget_dead_server(location)
                ensure_cluster(location, programs, handle)
                log_start = _launch(location, programs, settings, handle)
        finally:
            os.close(handle)
        server, state = find(location)
        if server is not None and state == "ready":
            return server
        waited = time.monotonic() - begun
        if waited > START_TIMEOUT:
            tail = _log_tail(location, log_start or 0)
            raise failure(location, f"PostgreSQL was not ready after {waited:.0f} s", tail)
        if state == "silent" and log_start is None and waited > SILENT_TIMEOUT:
            raise EmbeddedError(
                f"The data in {location.data_dir} is in use by a PostgreSQL server that cannot be reached from here "
                "(another container, or one without its socket): stop it, or set STEPGATE_HOME to another folder."
            )
        time.sleep(POLL_INTERVAL)


def stop(location: Location) -> None:
    """End the server, if one lives: clients are disconnected, everything is written out, all its processes are gone.

    A server that cannot be reached is left alone; the next start says so. Raises EmbeddedError if it does not end.
    """
    handle = open_shared(location.folder / "server.lock", location)
    begun = time.monotonic()
    told: signal.Signals | None = None
    try:
        while not try_lock(handle):
            waited = time.monotonic() - begun
            if told is None and waited > SILENT_TIMEOUT:
                return
            if waited > 2 * STOP_TIMEOUT:
                raise failure(location, f"PostgreSQL did not end within {waited:.0f} s", _log_tail(location, 0))
            # A fast shutdown; if that hangs an immediate one, from which the next start recovers.
            wanted = signal.SIGINT if waited < STOP_TIMEOUT else signal.SIGQUIT
            server, state = find(location)
            if server is not None and state != "silent" and told is not wanted:
                told = wanted
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, wanted)
            time.sleep(POLL_INTERVAL)
        for folder in _socket_folders(location):
            with contextlib.suppress(OSError):
                folder.rmdir()
    finally:
        os.close(handle)


def find(location: Location) -> tuple[Server | None, State]:
    """The server that postmaster.pid names, and what its socket answers.

    Means something only while the server's lock is held. A socket outside of a private folder could be anybody's and
    counts as silent.
    """
    server = _read_pid_file(location)
    if server is None:
        return None, "silent"
    try:
        found = server.socket_dir.lstat()
    except OSError:
        return server, "silent"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != location.owner or found.st_mode & 0o077:
        return server, "silent"
    return server, _ask(server)


def _read_pid_file(location: Location) -> Server | None:
    """What postmaster.pid says, or None if there is none or it is not complete (yet).

    Its lines are: process id, data directory, start time, port, socket directory, listen address, shared memory, status
    (PostgreSQL source, src/include/utils/pidfile.h).
    """
    try:
        lines = (location.data_dir / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
        return Server(int(lines[0]), Path(lines[1]), int(lines[3]), Path(lines[4]), lines[7:8] == ["ready   "])
    except (OSError, ValueError, IndexError):
        return None


def _ask(server: Server) -> State:
    """Connect to the socket, log in (PostgreSQL documentation, "Frontend/Backend Protocol") and leave again."""
    words = f"user\0{SUPERUSER}\0database\0{DATABASE}\0\0".encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(2.0)
        try:
            link.connect(str(server.socket))
        except OSError:
            return "silent"
        if not server.ready:  # a login would only fill the log with refusals
            return "starting"
        try:
            link.sendall(struct.pack("!II", len(words) + 8, 3 << 16) + words)
            with link.makefile("rb") as stream:
                while len(head := stream.read(5)) == 5:
                    kind, size = struct.unpack("!cI", head)
                    body = stream.read(size - 4)
                    if kind == b"Z":  # ready for a query
                        link.sendall(struct.pack("!cI", b"X", 4))
                        return "ready"
                    if kind == b"E":
                        # 57P03: cannot connect now. Any other refusal (53300, too many clients) is a working server's.
                        return "starting" if b"C57P03\0" in body else "ready"
        except OSError:
            pass
    return "starting"


def _forget_dead_server(location: Location) -> None:
    """Remove what a killed server left: PostgreSQL would believe the process ids in it, which others may have now.

    The caller holds the server's lock, so no process of a server that we started lives. Raises EmbeddedError if
    somebody else started one on this data.
    """
    left = _read_pid_file(location)
    if left is not None and left.data_dir == location.data_dir and _ask(left) != "silent":
        raise EmbeddedError(
            f"A PostgreSQL server that Stepgate did not start runs on {location.data_dir} (process {left.pid}): stop "
            "it with `pg_ctl stop`, or set STEPGATE_HOME to another folder."
        )
    (location.data_dir / "postmaster.pid").unlink(missing_ok=True)
    for folder in _socket_folders(location):
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _launch(location: Location, programs: Programs, settings: Mapping[str, str], lock: int) -> int:
    """Start the server in a session of its own; returns the size of the log in bytes before it.

    The shell ends at once, so that the server is nobody's child and nobody's terminal reaches it; the lock passes on.
    """
    log = open_shared(location.log_file, location)
    try:
        if os.fstat(log).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(log, 0)
        size = os.fstat(log).st_size
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(_socket_folder(location)),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
        }
        options = [f"-c{name}={value}" for name, value in {**DEFAULT_SETTINGS, **settings, **fixed}.items()]
        command: list[str | Path] = [programs.postgres, "-D", location.data_dir, *options]
        run_as(location.account, ["/bin/sh", "-c", '"$@" &', "sh", *command], output=log, keep=[lock])
    finally:
        os.close(log)
    return size


def _socket_folders(location: Location) -> list[Path]:
    """Where the socket of this data may be, the preferred place first; the same in every process."""
    return [parent / f"stepgate-{location.owner}-{digest(location.data_dir)}" for parent in embedded_place.SHORT]


def _socket_folder(location: Location) -> Path:
    """Make the private folder of the socket. Raises EmbeddedError if others hold all its places."""
    reasons = []
    for folder in _socket_folders(location):
        try:
            _make_private(folder, location)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
        else:
            return folder
    raise EmbeddedError(
        f"There is no place for PostgreSQL's socket ({'; '.join(reasons)}): remove these, or make /tmp writable for "
        "Stepgate."
    )


def _make_private(folder: Path, location: Location) -> None:
    parent = folder.parent.stat()
    if parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, "others may rename files beside it")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if location.account is not None and found.st_uid == 0:
            os.fchown(handle, location.account.uid, location.account.gid)
        elif found.st_uid != location.owner:
            raise PermissionError(errno.EPERM, "it belongs to another account")
        if found.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "others may enter it")
    finally:
        os.close(handle)


def _log_tail(location: Location, begin: int) -> str:
    """The last lines of what the server wrote after a position of its log."""
    try:
        with location.log_file.open("rb") as log:
            log.seek(max(begin, log.seek(0, os.SEEK_END) - 4096))
            return log.read().decode("utf-8", "replace")
    except OSError as error:
        return f"(no log: {error})"
