"""Trees and blobs: one request if possible, the whole tree or an error, kept by sha."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any

import pytest

from github.errors import GitHubError, IncompleteTree, InstallationSuspended, NotFound, TooLarge, Transient
from github.trees import Trees
from github.values import RawEntry, TreeAnswer

Folder = dict[str, Any]  # name -> content (a file) or Folder
REPO = "octo-course/lab"


def sha_of(value: Any) -> str:
    """A sha that only depends on the content."""
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()


class Origin:
    """A repository in memory that lists at most `limit` entries an answer, as GitHub does with 100,000."""

    def __init__(self, limit: int = 1000, installation_id: int = 1) -> None:
        self.installation_id = installation_id
        self.limit = limit
        self.folders: dict[str, Folder] = {}
        self.contents: dict[str, bytes] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.error: GitHubError | None = None
        self.running = self.most = 0

    def commit(self, files: Folder) -> str:
        """Store a commit of these files; its sha."""
        self._store(files)
        sha = sha_of(("commit", files))
        self.folders[sha] = files
        return sha

    def _store(self, folder: Folder) -> None:
        self.folders[sha_of(folder)] = folder
        for value in folder.values():
            if isinstance(value, dict):
                self._store(value)

    def _entries(self, folder: Folder, prefix: str, *, recursive: bool) -> list[RawEntry]:
        found = []
        for name, value in folder.items():
            kind, mode = ("tree", "040000") if isinstance(value, dict) else ("blob", "100644")
            if value == "submodule":
                kind, mode = "commit", "160000"
            size = None if kind == "tree" else len(value)
            found.append(RawEntry(prefix + name.partition("|")[0], mode, kind, sha_of(value), size))
            if kind == "tree" and recursive and len(found) <= self.limit:
                found += self._entries(value, f"{prefix}{name}/", recursive=True)
        return found

    async def tree(self, full_name: str, tree_ish: str, *, recursive: bool = True) -> TreeAnswer:
        """Answer as GET git/trees does."""
        self.calls["recursive" if recursive else "level", tree_ish] += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if full_name != REPO or tree_ish not in self.folders:
            raise NotFound("404")
        entries = self._entries(self.folders[tree_ish], "", recursive=recursive)
        return TreeAnswer(tuple(entries[: self.limit]), len(entries) > self.limit)

    async def blob(self, full_name: str, sha: str) -> bytes:
        """Answer as GET git/blobs does."""
        assert full_name == REPO
        self.calls["blob", sha] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        if self.error:
            raise self.error
        if len(self.contents[sha]) > 1000:
            raise TooLarge("too large")
        return self.contents[sha]


def flat(folder: Folder, prefix: str = "") -> dict[str, str]:
    """Path -> sha of all files: what a complete tree must hold."""
    found: dict[str, str] = {}
    for name, value in folder.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = sha_of(value)
    return found


SMALL: Folder = {"README.md": "hello", "src": {"app.py": "print()", "lib": {"x.py": "1"}}, "vendor": "submodule"}


def big(folders: int, files: int) -> Folder:
    """A tree of folders * files files in two levels, and some at the root."""
    return {f"d{d}": {f"f{f}": f"{d}-{f}" for f in range(files)} for d in range(folders)} | {"root.txt": "r"}


async def test_a_commit_is_one_request_and_then_none() -> None:
    """All entries but folders, submodules too; kept by sha; the very same object again."""
    origin, trees = Origin(), Trees(1_000_000)
    commit = origin.commit(SMALL)
    first = await trees.files(origin, REPO, commit)
    assert {path: entry.sha for path, entry in first.tree.items()} == flat(SMALL)
    assert first.sha == commit
    assert first.tree["vendor"].mode == "160000"
    assert first.tree["README.md"].size == 5
    second = await trees.files(origin, REPO, commit)
    assert second.tree is first.tree
    assert sum(origin.calls.values()) == 1


async def test_a_kept_tree_cannot_be_changed() -> None:
    """What one caller gets is what all get."""
    origin, trees = Origin(), Trees(1_000_000)
    kept = (await trees.files(origin, REPO, origin.commit(SMALL))).tree
    with pytest.raises(TypeError):
        kept["x"] = kept["README.md"]  # type: ignore[index]


async def test_an_empty_tree_is_a_tree() -> None:
    """It is kept, too."""
    origin, trees = Origin(), Trees(1_000_000)
    commit = origin.commit({})
    for _ in range(2):
        assert dict((await trees.files(origin, REPO, commit)).tree) == {}
    assert sum(origin.calls.values()) == 1


async def test_many_at_once_make_one_request() -> None:
    """Single flight."""
    origin, trees = Origin(), Trees(1_000_000)
    commit = origin.commit(SMALL)
    found = await asyncio.gather(*(trees.files(origin, REPO, commit) for _ in range(10)))
    assert len({id(one.tree) for one in found}) == 1
    assert sum(origin.calls.values()) == 1


async def test_one_installations_trouble_is_not_anothers() -> None:
    """While a suspended installation asks, another one gets the tree."""
    good, bad, trees = Origin(installation_id=1), Origin(installation_id=2), Trees(1_000_000)
    bad.error = InstallationSuspended("suspended", installation_id=2)
    commit = good.commit(SMALL)
    failed, found = await asyncio.gather(
        trees.files(bad, REPO, commit), trees.files(good, REPO, commit), return_exceptions=True
    )
    assert isinstance(failed, InstallationSuspended)
    assert not isinstance(found, BaseException)


async def test_errors_are_not_kept() -> None:
    """A commit that was not visible yet is found a moment later."""
    origin, trees = Origin(), Trees(1_000_000)
    with pytest.raises(NotFound):
        await trees.files(origin, REPO, sha_of(("commit", SMALL)))
    commit = origin.commit(SMALL)
    assert len((await trees.files(origin, REPO, commit)).tree) == 4


# ------------------------------------------------------------------------------------------------------------- ladder


async def test_a_truncated_tree_is_walked_and_complete() -> None:
    """8 folders of 9 files at a limit of 10: root level, then each folder as a whole."""
    files = big(8, 9)
    origin, trees = Origin(limit=10), Trees(10_000_000)
    commit = origin.commit(files)
    found = await trees.files(origin, REPO, commit)
    assert {path: entry.sha for path, entry in found.tree.items()} == flat(files)
    assert sum(origin.calls.values()) == 1 + 1 + 8


async def test_a_walk_goes_down_as_many_levels_as_needed() -> None:
    """Only the folders that are truncated themselves are read level by level."""
    files: Folder = {"a": {"b": big(5, 6), "c": {"x": "1"}}, "z": "2"}
    origin, trees = Origin(limit=8), Trees(10_000_000)
    commit = origin.commit(files)
    found = await trees.files(origin, REPO, commit)
    assert {path: entry.sha for path, entry in found.tree.items()} == flat(files)
    assert origin.calls["recursive", sha_of(files["a"]["c"])] == 1
    assert origin.calls["level", sha_of(files["a"]["c"])] == 0


async def test_the_next_commit_reads_only_the_folders_that_differ() -> None:
    """One changed folder of eight: the truncated answer, the root and that folder."""
    origin, trees = Origin(limit=10), Trees(10_000_000)
    files = big(8, 9)
    await trees.files(origin, REPO, origin.commit(files))
    changed = {**files, "d3": {**files["d3"], "f0": "changed"}}
    commit = origin.commit(changed)
    before = sum(origin.calls.values())
    found = await trees.files(origin, REPO, commit)
    assert {path: entry.sha for path, entry in found.tree.items()} == flat(changed)
    assert sum(origin.calls.values()) - before == 3


async def test_a_single_folder_that_is_cut_is_never_judged() -> None:
    """GitHub truncates the listing of one folder: TRUNCATED, not a shorter tree."""
    origin, trees = Origin(limit=10), Trees(10_000_000)
    with pytest.raises(IncompleteTree) as caught:
        await trees.files(origin, REPO, origin.commit({"d": {f"f{n}": "x" for n in range(11)}}))
    assert caught.value.reason == "TRUNCATED"


@pytest.mark.parametrize(("count", "complete"), [(9, True), (10, True), (11, False)])
async def test_the_bound_itself(count: int, complete: bool) -> None:
    """One folder with as many files as are listed is complete; with one more it is not."""
    origin, trees = Origin(limit=10), Trees(10_000_000)
    commit = origin.commit({f"f{n}": "x" for n in range(count)})
    if complete:
        assert len((await trees.files(origin, REPO, commit)).tree) == count
    else:
        with pytest.raises(IncompleteTree):
            await trees.files(origin, REPO, commit)


async def test_the_budget_of_requests() -> None:
    """40 folders need 42 requests: with 20 allowed it is TOO_LARGE, and no more than 20 are made."""
    origin, trees = Origin(limit=50), Trees(10_000_000, max_calls=20)
    with pytest.raises(IncompleteTree) as caught:
        await trees.files(origin, REPO, origin.commit(big(40, 9)))
    assert caught.value.reason == "TOO_LARGE"
    assert sum(origin.calls.values()) <= 20


@pytest.mark.parametrize("limit", [1000, 20])
async def test_the_budget_of_files(limit: int) -> None:
    """More files than allowed, in one answer or by walking: TOO_LARGE."""
    origin, trees = Origin(limit=limit), Trees(10_000_000, max_entries=70)
    with pytest.raises(IncompleteTree) as caught:
        await trees.files(origin, REPO, origin.commit(big(8, 9)))
    assert caught.value.reason == "TOO_LARGE"


@pytest.mark.parametrize("limit", [1000, 20])
async def test_the_budget_of_bytes(limit: int) -> None:
    """Names that take more memory than allowed, in one answer or by walking: TOO_LARGE."""
    origin, trees = Origin(limit=limit), Trees(10_000_000, max_bytes=72 * 300)
    with pytest.raises(IncompleteTree) as caught:
        await trees.files(origin, REPO, origin.commit(big(8, 9)))
    assert caught.value.reason == "TOO_LARGE"


class Bomb(Origin):
    """Ten folders that all hold the same ten folders, and so on for nine levels: ten objects, a billion paths."""

    async def tree(self, full_name: str, tree_ish: str, *, recursive: bool = True) -> TreeAnswer:
        """A tree's "sha" is its depth."""
        self.calls["recursive" if recursive else "level", tree_ish] += 1
        depth = int(tree_ish)
        if depth == 9:
            return TreeAnswer((RawEntry("f", "100644", "blob", sha_of("x"), 1),), truncated=False)
        entries = tuple(RawEntry(f"d{n}", "040000", "tree", str(depth + 1), None) for n in range(10))
        return TreeAnswer(entries, truncated=recursive)


