"""Steps, pushes and notices as lines of a session's page: plain words made of what storage read. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from rules.model import ZERO_SHA, Outcome, Violation, ViolationCode
from rules.report_text import listed, why
from storage.views import AttemptView, Notice, StepView

Audience = Literal["public", "learner", "staff"]

VERDICT_WORDS: Mapping[Outcome, str] = {
    Outcome.ACCEPTED: "accepted",
    Outcome.BLOCKED: "blocked",
    Outcome.PREVIEW: "preview: another branch, nothing was saved",
    Outcome.SUPERSEDED: "not judged: a newer push was waiting",
    Outcome.CANNOT_VERIFY: "could not be verified",
}
REASON_WORDS: Mapping[str | None, str] = {
    "TRUNCATED": "GitHub did not list all files",
    "TOO_LARGE": "the repository is too large to be judged",
    "HEAD_GONE": "the commit is no longer there",
    "LAB_FILE": "the lab's own rules have a fault; its author has to repair it",
    "GITHUB": "GitHub did not answer as it should",
}
NOTICE_WORDS: Mapping[str, str] = {
    "TAG": "a tag was pushed; only branches are judged",
    "BRANCH_DELETED": "a branch was deleted",
    "SESSION_COMPLETED": "pushed after the session was complete; not judged any more",
    "SESSION_DEFERRED": "pushed while the session was paused; not judged",
    "SESSION_EXPIRED": "pushed after the deadline; not judged",
    "OWNER_CHANGED": "the repository has another owner now; staff have to connect it again",
}


@dataclass(frozen=True, slots=True)
class StepLine:
    """A line of the table of steps. `state` is a word for programs, `words` the same for people."""

    id: str
    number: int
    title: str
    optional: bool
    state: Literal["done", "open", "waiting", "locked"]
    words: str
    completed_at: datetime | None
    commit_sha: str | None


@dataclass(frozen=True, slots=True)
class ViolationLine:
    """A line of a table `file -> step -> why`."""

    path: str
    code: str
    steps: str
    why: str


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """A judged push. `gained`, `lost`: step ids. `diff`: address of what changed; `delivery`: GitHub's id of it."""

    attempt_id: int
    at: datetime
    trigger: str
    ref: str
    after: str
    forced: bool
    verdict: str
    words: str
    codes: tuple[str, ...]
    violations: tuple[ViolationLine, ...]
    total_violations: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    diff: str | None
    delivery: str | None

    @property
    def more_violations(self) -> int:
        """How many violations are not listed."""
        return self.total_violations - len(self.violations)


@dataclass(frozen=True, slots=True)
class NoticeLine:
    """Deliveries of one day that were not judged."""

    day: date
    code: str
    words: str
    ref: str
    count: int


def step_line(
    number: int, view: StepView, numbers: Mapping[str, str], waiting: Mapping[str, tuple[str, ...]]
) -> StepLine:
    """A step in words. `waiting`: step id -> what it lacks besides, by the newest verdict."""
    state: Literal["done", "open", "waiting", "locked"]
    if view.state == "completed":
        state, words = "done", "complete"
    elif view.missing:
        state, words = "locked", "after " + ", ".join(numbers.get(name, name) for name in view.missing)
    elif view.step.id in waiting:
        state, words = "waiting", "waiting for " + listed(waiting[view.step.id])
    else:
        state, words = "open", "open"
    if view.state == "reopened":
        words += " (was complete before)"
    done = state == "done"
    return StepLine(
        id=view.step.id,
        number=number,
        title=view.step.title,
        optional=view.step.optional,
        state=state,
        words=words,
        completed_at=view.completed_at if done else None,
        commit_sha=view.commit_sha if done else None,
    )


def attempt_line(view: AttemptView, numbers: Mapping[str, str], url: str | None, audience: Audience) -> AttemptLine:
    """A row of the ledger in words. `url`: of the repository's page."""
    words = VERDICT_WORDS[view.verdict]
    if view.verdict is Outcome.CANNOT_VERIFY:
        words += f": {REASON_WORDS.get(view.reason, 'the reason is in the log')}"
    elif view.verdict is Outcome.ACCEPTED and view.violations_total:
        words += ", with warnings"
    return AttemptLine(
        attempt_id=view.attempt_id,
        at=view.created_at,
        trigger=view.trigger,
        ref=view.ref.removeprefix("refs/heads/"),
        after=view.after_sha,
        forced=view.forced,
        verdict=view.verdict.value,
        words=words,
        codes=tuple(sorted({violation.code.value for violation in view.violations})),
        violations=tuple(_violation(violation, numbers) for violation in view.violations),
        total_violations=view.violations_total,
        gained=tuple(gain.step_id for gain in view.gains),
        lost=tuple(loss.step_id for loss in view.losses),
        diff=_diff(view, url),
        delivery=str(view.delivery_id) if view.delivery_id is not None and audience == "staff" else None,
    )


def _diff(view: AttemptView, url: str | None) -> str | None:
    """GitHub's page of what a push changed (from what was accepted, where the push does not tell)."""
    before = view.accepted_before if view.before_sha in (None, ZERO_SHA) else view.before_sha
    if url is None or before in (None, view.after_sha):
        return None
    return f"{url}/compare/{before}...{view.after_sha}"


def _violation(violation: Violation, numbers: Mapping[str, str]) -> ViolationLine:
    steps = ", ".join(numbers.get(name, name) for name in violation.owners)
    if violation.code is ViolationCode.PROTECTED_PATH:
        steps = "the lab itself"
    reason = why(violation, lambda ids: _steps_named(ids, numbers), str)
    return ViolationLine(violation.path, violation.code.value, steps or "none", reason)


def _steps_named(step_ids: Sequence[str], numbers: Mapping[str, str]) -> str:
    """`step 2`, `steps 2 and 3`; a step that the lab has no longer by its id."""
    names = [numbers[name].partition(".")[0] if name in numbers else name for name in step_ids]
    return f"step{'' if len(names) == 1 else 's'} {listed(names)}"


def notice_line(notice: Notice) -> NoticeLine:
    """Deliveries of one day that were not judged, in words."""
    words = NOTICE_WORDS.get(notice.code, notice.code)
    return NoticeLine(notice.day, notice.code, words, (notice.ref or "").removeprefix("refs/"), notice.count)
