"""Deliveries as GitHub or an attacker sends them, and a small world that they arrive in."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import structlog
from aiohttp import web

from sandbox import Repository
from storage.inbox import NewDelivery
from tests.support.githost import fast_import, run, seed
from tests.support.line import SECRET, TEMPLATE, Line, register_lab, running_line

EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"
ZERO = "0" * 40

#: What a learner pushes, one commit each: three steps, then an optional one, then a note that is nobody's step.
WORK: tuple[dict[str, str | bytes], ...] = (
    {"report/bug.md": "Expected: 2\nActual: 3\n"},
    {"src/wordcount.js": "export const countWords = (text) => text.split(/\\s+/).filter(Boolean).length;\n"},
    {"src/cli.js": "import { countWords } from './wordcount.js';\nconsole.log(countWords(''));\n"},
    {"src/frequent.js": "export const mostFrequent = (text) => text;\n"},
    {"notes/mine.md": "done\n"},
)


@cache
def examples() -> tuple[tuple[str, bytes], ...]:
    """Every recorded example: event name and body."""
    return tuple(
        (path.stem, json.dumps(body).encode())
        for path in sorted(EXAMPLES.glob("*.json"))
        for body in json.loads(path.read_bytes())
    )


def sign(body: bytes, secret: str = SECRET) -> str:
    """GitHub's X-Hub-Signature-256 for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers_of(event: str, body: bytes, guid: UUID | str | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers that GitHub sends with a body."""
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(guid or uuid4()),
        "X-Hub-Signature-256": sign(body, secret),
        "Content-Type": "application/json",
    }


class MemoryInbox:
    """An inbox in memory: the first of each (guid, event) is new."""

    def __init__(self) -> None:
        self.deliveries: list[NewDelivery] = []

    async def record(self, delivery: NewDelivery) -> bool:
        """Keep a delivery; tell whether it was new."""
        new = (delivery.guid, delivery.event) not in {(known.guid, known.event) for known in self.deliveries}
        if new:
            self.deliveries.append(delivery)
        return new


@dataclass
class Hook:
    """Posts to a receiver, and remembers what it answered."""

    http: aiohttp.ClientSession
    url: str
    answers: list[str] = field(default_factory=list)

    async def post(self, event: str, body: bytes, guid: UUID | str | None = None, *, secret: str = SECRET) -> int:
        """Post a signed delivery; the status."""
        headers = headers_of(event, body, guid, secret)
        async with self.http.post(self.url, data=io.BytesIO(body), headers=headers) as response:
            self.answers.append(f"{dict(response.headers)} {await response.text()}")
            return response.status