async def test_a_tree_that_repeats_itself_without_end_is_bounded() -> None:
    """Folders count, too: the walk ends as TOO_LARGE after a few requests."""
    origin = Bomb()
    with pytest.raises(IncompleteTree) as caught:
        await Trees(10_000_000, max_entries=50_000).files(origin, REPO, "0")
    assert caught.value.reason == "TOO_LARGE"
    assert sum(origin.calls.values()) < 20


async def test_names_that_are_not_utf8_and_collapse_are_not_judged() -> None:
    """Two files whose names GitHub shows alike: one could hide behind the other."""
    origin, trees = Origin(), Trees(1_000_000)
    commit = origin.commit({"d": {"\ufffd.md|first": "a", "\ufffd.md|second": "b"}})
    with pytest.raises(IncompleteTree) as caught:
        await trees.files(origin, REPO, commit)
    assert caught.value.reason == "TRUNCATED"
    assert "UTF-8" in str(caught.value)


async def test_one_odd_name_is_just_a_name() -> None:
    """Without a twin nothing is ambiguous."""
    origin, trees = Origin(), Trees(1_000_000)
    assert list((await trees.files(origin, REPO, origin.commit({"\ufffd.md": "a"}))).tree) == ["\ufffd.md"]


async def test_a_folder_that_fails_fails_the_tree() -> None:
    """A sub-tree that cannot be read: the error itself, never a tree without it."""
    origin, trees = Origin(limit=10), Trees(10_000_000)
    files = big(8, 9)
    commit = origin.commit(files)
    del origin.folders[sha_of(files["d5"])]
    with pytest.raises(NotFound):
        await trees.files(origin, REPO, commit)


