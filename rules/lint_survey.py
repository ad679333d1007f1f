"""What the linter knows of a lab: its lists as the author wrote them, and the paths that they are tried on.

A lint must say whether *any* path could do something. It tries paths of the template and examples of every pattern
(`examples_of`); of what all of them deny it tries combinations before it believes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from rules.effort import Tick
from rules.lazy import Lazy
from rules.mapping import PathMap, Place, condition_paths, is_literal, leaves
from rules.model import Lab, Tree
from rules.pattern_reading import affirmed, examples_of
from rules.patterns import SinglePatterns
from rules.positions import Document, Path

MAX_COMBINATIONS = 20_000  # paths put together of two patterns in one lint; past it nothing more is claimed


@dataclass(frozen=True, slots=True)
class Kind:
    """Paths that are alike to every list and pattern of the lab: one of them, and where it belongs.

    `matching`: bit n is pattern n of the survey. `known`: the path is of the template.
    """

    path: str
    place: Place
    matching: int
    known: bool


@dataclass(frozen=True, slots=True)
class PatternList:
    """A list of patterns as the author wrote it. `step`: the index of the step whose files they are, or None."""

    at: Path
    patterns: tuple[str, ...]
    step: int | None = None


class Survey:
    """A lab, its lists, and all kinds of paths that are known of it. `template`: None if it is not known."""

    def __init__(self, lab: Lab, document: Document, template: Tree | None, tick: Tick) -> None:
        self.lab = lab
        self.template = template
        self.paths = PathMap(lab, () if template is None else (template,), tick)
        self.lists = _lists(cast("Mapping[str, object]", document.value))
        named = (path for step in lab.steps for leaf in leaves(step.complete) for path in condition_paths(leaf))
        alone = [affirmed(pattern) for each in self.lists for pattern in each.patterns]
        self._numbers = {
            pattern: at for at, pattern in enumerate(dict.fromkeys([*alone, *map(condition_pattern, named)]))
        }
        self._single = SinglePatterns(tuple(self._numbers))
        self._tick = tick
        self._combinations = 0

    def bit(self, pattern: str) -> int:
        """The bit of a pattern of a list, or of `condition_pattern`, in `Kind.matching`; its `!` aside."""
        return 1 << self._numbers[affirmed(pattern)]

    def kind(self, path: str, *, known: bool = False) -> Kind:
        """The kind of any path."""
        self._tick(len(path))
        return Kind(path, self.paths.place(path), self._single.match(path), known)

    @Lazy
    def kinds(self) -> tuple[Kind, ...]:
        """All kinds of paths: the template's, in path order, then those of the examples of all patterns."""
        found: dict[tuple[int, int, bool], Kind] = {}
        for known, paths in ((True, sorted(self.template or ())), (False, self._examples)):
            for path in paths:
                kind = self.kind(path, known=known)
                found.setdefault((id(kind.place), kind.matching, known), kind)
        return tuple(found.values())

    @Lazy
    def known_matching(self) -> int:
        """The patterns that match some path of the template."""
        mask = 0
        for kind in self.kinds:
            mask |= kind.matching if kind.known else 0
        return mask

    @Lazy
    def _examples(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for pattern in self._numbers for path in examples_of(pattern)))

    def of(self, pattern: str) -> Sequence[Kind]:
        """The kinds that a pattern of a list, or of `condition_pattern`, matches; its `!` aside."""
        return self._by_pattern[self._numbers[affirmed(pattern)]]

    @Lazy
    def _by_pattern(self) -> Mapping[int, Sequence[Kind]]:
        found: defaultdict[int, list[Kind]] = defaultdict(list)
        for kind in self.kinds:
            rest = kind.matching
            while rest:
                lowest = rest & -rest
                found[lowest.bit_length() - 1].append(kind)
                rest ^= lowest
        return found

    def some(self, pattern: str, wanted: Callable[[Kind], bool]) -> bool:
        """Whether some path that a pattern of a list takes may be of a wanted kind. True when in doubt.

        What a list takes can only be given back by its `!` patterns: paths in their places are tried too.
        """
        return self._some(pattern, wanted, self._exceptions)

    def some_named(self, path: str, wanted: Callable[[Kind], bool]) -> bool:
        """Whether some path that a condition's path names may be of a wanted kind. True when in doubt."""
        return self._some(condition_pattern(path), wanted, () if is_file(path) else self._examples)

    def _some(self, pattern: str, wanted: Callable[[Kind], bool], others: Sequence[str]) -> bool:
        kinds = self.of(pattern)
        if not kinds or any(map(wanted, kinds)):
            return True
        for path in _combined(examples_of(pattern), others):
            if self._combinations >= MAX_COMBINATIONS:
                return True
            self._combinations += 1
            kind = self.kind(path)
            if kind.matching & self.bit(pattern) and wanted(kind):
                return True
        return False

    @Lazy
    def _exceptions(self) -> Sequence[str]:
        """Examples of the `!` patterns of all lists."""
        negated = (pattern for each in self.lists for pattern in each.patterns if pattern.startswith("!"))
        return tuple(dict.fromkeys(path for pattern in negated for path in examples_of(pattern)))

    @Lazy
    def behind(self) -> tuple[frozenset[int], ...]:
        """Of each step the indexes of the steps that wait for it, directly or through others."""
        number = {step.id: at for at, step in enumerate(self.lab.steps)}
        waiting: list[set[int]] = [set() for _ in self.lab.steps]
        for at, step in enumerate(self.lab.steps):
            for need in step.needs:
                waiting[number[need]].add(at)
        return tuple(frozenset(_reachable(waiting, at)) for at in range(len(waiting)))

    def hindrance(self, place: Place, step: int) -> str:
        """Why learners cannot change a path of this place while a step is open; empty if they can."""
        policy = self.lab.policy
        if place.protected:
            return "is protected, so learners cannot change it" if policy.protected == "block" else ""
        if place.shared:
            return ""
        if not place.owners:
            words = "belongs to no step, and the policy for unmapped files blocks it"
            return words if policy.unmapped == "block" else ""
        if policy.out_of_order == "block" and all(owner in self.behind[step] for owner in place.owners):
            names = ", ".join(f'"{self.lab.steps[owner].id}"' for owner in place.owners[:3])
            return f"belongs only to steps that wait for this one ({names})"
        return ""


