"""What staff do to a session, decided by rules.session's machine, saved in one guarded statement each.

Learners' own actions are in storage.learner_actions.

Every action takes the session as the person saw it. It raises StaleSession when the session's binding, status or facts
have changed since then: look again. Each is recorded with who did it and why, is told to open pages (NOTIFY
`session_changed`), and lets the head be judged again where the verdict may be another one now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from rules.binding import DELIBERATE
from rules.model import AccountKind, LabVersion, Repo, Session, SessionStatus
from rules.session import IllegalTransition, SessionEvent, Standing, next_status
from storage import labs
from storage.audit import AuditEvent
from storage.database import Pool, storable
from storage.errors import ActionRefused, StaleSession, domain_errors
from storage.wakeups import WakeTrigger

FactKind = Literal["approve", "complete", "reopen", "unlock", "accept_head"]

#: Characters of a reason by staff.
SHORTEST_REASON = 3
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides, and why. `by` None: the operator's shell. `undoes`: the audit event that is taken back by this."""

    by: int | None
    reason: str
    undoes: int | None = None

    @classmethod
    def by_staff(cls, by: int | None, reason: str) -> Decision:
        """A decision with a reason as staff has to give it; ActionRefused("reason") for one too short or too long."""
        words = " ".join(reason.split())
        if not SHORTEST_REASON <= len(words) <= LONGEST_REASON:
            raise ActionRefused("reason", f"a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters is needed")
        return cls(by, words)


@dataclass(frozen=True, slots=True)
class Done:
    """What an action wrote: its audit event, the fact if it is one, and whether the head is judged again."""

    event_id: int
    fact_id: int | None
    woken: bool


async def act(
    pool: Pool, session: Session, kind: str, decision: Decision, given: Mapping[str, Any], /, **detail: object
) -> Done:
    """Save one action (`given`: see act_on_session in the migrations). `kind`: of the audit event."""
    details = {"reason": storable(decision.reason) or None, "undoes": decision.undoes, **detail}
    event = AuditEvent(
        kind, actor_id=decision.by, detail={name: value for name, value in details.items() if value is not None}
    )
    wanted = {"session_id": session.session_id, "epoch": session.epoch, "by": decision.by, "event": event.to_json()}
    with domain_errors():
        row = await pool.fetchrow("SELECT * FROM act_on_session($1)", {**wanted, **given})
    if row is None or row["event_id"] is None:
        raise StaleSession(f"session {session.session_id} changed since it was looked at: look again")
    return Done(row["event_id"], row["fact_id"], row["woken"])


def _after(session: Session, event: SessionEvent) -> Standing:
    try:
        return next_status(session.status, event, session.deferred_by)
    except IllegalTransition as error:
        raise ActionRefused("status", f"a session that is {session.status} does not allow this") from error


def standing_after(session: Session, event: SessionEvent) -> dict[str, Any]:
    """The part of an action that takes a session to what `event` makes of it; empty when it changes nothing."""
    after = _after(session, event)
    if after == Standing(session.status, session.deferred_by):
        return {}
    return {"status": after.status.value, "cause": after.deferred_by}


