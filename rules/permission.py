"""Which changed paths are fine, and which violate: the path verdicts of steps.md section 5.

What a path turns out to be is settled by the path and its content alone, except for paths of steps: those ask whether
any owner is open or done. So paths are sorted once (`Changes`), and paths with the same owners are asked about together
while steps are completed (`Held`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rules.lazy import Lazy
from rules.mapping import PathMap, Place
from rules.model import (
    Change,
    ChangeKind,
    Facts,
    Lab,
    LevelOrAllow,
    PathOutcome,
    PathVerdict,
    Step,
    Tree,
    Violation,
    ViolationCode,
)
from rules.snapshot import differing
from rules.template import Template

_CODES = {
    PathOutcome.PROTECTED: ViolationCode.PROTECTED_PATH,
    PathOutcome.UNMAPPED: ViolationCode.UNMAPPED_PATH,
    PathOutcome.REWORK: ViolationCode.REWORK,
    PathOutcome.LOCKED: ViolationCode.OUT_OF_ORDER,
}


@dataclass(frozen=True)
class Rules:
    """What path verdicts go by within one judgement. `facts` speak of today's step ids.

    `before`: steps that were done before this push (for `rework`). `forgiven`: staff accepted this head: whatever would
    block is a warning.
    """

    lab: Lab
    paths: PathMap
    template: Template
    accepted: Tree
    facts: Facts
    before: frozenset[str]
    forgiven: bool

    @Lazy
    def levels(self) -> Mapping[PathOutcome, LevelOrAllow]:
        """What the lab's policy does about each outcome that may violate."""
        policy = self.lab.policy
        levels: dict[PathOutcome, LevelOrAllow] = {
            PathOutcome.PROTECTED: policy.protected,
            PathOutcome.UNMAPPED: policy.unmapped,
            PathOutcome.REWORK: policy.rework,
            PathOutcome.LOCKED: policy.out_of_order,
        }
        if self.forgiven:
            return {outcome: "allow" if level == "allow" else "warn" for outcome, level in levels.items()}
        return levels

    @Lazy
    def _needs(self) -> Mapping[str, tuple[str, ...]]:
        return {step.id: step.needs for step in self.lab.steps}

    def steps(self, owners: Iterable[int]) -> list[Step]:
        """The steps with these indexes."""
        return [self.lab.steps[owner] for owner in owners]

    def is_open(self, step: Step, done: Collection[str]) -> bool:
        """steps.md section 5, `open(done)`: not done, and all its needs are, or staff unlocked it."""
        return step.id not in done and (step.id in self.facts.unlocked or all(need in done for need in step.needs))

    def is_permitted(self, owners: Iterable[int], done: Collection[str]) -> bool:
        """Whether some owner is open or done."""
        return any(step.id in done or self.is_open(step, done) for step in self.steps(owners))

    def is_rework(self, owners: Iterable[int]) -> bool:
        """Whether all owners were done before this push."""
        return all(step.id in self.before for step in self.steps(owners))

    def missing(self, owners: Iterable[int], done: Collection[str]) -> tuple[str, ...]:
        """What to finish first, in list order, to open the owner that lacks the least."""
        return min((self._unfinished(step, done) for step in self.steps(owners)), key=len)

    def _unfinished(self, step: Step, done: Collection[str]) -> tuple[str, ...]:
        """All steps that stand before a step and are not done."""
        found: set[str] = set()
        waiting = list(step.needs)
        while waiting:
            need = waiting.pop()
            if need not in done and need not in found:
                found.add(need)
                waiting.extend(self._needs[need])
        return tuple(each.id for each in self.lab.steps if each.id in found)


class Changes:
    """diff(ACCEPTED, tree), sorted by what decides about each path: the path and content, or which steps are open."""

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self._rules = rules
        self.tree = tree
        self.astray = rules.template.astray(tree, rules.accepted)
        first = rules.accepted is rules.template.pinned  # nothing was accepted yet: looked at already
        self.paths = rules.template.changed(tree) if first else differing(rules.accepted, tree)
        # What is settled by the content, before the path is looked at. Section 4.3 goes first: a protected file with
        # the content of another version of the template is template work by itself and yet a violation, for old tests
        # must not be restored one by one.
        self.by_content = dict.fromkeys(rules.template.written(self.paths, tree), PathOutcome.TEMPLATE_WORK)
        self.by_content.update(dict.fromkeys(self.astray.paths, PathOutcome.PROTECTED))
        self.unmapped: list[str] = []
        self.owned: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
        places = rules.paths.places(self.paths)
        for path in self.paths:
            if path not in self.by_content:
                place = places[path]
                if place.owners and not place.shared:
                    self.owned[place.owners].append(path)
                elif not place.shared:
                    self.unmapped.append(path)


