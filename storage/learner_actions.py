"""What learners do to their session: look again, and ask for help. (What holds for all actions: storage.actions.)"""

from __future__ import annotations

from rules.model import Session, SessionStatus
from rules.session import SessionEvent
from storage.actions import Decision, Done, act, standing_after
from storage.database import Pool, storable
from storage.errors import ActionRefused

#: Characters of a learner's words.
LONGEST_WORDS = 500


async def check_again(pool: Pool, session: Session, by: int | None) -> Done:
    """The learner's "check again": the head is judged again, and nothing that is being judged starts over for it."""
    if not session.status.is_open:
        raise ActionRefused("status", f"a session that is {session.status} is not judged")
    return await act(pool, session, "check_requested", Decision(by, ""), {"wake": "rerun", "keep_epoch": True})


async def ask_for_help(pool: Pool, session: Session, by: int | None, words: str, *, report: bool = False) -> Done:
    """The learner needs help: the session is stuck, and staff see the words (may be empty, at most 500 characters).

    `report`: the check-run on the head is to say so, too.
    """
    words = storable(words.strip())
    if len(words) > LONGEST_WORDS:
        raise ActionRefused("words", f"at most {LONGEST_WORDS} characters")
    standing = standing_after(session, SessionEvent.HELP_REQUESTED)
    made_stuck = session.status is not SessionStatus.STUCK or await _asks(pool, session)
    help_ = {"words": words or None, "made_stuck": made_stuck}
    told = {"anew": True, "wake": "rerun"} if report else {}
    return await act(pool, session, "help_requested", Decision(by, words), {**standing, "help": help_, **told})


async def waits_for_help(pool: Pool, session: Session) -> bool:
    """Whether a call for help waits for an answer."""
    query = "SELECT help_at IS NOT NULL FROM lab_session WHERE session_id = $1"
    return bool(await pool.fetchval(query, session.session_id))


async def _asks(pool: Pool, session: Session) -> bool:
    """Whether an earlier call for help is what made the session stuck."""
    query = "SELECT help_made_stuck FROM lab_session WHERE session_id = $1"
    return bool(await pool.fetchval(query, session.session_id))


async def end_help(pool: Pool, session: Session, by: int | None) -> Done:
    """The learner needs no help any more: a session that was stuck for this alone is in progress again."""
    row = await pool.fetchrow(
        "SELECT help_made_stuck FROM lab_session WHERE session_id = $1 AND help_at IS NOT NULL", session.session_id
    )
    if row is None:
        raise ActionRefused("gone", "nobody waits for help here")
    standing = standing_after(session, SessionEvent.HELP_WITHDRAWN) if row["help_made_stuck"] else {}
    return await act(pool, session, "help_withdrawn", Decision(by, ""), {**standing, "end_help": True})
