"""Where the embedded PostgreSQL keeps its data, and as which account it runs.

PostgreSQL refuses to run as root. An ordinary user's server runs as that user, with the data in the home folder. Root's
server runs as an unprivileged account; when that account cannot enter the home folder, the data goes elsewhere, because
the permissions of folders that Stepgate did not make are not Stepgate's to change.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Accounts that may run root's server, the best first: one made for the purpose, then those that every system has.
ACCOUNTS = ("stepgate", "nobody", "daemon")
#: Folders for what root's server cannot keep in the home folder, the best first.
ROOT_STATE = (Path("/var/lib/stepgate"), Path("/var/tmp/stepgate"))  # noqa: S108 - ownership is checked on use
#: Folders for private folders with short names: the path of a socket is limited to 107 bytes.
SHORT = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - ownership is checked on use
#: Nothing of the caller's environment: PG* variables, an ungenerated LANG and LD_* would change what the server does.
CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}
#: Longest time in seconds that one helper program (a probe, initdb) may take.
PROGRAM_TIMEOUT = 180.0


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the message tells the operator why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where the data of one home is kept.

    ``folder`` holds ``data_dir``, the lock files and the log. ``account`` runs the server when the caller is root, else
    it is None (the server runs as the caller). ``moved_from`` is the home where the data was wanted, if it is kept
    elsewhere. ``notice`` is one sentence for the operator.
    """

    folder: Path
    account: Account | None
    moved_from: Path | None
    notice: str

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self.folder / "server.log"

    @property
    def owner(self) -> int:
        """Numeric id of the account that runs the server."""
        return os.geteuid() if self.account is None else self.account.uid


def run_as(
    account: Account | None,
    command: Sequence[str | Path],
    *,
    text: str = "",
    output: int = subprocess.PIPE,
    keep: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as the account (None: as the caller), in the clean environment and its own session.

    ``text`` is its standard input, ``output`` the file descriptor for its standard output and error (by default they
    are in the result's ``stdout``), ``keep`` are the file descriptors that it inherits. Raises EmbeddedError if root
    may not become the account or the program takes longer than PROGRAM_TIMEOUT, OSError if it cannot be started.
    """
    try:
        return subprocess.run(
            list(command),
            input=text,
            stdout=output,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=CLEAN_ENVIRONMENT,
            cwd="/",
            umask=0o077,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            pass_fds=tuple(keep),
            timeout=PROGRAM_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(
            f"{Path(command[0]).name} did not end within {PROGRAM_TIMEOUT:.0f} s: this machine is overloaded or its "
            "disk is stuck; try again, or set DATABASE_URL to a PostgreSQL server."
        ) from error
    except OSError as error:
        # A refused setuid, setgid or setgroups: EPERM without the capability, EINVAL for an id that a container lacks.
        if account is not None and error.errno in (errno.EPERM, errno.EINVAL):
            raise EmbeddedError(
                f"PostgreSQL does not run as root, and this process may not switch to the account {account.name} "
                f"({error.strerror}): run Stepgate as an ordinary user, give it the capabilities SETUID, SETGID and "
                "CHOWN, or set DATABASE_URL to a PostgreSQL server."
            ) from error
        raise


def digest(path: Path) -> str:
    """Sixteen hexadecimal digits that stand for a path, the same in every process."""
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def locate(home: Path, *, major: int = 18) -> Location:
    """Say where the data of a home is kept, without creating anything.

    Raises EmbeddedError if the home is not a folder, or if root has no account or no place for the server.
    """
    home = home.resolve()
    if "\n" in str(home):  # PostgreSQL's own files name the folder in a line
        raise EmbeddedError(f"The name {str(home)!r} has a line break: set STEPGATE_HOME to a folder without one.")
    if not _nearest(home).is_dir():
        raise EmbeddedError(f"{_nearest(home)} is not a folder: set STEPGATE_HOME to a folder that Stepgate may write.")
    wanted = home / "postgres"
    kept = f"The data of the embedded PostgreSQL {major} is kept in"
    if os.geteuid() != 0:
        return Location(wanted, None, None, f"{kept} {wanted}.")
    elsewhere = [state / digest(home) for state in ROOT_STATE]
    account = _account_for([wanted, *elsewhere])
    found = [folder for folder in elsewhere if (folder / "data").exists()]
    at_home = _can_enter(account, wanted)
    # Data that once had to be moved is not forgotten when the home becomes reachable later.
    if at_home and ((wanted / "data").exists() or not found):
        return Location(wanted, account, None, f"{kept} {wanted}; root's server runs as {account.name}.")
    for folder in found or [f for f in elsewhere if os.access(_nearest(f), os.W_OK)]:
        if _can_enter(account, folder):
            why = f"{'was once unable to' if at_home else 'cannot'} enter {wanted}"
            notice = f"{kept} {folder}, because PostgreSQL does not run as root and the account {account.name} {why}."
            return Location(folder, account, home, notice)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and the account {account.name} can enter neither {wanted} nor "
        f"{' nor '.join(map(str, ROOT_STATE))}: set STEPGATE_HOME to a folder that it may enter, or run as an ordinary "
        "user."
    )


def _account_for(folders: Sequence[Path]) -> Account:
    """The account for root's server: the owner of data that is there already, else the first of ACCOUNTS."""
    for data in (folder / "data" for folder in folders):
        if data.exists() and (owner := data.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, _name(owner.st_uid))
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this machine has no unprivileged account for it: create one with "
        "`useradd --system stepgate`, run Stepgate as an ordinary user, or set DATABASE_URL to a PostgreSQL server."
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with the id {uid}"


def _nearest(path: Path) -> Path:
    """The path itself or its nearest parent that exists; what is below will be made by us."""
    return next(p for p in (path, *path.parents) if os.path.lexists(p) or p == p.parent)


def _can_enter(account: Account, folder: Path) -> bool:
    """Whether the account may enter the folder; asked of the kernel, because mode bits do not show access lists."""
    return run_as(account, ["/bin/sh", "-c", 'cd -P "$1"', "sh", str(_nearest(folder))]).returncode == 0


def prepare(location: Location) -> None:
    """Create the folder of the location and refuse data that the server's account does not own.

    Only folders that are made here get permissions: private for an ordinary user; for root, passable for its server.
    Raises EmbeddedError for a folder that another account prepared or owns, OSError if a folder cannot be made.
    """
    mode = 0o700 if location.account is None else 0o711
    for folder in (*reversed(location.folder.parents), location.folder):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
    if location.moved_from is not None:
        # These lie where others may create folders too (/var/tmp).
        for folder in (location.folder.parent, location.folder):
            refuse_foreign(folder, 0)
    if location.data_dir.exists() and location.data_dir.stat().st_uid != location.owner:
        raise EmbeddedError(
            f"The data in {location.data_dir} belongs to the account {_name(location.data_dir.stat().st_uid)}, not to "
            f"{_name(location.owner)}: run Stepgate as the account that made it (root made what belongs to nobody), "
            "give it back with `chown -R`, or set STEPGATE_HOME to another folder."
        )


def refuse_foreign(folder: Path, owner: int) -> None:
    """Raise EmbeddedError unless the path is a real folder of the owner (numeric id) that nobody else may write."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o022:
        raise EmbeddedError(
            f"{folder} is a link, belongs to another account or may be written by others, so Stepgate does not use it: "
            "move it away, or set STEPGATE_HOME to a folder that the account of PostgreSQL may enter."
        )
