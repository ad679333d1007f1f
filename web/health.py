"""Probes for hosts: /healthz tells that the process lives, /readyz whether it can do its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from github.client import GitHubApp
from github.errors import GitHubError, Misconfigured, Unauthorized
from storage.database import Pool, check_schema
from storage.errors import StorageError
from storage.health import last_delivery_age
from web.access import Rule, add_route

log = structlog.get_logger(__name__)

# Hosts give a probe a few seconds; an answer that comes later counts as none.
PROBE_TIMEOUT = 3.0
# A probe comes every few seconds; GitHub's answer about our key does not change that often.
ASK_GITHUB_EVERY = 60.0

# A probe returns None when all is well, else a word or a sentence that may be shown to anybody.
Probe = Callable[[], Awaitable[str | None]]
# A fact is a number to look at, or None; it never makes a process unready. A fact that cannot be had is None.
Fact = Callable[[], Awaitable[float | None]]


async def _result(name: str, probe: Probe) -> str | None:
    try:
        return await asyncio.wait_for(probe(), PROBE_TIMEOUT)
    except TimeoutError:
        return "no answer in time"
    except Exception as error:
        log.warning("probe_failed", probe=name, error=repr(error))
        return "failed; see the log"  # details may hold addresses: they are for the operator only


async def _figure(fact: Fact) -> float | None:
    try:
        figure = await asyncio.wait_for(fact(), PROBE_TIMEOUT)
    except Exception:  # the probe of the same thing tells
        return None
    return None if figure is None else round(figure, 1)


def add_routes(app: web.Application, probes: Mapping[str, Probe], facts: Mapping[str, Fact] | None = None) -> None:
    """Mount GET /healthz and /readyz: 200 if every probe is well, else 503 with the words of those that are not.

    /readyz also tells the `facts`.
    """
    told = facts or {}

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        results, figures = await asyncio.gather(
            asyncio.gather(*(_result(name, probe) for name, probe in probes.items())),
            asyncio.gather(*(_figure(fact) for fact in told.values())),
        )
        checks = dict(zip(probes, results, strict=True))
        ready = not any(checks.values())
        body = {
            "status": "ready" if ready else "not ready",
            "checks": {name: result or "ok" for name, result in checks.items()},
            **dict(zip(told, figures, strict=True)),
        }
        return web.json_response(body, status=200 if ready else 503)

    add_route(app, "GET", "/healthz", healthz, Rule.UNGUARDED)
    add_route(app, "GET", "/readyz", readyz, Rule.UNGUARDED)


def database_is_ready(pool: Pool) -> Probe:
    """Probe: the database answers and has a schema that this version of Stepgate understands."""

    async def probe() -> str | None:
        try:
            await check_schema(pool)
        except StorageError as error:
            return str(error)
        return None

    return probe


def last_delivery(pool: Pool) -> Fact:
    """Fact: seconds since GitHub's newest delivery was stored. A quiet class is ready: alerts look at it, not hosts."""
    return lambda: last_delivery_age(pool)


def github_accepts_us(github: GitHubApp, *, clock: Callable[[], float] = time.monotonic) -> Probe:
    """Probe: GitHub accepts the App's JWT. Asked once in ASK_GITHUB_EVERY seconds.

    Only a refusal counts: when GitHub itself is away, deliveries must still be received and stored.
    """
    asked_at, last = float("-inf"), ""

    async def probe() -> str | None:
        nonlocal asked_at, last
        if clock() - asked_at >= ASK_GITHUB_EVERY:
            asked_at = clock()
            try:
                await github.app()
                last = ""
            except (Misconfigured, Unauthorized) as error:
                log.warning("github_refuses_us", error=str(error))
                last = "GitHub refuses the App's id or key"
            except GitHubError as error:
                log.info("github_not_asked", error=str(error))
        return last or None

    return probe
