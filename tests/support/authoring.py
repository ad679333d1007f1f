"""A template repository on disk as its author has it, made by the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "Author",
    "GIT_COMMITTER_EMAIL": "author@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0100",
    "GIT_COMMITTER_DATE": "1700000000 +0100",
}


def git(folder: Path, *words: str) -> str:
    """Run git in a folder with no configuration of the machine; what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **IDENTITY,
    }
    done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, timeout=30, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files below a folder; names may hold lone surrogates for bytes that are no UTF-8."""
    for name, content in files.items():
        path = folder / os.fsdecode(name.encode("utf-8", "surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """A repository with one commit of these files; without files an empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--template=", "--initial-branch=main")
    if files:
        write(folder, files)
        _commit(folder, "The lab")
    return folder


def commit(folder: Path, message: str) -> str:
    """Commit all that lies in the working tree; the commit's sha."""
    _commit(folder, message)
    return git(folder, "rev-parse", "HEAD")


def _commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
