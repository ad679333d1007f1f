"""A course without a worker: a sandbox, a published lab, bound learners, and deliveries that a test records itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bot.registry import add_lab, publish_lab
from github.client import GitHubApp
from github.governor import MemoryGovernor
from rules.model import Account, AccountKind, Installation, InstallationState, LabRecord, LabVersion, Repo
from sandbox import Repository, Sandbox
from storage import accounts, inbox, sessions
from storage.audit import AuditEvent
from storage.database import Pool, open_pool
from storage.inbox import NewDelivery
from tests.support.audited import check_events
from tests.support.bindings import cover
from tests.support.githost import fast_import, run, seed
from tests.support.invariants import Invariants, port_of, secrets_of
from tests.support.keys import private_key

TEMPLATE = Path(__file__).parents[2] / "examples" / "lab-template"
ZERO = "0" * 40
Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Learner:
    """A learner's bound fork. `start`: the head that it was forked at."""

    repository: Repository
    installation_id: int
    session_id: UUID
    start: str

    @property
    def lane_id(self) -> str:
        """The lane of the fork's deliveries."""
        return f"repo:{self.repository.id}"

    async def commit(self, *commits: Files, branch: str = "main") -> list[str]:
        """Put commits on a branch, without any delivery; their shas, oldest first."""
        path = self.repository.path
        base = await run("rev-parse", "main", cwd=path)
        await run("fast-import", "--quiet", cwd=path, stdin=fast_import(commits, branch, start=f"{base}^0"))
        return (await run("rev-list", "--reverse", "--first-parent", f"{base}..{branch}", cwd=path)).split()

    async def reset(self, sha: str) -> None:
        """Set the branch to a commit, as a forced push does, without any delivery."""
        await run("update-ref", "refs/heads/main", sha, cwd=self.repository.path)

    async def branches(self, count: int) -> None:
        """Make branches b0, b1 and so on at the start, without any delivery."""
        lines = "".join(f"create refs/heads/b{number} {self.start}\n" for number in range(count))
        await run("update-ref", "--stdin", cwd=self.repository.path, stdin=lines.encode())

    def push(
        self, before: str, after: str, *, ref: str = "refs/heads/main", forced: bool = False, single: bool = True
    ) -> NewDelivery:
        """The delivery of a push, as the receiver hands it in."""
        owner = self.repository.owner
        account = {"id": owner.id, "login": owner.login, "type": owner.kind}
        body: dict[str, Any] = {
            "ref": ref,
            "before": before,
            "after": after,
            "created": before == ZERO,
            "deleted": after == ZERO,
            "forced": forced,
            "commits": [{"id": after}] if single else [],
            "sender": account,
            "installation": {"id": self.installation_id},
            "repository": {
                "id": self.repository.id,
                "full_name": self.repository.full_name,
                "private": self.repository.private,
                "default_branch": self.repository.default_branch,
                "owner": account,
            },
        }
        number, payload = self.repository.id, json.dumps(body).encode()
        return NewDelivery(uuid4(), "push", None, self.installation_id, number, self.lane_id, payload)

    def lifecycle(self, action: str) -> NewDelivery:
        """An `installation` delivery about the learner's installation, which says whatever it likes."""
        owner = self.repository.owner
        account = {"id": owner.id, "login": owner.login, "type": owner.kind}
        body = {"action": action, "installation": {"id": self.installation_id, "account": account}}
        number = self.installation_id
        return NewDelivery(
            uuid4(), "installation", action, number, None, f"installation:{number}", json.dumps(body).encode()
        )


