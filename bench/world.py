"""The App as it runs for real (one web process, some workers), a GitHub in its own process, and enrolled learners."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.github import Facts, Fork, Plan
from bench.lab import Shape
from bench.payloads import push_body, request
from bench.processes import ROOT, BenchError, Place, Running, command, database, program, web_port
from bench.sender import Connection
from github.governor import WRITE_INTERVAL
from settings import child_environment

# Longest time for one push to be answered, also while everything starts on a busy machine (seconds).
ANSWER = 120.0


@dataclass(slots=True)
class Learner:
    """An enrolled learner. `at`: how many of the commits were pushed."""

    fork: Fork
    at: int = 0

    def next_commit(self) -> tuple[str, str]:
        """The shas before and after the next push."""
        if self.at + 1 >= len(self.fork.shas):
            raise BenchError(f"{self.fork.full_name} has no commit left to push")
        before, after = self.fork.shas[self.at : self.at + 2]
        self.at += 1
        return before, after

    def push(self, secret: str) -> tuple[str, bytes]:
        """The next commit's sha and its delivery."""
        before, after = self.next_commit()
        return after, request(push_body(self.fork.target, before, after), secret, uuid.uuid4())


@dataclass(slots=True)
class World:
    """A running App with learners. `latencies`: seconds from sending a delivery to its check run and status."""

    place: Place
    secret: str
    github: Running
    learners: deque[Learner]
    environment: dict[str, str]
    dsn: str
    web: Running
    port: int
    stack: AsyncExitStack
    patience: float = ANSWER  # for one push, while others of its installation may be reported first
    workers: list[Running] = field(default_factory=list)
    last_delivery: bytes = b""
    _pending: dict[str, asyncio.Future[float]] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)
    _asked: dict[str, asyncio.Future[Any]] = field(default_factory=dict)

    def pids(self) -> dict[str, int]:
        """The processes whose time is watched."""
        workers = {f"worker{number or ''}": worker.pid for number, worker in enumerate(self.workers)}
        return {"web": self.web.pid, **workers, "postgres": self.place.postmaster, "github": self.github.pid}

    async def add_worker(self) -> None:
        """Start another worker process; it may still be starting afterwards."""
        words = (str(ROOT / "app.py"), "worker")
        worker = program("worker", self.place.home, *words, environment=self.environment)
        self.workers.append(await self.stack.enter_async_context(worker))

    async def push(self, connection: Connection, learner: Learner, due: float | None = None) -> float:
        """Push a learner's next commit and wait for both reports; seconds since `due`, or since it was sent."""
        after, data = learner.push(self.secret)
        self.last_delivery = data
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pending[after] = answer
        begun = time.monotonic() if due is None else due
        try:
            status = await connection.post(data)
            if status != 202:
                raise BenchError(f"a delivery was answered {status}")
            # A new installation's repositories are looked at: then the reports are there before the push.
            told = self._told.get(after)
            return (await asyncio.wait_for(answer, self.patience) if told is None else told) - begun
        except TimeoutError:
            tails = "\n".join(worker.tail()[-1000:] for worker in self.workers)
            raise BenchError(f"no check run and status for {after} in {self.patience:g} s:\n{tails}") from None
        finally:
            self._pending.pop(after, None)

    async def saturate(self, count: int, side_by_side: int) -> tuple[float, list[float]]:
        """Let learners push one commit after another, so many at a time: pushes a second, and each push's seconds."""
        connections = [await Connection.to(self.port) for _ in range(side_by_side)]
        left = count
        latencies: list[float] = []

        async def work(connection: Connection) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                learner = self.learners.popleft()  # nobody else pushes there meanwhile
                latencies.append(await self.push(connection, learner))
                self.learners.append(learner)

        begun = time.monotonic()
        try:
            await asyncio.gather(*(work(connection) for connection in connections))
        finally:
            for connection in connections:
                connection.close()
        return count / (time.monotonic() - begun), latencies

    async def at_rate(self, count: int, rate: float) -> list[float]:
        """Push at fixed times; each push's seconds since it was due. A learner never has two pushes under way."""
        free: asyncio.Queue[tuple[Connection, Learner]] = asyncio.Queue()
        for learner in self.learners:
            free.put_nowait((await Connection.to(self.port), learner))
        latencies: list[float] = []

        async def one(due: float) -> None:
            connection, learner = await free.get()
            latencies.append(await self.push(connection, learner, due))
            free.put_nowait((connection, learner))

        begun = time.monotonic() + 0.1
        pushes = []
        for number in range(count):
            due = begun + number / rate
            await asyncio.sleep(due - time.monotonic())
            pushes.append(asyncio.create_task(one(due)))
        await asyncio.gather(*pushes)
        while not free.empty():
            free.get_nowait()[0].close()
        return latencies

    async def counts(self) -> dict[str, int]:
        """How many requests GitHub has answered, by kind."""
        counts: dict[str, int] = await self.ask("counts")
        return counts

    async def ask(self, question: str | dict[str, Any]) -> Any:
        """Ask GitHub's process something, or tell it what to do (see bench.github), and return its answer."""
        word = question if isinstance(question, str) else next(iter(question))
        self._asked[word] = asyncio.get_running_loop().create_future()
        self.github.tell(question)
        try:
            return await asyncio.wait_for(self._asked[word], ANSWER)
        except TimeoutError:
            raise BenchError(f"GitHub's process does not answer:\n{self.github.tail()}") from None

    async def listen(self) -> None:
        """Hear which commits have their reports, for ever."""
        while True:
            line = await self.github.line(timeout=3600)
            first, _, rest = line.partition(" ")
            if (asked := self._asked.pop(first, None)) is not None:
                asked.set_result(json.loads(rest))
            else:
                self._told[first] = float(rest)
                if (answer := self._pending.get(first)) is not None and not answer.done():
                    answer.set_result(self._told[first])


