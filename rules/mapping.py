"""What a lab says about a path: protected, shared, owned by which steps, named by which conditions.

All pattern lists of a lab are groups of one PatternSet; a `PathMap` asks it once for each path.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from rules.effort import Tick, unlimited
from rules.model import Absent, AllOf, AnyOf, Changed, Condition, Contains, Exists, Lab, Lacks, Not, Tree
from rules.patterns import Matches, compiled, specificity, with_roots

_BATCH = 1_024  # characters of paths between two looks at the budget; a longer path is a batch by itself
_PROTECTED, _SHARED, _FILES = 0, 1, 2  # groups of the PatternSet; _FILES + i are the files of step i


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path belongs. `owners`: indexes of the steps that own it, in list order; `patterns`: the winning pattern
    of each; `named`: further groups that hold it (patterns of conditions)."""

    protected: bool
    shared: bool
    owners: tuple[int, ...]
    patterns: tuple[int, ...]
    named: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which group of the PatternSet is what. `singles`: one pattern alone -> its group."""

    groups: tuple[tuple[str, ...], ...]
    singles: dict[str, int]


@lru_cache(maxsize=64)
def _layout(lab: Lab) -> _Layout:
    """The groups of a lab: protected, shared, the files of each step, then single patterns that conditions ask for."""
    lists = [with_roots(lab.protected), lab.shared, *(step.files for step in lab.steps)]
    alone: dict[str, int] = {}
    for step in lab.steps:
        for condition in leaves(step.complete):
            if isinstance(condition, Changed) and condition.match == "all":
                asked: Iterable[str] = each_pattern(step.files)
            else:
                asked = (path for path in condition_paths(condition) if not is_literal(path))
            for pattern in asked:
                alone.setdefault(pattern, len(lists) + len(alone))
    return _Layout((*lists, *((pattern,) for pattern in alone)), alone)


def pattern_size(lab: Lab) -> int:
    """Characters of all patterns of a lab: the size of the automaton that they become grows with it."""
    return sum(len(pattern) for group in _layout(lab).groups for pattern in group)


def leaves(condition: Condition) -> tuple[Condition, ...]:
    """The conditions at the ends of an `all` / `any` / `not` tree, in the order of the file."""
    match condition:
        case AllOf(of) | AnyOf(of):
            return tuple(leaf for part in of for leaf in leaves(part))
        case Not(of):
            return leaves(of)
        case _:
            return (condition,)


def condition_paths(leaf: Condition) -> tuple[str, ...]:
    """The paths and patterns that a condition names itself (those of `changed` are its step's)."""
    match leaf:
        case Exists(paths) | Absent(paths):
            return paths
        case Contains(path) | Lacks(path):
            return (path,)
        case _:
            return ()


def each_pattern(files: Sequence[str]) -> tuple[str, ...]:
    """The patterns that `changed` with `match: all` wants a path for: those that take, not the `!` that give back."""
    return tuple(pattern for pattern in files if not pattern.startswith("!"))


def is_literal(path: str) -> bool:
    """Whether a condition names one path (or folder) from the root, rather than a pattern.

    Decided: `"path": "ANSWER.md"` in a condition is that file at the root, not one of the name at any depth as in
    `files`. With a wildcard it is a pattern like all others.
    """
    return not path.startswith("!") and not any(char in "*?[\\" for char in path)


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """The paths in their order, _BATCH characters at a time: a pattern made to be slow takes milliseconds for each."""
    start = size = 0
    for at, path in enumerate(paths):
        if size and size + len(path) > _BATCH:
            yield paths[start:at]
            start, size = at, 0
        size += len(path)
    if size:
        yield paths[start:]


_specificity = lru_cache(maxsize=4_096)(specificity)


class PathMap:
    """Answers for one lab and the paths of some trees. `trees`: all that will be judged; each path is matched once.

    `tick` is told of all work before it is done.
    """

    def __init__(self, lab: Lab, trees: Iterable[Tree], tick: Tick = unlimited) -> None:
        self.tick = tick
        self._lab = lab
        self._trees = tuple({id(tree): tree for tree in trees}.values())
        self._layout = _layout(lab)
        self._set = compiled(self._layout.groups)
        self._places: dict[str, Place] = {}
        self._answers: dict[int, tuple[Matches, Place]] = {}  # equal answers of the set are mostly one object
        self._named: dict[str, tuple[str, ...]] = {}
        self._index: tuple[list[str], list[str]] | None = None

    def place(self, path: str) -> Place:
        """Where the lab puts this path."""
        place = self._places.get(path)
        return place or self.places((path,))[path]

    def places(self, paths: Iterable[str]) -> Mapping[str, Place]:
        """Where the lab puts each of these paths (and others that were asked for)."""
        known, answers = self._places, self._answers
        fresh = [path for path in paths if path not in known]
        for batch in _batches(fresh):
            self.tick(sum(map(len, batch)))
            for path, matches in zip(batch, self._set.match_all(batch), strict=True):
                answer = answers.get(id(matches))
                if answer is None:
                    answer = answers[id(matches)] = (matches, self._read(matches))
                known[path] = answer[1]
        return known

    def _read(self, matches: Matches) -> Place:
        past_files = _FILES + len(self._lab.steps)
        owners = {group - _FILES: at for group, at in matches.winners.items() if _FILES <= group < past_files}
        return Place(
            protected=_PROTECTED in matches.winners,
            shared=_SHARED in matches.winners,
            owners=tuple(owners),
            patterns=tuple(owners.values()),
            named=frozenset(group for group in matches.winners if group >= past_files),
        )

    def fits(self, path: str, pattern: str) -> bool:
        """Whether a single pattern of an `all` step or of a condition matches the path."""
        return self._layout.singles[pattern] in self.place(path).named

    def owner(self, place: Place, candidates: Iterable[int]) -> str | None:
        """The step that a path is attributed to: of the candidates the most closely matching, then the earliest."""
        wanted = set(candidates)
        closest = [
            (_specificity(self._lab.steps[owner].files[pattern]), -owner)
            for owner, pattern in zip(place.owners, place.patterns, strict=True)
            if owner in wanted
        ]
        return self._lab.steps[-max(closest)[1]].id if closest else None

    def named(self, path: str) -> tuple[str, ...]:
        """All paths of the trees that a condition's path (literal or pattern) names, in path order."""
        found = self._named.get(path)
        if found is None:
            found = self._literally(path) if is_literal(path) else self._fitting(path)
            self._named[path] = found
        return found

    def _fitting(self, pattern: str) -> tuple[str, ...]:
        paths = self._paths()[1]
        self.tick(len(paths))
        return tuple(path for path in paths if self.fits(path, pattern))

    def _literally(self, path: str) -> tuple[str, ...]:
        """The path itself, every spelling that is equal in NFC, and all that lies below it if it is a folder."""
        name = unicodedata.normalize("NFC", path.rstrip(" ").removeprefix("/"))
        folder = name.rstrip("/")
        keys, paths = self._paths()
        below = paths[bisect_left(keys, folder + "/") : bisect_left(keys, folder + "0")]  # "0" comes after "/"
        if name.endswith("/"):
            return tuple(below)
        return (*paths[bisect_left(keys, name) : bisect_left(keys, name + "\0")], *below)

    def _paths(self) -> tuple[list[str], list[str]]:
        """All paths of the trees, ordered by their NFC form: those forms, and the paths as the trees spell them."""
        if self._index is None:
            paths = sorted(dict.fromkeys(chain.from_iterable(self._trees)))  # trees come in order: so sorting is quick
            if all(map(str.isascii, paths)):
                self._index = (paths, paths)
            else:
                pairs = sorted((unicodedata.normalize("NFC", path), path) for path in paths)
                self._index = ([key for key, _ in pairs], [path for _, path in pairs])
        return self._index
