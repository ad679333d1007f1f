"""From a verdict or a refusal to the report that the outbox shall hold: fills in what rules.report words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import trail
from bot.lookup import Found
from bot.services import Judging, Services
from rules.binding import Ignored, Rejected, blocks_report
from rules.model import ZERO_SHA, BindingCode, CannotVerify, LabRecord, Push, Report, Session, Verdict
from rules.report import NoticeContext, ReportContext, render, render_closed, render_preview, render_rejection
from storage import inbox, outbox, progress
from storage.audit import AuditEvent
from storage.outbox import WantedReport
from storage.progress import JudgingState, SaveRejection

if TYPE_CHECKING:
    from bot.pipeline import Arrival

# Codes under which the head is another person's business, or nobody's: the page of the session is not linked.
_NOT_THEIRS = frozenset({BindingCode.OWNER_CHANGED, BindingCode.LEARNER_MISMATCH, BindingCode.MAPPING_CONFLICT})


async def wanted(
    services: Services,
    state: JudgingState,
    lab: LabRecord,
    push: Push,
    verdict: Verdict | CannotVerify,
    *,
    preview: bool,
    weak: bool = False,
    helped: bool = False,
) -> WantedReport:
    """The report on a judged head of the pushed repository, which is bound. `weak`: as in WantedReport; `helped`: the
    learner needs no help any more.
    """
    assert state.mapping and push.branch  # noqa: S101, PT018 (what is judged is a bound repository's branch)
    judging = services.judging
    blocked = state.blocked_heads | {verdict.head_sha} if _is_blocked(verdict) else frozenset()
    clears_failure = False
    if judging.report_status == "failures":  # a head that turned green must not keep its red status
        clears_failure = await outbox.carries_failure(services.pool, push.repo.repo_id, verdict.head_sha)
    context = ReportContext(
        lab=state.version.lab,
        check_name=judging.check_name,
        session_id=state.session.session_id,
        lab_version_id=state.version.lab_version_id,
        session_url=judging.session_url(state.session.session_id),
        repo_full_name=push.repo.full_name,
        branch=push.branch,
        template_sha=state.template_sha,
        template_url=f"{judging.web_url}/{lab.base_repo_full_name}.git",
        report_status=judging.report_status,
        hints_due=len(blocked),
        deadline=state.session.expires_at,
        clears_failure=clears_failure,
        protected_sha=_nearest_template(state, verdict),
        clone_url=f"{judging.web_url}/{push.repo.full_name}.git",
        asked_for_help=state.asked_for_help and not helped,
    )
    report = (render_preview if preview else render)(verdict, context)
    return _wanted(push, state.mapping.installation_id, state.session, report, weak=preview or weak)


async def tell_doubt(services: Services, state: JudgingState, lab: LabRecord, push: Push, *, preview: bool) -> None:
    """Say on the pushed head that it could not be looked at yet, unless it has a verdict. The verdict replaces it.

    The head that a branch is at when nobody pushed (`push.after` is zero) is not told: we do not know it.
    """
    if push.after != ZERO_SHA:
        doubt = CannotVerify(push.after, "GITHUB")
        await outbox.want(services.pool, await wanted(services, state, lab, push, doubt, preview=preview, weak=True))


def _nearest_template(state: JudgingState, verdict: Verdict | CannotVerify) -> str | None:
    """The later template commit that the head's protected files come nearest to (a synced fork); None: the pinned."""
    if isinstance(verdict, CannotVerify) or verdict.template_number == 0:
        return None
    return state.later_templates[verdict.template_number - 1]


def _is_blocked(verdict: Verdict | CannotVerify) -> bool:
    return isinstance(verdict, Verdict) and verdict.blocked


def _wanted(
    push: Push, installation_id: int, session: Session | None, report: Report, *, weak: bool = False
) -> WantedReport:
    return WantedReport(
        repo_id=push.repo.repo_id,
        installation_id=installation_id,
        repo_full_name=push.repo.full_name,
        session_id=session.session_id if session is not None else None,
        report=report,
        weak=weak,
    )


async def save_refusal(services: Services, arrival: Arrival, found: Found) -> str:
    """Save that the arrival is not judged: audit, what the repository is shown (if anything), deliveries finished.

    Returns the code. Raises LeaseLost.
    """
    decision, push = found.decision, arrival.pushes[-1]
    assert isinstance(decision, Ignored | Rejected)  # noqa: S101 (the others are judged)
    session = decision.session
    trail.refused(decision.code, push.after)
    if isinstance(decision, Ignored) and session is None:  # no business of ours: nothing of it is kept
        ids = arrival.inbox_ids
        await inbox.finish(services.pool, arrival.lane, ids, "done", decision.code.value, keep_body=False)
        return decision.code.value
    rejected = isinstance(decision, Rejected)
    event = AuditEvent(
        "rejected" if rejected else "ignored",
        code=decision.code.value,
        installation_id=push.installation_id,
        repo_id=push.repo.repo_id,
        repo_full_name=push.repo.full_name,
        owner_id=push.repo.owner.account_id,
        expected_owner_id=decision.expected_owner_id if isinstance(decision, Rejected) else None,
        parent_id=found.parent_id,
        session_id=session.session_id if session is not None else None,
        ref=push.ref,
        head_sha=push.after,
        sender_id=push.sender_id,
        delivery_id=push.delivery_id,
        detail=_detail(decision, found.lab),
    )
    rejection = SaveRejection(
        lane=arrival.lane,
        event=event,
        deliveries=arrival.inbox_ids,
        report=_notice(services.judging, push, decision, found.lab) if isinstance(decision, Rejected) else None,
    )
    await progress.save_rejection(services.pool, rejection)
    return decision.code.value


def _detail(decision: Ignored | Rejected, lab: LabRecord | None) -> dict[str, object]:
    """What a refusal is besides its code: the lab that it is about, by which its page finds it, and words for staff."""
    if isinstance(decision, Ignored):
        return {}
    told: dict[str, object] = {"detail": decision.detail} if decision.detail else {}
    return told | ({"lab_id": lab.lab_id} if lab is not None else {})


def _notice(judging: Judging, push: Push, decision: Rejected, lab: LabRecord | None) -> WantedReport | None:
    """The notice on a head that is not judged; None where the repository is not to be told, or there is no head."""
    kind = blocks_report(decision.code)
    if kind == "none" or push.installation_id is None or push.deleted or push.after == ZERO_SHA:
        return None
    session = decision.session if decision.code not in _NOT_THEIRS else None
    context = NoticeContext(
        check_name=judging.check_name,
        head_sha=push.after,
        repo_full_name=push.repo.full_name,
        lab_title=lab.title if lab is not None else "",
        session_id=session.session_id if session is not None else None,
        session_url=judging.session_url(session.session_id) if session is not None else None,
        join_url=judging.join_url(lab.slug) if lab is not None else None,
        report_status=judging.report_status,
        deadline=session.expires_at if session is not None else None,
    )
    if kind == "neutral" and session is not None:
        report = render_closed(session.status, session.deferred_by, context)
        return _wanted(push, push.installation_id, session, report, weak=True)
    return _wanted(push, push.installation_id, session, render_rejection(decision.code, context))
