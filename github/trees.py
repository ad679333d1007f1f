"""The files of commits and their contents, read completely or not at all; kept by sha, since git objects never change.

Objects are kept for all installations together: the shas asked for come from signed deliveries and from our own
records, and equal shas are equal content wherever they are read (a fork shares most of its objects with the template).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from cachetools import LRUCache

from github.concurrency import SingleFlight, in_parallel
from github.errors import IncompleteTree, TooLarge
from github.values import RawEntry, TreeAnswer
from rules.model import CommitTree, Tree, TreeEntry

# What one commit may cost: requests (only a tree that GitHub truncates needs more than one), files, and memory for them
# (bytes; names of 4,096 bytes would make 2 GB of as many files).
MAX_CALLS = 200
MAX_ENTRIES = 500_000
MAX_BYTES = 200 * 1024 * 1024
# Requests for one snapshot at a time: GitHub asks for few (100 concurrent ones for the whole App are its limit).
PARALLEL = 8

# Memory of an entry beyond its path: the TreeEntry, a sha, string headers and a place in a dict (measured: 270 bytes).
_ENTRY_BYTES = 300

T = TypeVar("T")


class ObjectSource(Protocol):
    """Where git objects come from: an `InstallationClient`."""

    @property
    def installation_id(self) -> int:
        """Whose access is used."""
        ...

    async def tree(self, full_name: str, tree_ish: str, *, recursive: bool = True) -> TreeAnswer:
        """See `InstallationClient.tree`."""
        ...

    async def blob(self, full_name: str, sha: str) -> bytes:
        """See `InstallationClient.blob`."""
        ...


@dataclass(frozen=True, slots=True)
class _Listing:
    """A tree: its files, and the sub-trees that have to be read on their own. Paths from the tree's root."""

    files: tuple[TreeEntry, ...]
    folders: tuple[tuple[str, str], ...]


class _Budget:
    """What reading one commit may still cost."""

    def __init__(self, commit_sha: str, calls: int, entries: int, size: int) -> None:
        self._commit_sha = commit_sha
        self._calls = calls
        self._entries = entries
        self._size = size

    def call(self) -> None:
        self._calls -= 1
        if self._calls < 0:
            raise self._exceeded("requests")

    def entries(self, count: int) -> None:
        self._entries -= count
        if self._entries < 0:
            raise self._exceeded("files")

    def names(self, files: Iterable[TreeEntry], prefix: str = "") -> None:
        self._size -= sum(_ENTRY_BYTES + len(prefix) + len(file.path) for file in files)
        if self._size < 0:
            raise self._exceeded("bytes for the names of its files")

    def _exceeded(self, what: str) -> IncompleteTree:
        return IncompleteTree(f"the tree of {self._commit_sha} takes too many {what}", reason="TOO_LARGE")


