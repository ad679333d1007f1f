"""Lifecycle of repositories and installations: an App's stored picture beside the one that the sandbox's GitHub has.

The tests are their own postman: the sandbox writes deliveries into its log and sends none, so that each can be handed
in early, late or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson

from bot.gather import gather
from sandbox import Delivery, Installation, Repository, Sandbox
from storage import inbox
from storage.inbox import NewDelivery
from storage.progress import JudgingState
from tests.support.line import Line
from tests.support.pictures import Bound, GitOracle, Installed, Picture

#: Longest wait for what is handed in (seconds): a delivery that is retried is not "soon", and is told as waiting.
SOON = 6.0
#: And for a report: one that GitHub refuses is in hand for 10 s, as a fresh token may be refused for so long, and the
#: one that takes its place comes after it.
TOLD = 15.0

Action = Callable[[], Awaitable[None]]


# -------------------------------------------------------------------------------------------------------- the learner


@dataclass
class Case:
    """A learner of their own: account, fork and installations, at a line that shares `seams` with others."""

    line: Line
    oracle: GitOracle
    seams: Seams
    template: str
    login: str
    learner_id: int
    fork: Repository | None = None
    judged: str | None = None  # the newest head that the App could judge before the repository went out of its sight
    seen: set[int] = field(default_factory=set)  # installations of the learner and of who else has owned the fork
    handed: list[UUID] = field(default_factory=list)

    @property
    def sandbox(self) -> Sandbox:
        """The GitHub of it all."""
        return self.line.sandbox

    @property
    def repo(self) -> Repository:
        """The learner's fork."""
        assert self.fork is not None, "there is no fork yet"
        return self.fork

    @property
    def exists(self) -> bool:
        """Whether the fork is there."""
        return self.fork is not None and self.fork.path.exists()

    def installed(self) -> Installation | None:
        """The installation that covers the fork now."""
        if not self.exists:
            return None
        return next((each for each in self.sandbox.installations if each.covers(self.repo)), None)

    @property
    def visible(self) -> bool:
        """Whether the App reaches the fork, as the learner's own."""
        installation = self.installed()
        if installation is None or installation.suspended_at is not None:
            return False
        return self.repo.owner.id == self.learner_id

    def head(self) -> str:
        """The head of the lab's branch at GitHub."""
        loose = self.repo.path / "refs" / "heads" / "main"
        if loose.exists():
            return loose.read_text().strip()
        packed = (self.repo.path / "packed-refs").read_text().splitlines()
        return next(line.split()[0] for line in packed if line.endswith(" refs/heads/main"))

    # ------------------------------------------------------------------------------------------------- happenings

    async def make_fork(self, *, at: str | None = "work-0") -> None:
        """Fork the lab; with the first step's work in it, unless `at` is None."""
        self.fork = await self.sandbox.fork(self.template, self.login, name=f"counter-of-{self.login}")
        if at is not None:
            (self.repo.path / "refs" / "heads" / "main").write_text(f"{self.oracle.heads[at]}\n")

    async def install(self, *, everything: bool = False) -> None:
        """Install the App on the fork alone, or on everything."""
        chosen = [self.repo.full_name] if self.fork is not None else []
        self.seen.add((await self.sandbox.install(self.login, "all" if everything else chosen)).id)

    def of_learner(self) -> Installation:
        """The App's installation on the learner's account."""
        return next(each for each in self.sandbox.installations if each.account.id == self.learner_id)

    @property
    def writable(self) -> bool:
        """Whether anybody can push."""
        return self.exists and not self.repo.archived

    async def push(self, work: str) -> None:
        """The owner pushes, if that is possible."""
        if self.writable:
            login = self.repo.owner.login
            await self.sandbox.move_branch(self.repo.full_name, "main", self.oracle.heads[work], login)

    async def happen(self, action: Action) -> list[Delivery]:
        """Let something happen at GitHub; the deliveries that it gives birth to, for this learner's installations."""
        newest = self.sandbox.deliveries[-1].id if self.sandbox.deliveries else 0
        await action()
        born = []
        for delivery in reversed(self.sandbox.deliveries):
            if delivery.id <= newest:
                break
            if self._is_mine(delivery):
                born.append(delivery)
        return born[::-1]

    def _is_mine(self, delivery: Delivery) -> bool:
        if delivery.installation_id is not None:
            return delivery.installation_id in self.seen
        sender = orjson.loads(delivery.payload)["sender"]["id"]
        return delivery.event == "ping" or sender == self.learner_id

    # --------------------------------------------------------------------------------------------------- the postman

    async def hand_in(self, deliveries: Sequence[Delivery], *, wait: bool = True) -> None:
        """Hand deliveries to the receiver; `wait` until they, and what they set in motion, are processed."""
        for delivery in deliveries:
            async with self.line.http.post(self.line.hook, data=delivery.body, headers=delivery.headers) as answer:
                assert answer.status == 202, f"{delivery.event} {delivery.action}: {answer.status}"
            self.handed.append(UUID(delivery.guid))
        if wait:
            await self.quiet()

    async def reported(self) -> None:
        """Wait until no report on the fork is on its way; gives up SOON."""
        until = time.monotonic() + SOON
        query = "SELECT count(*) FROM outbox WHERE state = 'wanted' AND repo_id = $1"
        while time.monotonic() < until and await self.line.pool.fetchval(query, self.repo.id):
            await asyncio.sleep(0.02)

    async def look_again(self) -> None:
        """A wake-up of every installation, as one who looks for what was lost would give it."""
        for number in sorted(self.seen):
            body = orjson.dumps({"action": "looked_at", "installation": {"id": number, "account": self._account()}})
            entry = NewDelivery(uuid4(), "installation", "looked_at", number, None, f"installation:{number}", body)
            await inbox.record(self.line.pool, [entry])
            self.handed.append(entry.guid)
        await self.quiet()

    def _account(self) -> dict[str, object]:
        return {"id": self.learner_id, "login": self.login, "type": "User"}

    def lanes_of_installations(self) -> list[str]:
        """The lanes of what is not about one repository."""
        return [f"installation:{number}" for number in sorted(self.seen)]

    async def quiet(self, *, lanes: Sequence[str] | None = None) -> None:
        """Wait until nothing of this learner waits (in these lanes, or at all); gives up SOON, without complaint."""
        repo_ids = [self.repo.id] if self.fork is not None else []
        mine = [*self.lanes_of_installations(), *(f"repo:{number}" for number in repo_ids)]
        asked, guids = (mine, self.handed) if lanes is None else (lanes, [])
        until = time.monotonic() + SOON
        while time.monotonic() < until and await self.line.pool.fetchval(_BUSY, asked, guids):
            await asyncio.sleep(0.02)

    async def unfinished(self) -> list[str]:
        """Deliveries that were not simply done, as complaints."""
        lanes = self.lanes_of_installations() + ([f"repo:{self.repo.id}"] if self.fork is not None else [])
        rows = await self.line.fetch(
            "SELECT event, action, state, attempts, coalesce(last_error, outcome) AS why FROM delivery "
            "WHERE state IN ('waiting', 'dead') AND (lane_id = ANY($1) OR guid = ANY($2)) ORDER BY inbox_id",
            lanes,
            self.handed,
        )
        return [
            f"{row['event']} {row['action']}: {row['state']}, {row['attempts']} times, {row['why']}" for row in rows
        ]

    # -------------------------------------------------------------------------------------------------- the pictures

    async def differences(self, *names: str) -> list[str]:
        """Where what is stored (of it these parts, or everything) is not as GitHub has it, once reports are sent."""
        wanted, until = self.github(), time.monotonic() + TOLD
        while (found := (await self.stored()).differences(wanted, names)) and time.monotonic() < until:
            if any(not each.startswith("told: ") for each in found):
                break  # more than a report that may be on its way
            await asyncio.sleep(0.05)
        return found

    def github(self) -> Picture:
        """As it must be, read from the sandbox and git."""
        head = self.head() if self.visible else self.judged
        done, colour = self.oracle.worth(head) if head is not None else (frozenset[str](), "")
        installation = self.installed()
        bound = None
        if self.fork is not None:
            bound = Bound(self.fork.id, self.learner_id)
            if self.visible and installation is not None:
                bound = Bound(self.fork.id, self.learner_id, installation.id, self.fork.full_name, self.fork.private)
        status = None if bound is None else ("IN_PROGRESS", None) if self.visible else ("DEFERRED", "installation")
        return Picture(
            {number: self._installation_at_github(number) for number in sorted(self.seen)},
            bound,
            status,
            accepted_sha=head,
            head_sha=head,
            done=done,
            told=colour if self.visible and self.writable else None,
        )

    def _installation_at_github(self, number: int) -> Installed:
        found = next((each for each in self.sandbox.installations if each.id == number), None)
        if found is None:
            return Installed("deleted")
        suspended = found.suspended_at is not None
        covered = ((each.id, each.full_name) for each in self._repositories() if found.covers(each))
        return Installed(
            "suspended" if suspended else "active",
            found.account.login,
            found.selection,
            tuple(sorted(found.permissions.items())),
            None if suspended else tuple(sorted(covered)),
        )

    def _repositories(self) -> list[Repository]:
        return [self.repo] if self.exists else []

    async def stored(self) -> Picture:
        """As it is in the database, and as the App has told GitHub."""
        fork_id = self.fork.id if self.fork is not None else 0
        rows = await self.line.fetch(
            "SELECT * FROM repo_mapping JOIN lab_session USING (session_id) "
            "WHERE provider_repo_id = $1 AND state = 'active'",
            fork_id,
        )
        row = rows[0] if rows else None
        done = await self.line.fetch(
            "SELECT step_id FROM step_progress WHERE session_id = $1 AND state = 'completed'",
            row["session_id"] if row is not None else None,
        )
        return Picture(
            {number: await self._installation_stored(number) for number in sorted(self.seen)},
            self._bound(row),
            (row["status"], row["deferred_by"]) if row is not None else None,
            accepted_sha=row["accepted_sha"] if row is not None else None,
            head_sha=row["head_sha"] if row is not None else None,
            done=frozenset(each["step_id"] for each in done),
            told=self._told() if self.visible and self.writable else None,
        )

    def _bound(self, row: Mapping[str, Any] | None) -> Bound | None:
        if row is None:
            return None
        number, owner = row["provider_repo_id"], row["owner_account_id"]
        if not self.visible:
            return Bound(number, owner)
        return Bound(number, owner, row["installation_id"], row["repo_full_name"], row["private"])

    def _told(self) -> str | None:
        runs = self.sandbox.check_runs(self.repo.full_name, self.head())
        return str(max(runs, key=lambda each: int(each["id"]))["conclusion"]) if runs else None

    async def _installation_stored(self, number: int) -> Installed:
        rows = await self.line.fetch(
            "SELECT state, login, repository_selection, permissions FROM installation "
            "JOIN github_account USING (account_id) WHERE installation_id = $1",
            number,
        )
        if not rows:
            return Installed("unknown")
        (row,) = rows
        if row["state"] == "deleted":
            return Installed("deleted")
        covered = await self.line.fetch(
            "SELECT repo_id, repo_full_name FROM installation_repository WHERE installation_id = $1 ORDER BY repo_id",
            number,
        )
        return Installed(
            row["state"],
            row["login"],
            row["repository_selection"],
            tuple(sorted(row["permissions"].items())),
            tuple((each["repo_id"], each["repo_full_name"]) for each in covered) if row["state"] == "active" else None,
        )


_BUSY = """
SELECT EXISTS (SELECT FROM delivery WHERE state = 'waiting' AND (lane_id = ANY($1) OR guid = ANY($2)))
"""


# ------------------------------------------------------------------------------------------------------------- seams


class Seams:
    """Lets something happen in the middle of a judgement: after its trees were gathered, before it is saved."""

    def __init__(self) -> None:
        self._waiting: dict[int, Action] = {}
        self._gather = gather

    def once(self, repo_id: int, action: Action) -> None:
        """Do this in the next judgement of a repository."""
        self._waiting[repo_id] = action

    def left(self, repo_id: int) -> bool:
        """Whether there was no judgement since then; it is not waited for any more."""
        return self._waiting.pop(repo_id, None) is not None

    async def gather(self, services: Any, client: Any, lab: Any, state: JudgingState, *given: Any, **named: Any) -> Any:
        """In place of `bot.pipeline.gather`."""
        found = await self._gather(services, client, lab, state, *given, **named)
        action = self._waiting.pop(state.mapping.repo_id, None) if state.mapping is not None else None
        if action is not None:
            await action()
        return found
