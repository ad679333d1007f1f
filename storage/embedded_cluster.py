"""The cluster of the embedded PostgreSQL: created whole or not at all, and checked before a server runs on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from storage.embedded_place import EmbeddedError, Location, run_as
from storage.embedded_programs import Programs, quotable

SUPERUSER = DATABASE = "stepgate"
#: What a new cluster takes on disk, with room for its first write-ahead log.
NEW_CLUSTER_BYTES = 128 * 1024 * 1024


def ensure_cluster(location: Location, programs: Programs, lock: int) -> None:
    """Create the cluster with its database unless there is one. The caller holds the server's lock, ``lock``.

    It grows in a folder of its own and gets its name when it is complete and on disk, so that a killed process leaves
    nothing that looks like a cluster. The programs inherit the lock: the next starter waits for them.
    """
    data, partial = location.data_dir, location.folder / "data.partial"
    if os.path.lexists(data):
        _check_version(data, programs)
        return
    if partial.exists():
        shutil.rmtree(partial)
    free = shutil.disk_usage(location.folder).free
    if free < NEW_CLUSTER_BYTES:
        raise EmbeddedError(
            f"The disk of {location.folder} is full: a new database needs {NEW_CLUSTER_BYTES >> 20} MiB and "
            f"{free >> 20} MiB are free; free some space or set STEPGATE_HOME to a folder on another disk."
        )
    partial.mkdir(0o700)
    if location.account is not None:
        os.chown(partial, location.account.uid, location.account.gid)
    try:
        with quotable(programs) as quoted:
            _initdb(location, quoted, partial, lock)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk every byte counts
        raise
    partial.rename(data)
    handle = os.open(location.folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _initdb(location: Location, programs: Programs, folder: Path, lock: int) -> None:
    """Fill an empty folder with a cluster and the database, both synced to disk at the end.

    Everybody who reaches the socket is trusted (the socket's folder is private to the server's account and root);
    the built-in C.UTF-8 locale does not depend on the machine's locales (PostgreSQL 17 and later; before that, C).
    """
    locale = ["--locale=C", "--encoding=UTF8"]
    if programs.major >= 17:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    rules = ["--auth-local=trust", "--auth-host=reject", "--data-checksums", "--no-sync", "--no-instructions"]
    single = ["--single", "-j", "-F", "-c", "exit_on_error=on", "-D", str(folder), "postgres"]
    steps: list[tuple[list[str | Path], str]] = [
        ([programs.initdb, "-D", folder, "-U", SUPERUSER, *locale, *rules], ""),
        ([programs.postgres, *single], f"CREATE DATABASE {DATABASE}\n\n"),
        ([programs.initdb, "--sync-only", "-D", folder], ""),
    ]
    for command, text in steps:
        done = run_as(location.account, command, text=text, keep=[lock])
        if done.returncode != 0:
            raise failure(location, "PostgreSQL's data could not be created", done.stdout)


def _check_version(data: Path, programs: Programs) -> None:
    try:
        found = int((data / "PG_VERSION").read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise EmbeddedError(
            f"{data} is not a PostgreSQL data folder: move it away, or set STEPGATE_HOME to another folder."
        ) from None
    if found != programs.major:
        raise EmbeddedError(
            f"{data} holds data of PostgreSQL {found}, and this Stepgate brings PostgreSQL {programs.major}: dump it "
            "with the Stepgate that made it, or move the folder away to begin with an empty database."
        )


def failure(location: Location, what: str, output: str) -> EmbeddedError:
    """The error for a program that failed, with the end of what it wrote."""
    tail = "\n".join(output.strip().splitlines()[-15:])
    if "No space left on device" in output:
        return EmbeddedError(
            f"{what}: the disk of {location.folder} is full; free some space, or set STEPGATE_HOME to a folder on "
            f"another disk.\n{tail}"
        )
    return EmbeddedError(
        f"{what}: see the end of its output below (log: {location.log_file}); repair the cause, or set DATABASE_URL to "
        f"a PostgreSQL server.\n{tail}"
    )