class Trees:
    """Reads trees and blobs through installations' clients. `cache_bytes`: memory for all that is kept, about."""

    def __init__(
        self,
        cache_bytes: int,
        *,
        max_calls: int = MAX_CALLS,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._max_calls = max_calls
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: LRUCache[tuple[str, str], Any] = LRUCache(cache_bytes, _size)
        self._flights: SingleFlight[tuple[str, str, int], Any] = SingleFlight()

    async def files(self, source: ObjectSource, full_name: str, commit_sha: str) -> CommitTree:
        """All entries of the commit's tree that are no folders, by path. One request, none if the commit is kept.

        If GitHub truncates the answer, the sub-trees are read one by one, those that are kept without a request.
        Raises IncompleteTree when that does not lead to the whole tree, NotFound when the commit is not there (yet).
        """
        load = partial(self._load_files, source, full_name, commit_sha)
        tree: Tree = await self._once("commit", source, commit_sha, load)
        return CommitTree(commit_sha, tree)

    async def blobs(self, source: ObjectSource, full_name: str, shas: Iterable[str]) -> dict[str, bytes]:
        """The contents of blobs by sha, a few requests at a time; none for those that are kept.

        Raises IncompleteTree (TOO_LARGE) for one above 1 MiB, NotFound for one that is not there.
        """
        wanted = sorted(set(shas))
        loads = [
            partial(self._once, "blob", source, sha, partial(self._load_blob, source, full_name, sha)) for sha in wanted
        ]
        return dict(zip(wanted, await in_parallel(loads, PARALLEL), strict=True))

    async def _once(self, kind: str, source: ObjectSource, sha: str, load: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is kept under (kind, sha), or what `load` brings, which is kept.

        Loads are shared within an installation only: the state of one (suspended, say) is no answer for another.
        """
        kept: T | None = self._kept.get((kind, sha))
        if kept is not None:
            return kept
        loaded: T = await self._flights.run((kind, sha, source.installation_id), load)
        self._keep(kind, sha, loaded)
        return loaded

    def _keep(self, kind: str, sha: str, value: Any) -> None:
        with suppress(ValueError):  # larger than the whole cache
            self._kept[kind, sha] = value

    async def _load_blob(self, source: ObjectSource, full_name: str, sha: str) -> bytes:
        try:
            return await source.blob(full_name, sha)
        except TooLarge as error:
            raise IncompleteTree(str(error), reason="TOO_LARGE") from None

    async def _load_files(self, source: ObjectSource, full_name: str, commit_sha: str) -> Tree:
        budget = _Budget(commit_sha, self._max_calls, self._max_entries, self._max_bytes)
        answer = await self._ask(source, full_name, commit_sha, budget, recursive=True)
        if not answer.truncated:
            files = _files(answer)
            budget.entries(len(files))
            budget.names(files)
            return _by_path(files, commit_sha)
        return await self._walk(source, full_name, commit_sha, budget)

    async def _walk(self, source: ObjectSource, full_name: str, commit_sha: str, budget: _Budget) -> Tree:
        """The tree of a commit whose listing is truncated, level by level."""
        found: list[TreeEntry] = []
        root = await self._level(source, full_name, commit_sha, budget)
        level: list[tuple[str, _Listing]] = [("", root)]
        while level:
            folders: list[tuple[str, str]] = []
            for prefix, listing in level:
                budget.entries(len(listing.files) + len(listing.folders))  # a few folders can repeat without end
                budget.names(listing.files, prefix)
                found += [TreeEntry(prefix + file.path, file.mode, file.sha, file.size) for file in listing.files]
                folders += [(f"{prefix}{path}/", sha) for path, sha in listing.folders]
            distinct = sorted({sha for _, sha in folders})  # the same folder may be there many times
            loads = [partial(self._folder, source, full_name, sha, budget) for sha in distinct]
            listings = dict(zip(distinct, await in_parallel(loads, PARALLEL), strict=True))
            level = [(prefix, listings[sha]) for prefix, sha in folders]
        return _by_path(found, commit_sha)

    async def _folder(self, source: ObjectSource, full_name: str, sha: str, budget: _Budget) -> _Listing:
        """A sub-tree as a whole if GitHub lists it so, else its own level. Loads are not shared: budgets are not."""
        kept: _Listing | None = self._kept.get(("tree", sha))
        if kept is not None:
            return kept
        answer = await self._ask(source, full_name, sha, budget, recursive=True)
        if answer.truncated:
            listing = await self._level(source, full_name, sha, budget)
        else:
            listing = _Listing(_files(answer), ())
        self._keep("tree", sha, listing)
        return listing

    async def _level(self, source: ObjectSource, full_name: str, sha: str, budget: _Budget) -> _Listing:
        answer = await self._ask(source, full_name, sha, budget, recursive=False)
        if answer.truncated:
            raise IncompleteTree(f"GitHub does not list a single folder ({sha}) completely", reason="TRUNCATED")
        folders = tuple((entry.path, entry.sha) for entry in answer.entries if entry.kind == "tree")
        return _Listing(_files(answer), folders)

    async def _ask(
        self, source: ObjectSource, full_name: str, sha: str, budget: _Budget, *, recursive: bool
    ) -> TreeAnswer:
        budget.call()
        return await source.tree(full_name, sha, recursive=recursive)


def _files(answer: TreeAnswer) -> tuple[TreeEntry, ...]:
    return tuple(_file(entry) for entry in answer.entries if entry.kind != "tree")


def _file(entry: RawEntry) -> TreeEntry:
    return TreeEntry(entry.path, entry.mode, entry.sha, entry.size)


def _by_path(files: Iterable[TreeEntry], commit_sha: str) -> Tree:
    """Files by path. Two of one path: their real names are not UTF-8, and the API shows both with U+FFFD.

    Which is which cannot be known, and a file could hide behind the other: such a tree is not judged.
    """
    tree: dict[str, TreeEntry] = {}
    for file in files:
        if file.path in tree:
            raise IncompleteTree(
                f"commit {commit_sha} has several files that GitHub names {file.path!r} (names that are not UTF-8)",
                reason="TRUNCATED",
            )
        tree[file.path] = file
    return MappingProxyType(tree)


def _size(kept: Any) -> int:
    """Memory of a kept value, in bytes, about."""
    if isinstance(kept, bytes):
        return len(kept) + 100
    if isinstance(kept, _Listing):
        return 200 + sum(_ENTRY_BYTES + len(file.path) for file in kept.files) + 250 * len(kept.folders)
    return 200 + sum(_ENTRY_BYTES + len(path) for path in kept)