@dataclass
class World:
    """A running App with a published lab.

    `logs`: everything that was logged since it started; `credentials`: all that it showed to GitHub's API.
    """

    line: Line
    hook: Hook
    logs: io.StringIO
    credentials: set[str]

    async def learner(self, login: str) -> Repository:
        """A learner's fork, bound to a session, with its first report."""
        sandbox = self.line.sandbox
        sandbox.add_account(login)
        fork = await sandbox.fork("octo-course/lab", login)
        await sandbox.install(login, [fork.full_name])
        await self.line.settle()
        return fork

    async def post(self, event: str, body: bytes, guid: UUID | str | None = None) -> int:
        """Post a signed delivery; the status."""
        return await self.hook.post(event, body, guid)

    async def rows(self, event: str | None = None) -> list[dict[str, Any]]:
        """The inbox without bodies, in order of arrival."""
        return await self.line.fetch(
            "SELECT guid, event, lane_id, state, outcome, attempts, last_error FROM delivery "
            "WHERE $1::text IS NULL OR event = $1 ORDER BY inbox_id",
            event,
        )

    async def state(self) -> dict[str, list[str]]:
        """Everything that decisions lean on or that was decided, as text; without times of a mere look."""
        tables = (
            "lab", "lab_version", "template_commit", "lab_session", "repo_mapping", "invitation", "step_progress",
            "push_attempt", "staff_fact", "head_fact", "audit_event", "rejection_count", "outbox", "installation",
            "installation_repository", "github_account",
        )  # fmt: skip
        looks = "'{checked_at,listed_at,seen_at,last_seen_at}'::text[]"
        return {
            name: [
                str(row["row"])
                for row in await self.line.fetch(
                    f"SELECT (to_jsonb(t) - {looks})::text AS row FROM {name} t ORDER BY 1"
                )
            ]
            for name in tables
        }

    async def progress(self, repository: Repository) -> dict[str, Any]:
        """What the learner has reached: the session's state and the steps with the commits that earned them."""
        (session,) = await self.line.fetch(
            "SELECT s.session_id, s.status, s.accepted_sha, s.head_sha, s.branch_head_seen FROM lab_session s "
            "JOIN repo_mapping m USING (session_id) WHERE m.state = 'active' AND m.provider_repo_id = $1",
            repository.id,
        )
        steps = await self.line.fetch(
            "SELECT step_id, state, commit_sha FROM step_progress WHERE session_id = $1 ORDER BY 1",
            session.pop("session_id"),
        )
        return session | {"steps": steps}

    def runs(self, repository: Repository, sha: str) -> list[tuple[int, str]]:
        """Check runs of a head: id and conclusion."""
        return [(run["id"], run["conclusion"]) for run in self.line.sandbox.check_runs(repository.full_name, sha)]

    def secrets(self) -> set[str]:
        """All secrets that the App was given or used: texts that must be nowhere else."""
        pem = self.line.sandbox.private_key_pem.splitlines()
        return {SECRET, pem[len(pem) // 2], *self.credentials}

    async def leaks(self, *texts: str) -> list[str]:
        """Where a secret is found: the given texts, and every column of every table but the bodies of deliveries."""
        pattern = re.compile("|".join(re.escape(secret) for secret in sorted(self.secrets())))
        found = [f"text {number}" for number, text in enumerate(texts) if pattern.search(text)]
        tables = await self.line.fetch(
            "SELECT table_name, array_agg(DISTINCT data_type::text) AS types, string_agg(format("
            "CASE data_type WHEN 'bytea' THEN 'encode(%1$I, ''escape'') AS %1$I' ELSE '%1$I::text' END, column_name), "
            "', ') AS texts FROM information_schema.columns WHERE table_schema = 'public' "
            "AND (table_name, column_name) <> ('delivery', 'payload') "
            "AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public') GROUP BY table_name"
        )
        assert {"text", "jsonb"} <= {kind for table in tables for kind in table["types"]}
        leaking: set[str] = set()
        for table in tables:
            for row in await self.line.fetch(f'SELECT {table["texts"]} FROM "{table["table_name"]}"'):
                leaking |= {
                    f"{table['table_name']}.{name}" for name, text in row.items() if text and pattern.search(text)
                }
        return sorted([*found, *leaking])

    def push_body(
        self, repository: Repository, before: str, after: str, *, ref: str = "refs/heads/main", **changes: Any
    ) -> bytes:
        """A push delivery of a repository with the fields that GitHub sends and we read; `changes` replace some."""
        owner = repository.owner
        (installation_id,) = (
            delivery.installation_id
            for delivery in self.line.sandbox.deliveries
            if delivery.event == "installation" and json.loads(delivery.payload)["sender"]["id"] == owner.id
        )
        body = {
            "ref": ref, "before": before, "after": after, "created": before == ZERO, "deleted": after == ZERO,
            "forced": False, "commits": [], "sender": {"id": owner.id, "login": owner.login, "type": owner.kind},
            "installation": {"id": installation_id},
            "repository": {
                "id": repository.id, "full_name": repository.full_name, "private": repository.private,
                "default_branch": repository.default_branch,
                "owner": {"id": owner.id, "login": owner.login, "type": owner.kind},
            },
        }  # fmt: skip
        return json.dumps(body | changes).encode()


async def commit(repository: Repository, *commits: dict[str, str | bytes], branch: str = "main") -> list[str]:
    """Put commits on a branch without any delivery (they are sent by the test); the branch's line, oldest first."""
    base = await run("rev-parse", branch, cwd=repository.path)
    await run("fast-import", "--quiet", cwd=repository.path, stdin=fast_import(commits, branch, start=f"{branch}^0"))
    line = await run("rev-list", "--reverse", "--first-parent", f"{base}..{branch}", cwd=repository.path)
    return [base, *line.split()]


async def reset(repository: Repository, sha: str, branch: str = "main") -> None:
    """Set a branch to a commit, as a forced push does, without any delivery."""
    await run("update-ref", f"refs/heads/{branch}", sha, cwd=repository.path)


@contextmanager
def captured_logs() -> Iterator[io.StringIO]:
    """Everything that is logged, by us and by libraries, with tracebacks and before any scrubbing."""
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    root = logging.getLogger()
    level = root.level
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr),
        ],
        logger_factory=structlog.PrintLoggerFactory(sink),
        cache_logger_on_first_use=False,
    )
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield sink
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        structlog.reset_defaults()


@contextmanager
def watched_connections(allowed: set[int]) -> Iterator[None]:
    """Fail at the end if any HTTP client of this process went elsewhere than to these ports of this host."""
    gone: list[str] = []
    connect = aiohttp.BaseConnector.connect

    async def watched(self: Any, req: Any, *args: Any, **options: Any) -> Any:
        if req.url.host != "127.0.0.1" or req.url.port not in allowed:
            gone.append(str(req.url))
        return await connect(self, req, *args, **options)

    aiohttp.BaseConnector.connect = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        aiohttp.BaseConnector.connect = connect  # type: ignore[method-assign]
    assert gone == [], f"requests left for {gone[:5]}"


def _note(request: web.Request, credentials: set[str]) -> None:
    if request.path.startswith("/api/"):
        credentials.add(request.headers.get("Authorization", "").partition(" ")[2])


@asynccontextmanager
async def world(dsn: str, **options: Any) -> AsyncIterator[World]:
    """A running App with a published lab; at the end no secret is anywhere, and no request went astray."""
    with captured_logs() as logs:
        async with running_line(dsn, **options) as line, aiohttp.ClientSession() as http:
            sandbox = line.sandbox
            credentials: set[str] = set()
            sandbox.faults.append(lambda request: _note(request, credentials))
            ports = {int(url.rpartition(":")[2].partition("/")[0]) for url in (sandbox.url, line.hook)}
            with watched_connections(ports):
                sandbox.add_account("octo-course", "Organization")
                template = await sandbox.add_repository("octo-course", "lab")
                await seed(template, template_files())
                await sandbox.install("octo-course", ["octo-course/lab"])
                await line.settle()
                await register_lab(line, "octo-course/lab")
                here = World(line, Hook(http, line.hook), logs, credentials)
                yield here
                assert len(credentials) >= 2  # a JWT and a token at least
                assert await here.leaks(logs.getvalue(), *here.hook.answers) == []


def template_files() -> dict[str, str | bytes]:
    """The example lab as it is committed to its template."""
    return {
        str(path.relative_to(TEMPLATE)): path.read_bytes() for path in sorted(TEMPLATE.rglob("*")) if path.is_file()
    }
