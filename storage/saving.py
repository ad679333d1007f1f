"""What is saved of a judgement or a rejection, and its jsonb form. Pure functions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from rules.conditions import awaits_staff
from rules.model import (
    CannotVerify,
    Facts,
    LabRecord,
    LabVersion,
    Outcome,
    Progress,
    Push,
    RepoMapping,
    Session,
    SessionStatus,
    Verdict,
)
from storage.audit import AuditEvent
from storage.forms import Json, violation_to_json
from storage.lanes import Lane
from storage.outbox import WantedReport

#: Violations kept with an attempt; the number of all is kept as well.
MAX_VIOLATIONS = 1000

Trigger = Literal["push", "rerun", "fact", "reconcile", "staff"]


@dataclass(frozen=True, slots=True)
class JudgingState:
    """All that a verdict leans on beyond git, as the database had it.

    `mapping` None: nothing is bound now. `fact_ids`: the staff facts in force. `blocked_heads`: distinct blocked heads
    since the last accepted one. `head_rewrite`: the session's head is blocked and no descendant of its accepted one.
    `branch_head_seen`: the newest head of the lab's branch that is known, judged or not. `known_heads`: those of the
    heads asked for that the ledger has, as what a push led to or what it left. `base_commit_sha`: the template's commit
    that the learner was given, if that is another than `version`'s; `later_templates`: shas of the template branch's
    commits after it, oldest first. `asked_for_help`: the learner waits for an answer.
    """

    session: Session
    lab: LabRecord
    version: LabVersion
    mapping: RepoMapping | None
    progress: Progress
    facts: Facts
    fact_ids: tuple[int, ...]
    blocked_heads: frozenset[str]
    head_rewrite: bool
    branch_head_seen: str | None
    read_at: datetime
    known_heads: frozenset[str] = frozenset()
    later_templates: tuple[str, ...] = ()
    base_commit_sha: str | None = None
    asked_for_help: bool = False

    @property
    def template_sha(self) -> str:
        """The template's commit that work is reckoned from."""
        return self.base_commit_sha or self.version.commit_sha


