"""Meaning of git objects: commits and trees parsed, tree walks, histories and diffs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from cachetools import LRUCache

from .errors import GitError
from .gitstore import GitStore, run_git
from .views import view

_SIGNATURE = re.compile(r"^(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<seconds>-?\d+) (?P<zone>[+-]\d{4})$")
# git knows the empty tree also in a repository that has no such object.
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
SAID_BYTES = 32 * 1024 * 1024  # of git's answers about commits that are kept
_STATUS = {"A": "added", "D": "removed", "M": "modified", "T": "changed", "R": "renamed", "C": "copied"}


@dataclass(frozen=True, slots=True)
class Signature:
    """Who and when, of a commit's author or committer."""

    name: str
    email: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Commit:
    """A parsed commit object."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree; in a walk, `path` starts at the walk's root. `size` is None except for blobs."""

    mode: str
    type: str
    sha: str
    path: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One file of a diff. `additions` and `deletions` count lines, 0 for binary files."""

    path: str
    status: str
    sha: str
    additions: int
    deletions: int
    previous: str | None = None


def _signature(line: str) -> Signature:
    match = _SIGNATURE.match(line)
    if match is None:  # git fsck would complain; GitHub shows such commits with an empty date
        return Signature(line, "", datetime.fromtimestamp(0, UTC))
    hours, minutes = int(match["zone"][1:3]), int(match["zone"][3:])
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if match["zone"][0] == "-" else 1)
    try:
        at = datetime.fromtimestamp(int(match["seconds"]), timezone(offset))
    except (ValueError, OverflowError, OSError):
        at = datetime.fromtimestamp(0, UTC)
    return Signature(match["name"], match["email"], at)


def parse_commit(sha: str, data: bytes) -> Commit:
    """Parse a commit object; text that is not UTF-8 is decoded with U+FFFD."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[str, str] = {}
    parents: list[str] = []
    for line in head.decode(errors="replace").split("\n"):
        key, _, value = line.partition(" ")
        if key == "parent":
            parents.append(value)
        elif key:  # continuation lines of a signature begin with a space
            fields.setdefault(key, value)
    text = message.decode(errors="replace").removesuffix("\n")
    author, committer = _signature(fields.get("author", "")), _signature(fields.get("committer", ""))
    return Commit(sha, fields["tree"], tuple(parents), author, committer, text)


def parse_tree(data: bytes) -> list[Entry]:
    """Parse a tree object: entries in git's order, blobs without a size yet."""
    entries: list[Entry] = []
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        sha = data[end + 1 : end + 21].hex()
        position = end + 21
        text = mode.decode().zfill(6)
        kind = "tree" if text == "040000" else "commit" if text == "160000" else "blob"
        entries.append(Entry(text, kind, sha, name.decode(errors="replace")))
    return entries


