"""Learners who push whatever becomes of the deliveries, and a start of recovery as a worker makes it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from bot import reconciler
from bot.recovery import DeliveryPoller
from bot.schedules import recover_now
from sandbox import Fault, Repository
from sandbox.effects import ClockOffset, Lose
from sandbox.pushes import RefUpdate
from storage import labs
from tests.support.deliveries import WORK, World
from tests.support.githost import fast_import, run
from tests.support.line import Line
from tests.support.oracle import Expected, Objects

#: As long as github.com keeps its delivery log (GitHub docs, "Redelivering webhooks").
KEPT = timedelta(days=3)

_numbers = itertools.count(1)


@dataclass
class Pusher:
    """A learner's fork, and the heads that were pushed to it in their order."""

    here: World
    fork: Repository
    heads: list[str] = field(default_factory=list)

    @classmethod
    async def enrol(cls, here: World) -> Self:
        """A learner with a bound fork, whose first report is sent."""
        return cls(here, await here.learner(f"learner-{next(_numbers)}"))

    @property
    def head(self) -> str:
        """The newest head that was pushed."""
        return self.heads[-1]

    async def commit(self, files: Mapping[str, str | bytes]) -> str:
        """A commit on the branch main's head, which is on no branch of the fork; its sha."""
        work = fast_import([files], start="main^0").partition(b"\n")[2]  # all but its branch
        stream = b"commit refs/made\nmark :1\n" + work + b"get-mark :1\n"
        return await run("fast-import", "--quiet", "--force", cwd=self.fork.path, stdin=stream)

    async def push(self, files: Mapping[str, str | bytes]) -> str:
        """Push a commit of these files to main, with the deliveries that GitHub makes of it; its sha."""
        return await self.move(await self.commit(files))

    async def work(self, *parts: int) -> None:
        """Push parts of the lab's work, one commit each."""
        for part in parts:
            await self.push(WORK[part])

    async def move(self, sha: str) -> str:
        """Set main to a commit, as a push does (a forced one, if it is no descendant)."""
        await self.here.line.sandbox.move_branch(self.fork.full_name, "main", sha, self.fork.owner.login)
        self.heads.append(sha)
        return sha

    async def push_with(self, *refs: str) -> str:
        """Push a commit to main together with all these new refs, in one push."""
        sha, old = await self.commit({"notes/many.md": "x\n"}), await run("rev-parse", "main", cwd=self.fork.path)
        lines = "".join(f"update {ref} {sha}\n" for ref in ("refs/heads/main", *refs))
        await run("update-ref", "--stdin", cwd=self.fork.path, stdin=lines.encode())
        updates = [RefUpdate(old, sha, "refs/heads/main"), *(RefUpdate("0" * 40, sha, ref) for ref in refs)]
        await self.here.line.sandbox._pushes.announce(self.fork, updates, self.fork.owner)
        self.heads.append(sha)
        return sha

    async def session(self) -> dict[str, Any]:
        """The session of the fork."""
        (row,) = await self.here.line.fetch(
            "SELECT s.*, ARRAY(SELECT step_id FROM step_progress AS p WHERE p.session_id = s.session_id "
            "AND state = 'completed' ORDER BY step_id) AS done FROM lab_session AS s "
            "JOIN repo_mapping AS m USING (session_id) WHERE m.state = 'active' AND m.provider_repo_id = $1",
            self.fork.id,
        )
        return row

    async def attempts(self) -> list[dict[str, Any]]:
        """The ledger of the session, in its order."""
        session: UUID = (await self.session())["session_id"]
        return await self.here.line.fetch(
            "SELECT trigger, verdict, after_sha, steps_after FROM push_attempt "
            "WHERE session_id = $1 ORDER BY attempt_id",
            session,
        )

    async def differences(self) -> list[str]:
        """How session, ledger and report differ from what git implies of the heads that were judged."""
        (version,) = await self.here.line.fetch("SELECT lab_version_id FROM lab_version")
        lab = await labs.version(self.here.line.pool, version["lab_version_id"])
        expected = Expected(lab.lab, lab.commit_sha, await Objects.of(self.fork.path))
        found: list[tuple[str, object, object]] = []
        for attempt in await self.attempts():
            if attempt["verdict"] == "superseded":
                continue
            verdict = expected.judge_head(attempt["after_sha"])
            word = "blocked" if verdict.blocked else "accepted"
            found.append(("verdict", (attempt["verdict"], attempt["steps_after"]), (word, sorted(verdict.done_after))))
        session = await self.session()
        runs = self.here.runs(self.fork, self.head)
        word = "failure" if self.head in expected.state.blocked_heads else "success"
        found += [
            ("heads", (session["head_sha"], session["branch_head_seen"], expected.head), (self.head,) * 3),
            ("accepted head", session["accepted_sha"], expected.accepted),
            ("status", session["status"], expected.state.status.value),
            ("steps", session["done"], sorted(expected.state.progress.done)),
            ("report", runs[-1][1] if runs else None, word),
        ]
        return [f"{self.fork.full_name} {what}: {is_} is not {ought}" for what, is_, ought in found if is_ != ought]


def lose(line: Line, log: str = "nothing", **match: Any) -> Any:
    """From now on deliveries are lost. `log`: what GitHub's log has of them: "nothing", "failed" or "delivered"."""
    return line.sandbox.faults.add(Fault(Lose(log), **match))  # type: ignore[arg-type]


async def look_for_heads(line: Line) -> int:
    """Compare everything with GitHub, however lately that was done, and let what differs be judged; how much did."""
    await line.pool.execute("UPDATE installation_look SET looked_at = NULL")
    await line.pool.execute("UPDATE recovery_state SET installations_read_at = NULL")
    await reconciler.begin_round(line.services)
    found = await reconciler.reconcile(line.services)
    await line.settle()
    return found


async def recover(line: Line) -> None:
    """What a worker does at its start, until everything is judged."""
    poller = DeliveryPoller(line.pool, line.services.app, kept=line.services.log_kept, receives=True)
    await recover_now(line.services, poller)
    await poller.close()
    await line.settle()


@dataclass
class Outage:
    """Everything of ours is down, and GitHub's clock shows that it began `ago`."""

    line: Line
    ago: timedelta
    _clock: Any = None

    async def __aenter__(self) -> Outage:
        await self.line.stop()
        self._clock = self.line.sandbox.faults.add(Fault(ClockOffset(-self.ago.total_seconds())))
        return self

    def later(self, by: timedelta) -> datetime:
        """So much time goes by; GitHub's time then."""
        self._clock.remove()
        self.ago -= by
        self._clock = self.line.sandbox.faults.add(Fault(ClockOffset(-self.ago.total_seconds())))
        return self.line.sandbox._core.now()

    async def __aexit__(self, *_: object) -> None:
        """We start again, now. GitHub's log has lost what is older than it keeps."""
        sandbox = self.line.sandbox
        await sandbox.idle()
        self._clock.remove()
        kept = sandbox._core.now() - KEPT
        sandbox.deliveries[:] = [each for each in sandbox.deliveries if all(a.at >= kept for a in each.attempts)]
        await self.line.start()
