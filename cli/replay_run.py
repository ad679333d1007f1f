"""A git history played as pushes: which commits are pushed, from which template, and what is said of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cli.faults import WRONG_USE, CommandError
from cli.gitread import Commit, Repository
from cli.terminal import name
from rules.evidence import MAX_BYTES
from rules.mapping import leaves
from rules.model import Check, CommitTree, Facts, Lab, Verdict, Violation, Workflow
from rules.patterns import PatternError
from rules.replay import MAX_COMMITS, Pushed, Setting, State, play


@dataclass(frozen=True, slots=True)
class History:
    """Commits along first parents, oldest first. `template`: where learners start; `line`: the commits after it.

    `first`: the index in `line` of the first commit that is pushed; those before it are part of the first push.
    `related`: the line begins on the template. Else GitHub could not compare the two, and the commits of pushes before
    the first accepted one are not known one by one.
    """

    template: Commit
    line: tuple[Commit, ...]
    first: int = 0
    related: bool = True

    def heads(self, every: int) -> range | tuple[int, ...]:
        """The indexes in `line` of the pushed heads, when so many commits are pushed at a time (the rest at last)."""
        heads = range(self.first + every - 1, len(self.line), every)
        last = len(self.line) - 1
        return heads if heads and heads[-1] == last else (*heads, last)


@dataclass(frozen=True, slots=True)
class Turn:
    """One push: its head, the verdict (None: the lab was complete before) and the session after it."""

    number: int
    commit: Commit
    verdict: Verdict | None
    state: State

    @property
    def word(self) -> str:
        """accepted, blocked, or closed: the lab was complete before."""
        if self.verdict is None:
            return "closed"
        return "blocked" if self.verdict.blocked else "accepted"

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What is out of order, warnings included."""
        return self.verdict.violations if self.verdict else ()

    @property
    def blocking(self) -> dict[str, Violation]:
        """What blocks, by path."""
        return {each.path: each for each in self.violations if each.level == "block"}


@dataclass(frozen=True)
class Assumed:
    """What is taken for granted beyond git: approvals by staff, and (`checks_pass`) that every workflow and check that
    the lab asks for passes on every head."""

    lab: Lab
    approved: frozenset[str] = frozenset()
    checks_pass: bool = False

    @cached_property
    def _asked(self) -> frozenset[Workflow | Check]:
        asked = (leaf for step in self.lab.steps for leaf in leaves(step.complete))
        return frozenset(leaf for leaf in asked if isinstance(leaf, Workflow | Check))

    def at(self, shas: Collection[str]) -> Facts:
        """The facts when these commits are looked at."""
        if not self.checks_pass:
            return Facts(approved=self.approved)
        workflows = frozenset((leaf.path, sha) for leaf in self._asked if isinstance(leaf, Workflow) for sha in shas)
        checks = frozenset(
            (leaf.name, leaf.app_id, sha) for leaf in self._asked if isinstance(leaf, Check) for sha in shas
        )
        return Facts(approved=self.approved, workflows=workflows, checks=checks)


def history_of(repository: Repository, span: str, template: str | None = None) -> History:
    """The history that a range names: "A..B" the commits after A up to B, "B" all up to B.

    The template is `template`, else A, else the first commit. UnknownRevisionError; CommandError: nothing is pushed.
    """
    if "..." in span:
        message = f"{name(span)!r} is no range of first parents: write A..B, with two dots"
        raise CommandError(message, status=WRONG_USE)
    base, dots, tip = span.partition("..")
    if not dots:
        base, tip = "", span
    tip = repository.resolve(tip or "HEAD")
    if dots and not base:
        base = "HEAD"
    pushed = repository.first_parents(f"{repository.resolve(base)}..{tip}" if base else tip)
    if template is None and not base:
        start, line = pushed[0], pushed[1:]
        first = 0
    else:
        start = repository.commit(template or base)
        line = repository.first_parents(f"{start.sha}..{tip}")
        first = max(0, len(line) - len(pushed))
    if not line or not pushed:
        message = f"there is no commit to push: {name(span)!r} has none after {start.sha[:7]}, the template"
        raise CommandError(message, status=WRONG_USE)
    return History(start, line, first, related=bool(line[0].parents))


def turns(
    repository: Repository, history: History, lab: Lab, *, every: int = 1, assumed: Assumed | None = None
) -> Iterator[Turn]:
    """Play the history as pushes of `every` commits, one after another. A lab that is complete takes no more pushes."""
    assumed = assumed or Assumed(lab)
    setting = Setting(lab, repository.tree_of(history.template))
    state = State()
    accepted_at = -1
    contents = _Contents(repository)
    for number, at in enumerate(history.heads(every), start=1):
        commit = history.line[at]
        verdict: Verdict | None = None
        if state.status.is_open:
            between: Sequence[Commit] = history.line[accepted_at + 1 : at]
            if len(between) >= MAX_COMMITS or (accepted_at < 0 and not history.related):
                between = ()
            push = Pushed(_files(repository, commit), tuple(_files(repository, each) for each in between))
            facts = assumed.at([commit.sha, *(each.sha for each in between)])
            try:
                verdict, state = play(setting, state, push, facts, contents)
            except PatternError as error:
                raise CommandError(f"at commit {commit.sha[:7]}: {error}") from None
            if not verdict.blocked:
                accepted_at = at
        yield Turn(number, commit, verdict, state)


def _files(repository: Repository, commit: Commit) -> CommitTree:
    return CommitTree(commit.sha, repository.tree_of(commit))


class _Contents:
    """Contents of blobs by sha; those of the last push are kept, for most of them are asked for again."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._last: dict[str, bytes] = {}

    def __call__(self, shas: frozenset[str]) -> Mapping[str, bytes]:
        """The contents, one byte longer than what is read at most, so that larger files are known as such."""
        self._last = {
            sha: self._last[sha] if sha in self._last else self._repository.blob(sha, MAX_BYTES + 1) for sha in shas
        }
        return self._last
