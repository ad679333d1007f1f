"""Somebody asks for a report: our buttons on a check-run, GitHub's "Re-run", and the suite that GitHub opens for each
pushed head.

After a re-run GitHub shows the suite as queued until it gets a new check-run (REST docs, "Rerequest a check run"): an
equal report is sent once more then. Many clicks cost one judgement.
"""

from __future__ import annotations

from datetime import timedelta

from bot.payloads import PressPayload, RerunPayload, UnreadablePayloadError, read
from bot.pipeline import judge_branch
from bot.services import Services
from bot.wanted import PRESSED, RERUN
from rules.model import Session
from rules.report_buttons import CHECK_AGAIN, NEED_HELP
from storage import actions, audit, inbox, learner_actions, outbox, sessions
from storage.actions import Decision
from storage.audit import AuditEvent
from storage.echoes import Echoes, left_behind
from storage.inbox import StoredDelivery
from storage.lanes import Lane
from storage.mappings import Mappings

Deliveries = tuple[StoredDelivery, ...]

# A push is on its way together with the request for its check suite: that long it is waited for.
PATIENCE = timedelta(seconds=5)


# ------------------------------------------------------------------------------------------------------ our buttons


async def on_press(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`check_run.requested_action`: GitHub lets whoever may push press our buttons; we ask whose session it is.

    Clicks of the same person on the same button that wait here are one.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    press = _press_of(first)
    if press is None:
        raise UnreadablePayloadError("the body names another repository than its lane")
    same = [first.inbox_id, *(other.inbox_id for other in deliveries[1:] if _is_same_press(other, press))]
    mapping = await Mappings(services.pool).find(press.repository.id)
    session = await sessions.get(services.pool, mapping.session_id) if mapping is not None else None
    if not await _may_press(services, press, session, first):
        outcome = "not_theirs"
    elif press.requested_action.identifier == CHECK_AGAIN.identifier:
        if session is None:
            await inbox.finish(services.pool, lane, same[1:], "done", "judged_with_another")
            return await _judge_unbound(services, lane, first, press)
        outcome = await _check_again(services, session, press, first)
    elif press.requested_action.identifier == NEED_HELP.identifier and session is not None:
        outcome = await _ask_for_help(services, session, press)
    else:
        outcome = "no_such_button"
    await inbox.finish(services.pool, lane, same, "done", outcome)
    return outcome


def _press_of(delivery: StoredDelivery) -> PressPayload | None:
    press = read(PressPayload, delivery.payload)
    return press if press.repository.id == delivery.repo_id else None


def _is_same_press(delivery: StoredDelivery, press: PressPayload) -> bool:
    if (delivery.event, delivery.action) != ("check_run", PRESSED):
        return False
    try:
        other = _press_of(delivery)
    except UnreadablePayloadError:
        return False  # it is buried when its own turn comes
    return other is not None and (other.sender, other.requested_action) == (press.sender, press.requested_action)


async def _may_press(
    services: Services, press: PressPayload, session: Session | None, delivery: StoredDelivery
) -> bool:
    """Whether this is the session's learner, or (to check again) the repository's owner or staff. Others leave a line
    in the audit, one for each repository and day. Whoever owns the repository by now asks for help for nobody else.
    """
    by = press.sender.id
    if session is not None and by == session.learner_account_id:
        return True
    of_session = session is not None and press.requested_action.identifier == NEED_HELP.identifier
    may_look = by == press.repository.owner.id or (
        by in services.staff and press.requested_action.identifier == CHECK_AGAIN.identifier
    )
    if may_look and not of_session:
        return True
    event = AuditEvent(
        "button_refused",
        code="NOT_THEIRS",
        installation_id=press.installation.id,
        repo_id=press.repository.id,
        repo_full_name=press.repository.full_name,
        owner_id=press.repository.owner.id,
        session_id=session.session_id if session is not None else None,
        head_sha=press.check_run.head_sha,
        sender_id=by,
        delivery_id=delivery.guid,
        detail={"button": press.requested_action.identifier[:20]},
    )
    await audit.count(services.pool, event)
    return False


async def _judge_unbound(services: Services, lane: Lane, delivery: StoredDelivery, press: PressPayload) -> str:
    """The button of a refusal: what was to be put right may be right by now."""
    return await judge_branch(
        services,
        lane,
        delivery.inbox_id,
        installation_id=press.installation.id,
        repo_id=press.repository.id,
        trigger="rerun",
        attempts=delivery.attempts,
        received_at=delivery.received_at,
    )


async def _check_again(services: Services, session: Session, press: PressPayload, delivery: StoredDelivery) -> str:
    """Wake the session, as the button on its page does; the answer is a new check-run if it is another one."""
    if not session.status.is_open:
        return "session_closed"
    head = press.check_run.head_sha
    if not await outbox.ask_again(services.pool, press.repository.id, head, delivery.inbox_id, anew=False):
        return "asked_just_now"
    if press.sender.id in services.staff and press.sender.id != session.learner_account_id:
        await actions.judge(services.pool, session, Decision(press.sender.id, "pressed on the check-run"))
    else:
        await learner_actions.check_again(services.pool, session, press.sender.id)
    return "woken"


async def _ask_for_help(services: Services, session: Session, press: PressPayload) -> str:
    """As on the session's page; the check-run then says that it was heard."""
    if not session.status.is_open:
        return "session_closed"
    if await learner_actions.waits_for_help(services.pool, session):
        return "asked_before"
    await learner_actions.ask_for_help(services.pool, session, press.sender.id, "", report=True)
    return "help_asked"


# -------------------------------------------------------------------------------------------------- GitHub's re-run


async def on_rerun(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`check_run.rerequested` and `check_suite.rerequested`: the head gets a new check-run, whatever it says.

    Its branch is judged again first, once for all that wait here. A head that the branch has left keeps its verdict.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = _rerun_of(first)
    head = payload.subject.head_sha
    if same := [other.inbox_id for other in deliveries[1:] if _is_rerun_of(other, head)]:
        await inbox.finish(services.pool, lane, same, "done", "judged_with_another")
    mapping = await Mappings(services.pool).find(payload.repository.id)
    due = await outbox.ask_again(services.pool, payload.repository.id, head, first.inbox_id, anew=True)
    if due and not await left_behind(services.pool, payload.repository.id, head):
        outcome = await judge_branch(
            services,
            lane,
            first.inbox_id,
            installation_id=mapping.installation_id if mapping is not None else payload.installation.id,
            repo_id=payload.repository.id,
            trigger="rerun",
            branch=payload.subject.head_branch,
            attempts=first.attempts,
            received_at=first.received_at,
        )
    else:
        outcome = "repeated"
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome)
    await outbox.hurry(services.pool, payload.repository.id, head, first.inbox_id)
    return outcome


def _rerun_of(delivery: StoredDelivery) -> RerunPayload:
    payload = read(RerunPayload, delivery.payload)
    if payload.repository.id != delivery.repo_id:
        raise UnreadablePayloadError("the body names another repository than its lane")
    return payload


def _is_rerun_of(delivery: StoredDelivery, head: str) -> bool:
    if delivery.action != RERUN or delivery.event not in ("check_run", "check_suite"):
        return False
    try:
        return _rerun_of(delivery).subject.head_sha == head
    except UnreadablePayloadError:
        return False  # it is buried when its own turn comes


# ------------------------------------------------------------------------------------------------ a pushed head's suite


async def on_suite(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`check_suite.requested`: GitHub says that a head was pushed. If no push tells of it, its branch is judged."""
    first = deliveries[0]
    payload = _rerun_of(first)
    repo_id, subject = payload.repository.id, payload.subject
    mapping = await Mappings(services.pool).find(repo_id)
    known = Echoes(services.pool, services.judging.check_name)
    if mapping is None or not await known.missed(repo_id, subject.head_sha):
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", "known_head", keep_body=False)
        return "known_head"
    await inbox.started(services.pool, lane, [first.inbox_id])
    if first.attempts == 0:
        reason = "the push itself may be on its way"
        await inbox.retry_later(services.pool, lane, first.inbox_id, reason, PATIENCE)
        return "waits_for_push"
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=mapping.installation_id,
        repo_id=repo_id,
        trigger="reconcile",
        branch=subject.head_branch,
        attempts=first.attempts - 1,  # the first was waiting
        received_at=first.received_at,
    )
