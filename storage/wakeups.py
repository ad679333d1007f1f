"""Waking a session: its repository's head is judged again, without a push.

A wake-up is an entry of the inbox like a delivery, in the lane of the repository, so it is judged in order with pushes
and survives restarts. GitHub has no event of that name, and the receiver takes none: nobody outside can send one.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from storage.database import Pool

#: The event of these entries.
JUDGE = "stepgate.judge"

WakeTrigger = Literal["rerun", "fact", "staff", "reconcile"]


async def wake(pool: Pool, session_id: UUID, trigger: WakeTrigger) -> bool:
    """Let the session's head be judged again soon; False: no repository is bound to it (or there is no such session).

    Wake-ups that wait for the same worker are one.
    """
    return bool(await pool.fetchval("SELECT wake_session($1, $2)", session_id, trigger))
