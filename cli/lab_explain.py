"""`app.py lab explain`: whose a file is, by which pattern, and what a push that changes it would meet.

The answers come from the code that judges: the same patterns, the same path verdicts, the same words for learners.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from cli.faults import WRONG_USE, CommandError
from cli.serve import say
from cli.terminal import Colour, name, out, out_json, paint, words
from rules.conditions import todays_ids
from rules.labfile import read_document
from rules.labfile_problems import did_you_mean
from rules.mapping import PathMap
from rules.model import Facts, Lab, PathOutcome, Problem, Tree, TreeEntry, Violation
from rules.nearmiss import near_misses
from rules.patterns import PatternError, compiled, with_roots
from rules.permission import Changes, Rules, Verdicts
from rules.positions import Document
from rules.report_text import steps_named, why
from rules.snapshot import diff
from rules.template import Template

if TYPE_CHECKING:
    from cli.lab_source import LabSource

_WORK = "0" * 40  # the object of a learner's work: no file of the template has it
Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Winner:
    """The pattern that puts a path into a list. `place`: "file:line" of the pattern; empty: it is always there."""

    pattern: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the lab says of one path.

    `owners`: step id -> the winning pattern. `step`: the one that a change is attributed to. `outcome`: what a push
    that changes (or adds) the file would meet; `violation`: the same where it is out of order, `blocks` or not.
    `meant`: a name that is probably meant.
    """

    path: str
    in_template: bool
    protected: Winner | None
    shared: Winner | None
    owners: dict[str, Winner]
    step: str | None
    outcome: PathOutcome
    violation: Violation | None
    meant: str = ""


@dataclass(frozen=True)
class Question:
    """A lab, and what a learner has completed, for asking about paths. `done`: ids of today's steps."""

    lab: Lab
    shown: str
    document: Document
    template: Tree
    done: frozenset[str]
    root: PurePath | None = None

    @cached_property
    def _groups(self) -> tuple[tuple[str, ...], ...]:
        """Protected, shared, and the files of each step."""
        return (with_roots(self.lab.protected), self.lab.shared, *(step.files for step in self.lab.steps))

    @classmethod
    def of(cls, source: LabSource, lab: Lab, done: Sequence[str]) -> Question:
        """What is asked of a source's valid lab; CommandError if a completed step is none of the lab's."""
        document = read_document(source.data)
        assert not isinstance(document, Problem)  # it is valid  # noqa: S101
        known = {known for step in lab.steps for known in (step.id, *step.aliases)}
        ids = [step_id.strip() for step_id in done]
        for step_id in ids:
            if step_id not in known:
                hint = did_you_mean(step_id, known) or f"Known are {', '.join(step.id for step in lab.steps)}."
                raise CommandError(f"--done: the lab has no step {words(step_id)}. {hint}", status=WRONG_USE)
        today = todays_ids(lab, ids)
        for step in lab.steps:
            if step.id in today and (lacking := [need for need in step.needs if need not in today]):
                say(f"Note: {step.id} can be complete only after {', '.join(lacking)}; --done does not name it.")
        tree = source.template.tree if source.template else {}
        root = source.template.repository.folder.absolute() if source.template else None
        return cls(lab, source.shown, document, tree, today, root)

    def answer(self, word: str) -> Answer:
        """What the lab says of a path. CommandError if it is no path of a repository's file."""
        path = self._path(word)
        head = {**self.template, path: TreeEntry(path, "100644", _WORK)}
        paths = PathMap(self.lab, ())
        rules = Rules(
            lab=self.lab,
            paths=paths,
            template=Template(self.template, (), paths),
            accepted=self.template,
            facts=Facts(),
            before=self.done,
            forgiven=False,
        )
        verdicts = Verdicts(Changes(head, rules), rules, self.done)
        (verdict,) = verdicts.of(diff(self.template, head))
        meant = self._meant(path, verdict.outcome, head)
        violations = [replace(each, suggestion=meant) for each in verdicts.violations([verdict])]
        matches = compiled(self._groups).match(path)
        owners = {step.id: number for number, step in enumerate(self.lab.steps) if step.id in verdict.owners}
        return Answer(
            path=path,
            in_template=path in self.template,
            protected=self._listed(0, "protected", matches.winner(0)),
            shared=self._listed(1, "shared", matches.winner(1)),
            owners={
                step_id: self._winner(self._groups[at + 2][winner], ("steps", at, "files"))
                for step_id, at in owners.items()
                if (winner := matches.winner(at + 2)) is not None
            },
            step=verdict.step,
            outcome=verdict.outcome,
            violation=violations[0] if violations else None,
            meant=meant,
        )

    def _meant(self, path: str, outcome: PathOutcome, head: Tree) -> str:
        """The name that was probably meant by one that the template does not have; empty if there is none."""
        if path in self.template or outcome in (PathOutcome.PROTECTED, PathOutcome.SHARED):
            return ""
        unfinished = {step.id for step in self.lab.steps} - self.done
        return near_misses([path], self.lab, unfinished, self.template, head).get(path, "")

    def _path(self, word: str) -> str:
        """A path as the repository has it; what a shell completes (./a, an absolute one) is understood."""
        path = word
        if self.root is not None and PurePath(word).is_absolute() and PurePath(word).is_relative_to(self.root):
            path = str(PurePath(word).relative_to(self.root))
        normal = posixpath.normpath(path) if path else ""
        if normal in ("", ".") or normal.startswith(("/", "../")) or normal == ".." or "\0" in normal:
            raise CommandError(f"{name(word) or 'an empty text'} is no file of the repository", status=WRONG_USE)
        if path.endswith("/"):
            raise CommandError(f"{name(word)} is a folder: name a file, such as {name(normal)}/x", status=WRONG_USE)
        return normal

    def _listed(self, group: int, key: str, winner: int | None) -> Winner | None:
        return None if winner is None else self._winner(self._groups[group][winner], (key,))

    def _winner(self, pattern: str, at: Where) -> Winner:
        """A pattern with its place in the file. `x` may stand for the author's `x/**` (`with_roots`)."""
        listed: Any = self.document.value
        for part in at:
            listed = listed.get(part, []) if isinstance(listed, dict) else listed[part]
        for written in reversed(range(len(listed))):
            if listed[written] == pattern or pattern in with_roots([listed[written]]):
                line, _ = self.document.place((*at, written))
                return Winner(listed[written], f"{self.shown}:{line}")
        return Winner(pattern)


