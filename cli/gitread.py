"""Git repositories as the author's tools read them: commits, trees, blobs and the working tree. Nothing is written.

No shell; names are separated by NUL, so that none can be mistaken; every wait ends. Nothing of the user's or the
machine's configuration counts, nothing is asked, and nothing is fetched. History is read through one `git cat-file
--batch` for a repository: a process costs milliseconds, a question to a running one a tenth of one.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.faults import WRONG_USE
from cli.gitprocess import (
    GitMissingError,
    GitReadError,
    NotARepositoryError,
    Objects,
    UnknownRevisionError,
    is_name,
    run_git,
    unknown,
)
from cli.output import clean
from rules.model import TreeEntry

__all__ = [
    "Commit",
    "GitMissingError",
    "GitReadError",
    "NotARepositoryError",
    "Repository",
    "UnknownRevisionError",
]

_CHUNK = 1 << 16
_CACHED_ENTRIES = 1_000_000  # entries of parsed folders that are kept; then it starts anew
_FOLDER, _SUBMODULE = "40000", "160000"
_WHEN = re.compile(rb"^(?P<name>.*?) ?<[^>]*> (?P<seconds>\d+) [+-]\d{4}$")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. `subject`: the first paragraph of its message in one line; `at`: when it was committed, in UTC.

    What is not UTF-8 in names and messages is read as U+FFFD.
    """

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    at: datetime
    subject: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder of a tree: its files by full path, and its folders as (path with slash, sha)."""

    files: dict[str, TreeEntry]
    folders: tuple[tuple[str, str], ...]


class Repository:
    """A repository seen from a folder in it: paths are relative to this folder, and only what is below it is told.

    Paths are text as git has them; bytes that are no UTF-8 are lone surrogates ("surrogateescape"). Use it in `with`,
    or `close` it: a process may be running.
    """

    def __init__(self, folder: Path, prefix: str, *, bare: bool) -> None:
        self.folder = folder
        self.bare = bare
        self._prefix = prefix
        self._objects = Objects(folder)
        self._folders: dict[tuple[str, str], _Folder] = {}
        self._cached = 0
        self._trees: dict[str, dict[str, TreeEntry]] = {}

    @classmethod
    def open(cls, folder: Path) -> Repository:
        """The repository of a folder (bare or not). NotARepositoryError, GitMissingError."""
        if not folder.is_dir():
            raise NotARepositoryError(f"{clean(str(folder))} is not a folder", status=WRONG_USE)
        status, out, said = run_git(folder, "rev-parse", "--is-bare-repository", "--is-inside-git-dir", "--show-prefix")
        if status != 0:
            why = "" if "not a git repository" in said else f" ({clean(said)})"
            raise NotARepositoryError(f"{clean(str(folder))} is not in a git repository{why}", status=WRONG_USE)
        bare, inside, *rest = out.decode("utf-8", "surrogateescape").split("\n", 2)
        prefix = rest[0] if rest else ""
        # A folder that ends with a line feed keeps it: git ends its line with one more.
        return cls(folder, prefix.removesuffix("\n"), bare=bare == "true" or inside == "true")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads objects, if there is one."""
        self._objects.close()

    # -------------------------------------------------------------------------------------------------- commits

    def resolve(self, revision: str) -> str:
        """The full sha of the commit that a revision ("main", "v1.0", "HEAD~2") names; UnknownRevisionError."""
        if not is_name(revision):
            raise unknown(revision)
        status, out, _ = run_git(self.folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if status != 0:
            raise unknown(revision)
        return out.decode("ascii").strip()

    def has_commits(self) -> bool:
        """Whether HEAD names a commit: not so in a repository that was just made."""
        return run_git(self.folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")[0] == 0

    def commit(self, revision: str) -> Commit:
        """The commit that a revision names; UnknownRevisionError."""
        return self._commit(self.resolve(revision))

    def first_parents(self, span: str) -> tuple[Commit, ...]:
        """The commits of a range ("HEAD", "v1..main") along first parents, oldest first; UnknownRevisionError.

        A single revision means all commits up to it, including it.
        """
        if ".." not in span:
            span = self.resolve(span)
        elif not is_name(span):
            raise unknown(span)
        status, out, _ = run_git(self.folder, "rev-list", "--first-parent", "--reverse", span, "--")
        if status != 0:
            raise unknown(span)
        return tuple(self._commit(sha) for sha in out.decode("ascii").split())

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit (full sha) is reached from another, or is the same."""
        status, _, said = run_git(self.folder, "merge-base", "--is-ancestor", older, newer)
        if status not in (0, 1):
            raise GitReadError(f"git cannot compare two commits of {clean(str(self.folder))}: {clean(said)}")
        return status == 0

    def _commit(self, sha: str) -> Commit:
        return _parsed_commit(sha, self._objects.read(sha, "commit"))

    # ---------------------------------------------------------------------------------------------------- trees

    def tree(self, revision: str) -> dict[str, TreeEntry]:
        """Every file, link and submodule of a commit, by path. Sizes are not told. UnknownRevisionError.

        Trees share what they have in common, and a tree is usually given again as the same object: treat it as
        immutable.
        """
        return self.tree_of(self.commit(revision))

    def tree_of(self, commit: Commit) -> dict[str, TreeEntry]:
        """The same for a commit at hand; a folder that it lacks is empty."""
        if commit.tree not in self._trees:
            if sum(map(len, self._trees.values())) > _CACHED_ENTRIES:
                self._trees.clear()
            root = self._below(commit.tree)
            self._trees[commit.tree] = {} if root is None else self._walk(root)
        return self._trees[commit.tree]

    def show_file(self, revision: str, path: str, limit: int | None = None) -> bytes | None:
        """The content of a regular file or link at a commit, at most `limit` bytes; None if it has no such file."""
        entry = self.tree(revision).get(path)
        return None if entry is None or entry.mode == _SUBMODULE else self.blob(entry.sha, limit)

    def blob(self, sha: str, limit: int | None = None) -> bytes:
        """The content of a blob, at most its first `limit` bytes."""
        return self._objects.read(sha, "blob", limit)

    def blobs(self, shas: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """The contents of some blobs by sha, of each at most the first `limit` bytes."""
        return {sha: self.blob(sha, limit) for sha in shas}

    def _below(self, root: str) -> str | None:
        """The sha of the folder that this repository is seen from, in a root tree."""
        at: str | None = root
        for name in self._prefix.split("/")[:-1]:
            if at is None:
                return None
            folders = dict(self._folder(at, "").folders)
            at = folders.get(name + "/")
        return at

    def _walk(self, root: str) -> dict[str, TreeEntry]:
        found: dict[str, TreeEntry] = {}
        waiting = [("", root)]
        while waiting:
            path, sha = waiting.pop()
            folder = self._folder(sha, path)
            found.update(folder.files)
            waiting.extend(folder.folders)
        return found

    def _folder(self, sha: str, path: str) -> _Folder:
        key = (path, sha)
        if key not in self._folders:
            if self._cached > _CACHED_ENTRIES:
                self._folders.clear()
                self._cached = 0
            folder = self._folders[key] = _parsed_folder(self._objects.read(sha, "tree"), path, len(sha) // 2)
            self._cached += len(folder.files) + len(folder.folders)
        return self._folders[key]

    # --------------------------------------------------------------------------------------------- working tree

    def working_tree(self) -> dict[str, TreeEntry]:
        """The files as they lie below the folder: tracked and untracked, not those that are ignored. Sizes are told.

        Shas are those of the bytes as they lie there: a filter (line ends, LFS) that git would apply is not. The sha
        of a submodule is the one that is staged.
        """
        if self.bare:
            raise GitReadError(f"{clean(str(self.folder))} has no working tree: name a commit", status=WRONG_USE)
        staged: dict[str, TreeEntry] = {}
        for line in self._listed("--stage"):
            mode, sha, _, path = re.split("[ \t]", line, maxsplit=3)
            staged[path] = TreeEntry(path, mode, sha)
        untracked = self._listed("--others", "--exclude-standard")
        # A repository inside this one, not added as a submodule, is told as a folder: it is not part of this one.
        paths = [*staged, *(path for path in untracked if not path.endswith("/"))]
        algorithm = "sha1" if all(len(entry.sha) == 40 for entry in staged.values()) else "sha256"
        entries = (
            staged[path] if path in staged and staged[path].mode == _SUBMODULE else self._lying(path, algorithm)
            for path in paths
        )
        return {entry.path: entry for entry in entries if entry is not None}

    def read_working_file(self, path: str, limit: int | None = None) -> bytes | None:
        """The bytes of a file of the working tree, at most the first `limit`; None if it is no regular file."""
        target = self.folder / _native(path)
        with suppress(OSError):
            if stat.S_ISREG(target.lstat().st_mode):
                with target.open("rb") as file:
                    return file.read(-1 if limit is None else limit)
        return None

    def _listed(self, *options: str) -> list[str]:
        status, out, said = run_git(self.folder, "ls-files", "-z", *options)
        if status != 0:
            raise GitReadError(f"git cannot list the files of {clean(str(self.folder))}: {clean(said)}")
        return out.decode("utf-8", "surrogateescape").split("\0")[:-1]

    def _lying(self, path: str, algorithm: str) -> TreeEntry | None:
        """The entry of a file or link that lies in the working tree; None if it is gone or something else."""
        target = self.folder / _native(path)
        try:
            status = target.lstat()
            if stat.S_ISLNK(status.st_mode):
                return _hashed(path, "120000", len(link := os.fsencode(target.readlink())), (link,), algorithm)
            if not stat.S_ISREG(status.st_mode):
                return None
            mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
            with target.open("rb") as file:
                return _hashed(path, mode, status.st_size, iter(lambda: file.read(_CHUNK), b""), algorithm)
        except OSError:
            return None


# ------------------------------------------------------------------------------------------------------------ parsing


def _parsed_commit(sha: str, data: bytes) -> Commit:
    head, _, message = data.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        fields.setdefault(key, []).append(value)
    author = _WHEN.match(fields.get(b"author", [b""])[0])
    committer = _WHEN.match(fields.get(b"committer", [b""])[0])
    at = datetime.fromtimestamp(0, UTC)  # as GitHub shows a time that nobody can read
    with suppress(ValueError, OverflowError, OSError):
        at = datetime.fromtimestamp(int(committer["seconds"]) if committer else 0, UTC)
    return Commit(
        sha=sha,
        tree=fields[b"tree"][0].decode("ascii"),
        parents=tuple(parent.decode("ascii") for parent in fields.get(b"parent", ())),
        author=author["name"].decode("utf-8", "replace") if author else "",
        at=at,
        subject=" ".join(message.lstrip(b"\n").partition(b"\n\n")[0].decode("utf-8", "replace").split()),
    )


def _parsed_folder(data: bytes, path: str, sha_bytes: int) -> _Folder:
    """A tree object (git's format: "MODE NAME", NUL, binary sha; again and again)."""
    files: dict[str, TreeEntry] = {}
    folders: list[tuple[str, str]] = []
    at = 0
    while at < len(data):
        name_end = data.index(b"\0", at)
        mode, _, name = data[at:name_end].decode("utf-8", "surrogateescape").partition(" ")
        at = name_end + 1 + sha_bytes
        sha = data[name_end + 1 : at].hex()
        if mode in (_FOLDER, "0" + _FOLDER):
            folders.append((f"{path}{name}/", sha))
        else:
            files[path + name] = TreeEntry(path + name, mode, sha)
    return _Folder(files, tuple(folders))


def _hashed(path: str, mode: str, size: int, chunks: Iterable[bytes], algorithm: str) -> TreeEntry:
    """The entry of these bytes, with the sha that git would give them."""
    digest = hashlib.new(algorithm, b"blob %d\0" % size, usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return TreeEntry(path, mode, digest.hexdigest(), size)


def _native(path: str) -> str:
    """A path of git's for the file system of this machine."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))