class Held:
    """The paths that violate at level block, each with the tree from which JUDGED has it: `back`.

    A warned path is not held: it is accepted with the head, and would count when the same head is judged again.
    A held path is seen as it is in ACCEPTED; a protected one as in the template, for it may have gone astray before.
    """

    def __init__(self, changes: Sequence[Changes], rules: Rules, done: Collection[str]) -> None:
        self._rules = rules
        self._locked: dict[tuple[int, ...], set[str]] = {}
        self.back: dict[str, Tree] = {}
        for each in changes:
            self._hold_decided(each)
            self._hold_owned(each)
        self.release(done)

    def _hold_decided(self, changes: Changes) -> None:
        if self._blocks(PathOutcome.UNMAPPED):
            self.back.update(dict.fromkeys(changes.unmapped, self._rules.accepted))
        if self._blocks(PathOutcome.PROTECTED):
            self.back.update(dict.fromkeys(changes.astray.paths, changes.astray.version))

    def _hold_owned(self, changes: Changes) -> None:
        for owners, paths in changes.owned.items():
            if self._blocks(PathOutcome.REWORK) and self._rules.is_rework(owners):
                self.back.update(dict.fromkeys(paths, self._rules.accepted))
            elif self._blocks(PathOutcome.LOCKED):
                self.back.update(dict.fromkeys(paths, self._rules.accepted))
                self._locked.setdefault(owners, set()).update(paths)

    def _blocks(self, outcome: PathOutcome) -> bool:
        return self._rules.levels[outcome] == "block"

    def release(self, done: Collection[str]) -> bool:
        """Let go of the paths that no longer violate, now that these steps are done. Whether there were any."""
        free = [owners for owners in self._locked if self._rules.is_permitted(owners, done)]
        for owners in free:
            for path in self._locked.pop(owners):
                del self.back[path]
        return bool(free)


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of all paths with the same owners by the same patterns."""

    outcome: PathOutcome  # of a path whose content does not settle it
    owners: tuple[str, ...]
    step: str | None
    missing: tuple[str, ...]


class Verdicts:
    """Path verdicts and violations of HEAD when these steps are done."""

    def __init__(self, changes: Changes, rules: Rules, done: Collection[str]) -> None:
        self._changes = changes
        self._rules = rules
        self._done = done
        self._said: dict[int, _Said] = {}  # by the id of the place: paths that belong together share one

    def of(self, changes: Sequence[Change]) -> list[PathVerdict]:
        """What each changed path means. It is attributed to an owner that is at work on it."""
        by_content, all_said, made = self._changes.by_content, self._said, partial(tuple.__new__, PathVerdict)
        places = self._rules.paths.places([change[0] for change in changes])
        found: list[PathVerdict] = []
        for path, kind, renamed_from, _ in changes:
            place = places[path]
            said = all_said.get(id(place)) or self._say(place)
            outcome = by_content.get(path) or said.outcome
            # past the constructor, which takes longer than all the rest of this loop
            found.append(made((path, kind, outcome, said.owners, said.step, renamed_from, "")))
        return found

    def violations(self, paths: Iterable[PathVerdict]) -> tuple[Violation, ...]:
        """All violations, sorted by path: of the changed paths, and of protected paths astray since earlier."""
        found = [
            self._violation(path.path, path.outcome, path.change)
            for path in paths
            if self._rules.levels.get(path.outcome, "allow") != "allow"
        ]
        changed = {violation.path for violation in found}
        since_earlier = self._changes.astray.paths - changed
        found.extend(self._violation(path, PathOutcome.PROTECTED, None) for path in since_earlier)
        return tuple(sorted(found, key=lambda violation: violation.path))

    def _violation(self, path: str, outcome: PathOutcome, change: ChangeKind | None) -> Violation:
        said = self._say(self._rules.paths.place(path))
        return Violation(
            code=_CODES[outcome],
            level="block" if self._rules.levels[outcome] == "block" else "warn",
            path=path,
            change=change,
            owners=said.owners,
            missing=said.missing if outcome is PathOutcome.LOCKED else (),
        )

    def _say(self, place: Place) -> _Said:
        said = self._said.get(id(place))
        if said is None:
            said = self._said[id(place)] = self._say_of(place)
        return said

    def _say_of(self, place: Place) -> _Said:
        rules, done = self._rules, self._done
        permitted = [owner for owner in place.owners if rules.is_permitted((owner,), done)]
        at_work = [owner for owner in permitted if rules.lab.steps[owner].id not in rules.before]
        return _Said(
            outcome=self._outcome(place, permitted=bool(permitted)),
            owners=tuple(step.id for step in rules.steps(place.owners)),
            step=rules.paths.owner(place, at_work or permitted or place.owners),
            missing=rules.missing(place.owners, done) if place.owners and not permitted else (),
        )

    def _outcome(self, place: Place, *, permitted: bool) -> PathOutcome:
        """The path verdict in the order of section 5, as far as the path and the steps decide."""
        if place.shared:
            return PathOutcome.SHARED
        if not place.owners:
            return PathOutcome.UNMAPPED
        if not permitted:
            return PathOutcome.LOCKED
        return PathOutcome.REWORK if self._rules.is_rework(place.owners) else PathOutcome.OPEN
