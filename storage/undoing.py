"""Taking back what staff did to a session: the action that does the opposite, itself recorded and undoable."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rules.model import Repo, Session
from storage import actions
from storage.accounts import account_from_row
from storage.actions import LONGEST_REASON, Decision, Done
from storage.audit import RecordedEvent
from storage.database import Pool
from storage.errors import ActionRefused
from storage.session_history import history


async def undo(pool: Pool, session: Session, by: int | None, event_id: int, *, now: datetime) -> Done:
    """Take back the staff action that this audit event records.

    Raises ActionRefused("gone") when there is nothing to undo (any more), and what the opposite action raises.
    """
    known = await history(pool, session)
    recorded = next((each for each in known.events if each.event_id == event_id), None)
    if recorded is None or event_id not in known.undoable:
        raise ActionRefused("gone", "that cannot be undone any more: something else has been decided since")
    reason = f"Undo: {recorded.event.detail.get('reason', '')}"[:LONGEST_REASON]
    return await _opposite(pool, session, Decision(by, reason, undoes=event_id), recorded, now)


async def _opposite(pool: Pool, session: Session, decision: Decision, recorded: RecordedEvent, now: datetime) -> Done:
    detail = recorded.event.detail
    match recorded.event.kind:
        case "staff_defer":
            return await actions.resume(pool, session, decision)
        case "staff_resume":
            return await actions.defer(pool, session, decision)
        case "staff_reopen_session":
            return await actions.judge(pool, session, decision)  # complete again, if it still is
        case "staff_extend":
            before = detail.get("deadline_before")
            deadline = datetime.fromisoformat(before) if before is not None else None
            return await actions.extend(pool, session, decision, deadline, now=now)
        case "staff_relink" | "staff_unbind":
            return await _bind_again(pool, session, decision, detail["mapping_before"], detail.get("accepted_before"))
        case _:
            return await actions.revoke_fact(pool, session, decision, detail["fact_id"])


async def _bind_again(
    pool: Pool, session: Session, decision: Decision, mapping_id: int, accepted_sha: str | None
) -> Done:
    """Back to the repository of a former mapping, as it was known then."""
    row: Any = await pool.fetchrow(
        "SELECT m.*, account.account_id, account.login, account.kind FROM repo_mapping AS m "
        "JOIN github_account AS account ON account.account_id = m.owner_account_id WHERE mapping_id = $1",
        mapping_id,
    )
    repo = Repo(row["provider_repo_id"], row["repo_full_name"], account_from_row(row), private=True, default_branch="")
    return await actions.relink(pool, session, decision, repo, row["installation_id"], accepted_sha=accepted_sha)