# -------------------------------------------------------------------------------------------------------------- cache


async def test_the_cache_is_bounded_by_bytes_and_forgets_the_oldest() -> None:
    """Room for about two trees: the third pushes the first out; a tree larger than all of it is given, not kept."""
    origin = Origin()
    commits = [origin.commit({f"file{n}-{c}": f"{c}{n}" for n in range(100)}) for c in range(3)]
    trees = Trees(2 * 100 * 320)
    for commit in commits:
        await trees.files(origin, REPO, commit)
    await trees.files(origin, REPO, commits[2])
    await trees.files(origin, REPO, commits[0])
    assert [origin.calls["recursive", commit] for commit in commits] == [2, 1, 1]
    small = Trees(1000)
    for _ in range(2):
        assert len((await small.files(origin, REPO, commits[0])).tree) == 100
    assert origin.calls["recursive", commits[0]] == 4


# -------------------------------------------------------------------------------------------------------------- blobs


def with_blobs(count: int, size: int = 10) -> Origin:
    """An origin with `count` blobs."""
    origin = Origin()
    origin.contents = {sha_of(n): bytes([n]) * size for n in range(count)}
    return origin


async def test_blobs_are_read_once_a_few_at_a_time() -> None:
    """Thirty blobs, named twice: thirty requests, at most eight at once, then none."""
    origin, trees = with_blobs(30), Trees(1_000_000)
    shas = list(origin.contents)
    assert await trees.blobs(origin, REPO, shas + shas) == origin.contents
    assert sum(origin.calls.values()) == 30
    assert 1 < origin.most <= 8
    assert await trees.blobs(origin, REPO, shas[:3]) == {sha: origin.contents[sha] for sha in shas[:3]}
    assert sum(origin.calls.values()) == 30


async def test_no_blobs_are_no_request() -> None:
    """An empty wish is fulfilled at once; an empty blob is content."""
    origin, trees = with_blobs(1, size=0), Trees(1_000_000)
    assert await trees.blobs(origin, REPO, []) == {}
    for _ in range(2):
        assert await trees.blobs(origin, REPO, origin.contents) == {sha_of(0): b""}
    assert sum(origin.calls.values()) == 1


async def test_a_blob_that_is_too_large_is_refused() -> None:
    """It is TOO_LARGE, so that the caller says "cannot verify"."""
    origin = with_blobs(2, size=2000)
    with pytest.raises(IncompleteTree) as caught:
        await Trees(1_000_000).blobs(origin, REPO, origin.contents)
    assert caught.value.reason == "TOO_LARGE"


async def test_a_blob_that_fails_is_that_error() -> None:
    """No group, no part of the blobs."""
    origin = with_blobs(20)
    origin.error = Transient("502")
    with pytest.raises(Transient):
        await Trees(1_000_000).blobs(origin, REPO, origin.contents)
    origin.error = None
