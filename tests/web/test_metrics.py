"""/metrics: for whom it is, and what it says with and without a database."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from storage.health import Backlog
from web import access, metrics
from web.metrics import Monitoring

TOKEN = "7d1f0c2b9a8e6534f1d0"
QUIET = Backlog(
    due=0,
    put_off=3,
    oldest_due=None,
    oldest_put_off=40.5,
    dead_letters=2,
    reports={"wanted": 1, "failed": 0},
    overdue=12.0,
    sessions={"IN_PROGRESS": 5},
    unsealed=None,
    last_delivery=None,
    paused={"secondary": 1},
    slowed=1,
    schedules={"stepgate-audit": 61.0},
    missing={"waiting": 4, "given_up": 0},
    oldest_missing=90.0,
    log_read=None,
)

Client = TestClient[web.Request, web.Application]


class Database:
    """Answers measurements as told, and counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    async def measure(self) -> Backlog:
        """The measurement, or the error."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return QUIET


async def served(aiohttp_client: AiohttpClient, database: Database, token: str | None, now: list[float]) -> Client:
    """A client of an application with /metrics; `now`: its clock."""
    app = web.Application()
    app[access.RULES] = {}
    metrics.add_routes(app, Monitoring(database.measure, token), clock=lambda: now[0])
    client: Client = await aiohttp_client(app)
    return client


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        (None, {}, 200),
        (None, {"X-Forwarded-For": "203.0.113.7"}, 403),
        (None, {"Host": "stepgate.example.com"}, 403),
        (None, {"Host": "stepgate.example.com", "Authorization": "Bearer "}, 403),
        (TOKEN, {}, 200),
        (TOKEN, {"Host": "stepgate.example.com"}, 401),
        (TOKEN, {"Host": "stepgate.example.com", "Authorization": f"Bearer {TOKEN}"}, 200),
        (TOKEN, {"Host": "stepgate.example.com", "Authorization": f"bearer  {TOKEN}"}, 200),
        (TOKEN, {"Host": "stepgate.example.com", "Authorization": f"Bearer {TOKEN}x"}, 401),
        (TOKEN, {"Host": "stepgate.example.com", "Authorization": f"Basic {TOKEN}"}, 401),
        (TOKEN, {"Host": "stepgate.example.com", "Authorization": "Bearer sch\u00fc\u00df"}, 401),
        (TOKEN, {"X-Forwarded-For": "203.0.113.7"}, 401),
    ],
)
async def test_for_whom_it_is(
    aiohttp_client: AiohttpClient, token: str | None, headers: dict[str, str], status: int
) -> None:
    """This machine is answered, whoever comes from elsewhere needs the token, and without a token nobody does."""
    client = await served(aiohttp_client, Database(), token, [0.0])

    answer = await client.get("/metrics", headers=headers)

    assert answer.status == status
    text = await answer.text()
    assert ("stepgate_" in text) == (status == 200)
    assert TOKEN not in text
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)


async def test_prometheus_can_read_it(aiohttp_client: AiohttpClient) -> None:
    """The text is Prometheus' format; ages that there are not are 0, an unknown one is not told."""
    client = await served(aiohttp_client, Database(), None, [0.0])

    answer = await client.get("/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(await answer.text())
        for sample in family.samples
    }

    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert samples["stepgate_database_up",] == 1
    assert samples["stepgate_queue_oldest_seconds", "due"] == 0
    assert samples["stepgate_queue_oldest_seconds", "put_off"] == 40.5
    assert samples["stepgate_dead_letters",] == 2
    assert samples["stepgate_open_sessions", "STUCK"] == 0
    assert samples["stepgate_installations_paused", "primary"] == 0
    assert samples["stepgate_installations_paused", "secondary"] == 1
    assert samples["stepgate_schedule_age_seconds", "stepgate-audit"] == 61
    assert (samples["stepgate_delivery_gap", "waiting"], samples["stepgate_delivery_gap_seconds",]) == (4, 90)
    assert ("stepgate_last_delivery_seconds",) not in samples
    assert ("stepgate_delivery_log_age_seconds",) not in samples
    assert ("process_cpu_seconds_total",) in samples


async def test_without_the_database_it_still_answers(aiohttp_client: AiohttpClient) -> None:
    """What the process counts is told, and that the database is away; no old figure is shown as if it were new."""
    database, now = Database(), [0.0]
    client = await served(aiohttp_client, database, None, now)
    assert "stepgate_dead_letters 2.0" in await (await client.get("/metrics")).text()
    database.error, now[0] = ConnectionError("postgresql://stepgate:hunter22@db refused"), 60.0

    answer = await client.get("/metrics")
    text = await answer.text()

    assert answer.status == 200
    assert "stepgate_database_up 0.0" in text
    assert "stepgate_dead_letters" not in text
    assert "process_cpu_seconds_total" in text
    assert "hunter22" not in text


async def test_many_scrapes_are_one_measurement(aiohttp_client: AiohttpClient) -> None:
    """However many ask at a time, the database is asked once in some seconds."""
    database, now = Database(), [0.0]
    client = await served(aiohttp_client, database, None, now)

    await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
    assert database.asked == 1
    now[0] += metrics.MEASURE_EVERY
    await client.get("/metrics")
    assert database.asked == 2


async def test_a_database_that_hangs_holds_up_no_scrape(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape is answered within its time although the database never answers."""
    monkeypatch.setattr(metrics, "DATABASE_TIMEOUT", 0.05)

    async def hangs() -> Backlog:
        await asyncio.sleep(60)
        return QUIET

    app = web.Application()
    app[access.RULES] = {}
    metrics.add_routes(app, Monitoring(hangs))
    client = await aiohttp_client(app)

    assert "stepgate_database_up 0.0" in await (await client.get("/metrics")).text()
