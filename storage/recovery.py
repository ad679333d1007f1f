"""What recovery asks of the inbox: which deliveries of GitHub's log are here already."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from storage.database import Pool

Key = tuple[UUID, str]  # guid and event: what makes a delivery one and the same


async def known(pool: Pool, keys: Collection[Key]) -> frozenset[Key]:
    """Those of `keys` that the inbox has, in whatever state; also those whose body is forgotten by now."""
    rows = await pool.fetch(
        "SELECT guid, event FROM delivery JOIN unnest($1::uuid[], $2::text[]) AS asked (guid, event) "
        "USING (guid, event)",
        [guid for guid, _ in keys],
        [event for _, event in keys],
    )
    return frozenset((row["guid"], row["event"]) for row in rows)
