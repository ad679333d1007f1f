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
    """The App's processes. `home` holds their logs; they are started in it, so that no `.env` of a developer counts."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home = home
        self._environment = environment
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.url = ""

    async def start(self) -> None:
        """Migrate the database, start `web`, wait for its address, start `worker`."""
        await self.command("migrate")
        await self._spawn("web", PORT="0")
        self.url = self._environment["PUBLIC_URL"] = await self._address()
        await self._spawn("worker")

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

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of each process's log, for when something went wrong."""
        parts = []
        for name in self._processes:
            text = (self._home / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            parts.append(f"--- {name} ---\n" + "\n".join(line[:LOG_WIDTH] for line in text.splitlines()[-lines:]))
        return "\n".join(parts)

    async def _exec(
        self, words: tuple[str, ...], out: Any, err: Any, environment: dict[str, str]
    ) -> asyncio.subprocess.Process:
        command = (sys.executable, str(ROOT / "app.py"), *words)
        return await asyncio.create_subprocess_exec(
            *command, cwd=self._home, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err
        )

    async def _spawn(self, name: str, **more: str) -> None:
        with (self._home / f"{name}.log").open("wb") as log:
            self._processes[name] = await self._exec((name,), log, log, {**self._environment, **more})

    async def _address(self) -> str:
        """The address that the web process says it listens on."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self._processes["web"].returncode is None:
            text = (self._home / "web.log").read_text(encoding="utf-8", errors="replace")
            if found := re.search(r'"url": ?"(http://127\.0\.0\.1:\d+)"', text):
                return found[1]
            await asyncio.sleep(LOOK_EVERY)
        raise CommandError(f"the web process did not start:\n{self.log_tail()}")
