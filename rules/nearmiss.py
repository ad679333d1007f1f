"""Names that a learner probably meant: `profile.md` beside a step that wants `PROFILE.md`. For words only."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from rules.effort import Tick, unlimited
from rules.mapping import is_literal
from rules.model import AllOf, AnyOf, Condition, Contains, Exists, Lab, Lacks, Tree
from rules.snapshot import same_entry

MAX_PATHS = 50  # changed paths that are looked at
_MAX_NAMES = 1_000  # names of one folder that a path is compared with letter by letter


def near_misses(
    paths: Sequence[str],
    lab: Lab,
    unfinished: Collection[str],
    template: Tree,
    head: Tree,
    *,
    tick: Tick = unlimited,
) -> dict[str, str]:
    """For some of the paths the name that was probably meant: equal but for case or spelling, or a slip of the pen.

    Compared with the literal names of the unfinished steps' patterns and conditions, and with the template's paths.
    A name that HEAD already has otherwise than the template is not meant: it has been found. Steps come before the
    template, case before slips, then the first in order. At most MAX_PATHS of the paths are looked at.
    """
    if not paths:
        return {}
    names = _Names(_wanted(lab, unfinished), template, head)
    found: dict[str, str | None] = {}
    for path in paths[:MAX_PATHS]:
        tick(len(path) * _MAX_NAMES)
        found[path] = names.nearest(path)
    return {path: name for path, name in found.items() if name is not None}


def _wanted(lab: Lab, unfinished: Collection[str]) -> tuple[str, ...]:
    """The literal names in unfinished steps, as patterns: with a slash from the root, without one at any depth."""
    steps = [step for step in lab.steps if step.id in unfinished]
    files = (pattern for step in steps for pattern in step.files if is_literal(pattern))
    asked = ("/" + path.removeprefix("/") for step in steps for path in _asked(step.complete) if is_literal(path))
    return tuple(dict.fromkeys((*files, *asked)))


def _asked(condition: Condition) -> Iterator[str]:
    """The paths that a condition wants to be there."""
    match condition:
        case AllOf(of) | AnyOf(of):
            for part in of:
                yield from _asked(part)
        case Exists(paths):
            yield from paths
        case Contains(path) | Lacks(path):
            yield path
        case _:
            return


def _folded(text: str) -> str:
    """Equal for names that people take for the same: case and Unicode spelling aside."""
    return (
        text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    )


def _all_folded(paths: list[str]) -> list[str]:
    """Each of the paths folded. No path has a NUL; so those that are ASCII throughout are folded in one go."""
    if all(map(str.isascii, paths)):
        return "\0".join(paths).lower().split("\0")
    return [_folded(path) for path in paths]


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


class _Names:
    """All names that a path is compared with."""

    def __init__(self, wanted: Iterable[str], template: Tree, head: Tree) -> None:
        self._template = template
        self._head = head
        self._rooted: list[list[str]] = []  # each a name from the root, in segments
        self._anywhere: list[str] = []
        self._template_folded: dict[str, str] | None = None
        self._by_folder: defaultdict[str, list[str]] = defaultdict(list)
        for pattern in wanted:
            name = pattern.strip("/")
            if pattern.endswith("/"):
                self._rooted.append(name.split("/"))
            elif "/" in pattern:
                self._rooted.append(name.split("/"))
                self._by_folder[_folded(_split(name)[0])].append(name)
            else:
                self._anywhere.append(name)
        for path in sorted(template.keys() - head.keys()):
            self._by_folder[_folded(_split(path)[0])].append(path)

    def nearest(self, path: str) -> str | None:
        """The name that was probably meant by a path, or None."""
        candidates = (*self._spelled_otherwise(path), *self._slips(path))
        return next((name for name in candidates if name != path and self._is_free(name)), None)

    def _is_free(self, path: str) -> bool:
        """Whether nobody has worked on this name yet: it is missing, or as the template has it."""
        entry = self._head.get(path)
        return entry is None or same_entry(entry, self._template.get(path))

    def _spelled_otherwise(self, path: str) -> Iterator[str]:
        """The names that equal the path, or a folder of it, but for case and spelling."""
        segments = path.split("/")
        folded = [_folded(segment) for segment in segments]
        for name in self._rooted:
            if [_folded(segment) for segment in name] == folded[: len(name)] and name != segments[: len(name)]:
                yield "/".join((*name, *segments[len(name) :]))
        for name_anywhere in self._anywhere:
            if _folded(name_anywhere) == folded[-1] and name_anywhere != segments[-1]:
                yield "/".join((*segments[:-1], name_anywhere))
        if path not in self._template and (twin := self._folded_template().get(_folded(path))) is not None:
            yield twin

    def _folded_template(self) -> dict[str, str]:
        if self._template_folded is None:
            paths = sorted(self._template, reverse=True)
            self._template_folded = dict(zip(_all_folded(paths), paths, strict=False))
        return self._template_folded

    def _slips(self, path: str) -> Iterator[str]:
        """The names of the same folder that differ by a slip of the pen."""
        folder, name = _split(path)
        for candidate in self._by_folder[_folded(folder)][:_MAX_NAMES]:
            if _is_slip(_folded(name), _folded(_split(candidate)[1])):
                yield candidate
        for candidate in self._anywhere[:_MAX_NAMES]:
            if _is_slip(_folded(name), _folded(candidate)):
                yield f"{folder}/{candidate}" if folder else candidate


def _is_slip(name: str, meant: str) -> bool:
    """Whether two names differ by so few letters that one was probably meant for the other.

    Not if they differ in digits alone: `step1.md` and `step2.md` are two files. Short names differ too easily.
    """
    if re.sub(r"\d", "", name) == re.sub(r"\d", "", meant):
        return False
    stem = max(len(name.partition(".")[0]), len(meant.partition(".")[0]))
    return _within(name, meant, 0 if stem < 4 else 1 if stem < 8 else 2)


def _within(one: str, other: str, edits: int) -> bool:
    """Whether so many insertions, deletions, replacements or swaps of neighbours turn one text into the other."""
    if abs(len(one) - len(other)) > edits:
        return False
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[same:], other[same:]
    if not one or not other or not edits:
        return len(one) + len(other) <= edits
    rest = edits - 1
    return (
        _within(one[1:], other[1:], rest)
        or _within(one[1:], other, rest)
        or _within(one, other[1:], rest)
        or (one[:2] == other[1::-1] and _within(one[2:], other[2:], rest))
    )
