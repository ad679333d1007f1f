"""Tree against tree: which paths changed, and which of them are two ends of a rename."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from rules.model import Change, ChangeKind, Tree, TreeEntry

EntryKind = Literal["file", "link", "submodule"]

# git's object of an empty file: any two empty files share it, so it tells nothing about where a file came from.
EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def entry_kind(entry: TreeEntry) -> EntryKind:
    """What git's mode makes of an entry: 120000 a symbolic link, 160000 a submodule, everything else a regular file."""
    if entry.mode == "120000":
        return "link"
    return "submodule" if entry.mode == "160000" else "file"


def same_entry(old: TreeEntry | None, new: TreeEntry | None) -> bool:
    """Whether git would see no difference: both absent, or equal mode and object (the size follows from the object)."""
    if old is new:
        return True
    return old is not None and new is not None and old.sha == new.sha and old.mode == new.mode


def same_content(old: TreeEntry | None, new: TreeEntry | None) -> bool:
    """Whether two entries hold the same thing: both absent, or one object of one kind. A `chmod` is no new content."""
    if old is new:
        return True
    return old is not None and new is not None and old.sha == new.sha and entry_kind(old) == entry_kind(new)


def differing(old: Tree, new: Tree) -> list[str]:
    """The paths whose mode or object differs between two trees, in no particular order."""
    if old is new:  # trees are immutable and cached by sha: equal trees are usually one object
        return []
    paths = [path for path in old if path not in new]
    get = old.get
    paths += [  # `same_entry`, written out: this is asked of every file of every push
        path
        for path, entry in new.items()
        if (before := get(path)) is not entry
        and (before is None or before.sha != entry.sha or before.mode != entry.mode)
    ]
    return paths


def diff(old: Tree, new: Tree, paths: Sequence[str] | None = None) -> tuple[Change, ...]:
    """Every path whose mode or object differs between two trees, sorted by path.

    A regular file that became a link or a submodule (or back) is MODIFIED; MODE is the executable bit alone. A removed
    and an added path of the same object name each other as a rename: for words only, each end is a change of its own.
    Linear in the size of both trees. `paths`: those that differ, when the caller has them from `differing`.
    """
    changed = differing(old, new) if paths is None else paths
    kinds = _change_kinds(sorted(changed), old, new)
    sources, targets = _renames(kinds, old, new)
    if not sources:
        return tuple([Change(path, kind) for path, kind in kinds.items()])
    return tuple([Change(path, kind, sources.get(path), targets.get(path)) for path, kind in kinds.items()])


def _change_kinds(paths: Iterable[str], old: Tree, new: Tree) -> dict[str, ChangeKind]:
    """What happened to each of these paths, which differ. One loop without calls: there may be 100,000."""
    added, removed, modified, mode = ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.MODIFIED, ChangeKind.MODE
    before, after = old.get, new.get
    kinds: dict[str, ChangeKind] = {}
    for path in paths:
        was = before(path)
        if was is None:
            kinds[path] = added
        elif (now := after(path)) is None:
            kinds[path] = removed
        else:
            kinds[path] = mode if was.sha == now.sha and same_content(was, now) else modified
    return kinds


def _renames(kinds: Mapping[str, ChangeKind], old: Tree, new: Tree) -> tuple[dict[str, str], dict[str, str]]:
    """Pairs of removed and added paths: added -> removed, and removed -> added.

    Several paths of one object are paired in path order, those that keep their file name first.
    """
    removed = _by_object((path for path, kind in kinds.items() if kind is ChangeKind.REMOVED), old)
    if not removed:
        return {}, {}
    added = _by_object((path for path, kind in kinds.items() if kind is ChangeKind.ADDED), new)
    sources: dict[str, str] = {}
    for content, olds in removed.items():
        sources.update(_pair(sorted(olds), sorted(added.get(content, ()))))
    return sources, {source: target for target, source in sources.items()}


def _by_object(paths: Iterable[str], tree: Tree) -> dict[tuple[str, EntryKind], list[str]]:
    """The paths of each object that is not the empty file."""
    found: defaultdict[tuple[str, EntryKind], list[str]] = defaultdict(list)
    for path in paths:
        entry = tree[path]
        if entry.sha != EMPTY_BLOB:
            found[entry.sha, entry_kind(entry)].append(path)
    return found


def _pair(olds: list[str], news: list[str]) -> dict[str, str]:
    """New path -> old path for as many as there are of both: equal file names first, the rest in order."""
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for path in reversed(olds):
        waiting[_name(path)].append(path)
    pairs = {new: waiting[_name(new)].pop() for new in news if waiting[_name(new)]}
    taken = set(pairs.values())
    rest_old = [path for path in olds if path not in taken]
    rest_new = [path for path in news if path not in pairs]
    pairs.update(zip(rest_new, rest_old, strict=False))
    return pairs


def _name(path: str) -> str:
    return path.rpartition("/")[2]
