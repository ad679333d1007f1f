"""The seven invariants that hold after every test in which the App runs, whatever the test is about.

`running_line` and `running_course` check them when the test's own assertions have held. A test that breaks one on
purpose says so: `line.invariants.waive("I2", "the reason")`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from sandbox import Sandbox
from sandbox.exchanges import Exchange
from storage.database import Pool
from tests.support.oracle_check import disagreements

NAMES = {
    "I1": "no stored push is without a final decision, or a lane in which it will get one",
    "I2": "at most one live check run for each repository, head and session",
    "I3": "every decision is the oracle's, computed from the git graph",
    "I4": "no success on a head that was not accepted",
    "I5": "no secret or token in logs, texts of the database, or answers",
    "I6": "no request to a host outside of the allow list",
    "I7": "a limit of GitHub's is waited for, and no endpoint gets more points a minute than it allows",
}

# GitHub's tokens, JWTs and private keys by their looks: whatever a test's own values are.
_CREDENTIAL = re.compile(
    r"gh[suopr]_[A-Za-z0-9_.-]{30,}|eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
# Requests that were under way when a limit was answered.
_UNDER_WAY = 1.0
_POINTS_A_MINUTE = 900  # of each endpoint; reads 1, writes 5 (GitHub docs, rate limits for the REST API)
# A check run's external id, as rules.report has it: session, head, version, digest; of a repeated one a number more.
_EXTERNAL_ID = re.compile(r"([0-9a-f-]{36}):([0-9a-f]{40}):\d+:[0-9a-f]{16}(?::\d+)?")
_NOBODY = UUID(int=0)


@dataclass
class Invariants:
    """What was seen while the App ran. `secrets`: what it was given; `allowed`: ports of 127.0.0.1 it may speak to."""

    secrets: set[str] = field(default_factory=set)
    allowed: set[int] = field(default_factory=set)
    waived: dict[str, str] = field(default_factory=dict)
    asked: set[URL] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def waive(self, name: str, reason: str) -> None:
        """This test breaks the invariant on purpose. `reason`: how."""
        assert name in NAMES, name
        assert len(reason) > 10, "say why"
        self.waived[name] = reason

    async def check(self, pool: Pool, sandbox: Sandbox, logs: Path | None = None) -> None:
        """Fail if any invariant is broken. `logs`: a folder in which processes of the App have left *.log files."""
        self.logged += [file.read_text() for file in sorted(logs.glob("*.log"))] if logs is not None else []
        checks: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "I1": lambda: _undecided(pool),
            "I2": lambda: _several_runs(pool, sandbox),
            "I3": lambda: disagreements(pool, sandbox),
            "I4": lambda: _undeserved(pool, sandbox),
            "I5": lambda: self._leaks(pool),
            "I6": self._strays,
            "I7": lambda: _hurries(sandbox),
        }
        broken = {
            name: found[:5] for name, look in checks.items() if name not in self.waived and (found := await look())
        }
        assert not broken, "\n".join(f"{name}, {NAMES[name]}: {found}" for name, found in broken.items())

    # ------------------------------------------------------------------------------------------------- watching

    def client(self) -> aiohttp.ClientSession:
        """The App's client of GitHub, whose requests are remembered."""
        trace = aiohttp.TraceConfig()

        async def asked(_session: Any, _context: Any, params: aiohttp.TraceRequestStartParams) -> None:
            self.asked.add(params.url.origin())

        trace.on_request_start.append(asked)
        trace.on_request_redirect.append(self._redirected)
        return aiohttp.ClientSession(trace_configs=[trace])

    async def _redirected(self, _session: Any, _context: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
        location = params.response.headers.get("Location", "")
        self.asked.add(params.url.join(URL(location)).origin())

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Remembers an answer that shows a secret."""
        response = await handler(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            text = f"{dict(response.headers)} {response.body.decode(errors='replace')}"
            if self._is_leak(text):
                self.shown.append(f"{request.method} {request.path}")
        return response

    @contextmanager
    def watching_logs(self) -> Iterator[None]:
        """Remembers lines of logs, unless the test itself says where these go."""
        if structlog.is_configured():
            yield
            return
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=repr),
            ],
            logger_factory=lambda *_: structlog.PrintLogger(_Tee(self.logged)),  # type: ignore[arg-type]
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.reset_defaults()

    # ------------------------------------------------------------------------------------------------- I5 and I6

    def _is_leak(self, text: str) -> bool:
        return _CREDENTIAL.search(text) is not None or any(secret in text for secret in self.secrets)

    async def _leaks(self, pool: Pool) -> list[str]:
        found = [f"log: {line[:300]}" for line in self.logged if self._is_leak(line)]
        found += [f"answer: {path}" for path in self.shown]
        return found + await _leaking_columns(pool, self.secrets)

    async def _strays(self) -> list[str]:
        return [str(url) for url in self.asked if url.host != "127.0.0.1" or url.port not in self.allowed]


class _Tee:
    """A file that remembers what is written, and writes it to the standard output as it is now."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.append(text)
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def secrets_of(sandbox: Sandbox, *more: str) -> set[str]:
    """What the App is given by this GitHub, and `more`."""
    pem = sandbox.private_key_pem.splitlines()
    return {pem[len(pem) // 2], sandbox.client_secret, *more} - {""}


def port_of(url: str) -> int:
    """The port of a URL on loopback."""
    return int(URL(url).port or 0)


# ------------------------------------------------------------------------------------------------------- the database


async def _undecided(pool: Pool) -> list[str]:
    """Pushes that nobody will decide, or whose decision is not in the ledger."""
    rows = await pool.fetch(
        "SELECT d.guid, d.state, d.outcome, d.last_error FROM delivery AS d LEFT JOIN lane AS l USING (lane_id)"
        " WHERE d.event = 'push' AND CASE d.state"
        "  WHEN 'waiting' THEN coalesce(l.due_at, l.leased_until) IS NULL"
        "  WHEN 'dead' THEN d.last_error IS NULL AND d.outcome IS NULL"
        "  ELSE d.outcome IS NULL OR (d.outcome IN ('accepted', 'blocked', 'preview', 'superseded')"
        "   AND NOT EXISTS (SELECT FROM push_attempt AS a WHERE a.delivery_id = d.guid)) END"
    )
    return [str(dict(row)) for row in rows]


async def _leaking_columns(pool: Pool, secrets: set[str]) -> list[str]:
    """Columns of text in which a secret is. (Bodies of deliveries are GitHub's, and bytes.)"""
    columns = await pool.fetch(
        "SELECT table_name, string_agg(format('%I::text', column_name), ', ') AS columns"
        " FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type IN ('text', 'jsonb', 'json', 'ARRAY', 'character varying')"
        " AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public') GROUP BY table_name"
    )
    one = "SELECT '{0}' AS name WHERE EXISTS (SELECT FROM \"{0}\" WHERE concat_ws(' ', {1}) ~ $1)"
    query = " UNION ALL ".join(one.format(row["table_name"], row["columns"]) for row in columns)
    looks = r"gh[suopr]_[A-Za-z0-9_.-]{30,}|eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.|BEGIN [A-Z ]*PRIVATE KEY"
    pattern = "|".join([looks, *(re.sub(r"([^\w-])", r"\\\1", secret) for secret in sorted(secrets))])
    return [f"table {row['name']}" for row in await pool.fetch(query, pattern)]


# ------------------------------------------------------------------------------------------------------------- GitHub


def _runs(sandbox: Sandbox) -> Iterator[tuple[Any, UUID]]:
    """Our check runs on repositories that there are, in their order, each with the session that it names."""
    state = sandbox._state
    for run in sorted(state.check_runs.values(), key=lambda run: run.id):
        named = _EXTERNAL_ID.fullmatch(run.external_id or "")
        if run.app_id is None and named is not None and run.repository_id in state.repositories:
            yield run, UUID(named[1])


async def _several_runs(pool: Pool, sandbox: Sandbox) -> list[str]:
    """Heads with two runs of one report, with an open one, or whose newest is not what we believe is shown."""
    runs: defaultdict[tuple[int, str, UUID], list[Any]] = defaultdict(list)
    for run, session in _runs(sandbox):
        runs[run.repository_id, run.head_sha, session].append(run)
    found = []
    for (repo_id, sha, session), several in runs.items():
        # A report that comes back after another one is posted anew: only then is it the one that GitHub shows.
        found += [f"twice: {repo_id} {sha} {one.external_id}" for one, then in pairwise(several) if _equal(one, then)]
        found += [f"open: {repo_id} {sha} {run.id}" for run in several if run.status != "completed"]
        newest = max(run.id for run in several)
        known = await pool.fetchval(
            "SELECT max(check_run_id) FROM outbox WHERE repo_id = $1 AND head_sha = $2 AND session_id = $3"
            " HAVING bool_and(state = 'sent')",
            repo_id,
            sha,
            session,
        )
        if known is not None and known != newest:
            found.append(f"shown is {newest}, known is {known}: {repo_id} {sha}")
    return found


def _equal(one: Any, then: Any) -> bool:
    return bool(one.external_id == then.external_id)


async def _undeserved(pool: Pool, sandbox: Sandbox) -> list[str]:
    """Heads that are green at GitHub, and that were never accepted, or were refused since."""
    newest = {(run.repository_id, run.head_sha, session): run for run, session in _runs(sandbox)}
    found = []
    for (repo_id, sha, session), run in newest.items():
        if run.conclusion != "success" or session == _NOBODY:
            continue
        said = await pool.fetch(
            "SELECT a.verdict FROM push_attempt AS a WHERE session_id = $1 AND after_sha = $2"
            " AND verdict IN ('accepted', 'blocked', 'preview') ORDER BY attempt_id DESC LIMIT 1",
            session,
            sha,
        )
        pending = await pool.fetchval(
            "SELECT EXISTS (SELECT FROM outbox WHERE repo_id = $1 AND head_sha = $2 AND state <> 'sent')"
            " OR NOT EXISTS (SELECT FROM lab_session WHERE session_id = $3)",
            repo_id,
            sha,
            session,
        )
        if not pending and (not said or said[0]["verdict"] == "blocked"):
            found.append(f"{repo_id} {sha} of session {session}: {[row['verdict'] for row in said]}")
    rows = await pool.fetch(
        "SELECT repo_id, head_sha FROM outbox"
        " WHERE state = 'sent' AND conclusion = 'failure' AND sent_status_state = 'success' AND NOT status_over"
        " AND status IS NOT NULL"
    )
    return found + [f"a green status beside a failure: {row['repo_id']} {row['head_sha']}" for row in rows]


async def _hurries(sandbox: Sandbox) -> list[str]:
    """Requests within the time of a limit, and minutes in which an endpoint got more points than it has."""
    until: defaultdict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    spent: defaultdict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)
    found = []
    for exchange in sandbox.exchanges:
        caller = exchange.caller
        if not caller.startswith("installation"):
            continue
        since, end = until[caller]
        if since + _UNDER_WAY < exchange.at < end:
            found.append(f"{exchange.method} {exchange.path} {end - exchange.at:.1f} s before a limit's end")
        if (pause := _pause_of(exchange)) > 0:
            until[caller] = exchange.at, max(end, exchange.at + pause)
        minute = spent[caller, exchange.operation]
        minute.append((exchange.at, 1 if exchange.method == "GET" else 5))
        while minute[0][0] <= exchange.at - 60:
            minute.popleft()
        if (points := sum(cost for _, cost in minute)) > _POINTS_A_MINUTE:
            found.append(f"{exchange.operation} had {points} points in a minute")
    return found


def _pause_of(exchange: Exchange) -> float:
    """For how many seconds an answer asks for silence: 0 if it is none of a limit."""
    headers = exchange.response_headers
    if exchange.status not in (403, 429):
        return 0.0
    if headers.get("Retry-After", "").isdigit():
        return float(headers["Retry-After"])
    if headers.get("X-RateLimit-Remaining") == "0" and headers.get("X-RateLimit-Reset", "").isdigit():
        return float(headers["X-RateLimit-Reset"]) - exchange.at
    return 0.0