@dataclass
class Course:
    """A published lab at a sandbox, and the database of an App that nobody runs yet."""

    sandbox: Sandbox
    pool: Pool
    dsn: str
    folder: Path
    lab: LabRecord
    version: LabVersion
    template: Repository
    invariants: Invariants = field(default_factory=Invariants)  # checked at the end; see there what a test may waive

    async def learner(self, login: str) -> Learner:
        """A learner's fork, bound to a session as if by its first delivery; its head was not judged yet."""
        person = self.sandbox.add_account(login)
        fork = await self.sandbox.fork(self.template.full_name, login)
        installed = await self.sandbox.install(login, [fork.full_name])
        account = Account(person.id, login, AccountKind.USER)
        installation = Installation(installed.id, account, InstallationState.ACTIVE, "selected", installed.permissions)
        await accounts.upsert_installation(self.pool, installation)
        await cover(self.pool, installed.id, {fork.id: fork.full_name})
        session, _ = await sessions.create_and_bind(
            self.pool,
            version=self.version,
            learner=account,
            repo=Repo(fork.id, fork.full_name, account, fork.private, fork.default_branch),
            installation_id=installed.id,
            source="event",
            event=AuditEvent("bound"),
        )
        start = await run("rev-parse", "main", cwd=fork.path)
        return Learner(fork, installed.id, session.session_id, start)

    async def learners(self, count: int) -> list[Learner]:
        """That many learners."""
        return [await self.learner(f"learner-{number}") for number in range(1, count + 1)]

    async def fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the database, as dictionaries."""
        return [dict(row) for row in await self.pool.fetch(query, *values)]

    async def done(self, deliveries: int) -> bool:
        """Whether that many deliveries were recorded, none of them waits, and every report is sent."""
        row = await self.pool.fetchrow(
            "SELECT (SELECT count(*) FROM delivery) AS recorded,"
            " (SELECT count(*) FROM delivery WHERE state = 'waiting') AS waiting,"
            " (SELECT count(*) FROM outbox WHERE state = 'wanted') AS wanted"
        )
        assert row is not None
        return (row["recorded"], row["waiting"], row["wanted"]) == (deliveries, 0, 0)

    async def deadlocks(self) -> int:
        """How many deadlocks this database has seen; its counters are written when a connection is idle."""
        await self.pool.execute("SELECT pg_stat_force_next_flush()")
        found = await self.pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(found)


def template_files() -> dict[str, str | bytes]:
    """The example lab as it is committed to its template."""
    return {
        str(path.relative_to(TEMPLATE)): path.read_bytes() for path in sorted(TEMPLATE.rglob("*")) if path.is_file()
    }


def reports(course: Course, learner: Learner, sha: str) -> tuple[list[str], list[str]]:
    """Conclusions of the check runs on a head, and states of its statuses, as GitHub shows them."""
    name = learner.repository.full_name
    runs = [str(run["conclusion"]) for run in course.sandbox.check_runs(name, sha)]
    return runs, [str(status["state"]) for status in course.sandbox.statuses(name, sha)]


@asynccontextmanager
async def running_course(dsn: str) -> AsyncIterator[Course]:
    """A sandbox with the example lab as a published template; nothing of the App runs.

    At the end all audit events and the invariants are checked.
    """
    invariants = Invariants()
    with tempfile.TemporaryDirectory() as name, invariants.watching_logs():
        folder = Path(name)
        key = private_key()
        async with (
            Sandbox(folder / "github", private_key_pem=key, echo_events=False, rate_limit=1_000_000) as sandbox,
            invariants.client() as http,
        ):
            invariants.allowed = {port_of(sandbox.url)}
            invariants.secrets = secrets_of(sandbox)
            sandbox.add_account("octo-course", "Organization")
            template = await sandbox.add_repository("octo-course", "lab")
            await seed(template, template_files())
            await sandbox.install("octo-course", [template.full_name])
            app = GitHubApp(
                http, api_url=sandbox.api_url, app_id=sandbox.app_id, private_key=key, governor=MemoryGovernor(0.0)
            )
            pool = await open_pool(dsn, min_size=1, max_size=8)
            try:
                lab = await add_lab(pool, app, template.full_name)
                version = await publish_lab(pool, app, lab)
                yield Course(sandbox, pool, dsn, folder, lab, version, template, invariants)
                await check_events(pool)
                await invariants.check(pool, sandbox, folder)
            finally:
                await pool.close()


def work_of(number: int) -> Sequence[Files]:
    """Commits of a learner, each of which is accepted and none of which finishes the lab."""
    steps: list[Files] = [
        {"report/bug.md": f"Expected: {number}\nActual: 3\n"},
        {"src/wordcount.js": "export const countWords = (text) => text.split(/\\s+/).filter(Boolean).length;\n"},
        {"src/cli.js": "import { countWords } from './wordcount.js';\nconsole.log(countWords(''));\n"},
    ]
    return steps


async def push_one(course: Course, learner: Learner) -> str:
    """One accepted commit on a fresh fork, pushed; its sha."""
    (head,) = await learner.commit(work_of(learner.repository.id)[0])
    assert await inbox.record(course.pool, [learner.push(learner.start, head)]) == [True]
    return head


async def answer(course: Course, learner: Learner, head: str) -> dict[str, object]:
    """What ledger, session and GitHub have on a head."""
    attempts = await course.fetch(
        "SELECT verdict FROM push_attempt WHERE session_id = $1 AND after_sha = $2", learner.session_id, head
    )
    (session,) = await course.fetch("SELECT accepted_sha FROM lab_session WHERE session_id = $1", learner.session_id)
    runs, states = reports(course, learner, head)
    return {"verdicts": [row["verdict"] for row in attempts], "runs": runs, "states": set(states)} | session


def once(head: str) -> dict[str, object]:
    """The answer to an accepted head: one attempt, one check run, a green status."""
    return {"verdicts": ["accepted"], "runs": ["success"], "states": {"success"}, "accepted_sha": head}
