"""The template's own work in a fork: what never counts and never violates (steps.md section 4, items 2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.mapping import PathMap
from rules.model import Tree, TreeEntry
from rules.snapshot import differing, same_content


@dataclass(frozen=True, slots=True)
class Astray:
    """Protected paths that are not the template's. `version`: the tree of the template that they were compared with.

    `number`: 0 for the pinned version, n for the n-th later commit.
    """

    paths: frozenset[str]
    version: Tree
    number: int


class Template:
    """The pinned version of a template and the later commits of its branch, oldest first."""

    def __init__(self, pinned: Tree, later: tuple[Tree, ...], paths: PathMap) -> None:
        self.pinned = pinned
        self.later = later
        self._paths = paths
        self._changed: dict[int, list[str]] = {}

    def changed(self, tree: Tree) -> list[str]:
        """The paths that are not exactly the pinned version's, found once for each tree (which must stay alive)."""
        if id(tree) not in self._changed:
            self._paths.tick(len(tree))
            self._changed[id(tree)] = differing(self.pinned, tree)
        return self._changed[id(tree)]

    def handed_out(self, tree: Tree) -> bool:
        """Whether a tree is, file by file, some version of the template."""
        if not self.changed(tree):
            return True
        self._paths.tick(len(tree) * len(self.later))
        return any(len(version) == len(tree) and not differing(version, tree) for version in self.later)

    def wrote(self, path: str, entry: TreeEntry | None) -> bool:
        """Whether this is template work: the content (or the absence) that some version of the template has here."""
        if same_content(self.pinned.get(path), entry):
            return True
        return bool(self.later) and any(same_content(version.get(path), entry) for version in self.later)

    def written(self, paths: Sequence[str], tree: Tree) -> set[str]:
        """Those of the paths whose content in a tree is template work: `wrote`, asked of many at once."""
        now, found = tree.get, set[str]()
        for version in (self.pinned, *self.later):
            was = version.get
            found.update(
                [
                    path
                    for path in paths
                    if (old := was(path)) is (new := now(path))
                    or (old is not None and new is not None and old.sha == new.sha and same_content(old, new))
                ]
            )
        return found

    def is_work(self, path: str, entry: TreeEntry | None) -> bool:
        """Whether somebody else's content is there: what `changed` counts. An absent path is no work."""
        return entry is not None and not self.wrote(path, entry)

    def astray(self, tree: Tree, accepted: Tree) -> Astray:
        """The protected paths by which a tree differs from the template: none if it equals one version *as a whole*.

        Otherwise those that differ from the nearest version, so that an edit after a sync names the edit and not the
        sync. Of equally near ones the version that leaves most to what was accepted before, then the oldest.
        """
        nearest: tuple[tuple[int, int], Astray] | None = None
        for number, version in enumerate((self.pinned, *self.later)):
            self._paths.tick(len(tree))
            changed = self.changed(tree) if version is self.pinned else differing(version, tree)
            places = self._paths.places(changed)
            paths = frozenset([path for path in changed if places[path].protected])
            if not paths:
                return Astray(paths, version, number)
            stale = sum(accepted.get(path) == tree.get(path) for path in paths)
            if nearest is None or (len(paths), stale) < nearest[0]:
                nearest = ((len(paths), stale), Astray(paths, version, number))
        assert nearest is not None  # there is always the pinned version  # noqa: S101
        return nearest[1]
