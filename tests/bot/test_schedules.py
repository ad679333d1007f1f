"""What happens by the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from bot.schedules import forget_bodies
from tests.support.deliveries import EXAMPLES
from tests.support.line import running_line

BODY = (EXAMPLES / "push.json").read_bytes()


async def test_bodies_are_kept_as_long_as_the_operator_says(fresh_database: str) -> None:
    """Bodies of deliveries that were processed longer ago are deleted; younger ones and waiting ones stay."""
    async with running_line(fresh_database) as line:
        for days, state in ((3, "done"), (9, "done"), (9, "waiting")):
            await line.pool.execute(
                "INSERT INTO delivery (guid, event, lane_id, payload, state, next_attempt_at, finished_at) VALUES "
                "($1, 'ping', 'kept', $2, $3::text, now() + interval '1 day', "
                "CASE WHEN $3 = 'done' THEN now() - $4::interval END)",
                uuid4(),
                BODY,
                state,
                timedelta(days=days),
            )
        assert await forget_bodies(replace(line.services, keep_bodies=timedelta(days=10))) == 0
        assert await forget_bodies(replace(line.services, keep_bodies=timedelta(days=4))) == 1
        left = await line.fetch(
            "SELECT state, payload IS NULL AS forgotten, finished_at < now() - interval '5 days' AS old"
            " FROM delivery WHERE lane_id = 'kept'"
        )
    assert {(row["state"], row["old"]) for row in left if row["forgotten"]} == {("done", True)}
