"""Which deliveries of GitHub's log the inbox has."""

from __future__ import annotations

from uuid import uuid4

from storage.database import open_pool
from storage.inbox import NewDelivery, record
from storage.recovery import known


async def test_a_delivery_is_known_by_guid_and_event(fresh_database: str) -> None:
    """The same guid under another event is another delivery; a forgotten body does not make one unknown."""
    first, second, third = uuid4(), uuid4(), uuid4()
    pool = await open_pool(fresh_database, max_size=1)
    await record(pool, [NewDelivery(guid, "push", None, 9, 7, "repo:7", b"{}") for guid in (first, second)])
    await pool.execute(
        "UPDATE delivery SET state = 'done', finished_at = now(), payload = NULL WHERE guid = $1", second
    )

    found = await known(pool, [(first, "push"), (first, "repository"), (second, "push"), (third, "push")])
    none = await known(pool, [])
    await pool.close()

    assert found == {(first, "push"), (second, "push")}
    assert none == frozenset()
