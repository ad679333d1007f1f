"""Questions to the ledger of pushes (table push_attempt)."""

from __future__ import annotations

from uuid import UUID

from storage.database import Pool

_VISITS = """
SELECT (SELECT count(*) FROM push_attempt
        WHERE session_id = $1 AND after_sha = $3 AND ref = $2 AND delivery_id IS NOT NULL),
       (SELECT count(*) FROM push_attempt WHERE session_id = $1 AND before_sha = $3 AND ref = $2)
"""


async def visits(pool: Pool, session_id: UUID, ref: str, sha: str) -> tuple[int, int]:
    """How many pushes that the ledger has led a ref to this head, and how many led away from it."""
    row = await pool.fetchrow(_VISITS, session_id, ref, sha)
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