@dataclass(frozen=True, slots=True)
class SaveVerdict:
    """A judgement to be saved, if nothing that it was computed from (`state`) has changed.

    `verdict` is of the head that was judged, on `ref`; `preview`: on another branch than the lab's, so only the ledger
    and the report change. `push`: the newest delivered push (needed for trigger "push"; its delivery has one attempt).
    `status`: the session's status afterwards, None: unchanged. `deliveries`: inbox ids finished by this; `superseded`:
    pushes that waited with it, by inbox id, each finished with a ledger row of its own.
    """

    lane: Lane
    state: JudgingState
    trigger: Trigger
    ref: str
    verdict: Verdict | CannotVerify
    facts_digest: str
    preview: bool = False
    push: Push | None = None
    status: SessionStatus | None = None
    report: WantedReport | None = None
    deliveries: tuple[int, ...] = ()
    superseded: tuple[tuple[int, Push], ...] = ()
    audit: tuple[AuditEvent, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The word stored with the attempt."""
        if isinstance(self.verdict, CannotVerify):
            return Outcome.CANNOT_VERIFY
        if self.preview:
            return Outcome.PREVIEW
        return Outcome.BLOCKED if self.verdict.blocked else Outcome.ACCEPTED

    def to_json(self) -> Json:
        """The judgement as the database's function takes it."""
        if self.state.mapping is None:
            raise ValueError("a judgement is saved for a bound repository only")
        session = self.state.session
        return {
            "lane": _lane_to_json(self.lane),
            "guard": {
                "session_id": session.session_id,
                "mapping_id": self.state.mapping.mapping_id,
                "epoch": session.epoch,
                "status": session.status.value,
                "accepted_sha": session.accepted_sha,
            },
            "attempt": _attempt_to_json(self),
            **_progress_to_json(self),
            "status": None if self.preview or self.status is None else self.status.value,
            "report": self.report.to_json() if self.report is not None else None,
            "deliveries": list(self.deliveries),
            "superseded": [_superseded_to_json(inbox_id, push) for inbox_id, push in self.superseded],
            "audit": [event.to_json() for event in self.audit],
        }


@dataclass(frozen=True, slots=True)
class SaveRejection:
    """A delivery that is not judged. `event` needs `code` and `repo_id`; `keep_body` False forgets the body at once."""

    lane: Lane
    event: AuditEvent
    deliveries: tuple[int, ...] = ()
    report: WantedReport | None = None
    keep_body: bool = True

    def to_json(self) -> Json:
        """The rejection as the database's function takes it."""
        if self.event.code is None or self.event.repo_id is None:
            raise ValueError("a rejection is counted by repository and code")
        return {
            "lane": _lane_to_json(self.lane),
            "event": self.event.to_json(),
            "report": self.report.to_json() if self.report is not None else None,
            "deliveries": list(self.deliveries),
            "keep_body": self.keep_body,
        }


def _lane_to_json(lane: Lane) -> Json:
    return {"lane_id": lane.lane_id, "token": lane.token}


def _push_to_json(push: Push | None) -> Json:
    """What an attempt keeps of the delivered push."""
    if push is None:
        return {"delivery_id": None, "before_sha": None, "forced": False, "sender_id": None}
    return {
        "delivery_id": push.delivery_id,
        "before_sha": push.before,
        "forced": push.forced,
        "sender_id": push.sender_id,
    }


def _superseded_to_json(inbox_id: int, push: Push) -> Json:
    return _push_to_json(push) | {"inbox_id": inbox_id, "ref": push.ref, "after_sha": push.after}


def _attempt_to_json(save: SaveVerdict) -> Json:
    verdict = save.verdict
    attempt = _push_to_json(save.push) | {
        "trigger": save.trigger,
        "ref": save.ref,
        "after_sha": verdict.head_sha,
        "lab_version_id": save.state.version.lab_version_id,
        "accepted_before": save.state.session.accepted_sha,
        "verdict": save.outcome.value,
        "facts_digest": save.facts_digest,
    }
    if isinstance(verdict, CannotVerify):
        done = sorted(save.state.progress.done)
        return attempt | {
            "violations": [],
            "violations_total": 0,
            "steps_before": done,
            "steps_after": done,
            "detail": {"reason": verdict.reason, "detail": verdict.detail, "facts": save.state.fact_ids},
        }
    return attempt | {
        "violations": [violation_to_json(violation) for violation in verdict.violations[:MAX_VIOLATIONS]],
        "violations_total": len(verdict.violations),
        "steps_before": sorted(verdict.done_before),
        "steps_after": sorted(verdict.done_after),
        "detail": {
            "rewrite": verdict.rewrite,
            "complete": verdict.complete,
            "would_block": verdict.blocked,
            "untouched": verdict.untouched,
            "gains": [asdict(gain) for gain in verdict.gains],
            "losses": [asdict(loss) for loss in verdict.losses],
            "awaits_staff": awaits_staff(verdict),
            "waiting": {status.step_id: status.waiting_for for status in verdict.steps if status.waiting_for},
            "facts": save.state.fact_ids,
        },
    }


def _progress_to_json(save: SaveVerdict) -> Json:
    """Gains and losses as rows of `step_progress`. A loss also ends progress that is stored under an old id."""
    verdict = save.verdict
    if isinstance(verdict, CannotVerify) or save.preview:
        return {"gains": [], "losses": []}
    ids = {step.id: [step.id, *step.aliases] for step in save.state.version.lab.steps}
    heads = {"head_sha": verdict.head_sha, "accepted_before": verdict.accepted_before, "trigger": save.trigger}
    return {
        "gains": [asdict(gain) | {"evidence": heads | {"commit_sha": gain.commit_sha}} for gain in verdict.gains],
        "losses": [
            {
                "step_ids": ids.get(loss.step_id, [loss.step_id]),
                "evidence": heads | {"reason": loss.reason, "because_of": loss.because_of},
            }
            for loss in verdict.losses
        ],
    }
