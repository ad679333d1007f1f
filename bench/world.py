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

from bench.github import Facts, Fork, Plan
from bench.lab import Shape
from bench.load import Connection
from bench.payloads import Target, push_body, request
from bench.processes import ROOT, BenchError, Place, Running, command, database, program, web_port
from settings import child_environment

# Longest time for one push to be answered (seconds).
ANSWER = 30.0


@dataclass(slots=True)
class Learner:
    """An enrolled learner. `at`: how many of the commits were pushed."""

    fork: Fork
    at: int = 0

    def push(self, secret: str) -> tuple[str, bytes]:
        """The next commit's sha and its delivery."""
        if self.at + 1 >= len(self.fork.shas):
            raise BenchError(f"{self.fork.full_name} has no commit left to push")
        before, after = self.fork.shas[self.at : self.at + 2]
        self.at += 1
        target = Target(self.fork.repo_id, self.fork.full_name, self.fork.owner_id, self.fork.installation_id)
        return after, request(push_body(target, before, after), secret, uuid.uuid4())


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
    workers: list[Running] = field(default_factory=list)
    last_delivery: bytes = b""
    _pending: dict[str, asyncio.Future[float]] = field(default_factory=dict)
    _counts: asyncio.Future[dict[str, int]] | None = None

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
            return await asyncio.wait_for(answer, ANSWER) - begun
        except TimeoutError:
            tails = "\n".join(worker.tail()[-1000:] for worker in self.workers)
            raise BenchError(f"no check run and status for {after} in {ANSWER:g} s:\n{tails}") from None
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
        self._counts = asyncio.get_running_loop().create_future()
        self.github.tell("counts")
        return await asyncio.wait_for(self._counts, ANSWER)

    async def listen(self) -> None:
        """Hear which commits have their reports, for ever."""
        while True:
            line = await self.github.line(timeout=3600)
            first, _, rest = line.partition(" ")
            if first == "counts" and self._counts is not None:
                self._counts.set_result(json.loads(rest))
            elif (answer := self._pending.get(first)) is not None and not answer.done():
                answer.set_result(float(rest))


@asynccontextmanager
async def world(
    place: Place, *, learners: int, commits: int, shape: Shape, prompt: bool = False, side_by_side: int = 16
) -> AsyncIterator[World]:
    """Run everything; each learner has pushed once, so that all are enrolled. `commits`: of each, beyond that one."""
    secret = secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        github = await stack.enter_async_context(program("github", place.home, "-m", "bench.github"))
        home = place.home / f"github-{secrets.token_hex(4)}"
        github.tell(asdict(Plan(str(home), secret, learners, commits + 1, asdict(shape), prompt)))
        facts = json.loads(await github.line(timeout=600))
        facts = Facts(**{**facts, "forks": [Fork(**fork) for fork in facts["forks"]]})
        dsn = await stack.enter_async_context(database(place.server))
        environment = _environment(facts, dsn, secret)
        await command(place.home, environment, "migrate")
        await command(place.home, environment, "labs", "add", facts.template, "--slug", "bench")
        await command(place.home, environment, "labs", "publish", "bench")
        web = await stack.enter_async_context(
            program("web", place.home, str(ROOT / "app.py"), "web", environment=environment)
        )
        enrolled = deque(Learner(fork) for fork in facts.forks)
        port = await web_port(web)
        here = World(place, secret, github, enrolled, environment, dsn, web, port, stack)
        await here.add_worker()
        ear = asyncio.create_task(here.listen())
        try:
            await here.saturate(learners, min(side_by_side, learners))
            yield here
        finally:
            ear.cancel()
            with suppress(asyncio.CancelledError, BenchError):
                await ear


def _environment(facts: Facts, dsn: str, secret: str) -> dict[str, str]:
    """The App's settings: the default ones, but for the pause between two writes."""
    return child_environment(
        DATABASE_URL=dsn,
        GITHUB_API_URL=facts.api_url,
        GITHUB_WEB_URL=facts.url,
        GITHUB_APP_ID=str(facts.app_id),
        GITHUB_PRIVATE_KEY=facts.private_key,
        GITHUB_WEBHOOK_SECRET=secret,
        GITHUB_WRITE_INTERVAL="0",
        LOG_FORMAT="json",
        PORT="0",
    )
