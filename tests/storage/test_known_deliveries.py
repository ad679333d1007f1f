"""Which deliveries of GitHub's log the inbox lacks."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from storage.database import open_pool
from storage.inbox import NewDelivery, record
from storage.recovery import Missed, note

AT = datetime(2031, 5, 1, tzinfo=UTC)


async def test_a_delivery_is_known_by_guid_and_event(fresh_database: str) -> None:
    """The same guid under another event is another delivery; a forgotten body does not make one unknown."""
    first, second, third = uuid4(), uuid4(), uuid4()
    pool = await open_pool(fresh_database, max_size=1)
    await record(pool, [NewDelivery(guid, "push", None, 9, 7, "repo:7", b"{}") for guid in (first, second)])
    await pool.execute(
        "UPDATE delivery SET state = 'done', finished_at = now(), payload = NULL WHERE guid = $1", second
    )
    keys = [(first, "push"), (first, "repository"), (second, "push"), (third, "push")]
    entries = [Missed(guid, event, number, None, 9, 7, AT) for number, (guid, event) in enumerate(keys, 1)]

    noted = [await note(pool, entries), await note(pool, entries), await note(pool, [])]
    missed = {(row["guid"], row["event"]) for row in await pool.fetch("SELECT guid, event FROM delivery_missed")}
    await pool.close()

    assert missed == {(first, "repository"), (third, "push")}
    assert noted == [2, 0, 0]
