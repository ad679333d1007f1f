"""What /metrics asks of the database: each figure against rows that a test knows."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from storage import health, inbox, sealing
from storage.audit import AuditEvent
from storage.budgets import Budgets
from storage.database import Pool
from storage.inbox import NewDelivery


def delivery(event: str = "push", lane: str = "repo:7") -> NewDelivery:
    """A delivery of some repository."""
    return NewDelivery(uuid4(), event, None, 99, 7, lane, b"{}")


async def test_an_empty_database_has_nothing_that_waits(pool: Pool) -> None:
    """Counts are 0 and ages unknown: nothing is there."""
    found = await health.backlog(pool)

    assert (found.due, found.put_off, found.dead_letters) == (0, 0, 0)
    assert (found.oldest_due, found.oldest_put_off, found.overdue, found.unsealed) == (None, None, None, None)
    assert (found.reports, found.sessions, found.paused, found.slowed) == ({"wanted": 0, "failed": 0}, {}, {}, 0)
    assert (found.missing, found.oldest_missing) == ({"waiting": 0, "given_up": 0}, None)
    assert found.last_delivery is None
    assert await health.last_delivery_age(pool) is None


async def test_deliveries_that_wait_are_told_by_why(pool: Pool) -> None:
    """What is due, what waits for a retry, and what was given up are three figures; the ages are of the oldest."""
    await inbox.record(pool, [delivery(lane=f"repo:{number}") for number in range(4)])
    await pool.execute("UPDATE delivery SET received_at = now() - inbox_id * interval '1 minute'")
    first, second, third, _ = [row["inbox_id"] for row in await pool.fetch("SELECT inbox_id FROM delivery ORDER BY 1")]
    await pool.execute("UPDATE delivery SET next_attempt_at = now() + interval '1 hour' WHERE inbox_id = $1", third)
    await pool.execute(
        "UPDATE delivery SET state = 'dead', outcome = 'dead', finished_at = now() WHERE inbox_id = $1", second
    )

    found = await health.backlog(pool)

    assert (found.due, found.put_off, found.dead_letters) == (2, 1, 1)
    assert found.oldest_due == pytest.approx(60 * (third + 1), abs=5)
    assert found.oldest_put_off == pytest.approx(60 * third, abs=5)
    assert first < third


async def test_our_own_entries_are_no_news_from_github(pool: Pool) -> None:
    """The age of the last delivery counts what GitHub sent, however much we noted for ourselves since."""
    await inbox.record(pool, [delivery()])
    await pool.execute("UPDATE delivery SET received_at = now() - interval '2 hours'")
    await inbox.record(pool, [delivery("stepgate.judge")])

    assert (await health.backlog(pool)).last_delivery == pytest.approx(7200, abs=5)
    assert await health.last_delivery_age(pool) == pytest.approx(7200, abs=5)


async def test_the_lag_of_sealing(pool: Pool) -> None:
    """The age of the oldest event outside of the chain; none when all are sealed."""
    async with pool.acquire() as link:
        await link.execute("INSERT INTO audit_event (kind, at) VALUES ($1, now() - interval '10 minutes')", "rejected")
        await link.execute("INSERT INTO audit_event (kind) VALUES ($1)", AuditEvent("rejected").kind)

    assert (await health.backlog(pool)).unsealed == pytest.approx(600, abs=5)
    await sealing.seal(pool)
    assert (await health.backlog(pool)).unsealed is None


async def test_installations_that_github_silences(pool: Pool) -> None:
    """Those that are paused now, by kind of limit; a limit that is over counts no more, its slowness still does."""
    budgets = Budgets(pool)
    for number, kind in ((1, "primary"), (2, "secondary"), (3, "secondary")):
        await budgets.pause(number, kind, named=True, seconds=60, longest=960, forgiven=600)  # type: ignore[arg-type]
    await pool.execute("UPDATE github_budget SET blocked_until = now() WHERE installation_id = 3")

    found = await health.backlog(pool)

    assert (found.paused, found.slowed) == ({"primary": 1, "secondary": 1}, 2)


async def test_what_githubs_log_has_and_we_have_not(pool: Pool) -> None:
    """Missing deliveries by whether they are fetched still or were given up, and since when the oldest is missing."""
    await pool.execute(
        "INSERT INTO delivery_missed (guid, event, delivery_id, delivered_at, given_up_at) VALUES "
        "(gen_random_uuid(), 'push', 1, now() - interval '2 hours', now()), "
        "(gen_random_uuid(), 'push', 2, now() - interval '5 minutes', NULL), "
        "(gen_random_uuid(), 'push', 3, now() - interval '1 minute', NULL)"
    )

    found = await health.backlog(pool)

    assert found.missing == {"waiting": 2, "given_up": 1}
    assert found.oldest_missing == pytest.approx(300, abs=5)


async def test_schedules_tell_when_they_ran(pool: Pool) -> None:
    """The age of a schedule's last run; of one that never ran, since it is known."""
    await pool.execute(
        "INSERT INTO pgqueuer_schedules (expression, entrypoint, created, last_run) VALUES "
        "('* * * * *', 'a', now() - interval '1 day', now() - interval '5 minutes'), "
        "('* * * * *', 'b', now() - interval '1 hour', NULL)"
    )

    ages = (await health.backlog(pool)).schedules

    assert ages == {"a": pytest.approx(300, abs=5), "b": pytest.approx(3600, abs=5)}


async def test_the_measurement_does_not_read_history(pool: Pool) -> None:
    """With much history and nothing that waits, only indexes of what waits are looked into: no table is scanned."""
    await pool.execute(
        "INSERT INTO delivery (guid, event, lane_id, state, outcome, finished_at) "
        "SELECT gen_random_uuid(), 'push', 'repo:7', 'done', 'accepted', now() FROM generate_series(1, 20000)"
    )
    await pool.execute("ANALYZE delivery")
    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {health._BACKLOG}"))

    for table in ("delivery", "outbox", "audit_event"):
        assert f"Seq Scan on {table} " not in plan, plan
    began = await pool.fetchval("SELECT clock_timestamp()")
    await health.backlog(pool)
    assert await pool.fetchval("SELECT clock_timestamp() - $1", began) < timedelta(seconds=2)
