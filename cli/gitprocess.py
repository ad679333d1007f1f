"""How git is run to be read: alone with the repository, within time, by a command or as a running `git cat-file`."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from cli.faults import WRONG_USE, CommandError
from cli.output import clean

GIT_TIMEOUT = 60.0  # seconds that one command, or one answer of the running one, may take
_CHUNK = 1 << 16

# What of a repository's own configuration would run a program or open a connection is switched off.
_CONFIGURATION = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "false",
    "protocol.allow": "never",  # a partial clone fetches what it lacks when it is read
    "safe.directory": "*",  # the folder may belong to another user, as in a container; nothing of it is run
}


class GitReadError(CommandError):
    """A repository could not be read; the message is the whole explanation."""


class GitMissingError(GitReadError):
    """There is no git on this machine."""


class NotARepositoryError(GitReadError):
    """The folder is not in a git repository."""


class UnknownRevisionError(GitReadError):
    """The repository has no such commit, or no such range of commits."""


def _environment() -> dict[str, str]:
    """Only what lets git run: nothing of GIT_*, of the user's configuration, of pagers and prompts."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(_CONFIGURATION)),
    }
    for number, (key, value) in enumerate(_CONFIGURATION.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def run_git(folder: Path, *arguments: str) -> tuple[int, bytes, str]:
    """Run git in a folder: its status, its output, and what it said. GitMissingError; GitReadError after a minute."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise _missing() from None
    except OSError as error:
        raise GitReadError(f"git cannot be run in {clean(str(folder))}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitReadError(f"git {arguments[0]} took longer than {GIT_TIMEOUT:.0f} s") from None
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace").strip()


def _missing() -> GitMissingError:
    return GitMissingError("git was not found on this machine: install it, or put it on PATH")


def is_name(revision: str) -> bool:
    """Whether git would read this as a revision, not as an option or a negation, and can be given it at all."""
    return bool(revision) and not revision.startswith(("-", "^")) and not any(char in revision for char in "\0\n")


def unknown(revision: str) -> UnknownRevisionError:
    """What is said of a revision that the repository lacks."""
    return UnknownRevisionError(f"the repository has no commit or range {clean(revision)!r}", status=WRONG_USE)


class Objects:
    """One `git cat-file --batch`, started with the first question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = b""  # what was read beyond the last answer

    def read(self, sha: str, kind: str, limit: int | None = None) -> bytes:
        """The content of an object, at most its first `limit` bytes (the rest is not kept). GitReadError."""
        process = self._running()
        deadline = time.monotonic() + GIT_TIMEOUT
        try:
            questions = cast("IO[bytes]", process.stdin)
            questions.write(sha.encode() + b"\n")
            questions.flush()
            words = self._line(deadline).split()
            if len(words) != 3:
                raise GitReadError(f"the repository lacks the object {sha}: it is damaged, or not a complete clone")
            content = b"".join(self._bytes(int(words[2]), limit, deadline))
            self._take(1, deadline)  # a line feed ends each answer
        except BaseException as error:
            self.close()  # half an answer may still be on its way: never read it as the next one
            if isinstance(error, BrokenPipeError):
                raise GitReadError(f"git ended while it read {clean(str(self._folder))}") from None
            raise
        if words[1].decode() != kind:
            raise GitReadError(f"the object {sha} is a {words[1].decode()}, not a {kind}: the repository is damaged")
        return content

    def close(self) -> None:
        """End the process."""
        process, self._process, self._waiting = self._process, None, b""
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    ["git", "cat-file", "--batch"],
                    cwd=self._folder,
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            except FileNotFoundError:
                raise _missing() from None
        return self._process

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._waiting:
            self._waiting += self._more(deadline)
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line

    def _bytes(self, size: int, limit: int | None, deadline: float) -> Iterator[bytes]:
        wanted = size if limit is None else min(size, limit)
        while size:
            chunk = self._take(size, deadline)
            size -= len(chunk)
            if wanted:
                yield chunk[:wanted]
                wanted -= min(wanted, len(chunk))

    def _take(self, most: int, deadline: float) -> bytes:
        """Some bytes of the answer: at least one, at most so many."""
        if not self._waiting:
            self._waiting = self._more(deadline)
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

    def _more(self, deadline: float) -> bytes:
        pipe = cast("IO[bytes]", self._running().stdout).fileno()
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise GitReadError(f"git took longer than {GIT_TIMEOUT:.0f} s to read an object")
        if not (found := os.read(pipe, _CHUNK)):
            raise GitReadError(f"git ended while it read {clean(str(self._folder))}")
        return found
