"""Verdicts on a small lab, made by hand, for the tests of what is told about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rules.model import (
    Changed,
    ChangeKind,
    Gain,
    Lab,
    Level,
    Loss,
    PathOutcome,
    PathVerdict,
    Policy,
    Step,
    StepState,
    StepStatus,
    Verdict,
    Violation,
    ViolationCode,
)
from rules.report import NoticeContext, ReportContext

HEAD = "4f" * 20
ACCEPTED = "a1" * 20
TEMPLATE = "7e" * 20
SESSION = UUID("6f6c6c65-6e65-4e62-8f64-65736b746f70")
URL = f"https://stepgate.example/sessions/{SESSION}"


def step(step_id: str, title: str, files: str, *needs: str, **more: Any) -> Step:
    """A step that is complete when one of its files changed."""
    return Step(step_id, title, (files,), needs, Changed(), **more)


LAB = Lab(
    title="The word counter that counts spaces",
    branch="main",
    protected=("tests/**", ".forgea/**"),
    shared=("README.md",),
    policy=Policy(),
    steps=(
        step("report", "Describe the bug", "report/**", description="Write `report/bug.md` with two lines."),
        step(
            "fix",
            "Fix the counter",
            "src/wordcount.js",
            "report",
            description="Make `countWords` right for any run of spaces.",
            hints=('`split(" ")` gives an empty text between two spaces.', "A regular expression helps: `/\\s+/`."),
        ),
        step("command", "Count the words of a file", "src/cli.js", "fix", description="Add `src/cli.js`."),
        step("frequent", "Find the most frequent word", "src/frequent.js", "fix", optional=True),
        step("release", "Write the release notes", "CHANGELOG.md", "command"),
    ),
)

CONTEXT = ReportContext(
    lab=LAB,
    check_name="forgea/steps",
    session_id=SESSION,
    lab_version_id=12,
    session_url=URL,
    repo_full_name="learner-one/word-counter",
    branch="main",
    template_sha=TEMPLATE,
    template_url="https://github.com/octo-course/word-counter.git",
    template_in_history=True,
    clone_url="https://github.com/learner-one/word-counter.git",
)

NOTICE = NoticeContext(
    check_name="forgea/steps",
    head_sha=HEAD,
    repo_full_name="learner-one/word-counter",
    lab_title=LAB.title,
    join_url="https://stepgate.example/join/word-counter",
    session_id=SESSION,
    session_url=URL,
    deadline=datetime(2031, 5, 2, tzinfo=UTC),
)


def out_of_order(path: str, *, owner: str = "command", missing: Sequence[str] = ("fix",), **more: Any) -> Violation:
    """A file of a locked step."""
    return violation(ViolationCode.OUT_OF_ORDER, path, owners=(owner,), missing=tuple(missing), **more)


def violation(
    code: ViolationCode, path: str, change: ChangeKind | None = ChangeKind.ADDED, *, level: Level = "block", **more: Any
) -> Violation:
    """A violation, of level block."""
    return Violation(code, level, path, change, **more)


def path(name: str, outcome: PathOutcome, owner: str | None = None, **more: Any) -> PathVerdict:
    """What a changed path, added if nothing else is said, turned out to be."""
    change = more.pop("change", ChangeKind.ADDED)
    return PathVerdict(name, change, outcome, (owner,) if owner else (), owner, **more)


_OUTCOMES = {
    ViolationCode.OUT_OF_ORDER: PathOutcome.LOCKED,
    ViolationCode.PROTECTED_PATH: PathOutcome.PROTECTED,
    ViolationCode.UNMAPPED_PATH: PathOutcome.UNMAPPED,
    ViolationCode.REWORK: PathOutcome.REWORK,
}


def verdict(
    *,
    before: Sequence[str] = (),
    done: Sequence[str] = (),
    violations: Sequence[Violation] = (),
    paths: Sequence[PathVerdict] = (),
    losses: Sequence[Loss] = (),
    waiting: Mapping[str, Sequence[str]] | None = None,
    accepted: str | None = ACCEPTED,
    rewrite: bool = False,
    untouched: bool = False,
    lab: Lab = LAB,
) -> Verdict:
    """A verdict that hangs together: states follow from `done`, gains from `before`, paths from the violations."""
    known = {each.path for each in paths}
    judged = [
        PathVerdict(each.path, each.change, _OUTCOMES[each.code], each.owners, next(iter(each.owners), None))
        for each in violations
        if each.change is not None and each.path not in known
    ]
    statuses = []
    for each in lab.steps:
        missing = tuple(need for need in each.needs if need not in done)
        reasons = tuple((waiting or {}).get(each.id, ()))
        state = StepState.WAITING if reasons else StepState.OPEN
        state = StepState.DONE if each.id in done else StepState.LOCKED if missing else state
        statuses.append(StepStatus(each.id, state, missing, reasons))
    return Verdict(
        head_sha=HEAD,
        accepted_before=accepted,
        blocked=any(each.level == "block" for each in violations),
        done_before=frozenset(before),
        done_after=frozenset(done),
        gains=tuple(Gain(each.id, HEAD) for each in lab.steps if each.id in done and each.id not in before),
        losses=tuple(losses),
        violations=tuple(violations),
        paths=tuple(sorted((*paths, *judged), key=lambda each: each.path)),
        steps=tuple(statuses),
        complete=all(each.optional or each.id in done for each in lab.steps),
        rewrite=rewrite,
        untouched=untouched,
    )


def with_lab(lab: Lab, **more: Any) -> ReportContext:
    """The context for another lab."""
    return replace(CONTEXT, lab=lab, **more)
