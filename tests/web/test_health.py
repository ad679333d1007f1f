"""Probes: /healthz tells that the process lives, /readyz what it lacks."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from github.client import GitHubApp
from github.errors import Misconfigured, Transient, Unauthorized
from storage.database import open_pool
from web import access, health


async def ask(client: AiohttpClient, path: str, **probes: health.Probe) -> tuple[int, object]:
    """Status and JSON of a probe's address on an application with these probes."""
    app = web.Application()
    app[access.RULES] = {}
    health.add_routes(app, probes)
    answer = await (await client(app)).get(path)
    return answer.status, await answer.json()


async def fine() -> str | None:
    """All is well."""
    return None


async def old() -> str | None:
    """Something is wrong that may be told."""
    return "the schema is too old"


async def broken() -> str | None:
    """Something is wrong that may not be told."""
    raise ConnectionError("postgresql://stepgate:hunter22@db.example.com refused")


async def test_healthz_asks_nobody(aiohttp_client: AiohttpClient) -> None:
    """A process that lives is healthy whatever is around it: restarting it would not help."""
    assert await ask(aiohttp_client, "/healthz", database=broken) == (200, {"status": "ok"})


async def test_readyz_when_all_is_well(aiohttp_client: AiohttpClient) -> None:
    """Every probe well: 200."""
    assert await ask(aiohttp_client, "/readyz", database=fine, github=fine) == (
        200,
        {"status": "ready", "checks": {"database": "ok", "github": "ok"}},
    )


async def test_readyz_tells_figures_that_never_make_it_unready(aiohttp_client: AiohttpClient) -> None:
    """A fact is told as a number, or as unknown when it cannot be had; neither changes the answer's status."""

    async def long_ago() -> float | None:
        return 86_400.04

    async def unknown() -> float | None:
        raise ConnectionError("postgresql://stepgate:hunter22@db.example.com refused")

    app = web.Application()
    app[access.RULES] = {}
    health.add_routes(app, {"database": fine}, {"last_delivery_seconds": long_ago, "other": unknown})
    answer = await (await aiohttp_client(app)).get("/readyz")

    assert (answer.status, await answer.json()) == (
        200,
        {"status": "ready", "checks": {"database": "ok"}, "last_delivery_seconds": 86_400.0, "other": None},
    )


async def test_readyz_names_what_is_wrong(aiohttp_client: AiohttpClient) -> None:
    """One probe not well: 503 with its words, the others as they are."""
    assert await ask(aiohttp_client, "/readyz", database=old, github=fine) == (
        503,
        {"status": "not ready", "checks": {"database": "the schema is too old", "github": "ok"}},
    )


async def test_readyz_keeps_details_to_the_log(aiohttp_client: AiohttpClient) -> None:
    """An unexpected error is not shown to whoever asks."""
    status, body = await ask(aiohttp_client, "/readyz", database=broken)

    assert status == 503
    assert "hunter22" not in str(body)
    assert "see the log" in str(body)


async def test_a_probe_that_hangs_counts_as_none(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host waits a few seconds only: so do we."""
    monkeypatch.setattr(health, "PROBE_TIMEOUT", 0.05)

    async def hangs() -> str | None:
        await asyncio.sleep(60)
        return None

    status, body = await ask(aiohttp_client, "/readyz", database=hangs)

    assert (status, body) == (503, {"status": "not ready", "checks": {"database": "no answer in time"}})


async def test_the_database_probe(fresh_database: str, postgres_dsn: str) -> None:
    """A migrated database is ready; one without our schema says what to run."""
    migrated = await open_pool(fresh_database, min_size=1, max_size=1)
    bare = await open_pool(postgres_dsn, min_size=1, max_size=1)
    try:
        assert await health.database_is_ready(migrated)() is None
        assert "app.py migrate" in str(await health.database_is_ready(bare)())
    finally:
        await migrated.close()
        await bare.close()


class FakeGitHub:
    """Answers GET /app as told and counts how often."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.asked = 0

    async def app(self) -> None:
        """The App as GitHub knows it, or the error."""
        self.asked += 1
        if self.error is not None:
            raise self.error


def github(error: Exception | None) -> tuple[FakeGitHub, GitHubApp]:
    """A fake, and the same as the client's type."""
    fake = FakeGitHub(error)
    return fake, fake  # type: ignore[return-value]


@pytest.mark.parametrize("error", [Unauthorized("401"), Misconfigured("no key")])
async def test_a_refused_key_is_not_ready(error: Exception) -> None:
    """GitHub refuses id or key: nothing can be reported, and the operator must act."""
    _, app = github(error)

    assert await health.github_accepts_us(app)() == "GitHub refuses the App's id or key"


@pytest.mark.parametrize("error", [None, Transient("502")])
async def test_github_being_away_is_no_reason_to_refuse_deliveries(error: Exception | None) -> None:
    """A GitHub that answers, or is away, leaves us ready to receive."""
    _, app = github(error)

    assert await health.github_accepts_us(app)() is None


async def test_github_is_asked_once_a_minute() -> None:
    """Probes come every few seconds; the answer is remembered."""
    now = 100.0
    fake, app = github(Unauthorized("401"))
    probe = health.github_accepts_us(app, clock=lambda: now)

    assert [await probe(), await probe()] == ["GitHub refuses the App's id or key"] * 2
    assert fake.asked == 1
    now += health.ASK_GITHUB_EVERY
    fake.error = None
    assert await probe() is None
    assert fake.asked == 2
