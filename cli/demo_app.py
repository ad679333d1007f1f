"""The App of the demo: `python app.py` as a host runs it, in real processes, with their logs in files."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cli.demo_git import end
from cli.faults import CommandError

ROOT = Path(__file__).resolve().parent.parent

START_TIMEOUT = 30.0
STOP_TIMEOUT = 25.0
LOOK_EVERY = 0.1
# Characters of a log line that are shown; a traceback in it is one long line.
LOG_WIDTH = 2_000


class App:
    """The App's processes. `home` holds their logs; they are started in it, so that no `.env` of a developer counts.

    `pages`: the command that shows pages, at PORT if `environment` has it; `others`: what runs beside it.
    """

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        *,
        pages: tuple[str, ...] = ("web",),
        others: tuple[str, ...] = ("worker",),
    ) -> None:
        self._home = home
        self._environment = environment
        self._pages = pages
        self._others = others
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.url = ""

    async def start(self) -> None:
        """Migrate the database, start what shows pages, wait for its address, start the others."""
        await self.command("migrate")
        await self._spawn(*self._pages, PORT=self._environment.get("PORT", "0"))
        self.url = self._environment["PUBLIC_URL"] = await self._address()
        for name in self._others:
            await self._spawn(name)

    async def command(self, *words: str) -> str:
        """Run `python app.py WORDS` to its end and return its output; CommandError with its words if it fails."""
        process = await self._exec(words, asyncio.subprocess.PIPE, asyncio.subprocess.PIPE, self._environment)
        try:
            out, err = await asyncio.wait_for(process.communicate(), START_TIMEOUT)
        finally:
            await end(process)
        if process.returncode != 0:
            raise CommandError(f"app.py {' '.join(words)} failed: {err.decode(errors='replace').strip()}")
        return out.decode()

    async def stop(self) -> dict[str, int]:
        """Stop all processes as a host does (SIGTERM); returns their exit statuses by name."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
            except TimeoutError:
                process.kill()
                await process.wait()
        return {name: process.returncode or 0 for name, process in self._processes.items()}

    def pages_link(self) -> str:
        """The newest link by which one browser on this machine may see the pages."""
        links = re.findall(r"http://127\.0\.0\.1:\d+/login/local\?token=[\w-]+", self._log(self._pages[0]))
        if not links:
            raise CommandError(f"{self._pages[0]} printed no link to its pages:\n{self.log_tail()}")
        return str(links[-1])

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of each process's log, for when something went wrong."""
        parts = []
        for name in self._processes:
            tail = self._log(name).splitlines()[-lines:]
            parts.append(f"--- {name} ---\n" + "\n".join(line[:LOG_WIDTH] for line in tail))
        return "\n".join(parts)

    def _log(self, name: str) -> str:
        return (self._home / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    async def _exec(
        self, words: tuple[str, ...], out: Any, err: Any, environment: dict[str, str]
    ) -> asyncio.subprocess.Process:
        command = (sys.executable, str(ROOT / "app.py"), *words)
        return await asyncio.create_subprocess_exec(
            *command, cwd=self._home, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err
        )

    async def _spawn(self, *words: str, **more: str) -> None:
        with (self._home / f"{words[0]}.log").open("wb") as log:
            self._processes[words[0]] = await self._exec(words, log, log, {**self._environment, **more})

    async def _address(self) -> str:
        """The address where pages are shown, once the link to them is printed."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self._processes[self._pages[0]].returncode is None:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/login/local\?token=", self._log(self._pages[0])):
                return found[1]
            await asyncio.sleep(LOOK_EVERY)
        raise CommandError(f"{self._pages[0]} did not start:\n{self.log_tail()}")