def condition_pattern(path: str) -> str:
    """The pattern that matches what a condition's path names: a literal one is from the root (`is_literal`)."""
    return "/" + path.removeprefix("/") if is_literal(path) else path


def is_file(path: str) -> bool:
    """Whether a condition's path reads as the name of one file: literal, and with an ending such as `.md`."""
    return is_literal(path) and "." in path.rstrip(" ").rpartition("/")[2][1:]


def is_free(kind: Kind) -> bool:
    """Whether work there counts for `changed`: it is neither protected nor shared."""
    return not kind.place.protected and not kind.place.shared


def _combined(examples: Sequence[str], others: Iterable[str]) -> Iterator[str]:
    """Paths that these examples make together with others: in their folders, and with them below."""
    names = {example.rpartition("/")[2] for example in examples}
    for other in others:
        folder = other.rpartition("/")[0]
        yield from (f"{folder}/{name}" for name in names if folder)
        for example in examples:
            above = example.rpartition("/")[0]
            yield f"{example}/{other}"
            if above:
                yield f"{above}/{other}"


def _reachable(graph: list[set[int]], start: int) -> set[int]:
    found: set[int] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def _lists(value: Mapping[str, object]) -> tuple[PatternList, ...]:
    """The lists of a valid file, as its author wrote them."""
    found = [PatternList((name,), _strings(value.get(name))) for name in ("protected", "shared")]
    for at, step in enumerate(cast("list[Mapping[str, object]]", value["steps"])):
        found.append(PatternList(("steps", at, "files"), _strings(step.get("files")), at))
    return tuple(found)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value or ()))
