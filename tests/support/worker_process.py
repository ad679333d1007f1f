"""Worker processes as `python app.py worker` runs them, made by a fork server: a new one costs 50 ms, not a second.

The composition is app.run_worker's own; only the leases are shorter. A test may stop, freeze and kill each process.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sandbox import Sandbox

PRELOADED = ["app", "bot.worker", "cli.logs", "settings", "storage.cache", "tests.support.crash_points", __name__]
#: Seconds for a process to end, or to begin to work.
PATIENCE = 30.0


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker process is told. `seams`: functions "module:name" that change the process before it starts, each
    called with `argument`. `log`: the file that takes everything the process says. `recovers`: the worker also looks
    for what was lost, by the clock and as it starts.
    """

    environment: dict[str, str]
    log: Path
    lease: timedelta = timedelta(seconds=1.5)
    report_lease: timedelta = timedelta(seconds=3)
    seams: tuple[str, ...] = ()
    argument: str = ""
    recovers: bool = False

    @classmethod
    def on(cls, sandbox: Sandbox, dsn: str, log: Path, **changes: Any) -> WorkerPlan:
        """A plan for a worker on this sandbox and database."""
        from settings import child_environment

        environment = child_environment(
            DATABASE_URL=dsn,
            GITHUB_API_URL=sandbox.api_url,
            GITHUB_WEB_URL=sandbox.url,
            GITHUB_APP_ID=str(sandbox.app_id),
            GITHUB_PRIVATE_KEY=sandbox.private_key_pem,
            GITHUB_WEBHOOK_SECRET="a-webhook-secret-for-tests",
            GITHUB_WRITE_INTERVAL="0",
            WORKER_CONCURRENCY="6",
            LOG_FORMAT="json",
        )
        return cls(environment, log, **changes)


def work(plan: WorkerPlan) -> None:
    """Be a worker until SIGTERM. Runs in the new process."""
    with plan.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(plan.environment)
    import app
    import bot.worker
    from cli.logs import configure
    from cli.serve import run_until_stopped
    from settings import load

    leases: dict[str, Any] = {"lease": plan.lease, "report_lease": plan.report_lease, "recovers": plan.recovers}
    bot.worker.Worker = partial(bot.worker.Worker, **leases)  # type: ignore[assignment,misc]
    for seam in plan.seams:
        module, _, name = seam.partition(":")
        getattr(importlib.import_module(module), name)(plan.argument)
    settings = load("worker")
    configure(settings.log_format, settings.log_level)
    run_until_stopped(lambda stop: app.run_worker(settings, plan.environment["DATABASE_URL"], stop))


@dataclass
class WorkerProcesses:
    """The worker processes of a test; all are gone at the end of `with`."""

    plan: WorkerPlan
    all: list[ForkServerProcess] = field(default_factory=list)

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            if process.is_alive():
                process.kill()
        for process in self.all:
            process.join(PATIENCE)

    def start(self, plan: WorkerPlan | None = None) -> ForkServerProcess:
        """Start another worker."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=work, args=(plan or self.plan,), daemon=True)
        process.start()
        self.all.append(process)
        return process

    def said(self) -> str:
        """The end of what the processes have logged."""
        return self.plan.log.read_text(errors="replace")[-4000:] if self.plan.log.exists() else ""


def send_signal(process: ForkServerProcess, number: signal.Signals) -> None:
    """Send a signal to a process that this test has started."""
    assert process.pid is not None
    os.kill(process.pid, number)


async def ended(process: ForkServerProcess, seconds: float = PATIENCE) -> float:
    """Wait for the process's end; how long that took, in seconds."""
    begun = time.monotonic()
    await until(lambda: not process.is_alive(), seconds, f"the end of process {process.pid}")
    return time.monotonic() - begun


async def until(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> None:
    """Wait until the condition (a function, or a coroutine function) holds."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if await met if asyncio.iscoroutine(met) else met:
                return
            await asyncio.sleep(0.02)