def _woken(session: Session, trigger: WakeTrigger, standing: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Wakes the head, if the session takes verdicts (after the action)."""
    status = SessionStatus(standing["status"]) if standing else session.status
    return {"wake": trigger} if status.is_open else {}


# ---------------------------------------------------------------------------------------------------------- facts


async def add_fact(
    pool: Pool, session: Session, decision: Decision, kind: FactKind, subject: str, *, until: datetime | None = None
) -> Done:
    """Approve, complete, reopen or unlock a step, or accept a head: `subject` is its id or sha.

    `until`: the fact counts until then. The head is judged again, or, while the session is paused or over, as soon as
    it goes on. To reopen a step of a finished session reopens the session. Raises ActionRefused ("step", "repeated",
    "status"), StaleSession, and SessionConflict when the learner has begun the lab anew.
    """
    standing: dict[str, Any] = {}
    if session.status is SessionStatus.VERIFIED_PASS:
        if kind != "reopen":
            raise ActionRefused("status", "the session is complete: reopen it first")
        standing = standing_after(session, SessionEvent.STAFF_REOPENED)
    names = [subject]
    if kind != "accept_head":
        version = await labs.version(pool, session.lab_version_id)
        subject = _step_of(version, subject)
        names = _names_of(version, subject)
    await _refuse_repetition(pool, session, kind, names)
    field = "head_sha" if kind == "accept_head" else "step_id"
    fact = {
        "kind": kind,
        field: subject,
        "until": until,
        "by_account": decision.by,
        "reason": storable(decision.reason),
    }
    given = {**standing, "fact": fact, **_woken(session, "fact", standing)}
    return await act(pool, session, f"staff_{kind}", decision, given, **{field: subject, "until": until})


def _step_of(version: LabVersion, name: str) -> str:
    """Today's id of a step, which may be given by an old one."""
    for step in version.lab.steps:
        if name in (step.id, *step.aliases):
            return step.id
    raise ActionRefused("step", f"the lab has no step {name!r}")


def _names_of(version: LabVersion, name: str | None) -> list[str]:
    """All ids under which facts and progress may name a step: the one given, today's, and those that it had."""
    known = [each for step in version.lab.steps if name in (each := (step.id, *step.aliases))]
    return [*dict.fromkeys([*([name] if name else []), *(other for names in known for other in names)])]


async def _refuse_repetition(pool: Pool, session: Session, kind: FactKind, names: list[str]) -> None:
    """The same fact twice would look as if undoing one did nothing. `names`: of the step, or the head's sha."""
    newest = await pool.fetchval(
        "SELECT kind FROM staff_fact WHERE session_id = $1 AND coalesce(step_id, head_sha) = ANY ($2) "
        "AND revoked_at IS NULL AND (until IS NULL OR until > now()) "
        "AND (kind = $3 OR ($3 IN ('complete', 'reopen') AND kind IN ('complete', 'reopen'))) "
        "ORDER BY fact_id DESC LIMIT 1",
        session.session_id,
        names,
        kind,
    )
    if newest == kind:
        raise ActionRefused("repeated", "that was decided before and still counts")


# What a fact may have brought is everything since: the steps that were completed, and the heads that were accepted (in
# the repository that the session has now). What holds without the fact is earned again, commit by commit.
_BEFORE_FACT = """
SELECT f.kind = 'accept_head' OR (f.kind IN ('approve', 'complete') AND EXISTS (SELECT FROM step_progress AS p
        WHERE p.session_id = f.session_id AND p.step_id = ANY ($3) AND p.completed_at >= f.created_at)) AS mattered,
    ARRAY(SELECT p.step_id FROM step_progress AS p
        WHERE p.session_id = f.session_id AND state = 'completed' AND p.completed_at >= f.created_at) AS steps,
    (SELECT after_sha FROM push_attempt AS a WHERE a.session_id = f.session_id AND verdict = 'accepted'
        AND a.created_at < f.created_at AND a.created_at >= (SELECT first_seen_at FROM repo_mapping AS m
            WHERE m.session_id = f.session_id AND m.state = 'active')
     ORDER BY attempt_id DESC LIMIT 1) AS accepted_sha
FROM staff_fact AS f WHERE fact_id = $1 AND session_id = $2 AND revoked_at IS NULL
"""


async def revoke_fact(pool: Pool, session: Session, decision: Decision, fact_id: int) -> Done:
    """Take a fact back, and judge the head as if it had not been.

    If an approval, a completion or an accepted head had an effect, all that was reached since is judged anew: what
    holds without it stays. A session that it finished is open again. Raises ActionRefused("gone") for a fact that was
    revoked already or is another session's, and StaleSession.
    """
    fact = await pool.fetchrow(
        "SELECT kind, step_id, head_sha FROM staff_fact WHERE fact_id = $1 AND session_id = $2 AND revoked_at IS NULL",
        fact_id,
        session.session_id,
    )
    names = [] if fact is None else _names_of(await labs.version(pool, session.lab_version_id), fact["step_id"])
    row = await pool.fetchrow(_BEFORE_FACT, fact_id, session.session_id, names)
    if fact is None or row is None:
        raise ActionRefused("gone", "that decision was taken back before")
    standing: dict[str, Any] = {}
    if session.status is SessionStatus.VERIFIED_PASS:
        standing = standing_after(session, SessionEvent.STAFF_REOPENED)
    given: dict[str, Any] = {"revoke_fact": fact_id, "anew": True, **standing, **_woken(session, "fact", standing)}
    if row["mattered"]:
        given["back_to"] = {"steps": row["steps"], "accepted_sha": row["accepted_sha"]}
    subject = {"step_id": fact["step_id"], "head_sha": fact["head_sha"]}
    return await act(pool, session, "staff_revoke", decision, given, kind=fact["kind"], **subject)


# ------------------------------------------------------------------------------------------------- status, deadline


async def defer(pool: Pool, session: Session, decision: Decision) -> Done:
    """Pause a session: its pushes are not judged, and its deadline waits, until staff resumes it."""
    return await act(pool, session, "staff_defer", decision, _changed(session, SessionEvent.STAFF_DEFERRED))


async def resume(pool: Pool, session: Session, decision: Decision) -> Done:
    """Go on with a session that staff paused, or that is stuck; its head is judged."""
    given = _changed(session, SessionEvent.STAFF_RESUMED)
    return await act(pool, session, "staff_resume", decision, {**given, **_woken(session, "staff", given)})


async def reopen(pool: Pool, session: Session, decision: Decision) -> Done:
    """Open a finished session again. Nothing is judged by that: it is complete again with the next head that has every
    required step done. (To keep it open, reopen a step.)
    """
    given = _changed(session, SessionEvent.STAFF_REOPENED)
    return await act(pool, session, "staff_reopen_session", decision, {**given, "anew": True})


def _changed(session: Session, event: SessionEvent) -> dict[str, Any]:
    standing = standing_after(session, event)
    if not standing:
        raise ActionRefused("status", f"a session that is {session.status} is so already")
    return standing


async def extend(pool: Pool, session: Session, decision: Decision, deadline: datetime | None, *, now: datetime) -> Done:
    """Set a session's deadline (None: there is none any more); one that has expired goes on, and its head is judged.

    A deadline that has passed is refused ("past"), except to undo an extension: then the session expires with it.
    """
    passed = deadline is not None and deadline <= now
    if passed and decision.undoes is None:
        raise ActionRefused("past", "the new deadline has passed already")
    standing = standing_after(session, SessionEvent.STAFF_EXTENDED)
    if passed:
        going_on = replace(session, status=SessionStatus(standing.get("status", session.status)))
        standing = standing_after(going_on, SessionEvent.DEADLINE_PASSED)
    given = {**standing, "deadline": {"at": deadline}}
    woken = _woken(session, "staff", standing) if session.status is SessionStatus.EXPIRED else {}
    return await act(pool, session, "staff_extend", decision, {**given, **woken})


# ------------------------------------------------------------------------------------------------------ repository


async def relink(
    pool: Pool,
    session: Session,
    decision: Decision,
    repo: Repo,
    installation_id: int,
    *,
    accepted_sha: str | None = None,
) -> Done:
    """Connect the session with this repository instead of the one that it has; its head is judged.

    Steps that are done stay done. `accepted_sha`: the head that was accepted there before. The session's own repository
    is connected anew when it has another owner now, or was never connected on purpose though it is another person's.
    Raises MappingConflict when the repository is another session's, ActionRefused ("template", "same"), StaleSession.
    """
    if await labs.by_base_repos(pool, [repo.repo_id]) is not None:
        raise ActionRefused("template", f"{repo.full_name} is a lab's template")
    bound = await pool.fetchrow(
        "SELECT provider_repo_id, owner_account_id, source FROM repo_mapping "
        "WHERE session_id = $1 AND state = 'active'",
        session.session_id,
    )
    if bound is not None and bound["provider_repo_id"] == repo.repo_id:
        owner = repo.owner
        is_others = owner.kind is AccountKind.USER and owner.account_id != session.learner_account_id
        if bound["owner_account_id"] == owner.account_id and not (is_others and bound["source"] not in DELIBERATE):
            raise ActionRefused("same", f"{repo.full_name} is the session's repository already")
        accepted_sha = accepted_sha or session.accepted_sha  # another owner's now, with the same commits
    mapping = {
        "repo_id": repo.repo_id,
        "installation_id": installation_id,
        "owner_account_id": repo.owner.account_id,
        "repo_full_name": storable(repo.full_name),
        "session_id": session.session_id,
        "source": "staff",
        "private": repo.private,
    }
    account = {"account_id": repo.owner.account_id, "login": repo.owner.login, "kind": repo.owner.kind.value}
    given = {
        "rebind": {
            "reason": storable(decision.reason),
            "accounts": [account],
            "mapping": mapping,
            "accepted_sha": accepted_sha,
        }
    }
    return await act(pool, session, "staff_relink", decision, {**given, **_woken(session, "staff")})


async def unbind(pool: Pool, session: Session, decision: Decision) -> Done:
    """Take the repository from the session; the next push of its learner's fork connects one again."""
    bound = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM repo_mapping WHERE session_id = $1 AND state = 'active')", session.session_id
    )
    if not bound:
        raise ActionRefused("unbound", "no repository is connected")
    return await act(pool, session, "staff_unbind", decision, {"rebind": {"reason": storable(decision.reason)}})


# --------------------------------------------------------------------------------------------------------- judging


async def judge(pool: Pool, session: Session, decision: Decision) -> Done:
    """Staff's "judge again": the head of the session's repository as it is now."""
    if not session.status.is_open:
        raise ActionRefused("status", f"a session that is {session.status} is not judged")
    return await act(pool, session, "staff_judge", decision, {"wake": "staff", "anew": True})
