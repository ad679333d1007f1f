"""A session as its page and `app.py sessions show` tell it: plain words made of what storage read. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from urllib.parse import quote

from rules.model import Outcome, SessionStatus, Violation, ViolationCode
from storage.views import AttemptView, Notice, SessionView, StepView

STATUS_WORDS: Mapping[SessionStatus, str] = {
    SessionStatus.IN_PROGRESS: "in progress",
    SessionStatus.STUCK: "stuck: several blocked pushes in a row",
    SessionStatus.VERIFIED_PASS: "complete: every required step is done",
    SessionStatus.DEFERRED: "paused",
    SessionStatus.EXPIRED: "over: the deadline has passed",
}
DEFERRED_WORDS: Mapping[str | None, str] = {
    "staff": "paused by staff",
    "installation": "paused: the App cannot see the repository at the moment",
}
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
    state: Literal["done", "open", "locked"]
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
    """A judged push. `gained`, `lost`: step ids."""

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


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Everything that the page shows.

    `blocked`: the newest judged push, if it is blocked. `numbers`: a step's id -> "2. Title".
    """

    session_id: str
    lab_title: str
    lab_slug: str
    version: int
    learner: str
    repository: str | None
    repository_url: str | None
    status: str
    status_words: str
    started_at: datetime
    last_activity_at: datetime
    expires_at: datetime | None
    steps: tuple[StepLine, ...]
    attempts: tuple[AttemptLine, ...]
    notices: tuple[NoticeLine, ...]
    blocked: AttemptLine | None
    numbers: Mapping[str, str]

    def count(self, *, optional: bool, done: bool = False) -> int:
        """How many steps are (not) optional, and if `done` complete as well."""
        return sum(step.optional is optional and (step.state == "done" or not done) for step in self.steps)

    def named(self, step_ids: Iterable[str]) -> str:
        """Steps by number and title."""
        return ", ".join(self.numbers.get(step_id, step_id) for step_id in step_ids)


def page_of(view: SessionView, web_url: str) -> SessionPage:
    """Put a session into words. `web_url`: GitHub's pages, without trailing slash."""
    numbers = {line.step.id: f"{number}. {line.step.title}" for number, line in enumerate(view.steps, start=1)}
    attempts = tuple(_attempt(attempt, numbers) for attempt in view.attempts)
    judged = (line for line in attempts if line.verdict in (Outcome.ACCEPTED, Outcome.BLOCKED, Outcome.CANNOT_VERIFY))
    newest = next(judged, None)
    session = view.session
    status_words = STATUS_WORDS[session.status]
    if session.status is SessionStatus.DEFERRED:
        status_words = DEFERRED_WORDS.get(session.deferred_by, status_words)
    return SessionPage(
        session_id=str(session.session_id),
        lab_title=view.lab_title,
        lab_slug=view.lab_slug,
        version=view.version_number,
        learner=view.learner.login,
        repository=view.repo_full_name,
        repository_url=f"{web_url}/{quote(view.repo_full_name)}" if view.repo_full_name else None,
        status=session.status.value,
        status_words=status_words,
        started_at=session.started_at,
        last_activity_at=view.last_activity_at,
        expires_at=session.expires_at,
        steps=tuple(_step(number, step, numbers) for number, step in enumerate(view.steps, start=1)),
        attempts=attempts,
        notices=tuple(_notice(notice) for notice in view.notices),
        blocked=newest if newest is not None and newest.verdict == Outcome.BLOCKED else None,
        numbers=numbers,
    )


def _step(number: int, view: StepView, numbers: Mapping[str, str]) -> StepLine:
    state: Literal["done", "open", "locked"]
    if view.state == "completed":
        state, words = "done", "complete"
    elif view.missing:
        state, words = "locked", "after " + ", ".join(numbers.get(name, name) for name in view.missing)
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


def _attempt(view: AttemptView, numbers: Mapping[str, str]) -> AttemptLine:
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
    )


def _violation(violation: Violation, numbers: Mapping[str, str]) -> ViolationLine:
    steps = ", ".join(numbers.get(name, name) for name in violation.owners)
    return ViolationLine(violation.path, violation.code.value, steps, _why(violation, numbers))


def _why(violation: Violation, numbers: Mapping[str, str]) -> str:
    match violation.code:
        case ViolationCode.OUT_OF_ORDER:
            why = "comes after " + ", ".join(numbers.get(name, name) for name in violation.missing)
        case ViolationCode.PROTECTED_PATH:
            why = "belongs to the lab; only the lab's template changes it"
        case ViolationCode.UNMAPPED_PATH:
            why = "no step of the lab names this file"
        case ViolationCode.REWORK:
            why = "belongs to a step that is complete already"
    return f"{why}; did you mean {violation.suggestion}?" if violation.suggestion else why


def _notice(notice: Notice) -> NoticeLine:
    words = NOTICE_WORDS.get(notice.code, notice.code)
    return NoticeLine(notice.day, notice.code, words, (notice.ref or "").removeprefix("refs/"), notice.count)
