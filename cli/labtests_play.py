"""One fixture of `lab test` played: trees are made of the template and its edits, and judged as pushes are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cli.labtests_format import MODES, ExpectModel, Fault, FileModel, Fixture, Place, ViolationModel
from rules.conditions import todays_ids
from rules.labfile_problems import quoted
from rules.model import (
    CommitTree,
    Facts,
    Lab,
    Progress,
    SessionStatus,
    StepState,
    Tree,
    TreeEntry,
    Verdict,
    Violation,
)
from rules.replay import Pushed, Setting, State, looked_at, play

ReadFile = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Template:
    """The lab as it lies there. `read`: the bytes of a regular file of it; `read_beside`: of a file that a fixture
    names, below .forgea/tests."""

    lab: Lab
    tree: Tree
    read: ReadFile
    read_beside: ReadFile

    @property
    def algorithm(self) -> str:
        """How this repository names its objects."""
        return "sha256" if any(len(entry.sha) == 64 for entry in self.tree.values()) else "sha1"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One expectation that was not met. `push` counts from 1; texts of `missing` were expected and not found, those of
    `unexpected` the other way round."""

    push: int
    what: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


class FaultyFixtureError(Exception):
    """The fixture cannot be played; the one fault is what its author must mend."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class _Stage:
    """The trees of one fixture, made one from another, and the contents that are new in them."""

    fixture: Fixture
    template: Template
    written: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    def commit(self, base: Tree, edits: Mapping[str, str | FileModel | None], place: Place) -> CommitTree:
        """The next commit: edits on a tree. FaultyFixtureError if git could not have it."""
        tree = dict(base)
        for path, content in edits.items():
            where = (*place, path)
            if not _is_path(path):
                raise self._faulty(f"{quoted(path)} is no path that git can have.", where)
            if content is not None:
                tree[path] = self._entry(path, content, where)
            elif tree.pop(path, None) is None:
                raise self._faulty(f"{quoted(path)} cannot be deleted: it is not there.", where)
        for path in edits:
            self._check_folders(path, tree, (*place, path))
        self.commits += 1
        name = f"{self.fixture.model.name} {self.commits}"
        return CommitTree(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), tree)

    def contents(self, shas: Iterable[str]) -> dict[str, bytes]:
        """The contents of blobs by sha."""
        unwritten = set(shas) - self.written.keys()
        for path, entry in self.template.tree.items():
            if entry.sha in unwritten and entry.mode != MODES["link"]:
                content = self.template.read(path)
                if content is None:
                    raise self._faulty(f"{quoted(path)} of the template cannot be read.", ())
                self.written[entry.sha] = content
        return self.written

    def _entry(self, path: str, content: str | FileModel, place: Place) -> TreeEntry:
        mode = MODES["file"]
        if isinstance(content, str):
            data: bytes | None = content.encode()
        else:
            mode = MODES[content.mode]
            data = content.text.encode() if content.text is not None else self._beside(content.file or "")
        if data is None:
            raise self._faulty(f"There is no file {quoted(getattr(content, 'file', ''))} below .forgea/tests.", place)
        digest = hashlib.new(self.template.algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False)
        sha = digest.hexdigest()
        self.written[sha] = data
        return TreeEntry(path, mode, sha, len(data))

    def _beside(self, name: str) -> bytes | None:
        return self.template.read_beside(name) if _is_path(name) else None

    def _check_folders(self, path: str, tree: Tree, place: Place) -> None:
        if path not in tree:
            return
        above = next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in tree), None)
        below = next((other for other in tree if other.startswith(path + "/")), None)
        if above is not None or below is not None:
            raise self._faulty(f"{quoted(above or path)} would be a file and a folder.", place)

    def _faulty(self, message: str, place: Place) -> FaultyFixtureError:
        return FaultyFixtureError(self.fixture.fault(message, place))


def _is_path(path: str) -> bool:
    """Whether git can have a file of this name: relative, without empty, dotted or .git parts."""
    parts = path.split("/")
    return "\0" not in path and not any(part in ("", ".", "..") or part.casefold() == ".git" for part in parts)


def play_fixture(fixture: Fixture, template: Template) -> tuple[Mismatch, ...]:
    """Play the pushes of a fixture: what came out otherwise than expected. FaultyFixtureError: it cannot be played."""
    stage = _Stage(fixture, template)
    setting = Setting(template.lab, template.tree)
    state = _given(stage)
    mismatches: list[Mismatch] = []
    base: Tree = state.accepted.tree if state.accepted else template.tree
    line: list[CommitTree] = []
    for number, push in enumerate(fixture.pushes):
        if fixture.model.force:
            line = []  # nothing of an earlier push that was not accepted is left in the history
        for at, edits in enumerate(push):
            several = isinstance(fixture.model.push[number], list)
            line.append(stage.commit(base, edits, ("push", number, at) if several else ("push", number)))
            base = line[-1].tree
        verdict: Verdict | None = None
        if state.status.is_open:
            pushed = Pushed(line[-1], looked_at(line[:-1]), rewrite=fixture.model.force and state.accepted is not None)
            verdict, state = play(setting, state, pushed, _facts(fixture, line[-1].sha), stage.contents)
            if not verdict.blocked:
                line = []
        if number in fixture.expect:
            mismatches += _compare(number + 1, fixture.expect[number], verdict, state, template.lab)
    return tuple(mismatches)


def _given(stage: _Stage) -> State:
    """The session before the first push."""
    given, lab = stage.fixture.model.given, stage.template.lab
    accepted = stage.commit(stage.template.tree, given.files, ("given", "files"))
    done = todays_ids(lab, given.done) | todays_ids(lab, given.facts.completed)
    complete = all(step.optional or step.id in done for step in lab.steps) and not given.facts.reopened
    return State(
        accepted=accepted if given.files or given.done else None,
        progress=Progress(frozenset(given.done)),
        status=SessionStatus.VERIFIED_PASS if complete else SessionStatus.IN_PROGRESS,
    )


def _facts(fixture: Fixture, head: str) -> Facts:
    """What is known when this head is judged."""
    facts = fixture.model.given.facts
    return Facts(
        approved=frozenset(facts.approved),
        completed=frozenset(facts.completed),
        reopened=frozenset(facts.reopened),
        unlocked=frozenset(facts.unlocked),
        accepted_heads=frozenset([head] if facts.accept_head else ()),
        workflows=frozenset((path, head) for path in facts.workflows),
        checks=frozenset((check.name, check.app_id, head) for check in facts.checks),
    )


# ----------------------------------------------------------------------------------------------------- comparing


def _compare(push: int, expected: ExpectModel, verdict: Verdict | None, state: State, lab: Lab) -> list[Mismatch]:
    found: list[Mismatch] = []
    for name, actual in _actual(verdict, state, lab).items():
        wanted = getattr(expected, name)
        if wanted is None:
            continue
        wanted = set(wanted) if isinstance(wanted, list) else {_word(wanted)}
        if wanted != actual:
            found.append(Mismatch(push, name, tuple(sorted(wanted - actual)), tuple(sorted(actual - wanted))))
    if expected.violations is not None:
        left = list(verdict.violations) if verdict else []
        missing = [each for each in expected.violations if not _take(each, left)]
        if missing or left:
            words = tuple(_expected_words(each) for each in missing)
            found.append(Mismatch(push, "violations", words, tuple(map(_found_words, left))))
    return found


def _actual(verdict: Verdict | None, state: State, lab: Lab) -> dict[str, set[str]]:
    """What came out, by the names of the expectations. Without verdict: the session was complete before this push."""
    done = set(todays_ids(lab, state.progress.done))
    word = "closed" if verdict is None else "blocked" if verdict.blocked else "accepted"
    steps = verdict.steps if verdict else ()
    return {
        "verdict": {word},
        "complete": {_word(verdict is None or verdict.complete)},
        "done": done,
        "gained": {gain.step_id for gain in verdict.gains} if verdict else set(),
        "reopened": {loss.step_id for loss in verdict.losses} if verdict else set(),
        "open": {step.step_id for step in steps if step.state is StepState.OPEN},
        "waiting": {step.step_id for step in steps if step.state is StepState.WAITING},
        "locked": {step.step_id for step in steps if step.state is StepState.LOCKED},
    }


def _word(value: object) -> str:
    """A value as it is written in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _take(expected: ViolationModel, left: list[Violation]) -> bool:
    """Take the violation that was expected from those that are left; whether there is one."""
    for violation in left:
        if (
            violation.path == expected.path
            and violation.code == expected.code
            and (expected.step is None or expected.step in violation.owners)
            and (expected.missing is None or set(expected.missing) == set(violation.missing))
            and (expected.level is None or expected.level == violation.level)
        ):
            left.remove(violation)
            return True
    return False


def _expected_words(violation: ViolationModel) -> str:
    owners = () if violation.step is None else (violation.step,)
    return _words(violation.path, violation.code, violation.level, owners, violation.missing or ())


def _found_words(violation: Violation) -> str:
    return _words(violation.path, violation.code.value, violation.level, violation.owners, violation.missing)


def _words(path: str, code: str, level: str | None, owners: Iterable[str], missing: Iterable[str]) -> str:
    parts = [f"{path}: {code}"]
    parts += [f"step {owner}" for owner in owners]
    parts += [f"missing {step}" for step in missing]
    parts += ["warning"] if level == "warn" else []
    return ", ".join(parts)