@asynccontextmanager
async def world(
    place: Place,
    *,
    learners: int,
    commits: int,
    shape: Shape,
    prompt: bool = False,
    side_by_side: int = 16,
    class_of: int = 0,
    write_interval: str | None = "0",
) -> AsyncIterator[World]:
    """Run everything; each learner has pushed once, so that all are enrolled. `commits`: of each, beyond that one.

    `class_of`: so many more learners, whose repositories belong to one organisation; of two commits each.
    `write_interval`: the setting of that name, in seconds; None: the default one.
    """
    secret = secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        github = await stack.enter_async_context(program("github", place.home, "-m", "bench.github"))
        home = place.home / f"github-{secrets.token_hex(4)}"
        plan = Plan(str(home), secret, learners, commits + 1, asdict(shape), prompt, class_of)
        github.tell(asdict(plan))
        facts = json.loads(await github.line(timeout=600))
        facts = Facts(**{**facts, "forks": [Fork(**fork) for fork in facts["forks"]]})
        dsn = await stack.enter_async_context(database(place.server))
        environment = _environment(facts, dsn, secret)
        if write_interval is not None:
            environment["GITHUB_WRITE_INTERVAL"] = write_interval
        await command(place.home, environment, "migrate")
        await command(place.home, environment, "labs", "add", facts.template, "--slug", "bench")
        await command(place.home, environment, "labs", "publish", "bench")
        await _invite(place.home, environment, facts.forks)
        web = await stack.enter_async_context(
            program("web", place.home, str(ROOT / "app.py"), "web", environment=environment)
        )
        enrolled = deque(Learner(fork) for fork in facts.forks)
        port = await web_port(web)
        # Of each repository of a class the head as it was, and the first push, are reported in two writes each.
        patience = ANSWER + class_of * 4 * WRITE_INTERVAL
        here = World(place, secret, github, enrolled, environment, dsn, web, port, stack, patience)
        await here.add_worker()
        ear = asyncio.create_task(here.listen())
        try:
            await here.saturate(len(enrolled), min(side_by_side, len(enrolled)))
            yield here
        finally:
            ear.cancel()
            with suppress(asyncio.CancelledError, BenchError):
                await ear


async def _invite(home: Path, environment: dict[str, str], forks: list[Fork]) -> None:
    """Invite those whose repositories an organisation owns: it is no learner, so that one is named for each."""
    if rows := [f"{fork.learner},{fork.full_name}" for fork in forks if fork.learner]:
        path = home / "class.csv"
        path.write_text("\n".join(["login,repository", *rows]) + "\n", encoding="utf-8")
        await command(home, environment, "labs", "invite", "bench", "--csv", str(path))


def _environment(facts: Facts, dsn: str, secret: str) -> dict[str, str]:
    """The App's settings: the default ones."""
    return child_environment(
        DATABASE_URL=dsn,
        GITHUB_API_URL=facts.api_url,
        GITHUB_WEB_URL=facts.url,
        GITHUB_APP_ID=str(facts.app_id),
        GITHUB_PRIVATE_KEY=facts.private_key,
        GITHUB_WEBHOOK_SECRET=secret,
        LOG_FORMAT="json",
        PORT="0",
    )