class GitData:
    """Commits, trees, histories and diffs of the repositories, cached by sha."""

    def __init__(self, store: GitStore) -> None:
        self.store = store
        self._commits: LRUCache[tuple[Path, str], Commit] = LRUCache(20_000)
        self._trees: LRUCache[tuple[Path, str], list[Entry]] = LRUCache(500_000, len)
        self._changes: LRUCache[tuple[str, str], list[Change]] = LRUCache(200_000, lambda found: len(found) + 1)
        self._said: LRUCache[tuple[bytes | str, ...], tuple[int, bytes]] = LRUCache(
            SAID_BYTES, lambda answer: len(answer[1]) + 500
        )

    async def commit(self, path: Path, sha: str) -> Commit | None:
        """Return the commit of this full sha, or None if the repository has no such commit."""
        if view().hides(path, sha):
            return None
        cached = self._commits.get((path, sha))
        if cached is None:
            found = await self.store.read(path, sha)
            if found is None or found.type != "commit":
                return None
            cached = self._commits[path, sha] = parse_commit(sha, found.data)
        return cached

    async def tree(self, path: Path, sha: str) -> list[Entry]:
        """Return the entries of one tree object, blobs with their sizes."""
        cached = self._trees.get((path, sha))
        if cached is not None:
            return cached
        found = await self.store.read(path, sha)
        if found is None or found.type != "tree":
            raise GitError(f"{sha} is not a tree of {path.name}")
        entries = parse_tree(found.data)
        infos = await self.store.infos(path, sorted({entry.sha for entry in entries if entry.type == "blob"}))
        sizes = {info.sha: info.size for info in infos if info is not None}
        entries = [
            Entry(entry.mode, entry.type, entry.sha, entry.path, sizes.get(entry.sha))
            if entry.type == "blob"
            else entry
            for entry in entries
        ]
        if len(entries) <= self._trees.maxsize:
            self._trees[path, sha] = entries
        return entries

    async def walk(self, path: Path, sha: str, limit: int) -> list[Entry]:
        """Return the entries of a tree and its sub-trees, a tree before its content; stops after `limit` + 1."""
        entries: list[Entry] = []
        pending = [("", iter(await self.tree(path, sha)))]
        while pending and len(entries) <= limit:
            prefix, rest = pending[-1]
            for entry in rest:
                below = f"{prefix}{entry.path}"
                entries.append(Entry(entry.mode, entry.type, entry.sha, below, entry.size))
                if entry.type == "tree":
                    pending.append((f"{below}/", iter(await self.tree(path, entry.sha))))
                    break
                if len(entries) > limit:
                    break
            else:
                pending.pop()
        return entries

    async def changes(self, path: Path, old: str | None, new: str) -> list[Change]:
        """Return the files that differ between two commits or trees (`old` None: all files of `new`), with renames."""
        key = (old or "", new)
        cached = self._changes.get(key)
        if cached is None:
            before = EMPTY_TREE if old is None else f"{old}^{{tree}}"
            options = ["-r", "-z", "-M", "--raw", "--numstat", "--no-abbrev", "--no-textconv", "--no-ext-diff"]
            _, output = await run_git(["diff-tree", *options, before, f"{new}^{{tree}}", "--"], cwd=path)
            cached = parse_changes(output)
            if len(cached) < 50_000:
                self._changes[key] = cached
        return cached

    async def touched(self, path: Path, commits: Sequence[Commit]) -> list[list[tuple[str, str]]]:
        """Return for each commit its (status, file) against the first parent, renames as removed and added.

        One process for all: a push may have thousands of commits.
        """
        pairs = []
        for commit in commits:
            parent = await self.commit(path, commit.parents[0]) if commit.parents else None
            pairs.append(f"{parent.tree if parent else EMPTY_TREE} {commit.tree}\n")
        arguments = ["diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev"]
        _, output = await self._ask(path, arguments, "".join(pairs).encode())
        return parse_touched(output)

    async def _ask(
        self, path: Path, arguments: Sequence[str], stdin: bytes = b"", accept: Sequence[int] = (0,)
    ) -> tuple[int, bytes]:
        """Ask git about commits that are named by full shas, and that the repository has.

        The answer is the same in every repository that has them: forks of a lab share it.
        """
        key: tuple[bytes | str, ...] = (*arguments, stdin)
        cached = self._said.get(key)
        if cached is None:
            cached = await run_git(arguments, cwd=path, stdin=stdin, accept=accept)
            if len(cached[1]) < SAID_BYTES // 10:
                self._said[key] = cached
        return cached

    async def history(self, path: Path, wanted: str, hidden: Sequence[str], limit: int) -> list[str]:
        """Return the newest `limit` commits reachable from `wanted` and not from `hidden`, oldest first."""
        stdin = "".join([f"{wanted}\n", *(f"^{sha}\n" for sha in hidden)]).encode()
        arguments = ["rev-list", "--topo-order", "--reverse", f"--max-count={limit}", "--stdin"]
        _, output = await self._ask(path, arguments, stdin)
        return output.decode().split()

    async def count(self, path: Path, wanted: str, hidden: str) -> int:
        """Return how many commits are reachable from `wanted` and not from `hidden`."""
        _, output = await self._ask(path, ["rev-list", "--count", wanted, f"^{hidden}", "--"])
        return int(output)

    async def is_ancestor(self, path: Path, old: str, new: str) -> bool:
        """Tell whether `old` is reachable from `new`."""
        status, _ = await self._ask(path, ["merge-base", "--is-ancestor", old, new], accept=(0, 1))
        return status == 0

    async def merge_base(self, path: Path, one: str, other: str) -> str | None:
        """Return the best common ancestor, or None if the histories share nothing."""
        status, output = await self._ask(path, ["merge-base", one, other], accept=(0, 1))
        return output.decode().split()[0] if status == 0 else None

    async def refs(self, path: Path, *prefixes: str) -> dict[str, str]:
        """Return full ref name -> sha of the object that it points to."""
        form = "--format=%(objectname) %(refname)"
        _, output = await run_git(["for-each-ref", form, *prefixes], cwd=path)
        pairs = (line.split(" ", 1) for line in output.decode(errors="replace").splitlines())
        return view().listed(path, {name: sha for sha, name in pairs})


def parse_changes(output: bytes) -> list[Change]:
    """Parse `git diff-tree -z --raw --numstat`: first all raw records, then all numstat records, in the same order."""
    fields = output.split(b"\0")
    if fields and not fields[-1]:
        fields.pop()
    position = 0
    raw: list[tuple[str, str, str, str | None]] = []
    while position < len(fields) and fields[position].startswith(b":"):
        words = fields[position][1:].decode().split(" ")
        letter = words[4][0]
        names = [name.decode(errors="replace") for name in fields[position + 1 : position + 2 + (letter in "RC")]]
        position += 1 + len(names)
        sha = words[2] if letter == "D" else words[3]
        raw.append((_STATUS.get(letter, "changed"), sha, names[-1], names[0] if letter in "RC" else None))
    found: list[Change] = []
    for status, blob, name, previous in raw:
        added, deleted, rest = fields[position].split(b"\t", 2)
        position += 1 if rest else 3  # a rename's names follow as two fields of their own
        found.append(Change(name, status, blob, _lines(added), _lines(deleted), previous))
    return found


def parse_touched(output: bytes) -> list[list[tuple[str, str]]]:
    """Parse `git diff-tree --stdin -z --raw`: a line with both trees, then the records of that pair."""
    found: list[list[tuple[str, str]]] = []
    position = 0
    while position < len(output):
        if output[position : position + 1] != b":":
            position = output.index(b"\n", position) + 1
            found.append([])
            continue
        letter_end = output.index(b"\0", position)
        name_end = output.index(b"\0", letter_end + 1)
        letter = output[letter_end - 1 : letter_end].decode()
        name = output[letter_end + 1 : name_end].decode(errors="replace")
        found[-1].append((_STATUS.get(letter, "changed"), name))
        position = name_end + 1
    return found


def _lines(count: bytes) -> int:
    """Read a numstat figure; binary files have "-"."""
    return int(count) if count.isdigit() else 0
