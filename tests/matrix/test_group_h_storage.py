"""Group H: the database is away, full, read-only, exhausted, or of another opinion: nothing is lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web

from sandbox import Fault, Sandbox
from sandbox.effects import Scripted
from storage import inbox, lanes, recovery, retention
from storage.database import Pool, check_schema, open_pool
from storage.inbox import NewDelivery
from storage.lanes import Lane
from storage.migrate import FOLDER, migrate
from tests.support.database_gate import DatabaseGate, database_gate
from tests.support.learners import Learner, enrol, lab_file, open_course, open_lab
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOAK = os.environ.get("SOAK") == "1"
LAB = "storage"
GREEN = ("success", "success")
OLD_DELIVERIES = 1_000_000 if SOAK else 20_000


@dataclass
class Here:
    """A running App whose way to the database is `gate`, and a `pool` that goes another way."""

    line: Line
    gate: DatabaseGate
    pool: Pool

    def answer(self) -> int:
        """What the newest push delivery was answered with."""
        pushes = [each for each in self.sandbox.deliveries if each.event == "push"]
        return pushes[-1].attempts[-1].status_code

    async def redeliver(self) -> int:
        """Let GitHub send the newest push delivery again until it is taken: connections that are just being ended may
        still be found out one by one, each by a 503. The last answer.
        """
        pushes = [each for each in self.sandbox.deliveries if each.event == "push"]
        for _ in range(20):
            await self.sandbox.redeliver(pushes[-1].guid)
            await self.sandbox.idle()
            if self.answer() != 503:
                break
        return self.answer()

    @property
    def sandbox(self) -> Sandbox:
        """GitHub."""
        return self.line.sandbox

    async def end_leases(self) -> None:
        """As if the leases of workers that could not give them back had run out."""
        await self.pool.execute("UPDATE lane SET leased_until = now() WHERE leased_until IS NOT NULL")
        await self.pool.execute("UPDATE outbox SET leased_until = now() WHERE leased_until IS NOT NULL")

    async def raising(self, table: str, when: str, state: str, times: int) -> None:
        """Let the server refuse to write to a table with this SQLSTATE, that many times."""
        await self.pool.execute(f"CREATE SEQUENCE refused_{table}")
        await self.pool.execute(
            f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('refused_{table}') <= {times} THEN "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
        )
        await self.pool.execute(
            f"CREATE TRIGGER refuse_{table} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
        )

    async def refused(self, table: str) -> int:
        """How often it was asked to write; the trigger goes."""
        times = int(await self.pool.fetchval(f"SELECT last_value FROM refused_{table}"))
        await self.pool.execute(f"DROP FUNCTION refuse_{table} CASCADE; DROP SEQUENCE refused_{table}")
        return times

    async def heal(self) -> None:
        """What a test that failed half-way has left: the next ones shall have a database that works."""
        await self.gate.open()
        await self.pool.execute("SET default_transaction_read_only = off")
        await self.pool.execute(f"ALTER DATABASE {await self.pool.fetchval('SELECT current_database()')} RESET ALL")
        for table in ("delivery", "push_attempt", "outbox"):
            await self.pool.execute(
                f"DROP FUNCTION IF EXISTS refuse_{table} CASCADE; DROP SEQUENCE IF EXISTS refused_{table}"
            )


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(module_database: str) -> AsyncIterator[Here]:
    """An App behind a gate, whose retries come at once."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="gate-") as folder:
        for module in ("worker", "publish"):
            patch.setattr(f"bot.{module}.delay_before_retry", lambda *_: 0.02)
        patch.setattr("bot.worker.POLL", 0.2)
        patch.setattr("bot.worker.random", SimpleNamespace(random=lambda: -0.9))  # a failed loop goes on after 0.1 s
        async with (
            database_gate(module_database, Path(folder)) as gate,
            running_line(gate.dsn) as line,
        ):
            pool = await open_pool(module_database, min_size=1, max_size=2)
            await open_course(line)
            rules = lab_file({"files": ["first/**"]}, {"files": ["never/**"]})
            await open_lab(line, LAB, {".forgea/steps.json": rules, "README.md": "A lab\n"})
            yield Here(line, gate, pool)
            await pool.close()


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(here: Here, tmp_path: Path) -> AsyncIterator[Learner]:
    """A learner who has just started the lab."""
    yield await enrol(here.line, LAB, tmp_path)
    here.sandbox.faults.clear()
    await here.heal()


