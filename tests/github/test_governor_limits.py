"""Limits that GitHub sets, met by one process and kept by all: two governors on one database, and GitHub's answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from github.errors import RateLimited
from github.governor_shared import SharedGovernor
from github.transport import Credential, Request, Transport
from storage.budgets import Budgets
from storage.database import Pool, open_pool
from tests.support.fault_server import FaultServer, Reply

TOKEN = Credential("token", SecretStr("a token"))
READ = Request("GET", "thing")
WRITE = Request("POST", "thing", body={}, repeatable=False)
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
OLD_TEXT = {"message": "You have triggered an abuse detection mechanism. Please wait a few minutes."}
FINE = Reply(data={"id": 1})


@pytest.fixture(name="pool")
async def _pool(fresh_database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(fresh_database, min_size=1, max_size=4)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture(name="processes")
def _processes(pool: Pool, server: FaultServer, http: aiohttp.ClientSession) -> tuple[Transport, Transport]:
    """Two processes, as GitHub sees them."""
    first, second = (SharedGovernor(Budgets(pool), holder, 0.0) for holder in ("a", "b"))
    return Transport(http, server.url, first), Transport(http, server.url, second)


@pytest.mark.parametrize(
    ("reply", "least", "most"),
    [
        (Reply(403, SECONDARY), 59, 60),
        (Reply(429, SECONDARY), 59, 60),
        (Reply(403, OLD_TEXT), 59, 60),
        (Reply(429, {"message": "slow down"}), 59, 60),
        (Reply(429, {}, {"retry-after": "17"}), 16, 17),
        (Reply(403, SECONDARY, {"retry-after": "300"}), 299, 300),
    ],
)
async def test_a_secondary_limit_stops_the_installation_in_every_process(
    server: FaultServer, processes: tuple[Transport, Transport], reply: Reply, least: float, most: float
) -> None:
    """With and without Retry-After, by either status and text: nothing of that installation is sent by anybody."""
    first, second = processes
    server.on("POST", "/thing", reply, FINE)
    server.on("GET", "/thing", FINE)
    with pytest.raises(RateLimited) as met:
        await first.send(WRITE, TOKEN, 1)
    assert least - 5 < (met.value.retry_after or 0) <= most
    seen = len(server.seen)
    for process in (first, second):
        with pytest.raises(RateLimited) as refused:
            await process.send(WRITE, TOKEN, 1)
        assert least - 5 < (refused.value.retry_after or 0) <= most
        assert refused.value.kind == "secondary"
    assert len(server.seen) == seen
    await second.send(WRITE, TOKEN, 2)  # another installation goes on


async def test_retry_after_may_be_a_date(server: FaultServer, processes: tuple[Transport, Transport]) -> None:
    """The time of an HTTP date counts from the answer's own Date."""
    now = time.time() - 10_000
    headers = {"retry-after": formatdate(now + 90, usegmt=True), "date": formatdate(now, usegmt=True)}
    server.on("POST", "/thing", Reply(403, SECONDARY, headers))
    with pytest.raises(RateLimited) as met:
        await processes[0].send(WRITE, TOKEN, 1)
    assert 88 < (met.value.retry_after or 0) <= 91
    with pytest.raises(RateLimited):
        await processes[1].send(WRITE, TOKEN, 1)


def budget(remaining: int, limit: int | None, reset: float = 2400) -> dict[str, str]:
    """Headers of the primary limit."""
    headers = {"x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": str(int(time.time() + reset))}
    return headers | ({"x-ratelimit-limit": str(limit)} if limit is not None else {})


@pytest.mark.parametrize(
    ("headers", "silent"),
    [
        (lambda: budget(0, 5000), True),
        (lambda: budget(100, 5000), True),
        (lambda: budget(101, 5000), False),
        (lambda: budget(150, 15_000), False),
        (lambda: budget(2, 60), False),
        (lambda: budget(1, 60), True),
        (lambda: budget(0, None), True),
        (lambda: budget(1, None), False),
        (dict, False),
    ],
)
async def test_a_reserve_of_the_hourly_budget_is_left_alone(
    server: FaultServer, processes: tuple[Transport, Transport], headers: Any, silent: bool
) -> None:
    """As many requests as may be under way stay unused, so that none is refused; a server without limits has no end."""
    first, second = processes
    server.on("POST", "/thing", Reply(data={"id": 1}, headers=headers()))
    await first.send(WRITE, TOKEN, 1)
    for process in (first, second):
        if not silent:
            await process.send(WRITE, TOKEN, 1)
            continue
        with pytest.raises(RateLimited) as refused:
            await process.send(WRITE, TOKEN, 1)
        assert refused.value.kind == "primary"
        assert 2300 < (refused.value.retry_after or 0) < 2500


async def test_a_reset_in_the_past_ends_at_once(server: FaultServer, processes: tuple[Transport, Transport]) -> None:
    """A reset that lies behind GitHub's own Date means a second, whatever our clock says."""
    server.on("POST", "/thing", Reply(data={"id": 1}, headers=budget(0, 5000, reset=-30)))
    await processes[0].send(WRITE, TOKEN, 1)
    with pytest.raises(RateLimited) as refused:
        await processes[0].send(WRITE, TOKEN, 1)
    assert (refused.value.retry_after or 0) <= 1


async def test_what_a_request_costs_is_told_with_its_endpoint(
    server: FaultServer, http: aiohttp.ClientSession, pool: Pool
) -> None:
    """Writes cost five points of their path's endpoint, reads one, making a token five though it may be repeated."""
    governor = SharedGovernor(Budgets(pool), "a", 0.0)
    transport = Transport(http, f"{server.url}/api/v3", governor)
    for path in ("repos/o/one/check-runs", "repos/o/two/check-runs", "app/installations/7/access_tokens"):
        server.on("POST", f"/api/v3/{path}", FINE)
    server.on("GET", "/api/v3/repos/o/one", FINE)
    await transport.send(Request("POST", "repos/o/one/check-runs", body={}, repeatable=False), TOKEN, 1)
    await transport.send(Request("POST", "repos/o/two/check-runs", body={}, repeatable=False), TOKEN, 1)
    await transport.send(Request("POST", "app/installations/7/access_tokens"), TOKEN, 1)
    await transport.send(Request("GET", f"{server.url}/api/v3/repos/o/one?page=2"), TOKEN, 1)
    now = time.time()
    used = {name: known.all.used(now) for name, known in governor._states[1].endpoints.items()}
    assert used == {"repos/{}/{}/check-runs": 10, "app/installations/{}/access_tokens": 5, "repos/{}/{}": 1}
    written = await pool.fetchval(
        "SELECT (SELECT sum(used) FROM unnest(w.used) AS used) FROM github_window AS w WHERE name LIKE '%check-runs'"
    )
    assert written == 10
