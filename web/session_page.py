"""A session as its page and `app.py sessions show` tell it: plain words made of what storage read. Pure functions.

Three audiences: staff see everything; the learner sees all but who decided and raw codes; the public sees what the
public check-run shows and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from rules.model import Outcome, SessionStatus
from storage.session_history import History
from storage.views import AttemptView, SessionView, StepView
from web.session_lines import (
    AttemptLine,
    Audience,
    NoticeLine,
    StepLine,
    attempt_line,
    notice_line,
    step_line,
)
from web.session_offers import refusals
from web.session_timeline import EventLine, event_line

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


@dataclass(frozen=True, slots=True)
class HintLine:
    """A hint of the step to work on; `shown`: the learner sees it already."""

    text: str
    shown: bool


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Everything that the page shows to its audience.

    `blocked`: the newest judged push, if it is blocked. `numbers`: a step's id -> "2. Title". `timeline`: attempts and
    events, the newest first. `older`: the attempt before which the next page of them begins. `refused`: an action of
    staff -> why it cannot be done now. `epoch`: what forms say that they saw.
    """

    audience: Audience
    session_id: str
    epoch: int
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
    timeline: tuple[EventLine | AttemptLine, ...]
    older: int | None
    hints: tuple[HintLine, ...]
    hints_of: str
    blocked_in_row: int
    help_at: datetime | None
    help_words: str | None
    bound: bool
    refused: Mapping[str, str]

    @property
    def is_open(self) -> bool:
        """Whether pushes are judged."""
        return SessionStatus(self.status).is_open

    def count(self, *, optional: bool, done: bool = False) -> int:
        """How many steps are (not) optional, and if `done` complete as well."""
        return sum(step.optional is optional and (step.state == "done" or not done) for step in self.steps)

    def named(self, step_ids: Iterable[str]) -> str:
        """Steps by number and title."""
        return ", ".join(self.numbers.get(step_id, step_id) for step_id in step_ids)


def page_of(
    view: SessionView,
    web_url: str,
    history: History | None = None,
    *,
    audience: Audience = "staff",
    first_page: bool = True,
) -> SessionPage:
    """Put a session into words for an audience. `web_url`: GitHub's pages, without trailing slash; `first_page`: the
    view has the newest attempts.
    """
    numbers = {line.step.id: f"{number}. {line.step.title}" for number, line in enumerate(view.steps, start=1)}
    url = f"{web_url}/{quote(view.repo_full_name)}" if view.repo_full_name else None
    attempts = tuple(attempt_line(attempt, numbers, url, audience) for attempt in view.attempts)
    newest = view.newest or next((each for each in view.attempts if each.verdict in _JUDGED), None)
    newest_line = attempt_line(newest, numbers, url, audience) if newest is not None else None
    waiting = newest.waiting if newest is not None and newest.verdict in _ANSWERED else {}
    steps = tuple(step_line(number, step, numbers, waiting) for number, step in enumerate(view.steps, start=1))
    public = audience == "public"
    hinted = _to_work_on(view, steps, newest)
    events = () if public else _events(history or History(), numbers, audience)
    session = view.session
    status, status_words = _status(view, audience)
    shown = attempts if not public else (newest_line,) if newest_line is not None else ()
    return SessionPage(
        audience=audience,
        session_id=str(session.session_id),
        epoch=session.epoch,
        lab_title=view.lab_title,
        lab_slug=view.lab_slug,
        version=view.version_number,
        learner="" if public else view.learner.login,
        repository=view.repo_full_name,
        repository_url=url,
        status=status.value,
        status_words=status_words,
        started_at=session.started_at,
        last_activity_at=view.last_activity_at,
        expires_at=session.expires_at,
        steps=steps,
        attempts=shown,
        notices=() if public else tuple(notice_line(notice) for notice in view.notices),
        blocked=newest_line if newest_line is not None and newest_line.verdict == Outcome.BLOCKED else None,
        numbers=numbers,
        timeline=tuple(sorted((*shown, *events), key=lambda line: line.at, reverse=True)),
        older=view.attempts[-1].attempt_id if view.older and not public else None,
        hints=_hints(hinted, view.blocked_in_row, audience) if first_page else (),
        hints_of=numbers[hinted.step.id] if hinted is not None else "",
        blocked_in_row=view.blocked_in_row,
        help_at=None if public else view.help_at,
        help_words=None if public else view.help_words,
        bound=view.bound,
        refused=refusals(session, bound=view.bound),
    )


def _status(view: SessionView, audience: Audience) -> tuple[SessionStatus, str]:
    """The status and its words. That somebody is stuck is nobody else's business."""
    status = view.session.status
    if audience == "public" and status.is_open:
        status = SessionStatus.IN_PROGRESS
    if status is SessionStatus.DEFERRED and view.session.deferred_by in DEFERRED_WORDS:
        return status, DEFERRED_WORDS[view.session.deferred_by]
    if status is SessionStatus.STUCK and view.help_at is not None:
        return status, "stuck: help is asked for"
    return status, STATUS_WORDS[status]


_JUDGED = frozenset({Outcome.ACCEPTED, Outcome.BLOCKED, Outcome.CANNOT_VERIFY})
_ANSWERED = frozenset({Outcome.ACCEPTED, Outcome.BLOCKED})


def _events(history: History, numbers: Mapping[str, str], audience: Audience) -> tuple[EventLine, ...]:
    staff = audience == "staff"
    return tuple(
        event_line(each, numbers, history.logins, for_staff=staff, undoable=staff and each.event_id in history.undoable)
        for each in history.events
    )


def _to_work_on(view: SessionView, steps: Sequence[StepLine], newest: AttemptView | None) -> StepView | None:
    """The step that hints are for, as the check-run chooses it: what blocks comes first, required before optional."""
    missing = {name for violation in newest.violations for name in violation.missing} if newest is not None else set()
    ready = [known for known, line in zip(view.steps, steps, strict=True) if line.state in ("open", "waiting")]
    waiting = {line.id for line in steps if line.state == "waiting"}
    ready.sort(key=lambda known: (known.step.id not in missing, known.step.optional, known.step.id in waiting))
    return ready[0] if ready else None


def _hints(known: StepView | None, due: int, audience: Audience) -> tuple[HintLine, ...]:
    """One hint for each blocked head in a row; staff also see those to come."""
    hints = known.step.hints if known is not None else ()
    return tuple(
        HintLine(text, number <= due) for number, text in enumerate(hints, 1) if number <= due or audience == "staff"
    )