async def work(learner: Learner) -> str:
    """Commit the first step and push it, without waiting for anything but GitHub's deliveries; the head."""
    head = await learner.build({"first/a.txt": b"a\n"}, "HEAD")
    await learner.clone.push(f"{head}:refs/heads/main")
    await learner.line.sandbox.idle()
    return head


async def judged_once(here: Here, learner: Learner, head: str) -> None:
    """The head is judged: one attempt, one check-run, one status, the step."""
    await here.line.settle()
    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    assert learner.told(head) == GREEN
    rows = [each for each in await learner.attempts() if each["after_sha"] == head]
    assert [row["verdict"] for row in rows] == ["accepted"]
    assert await learner.done() == {"s1"}
    dead = await here.pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'dead'")
    assert dead == 0


# ------------------------------------------------------------------------------------------------------------ H1 to H4


async def test_a_database_that_is_away_at_the_receipt(here: Here, learner: Learner) -> None:
    """A delivery that cannot be stored is answered with 503, so GitHub's log says so; redelivered, it is judged."""
    here.gate.shut()
    head = await work(learner)
    assert here.answer() == 503
    await here.gate.open()

    assert await here.redeliver() == 202
    await judged_once(here, learner, head)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "*/git/trees/*"), ("POST", "*/check-runs"), ("POST", "*/statuses/*")]
)
async def test_a_database_that_goes_between_claim_and_report(
    here: Here, learner: Learner, method: str, path: str
) -> None:
    """It goes while trees are read, while a check-run is posted, while a status is: one verdict and one report."""

    def go(_request: web.Request) -> None:
        here.gate.shut()

    gone = here.sandbox.faults.add(Fault(Scripted(go), method=method, path=path, repository=learner.repo_id, times=1))
    matched = asyncio.create_task(work(learner))
    async with asyncio.timeout(20):
        while not gone.matched:
            await asyncio.sleep(0.01)
    head = await matched
    await asyncio.sleep(0.1)  # what was in hand fails
    gone.remove()
    await here.gate.open()
    await here.end_leases()
    await judged_once(here, learner, head)


