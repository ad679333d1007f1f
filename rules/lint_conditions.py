"""What conditions ask for: steps that can never complete, and steps that one edit completes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from rules.conditions import tree_holds
from rules.evidence import Evidence, MissingBlob, View
from rules.labfile_problems import ProblemCode, Problems, quoted
from rules.lint_survey import Kind, Survey, condition_pattern, is_file, is_free
from rules.mapping import each_pattern, is_literal
from rules.model import (
    Absent,
    AllOf,
    AnyOf,
    Approval,
    Changed,
    Check,
    Condition,
    Contains,
    Exists,
    Facts,
    Lacks,
    Not,
    Nothing,
    Step,
    Tree,
    Workflow,
)
from rules.positions import Path
from rules.snapshot import entry_kind
from rules.template import Template


def check_conditions(survey: Survey, contents: Mapping[str, bytes], problems: Problems) -> frozenset[int]:
    """Add the problems of conditions. Returns the indexes of the steps that no work can complete."""
    judge = _Possibilities(survey, contents)
    hopeless = set()
    for at, step in enumerate(survey.lab.steps):
        can = judge.of(step.complete, at, ("steps", at, "complete"))
        if can.be_true and can.move:
            continue
        hopeless.add(at)
        where, why = can.why_not
        start = "Nothing that learners do completes this step" if can.be_true else "This step can never complete"
        message = f"{start}: {why}."
        problems.add(ProblemCode.NEVER_COMPLETES, where, message, "Ask for something that learners can do.")
    _check_one_edit(survey, frozenset(hopeless), problems)
    if survey.lab.policy.rework == "block":
        message = "Normal work touches files of finished steps again, and this policy makes each such push red."
        problems.add(ProblemCode.REWORK_BLOCKS, ("policy", "rework"), message, 'Write "warn", or leave the key out.')
    return frozenset(hopeless)


# ------------------------------------------------------------------------------------------------ what is possible


@dataclass(frozen=True, slots=True)
class _Can:
    """What a condition may be at some head. `move`: whether learners or facts have a say in it.

    `why_not`: where and why it cannot be true (or cannot move), `why_always`: the same for false.
    """

    be_true: bool
    be_false: bool
    move: bool
    why_not: tuple[Path, str]
    why_always: tuple[Path, str]


def _all(parts: Sequence[_Can]) -> _Can:
    return _Can(
        be_true=all(part.be_true for part in parts),
        be_false=any(part.be_false for part in parts),
        move=any(part.move for part in parts),
        why_not=next((part.why_not for part in parts if not part.be_true), parts[0].why_not),
        why_always=parts[0].why_always,
    )


def _negated(can: _Can) -> _Can:
    return _Can(can.be_false, can.be_true, can.move, can.why_always, can.why_not)


class _Possibilities:
    """Says what conditions of the lab can become. Whatever it denies is impossible; not all that is gets denied."""

    def __init__(self, survey: Survey, contents: Mapping[str, bytes]) -> None:
        self._survey = survey
        self._tree = survey.template
        self._evidence = None if self._tree is None else evidence_of(survey, self._tree, contents)

    def of(self, condition: Condition, step: int, at: Path) -> _Can:
        """What the condition of a step can become. `at`: its place in the file."""
        match condition:
            case AllOf(of):
                return _all([self.of(part, step, (*at, "of", number)) for number, part in enumerate(of)])
            case AnyOf(of):
                parts = [self.of(part, step, (*at, "of", number)) for number, part in enumerate(of)]
                return _negated(_all([_negated(part) for part in parts]))
            case Not(of):
                return _negated(self.of(of, step, (*at, "of")))
            case Changed(match):
                return self._changed(match, step, at)
            case Exists(paths):
                return _all([self._path(Exists((path,)), path, step, where) for where, path in _numbered(paths, at)])
            case Absent(paths):
                return _all([self._path(Absent((path,)), path, step, where) for where, path in _numbered(paths, at)])
            case Contains(path) | Lacks(path):
                return self._path(condition, path, step, (*at, "path"))
            case Workflow(path):
                return self._workflow(path, at)
            case Approval() | Check() | Nothing():
                return _open(at)
            case _:
                assert_never(condition)

    def _path(self, condition: Condition, path: str, step: int, at: Path) -> _Can:
        """A condition on one path: free if learners can change something there, else as the template has it."""
        reason = self._hindrance(path, step)
        if not reason:
            return _open(at)
        held = self._held(condition, step)
        why = (at, f"{quoted(path)} {reason}")
        return _Can(held is not False, held is not True, False, why, why)

    def _hindrance(self, path: str, step: int) -> str:
        """Why learners cannot change any file that a condition's path names; empty if they can, or when in doubt."""
        survey = self._survey
        kinds = survey.of(condition_pattern(path))
        reasons = [survey.hindrance(kind.place, step) for kind in kinds]
        if not reasons or not all(reasons):
            return ""
        # Whether a wildcard, or a folder, names a path that some step owns cannot be told from examples alone.
        certain = is_file(path) or all(kind.place.protected for kind in kinds)
        free = not certain or survey.some_named(path, lambda kind: not survey.hindrance(kind.place, step))
        return "" if free else reasons[0]

    def _held(self, condition: Condition, step: int) -> bool | None:
        """Whether the template satisfies a condition; None if that is not known."""
        if self._evidence is None or self._tree is None:
            return None
        try:
            alone = replace(self._survey.lab.steps[step], complete=condition)
            return tree_holds(alone, View(self._tree, None), self._evidence)
        except MissingBlob:
            return None

    def _changed(self, match: str | int, step: int, at: Path) -> _Can:
        """`changed` wants free paths that the step owns: one, one for each pattern, or a number."""
        files = self._survey.lab.steps[step].files
        wanted = [(pattern, self._workable(pattern, step)) for pattern in each_pattern(files)]
        if match == "all":
            stuck = [pattern for pattern, workable in wanted if not workable]
            why = f"no file that {quoted(stuck[0])} names can count" if stuck else ""
        elif isinstance(match, int) and match > len(files) and all(map(_names_one_file, files)):
            why = f"it wants {match} files changed, and `files` names {len(files)}"
        else:
            stuck = [] if any(workable for _, workable in wanted) else [pattern for pattern, _ in wanted]
            why = "no file of the step can count" if stuck else ""
        if why.startswith("no file"):
            why += ", for it is protected, shared, or given back by a later ! pattern"
        return _Can(not why, True, not why, (at, why), (at, why)) if why else _open(at)

    def _workable(self, pattern: str, step: int) -> bool:
        return self._survey.some(pattern, lambda kind: is_free(kind) and step in kind.place.owners)

    def _workflow(self, path: str, at: Path) -> _Can:
        """A workflow must be a file of the template: learners cannot add one, since `.github/**` is protected."""
        entry = None if self._tree is None else self._tree.get(path)
        if self._tree is None or (entry is not None and entry_kind(entry) == "file"):
            return _open(at)
        why = ((*at, "path"), f"the template has no workflow {quoted(path)}, and learners cannot add one")
        return _Can(be_true=False, be_false=True, move=True, why_not=why, why_always=why)