# --------------------------------------------------------------------------------------------------------- for people


def print_answers(question: Question, paths: Sequence[str]) -> None:
    """Print what the lab says of each path."""
    for number, answer in enumerate(_answers(question, paths)):
        if number:
            out()
        _print(question.lab, answer)


def _answers(question: Question, paths: Sequence[str]) -> list[Answer]:
    try:
        return [question.answer(path) for path in paths]
    except PatternError as error:
        raise CommandError(f"{question.shown}: {words(str(error))}") from None


def _print(lab: Lab, answer: Answer) -> None:
    out(paint(name(answer.path), "bold") + ("" if answer.in_template else "  (not in the template)"))
    if answer.protected is not None:
        _line("protected", _by(answer.protected))
    if answer.shared is not None:
        _line("shared", _by(answer.shared))
    for step_id, winner in answer.owners.items():
        step = lab.step(step_id)
        counted = ", a change is put down to it" if step_id == answer.step and len(answer.owners) > 1 else ""
        _line("step", f"{step_id} ({words(step.title)}), {_by(winner)}{counted}")
    if not answer.owners and answer.protected is None and answer.shared is None:
        _line("step", "none")
    _line("a push", said(lab, answer), _colour(answer))
    if answer.meant and answer.violation is None:
        _line("", f"Did you mean {name(answer.meant)}?")


def _line(heading: str, text: str, colour: Colour | None = None) -> None:
    out(f"  {heading:<10} {paint(text, colour) if colour else text}")


def _by(winner: Winner) -> str:
    return f"by {words(winner.pattern)} ({winner.place or 'in every lab'})"


def _colour(answer: Answer) -> Colour:
    if answer.violation is None:
        return "green"
    return "red" if answer.violation.level == "block" else "yellow"


_FINE: dict[PathOutcome, str] = {
    PathOutcome.SHARED: "is fine at any time, and counts for no step",
    PathOutcome.PROTECTED: "is fine",
    PathOutcome.UNMAPPED: "is fine, and counts for no step",
    PathOutcome.REWORK: "is fine: the file belongs to finished steps, which stay finished",
    PathOutcome.TEMPLATE_WORK: "is fine: it has what the template has",
    PathOutcome.LOCKED: "is fine",
}


def said(lab: Lab, answer: Answer) -> str:
    """What a push that changes this file meets, in the words that the learner is told."""
    violation = answer.violation
    if violation is None:
        if answer.outcome is PathOutcome.OPEN and answer.step is not None:
            return f"is fine, and counts for step {answer.step}"
        return _FINE[answer.outcome]
    verdict = "is blocked" if violation.level == "block" else "passes with a warning"
    return f"{verdict}, {violation.code.value}: {words(why(violation, partial(_steps, lab), name))}"


def _steps(lab: Lab, ids: Sequence[str]) -> str:
    return f"{steps_named(lab, ids)} ({', '.join(ids)})"


def print_answers_json(question: Question, paths: Sequence[str]) -> None:
    """Print the same for programs: a list of objects with path, in_template, protected and shared (null, or pattern and
    place), owners (step, pattern, place), step, outcome, verdict (fine, warn, block), code, missing (steps to complete
    first), said (the sentence for people) and suggestion."""
    out_json([_document(question.lab, answer) for answer in _answers(question, paths)])


def _document(lab: Lab, answer: Answer) -> dict[str, Any]:
    def winner(of: Winner | None) -> dict[str, str] | None:
        return None if of is None else {"pattern": of.pattern, "place": of.place}

    violation = answer.violation
    return {
        "path": answer.path,
        "in_template": answer.in_template,
        "protected": winner(answer.protected),
        "shared": winner(answer.shared),
        "owners": [{"step": step_id, **(winner(of) or {})} for step_id, of in answer.owners.items()],
        "step": answer.step,
        "outcome": answer.outcome.value,
        "verdict": violation.level if violation else "fine",
        "code": violation.code.value if violation else None,
        "missing": list(violation.missing) if violation else [],
        "said": f"A push that changes it {said(lab, answer)}.",
        "suggestion": answer.meant,
    }