async def test_a_failover_to_a_server_that_takes_no_writes(here: Here, learner: Learner) -> None:
    """While the database is read-only deliveries are answered with 503, and nothing dies; then all goes on."""
    name = await here.pool.fetchval("SELECT current_database()")
    await here.pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await _end_all_but(here)
    head = await work(learner)
    assert here.answer() == 503
    await here.pool.execute(f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET ALL")
    await _end_all_but(here)

    assert await here.redeliver() == 202
    await judged_once(here, learner, head)


async def _end_all_but(here: Here) -> None:
    """End all connections to the database but the one that asks."""
    await here.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_pool_without_a_free_connection(here: Here, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot get a connection in time answers 503 while GitHub still listens; the delivery is not lost by that."""
    monkeypatch.setattr("bot.webhook.STORE_TIMEOUT", 0.1)
    async with AsyncExitStack() as held:
        for _ in range(here.line.pool.get_max_size()):
            await held.enter_async_context(here.line.pool.acquire())
        head = await work(learner)
        assert here.answer() == 503
    monkeypatch.undo()
    await here.line.settle()
    assert await here.redeliver() == 202
    await judged_once(here, learner, head)


# ------------------------------------------------------------------------------------------------------------- H5, H6

# Errors of a real server, raised by a trigger: a deadlock's victim, a serialization failure, a full disk (53100, which
# no test may cause for real on a disk that others use), time-outs.
STATES = {"deadlock": "40P01", "serialization": "40001", "disk full": "53100", "lock time-out": "55P03"}


@pytest.mark.parametrize("what", STATES)
async def test_a_write_that_the_server_refuses_for_now(here: Here, learner: Learner, what: str) -> None:
    """Refused at the receipt: 503. Refused at the verdict and when the report's id is stored: done again, once."""
    state = STATES[what]
    await here.raising("delivery", "INSERT", state, 1)
    await here.raising("push_attempt", "INSERT", state, 2)
    await here.raising("outbox", "UPDATE", state, 2)
    head = await work(learner)
    assert here.answer() == 503
    assert await here.redeliver() == 202
    async with asyncio.timeout(20):
        while await here.pool.fetchval("SELECT last_value FROM refused_outbox") < 3:
            await here.pool.execute("UPDATE outbox SET leased_until = now() WHERE leased_until IS NOT NULL")
            await asyncio.sleep(0.05)
    assert await here.refused("delivery") >= 2
    assert await here.refused("push_attempt") >= 3
    assert await here.refused("outbox") >= 3
    await here.end_leases()
    await judged_once(here, learner, head)


# ----------------------------------------------------------------------------------------------------------------- H7


async def test_a_migration_while_replicas_run(here: Here, learner: Learner, tmp_path: Path) -> None:
    """Columns come to the busiest tables while pushes are judged: statements that were prepared before go on."""
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / "0900_columns.sql").write_text(
        "".join(f"ALTER TABLE {name} ADD COLUMN later text;" for name in ("lab_session", "delivery", "outbox", "lane"))
    )
    await learner.push({"first/a.txt": "a\n"})
    pushes = asyncio.create_task(_push_often(learner, 6))
    assert await migrate(here.gate.dsn, folder=folder) == ["0900_columns"]
    heads = await pushes
    await check_schema(here.pool)  # an old replica may start now, too
    await here.line.settle()

    assert learner.told(heads[-1]) == GREEN
    states = await here.pool.fetch("SELECT DISTINCT state, attempts FROM delivery WHERE repo_id = $1", learner.repo_id)
    assert {row["state"] for row in states} <= {"done", "superseded"}
    await here.pool.execute(
        "".join(f"ALTER TABLE {name} DROP COLUMN later;" for name in ("lab_session", "delivery", "outbox", "lane"))
        + "DELETE FROM schema_migration WHERE number = 900"
    )


async def _push_often(learner: Learner, count: int) -> list[str]:
    heads = []
    for number in range(count):
        heads.append(await learner.clone.commit({f"first/{number}.txt": "x\n"}))
        await learner.clone.push("HEAD")
    return heads


# ---------------------------------------------------------------------------------------------------------------- H10


@pytest.mark.timeout(900)
async def test_old_deliveries_cost_nothing(fresh_database: str) -> None:
    """However many deliveries were processed: to store, to find again, to claim, to finish and to forget looks at a few
    rows each. (1,000,000 of them in `make soak`.)
    """
    pool = await open_pool(fresh_database, min_size=1, max_size=1)
    try:
        await pool.execute("SET statement_timeout = 0")
        await pool.execute(
            "INSERT INTO delivery (guid, event, lane_id, payload, received_at, state, outcome, attempts, finished_at) "
            "SELECT gen_random_uuid(), 'push', 'repo:' || n % 5000, NULL, now() - interval '30 days', 'done', "
            "'accepted', 1, now() - interval '30 days' FROM generate_series(1, $1::int) AS n",
            OLD_DELIVERIES,
            timeout=600,
        )
        await pool.execute("INSERT INTO lane (lane_id) SELECT DISTINCT lane_id FROM delivery ON CONFLICT DO NOTHING")
        await pool.execute("ANALYZE delivery; ANALYZE lane")
        before = await _rows_read(pool)
        fresh = [_delivery(number) for number in range(10)]
        assert await inbox.record(pool, fresh) == [True] * 10
        assert await inbox.record(pool, fresh) == [False] * 10, "the window of redeliveries is kept"
        for _ in range(10):
            lane = await lanes.claim(pool, "test", timedelta(seconds=30))
            assert isinstance(lane, Lane)
            (waiting,) = await inbox.waiting(pool, lane)
            await inbox.started(pool, lane, [waiting.inbox_id])
            await inbox.finish(pool, lane, [waiting.inbox_id], "done", "accepted")
            assert await lanes.release(pool, lane)
        assert await lanes.next_due(pool) is None
        assert await inbox.dead_letters(pool) == ()
        assert await inbox.forget_bodies(pool, timedelta(days=8)) == 0
        assert await retention.forget_dead_bodies(pool) == 0
        logged = [recovery.Missed(each.guid, each.event, 1, None, None, None, datetime.now(UTC)) for each in fresh]
        assert await recovery.note(pool, logged) == 0, "none of them is missing"
        read = {name: count - before[name] for name, count in (await _rows_read(pool)).items()}
    finally:
        await pool.close()
    assert read["delivery"] < 1_000, read
    assert read["lane"] < 20_000, read


def _delivery(number: int) -> NewDelivery:
    return NewDelivery(uuid4(), "push", None, 1, number, f"repo:{number}", b"{}")


async def _rows_read(pool: Pool) -> dict[str, int]:
    """How many rows (of tables, and entries of their indexes) were looked at so far."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    rows = await pool.fetch(
        "SELECT relname, seq_tup_read + coalesce((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS i "
        "WHERE i.relid = t.relid), 0) AS seen FROM pg_stat_user_tables AS t WHERE relname IN ('delivery', 'lane')"
    )
    return {row["relname"]: int(row["seen"]) for row in rows}