def _open(at: Path) -> _Can:
    """A condition that may become true and false."""
    return _Can(be_true=True, be_false=True, move=True, why_not=(at, ""), why_always=(at, ""))


def _numbered(paths: Iterable[str], at: Path) -> list[tuple[Path, str]]:
    return [((*at, "paths", number), path) for number, path in enumerate(paths)]


def _names_one_file(pattern: str) -> bool:
    """Whether a pattern names one path, from the root (and not, as `a.md` does, one of the name at any depth)."""
    return is_literal(pattern) and "/" in pattern.rstrip("/ ") and not pattern.rstrip(" ").endswith("/")


def evidence_of(survey: Survey, tree: Tree, contents: Mapping[str, bytes]) -> Evidence:
    """What conditions are asked about when the template itself is pushed."""
    blobs = {tree[path].sha: content for path, content in contents.items() if path in tree}
    template = Template(tree, (), survey.paths)
    return Evidence(survey.lab, survey.paths, template, trees=(tree,), facts=Facts(), blobs=blobs)


# ------------------------------------------------------------------------------------- one edit that completes several


def _check_one_edit(survey: Survey, hopeless: frozenset[int], problems: Problems) -> None:
    """Tell each step that the edit of one file completes together with an earlier step."""
    steps = survey.lab.steps
    told: set[int] = set(hopeless)
    for kind in survey.kinds:
        if len(kind.place.owners) < 2 or not is_free(kind):
            continue
        together = [at for at in kind.place.owners if _one_edit(steps[at].complete, steps[at], kind, survey)]
        for at in set(together[1:]) - told:
            told.add(at)
            first = steps[together[0]].id
            message = f"One edit, of {quoted(kind.path)} for example, completes this step and {quoted(first)} together."
            suggestion = 'Ask for something of its own, such as a "contains" condition, or name other files.'
            problems.add(ProblemCode.ONE_EDIT, ("steps", at, "complete"), message, suggestion)


def _one_edit(condition: Condition, step: Step, kind: Kind, survey: Survey) -> bool:
    """Whether a condition surely holds once one file of this kind was edited, whatever else the tree has."""
    match condition:
        case Changed("all"):
            return all(kind.matching & survey.bit(pattern) for pattern in each_pattern(step.files))
        case Changed(match):
            return match in ("any", 1)
        case AllOf(of):
            return all(_one_edit(part, step, kind, survey) for part in of)
        case AnyOf(of):
            return any(_one_edit(part, step, kind, survey) for part in of)
        case _:
            return False
