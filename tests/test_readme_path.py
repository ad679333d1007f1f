"""The README's way from nothing to a first verdict, walked with its own commands; the sandbox is GitHub."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from sandbox import Sandbox
from tests.support.clicking import Clicker, clicking
from tests.support.embedded_server import open_folder
from tests.support.githost import WorkingCopy

ROOT = Path(__file__).parents[1]
ME, LAB, MINE = "octo-staff", "word-counter-lab", "my-word-counter"
# For one command, or one answer, on a machine that has much else to do (seconds).
PATIENCE = 120
MACHINE = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def commands() -> list[list[str]]:
    """The lines of each block of commands in the README's section, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("\n## On your own GitHub")
    section, _, _ = section.partition("\n## ")
    return [block.splitlines() for block in re.findall(r"```\n(.*?)```", section, re.DOTALL)]


def test_the_way_is_four_blocks_of_commands() -> None:
    """Starting, making the template, registering: nothing in the section is left out by the walk below."""
    start, template, register = commands()

    assert start == ["make serve ARGS=--poll"]
    assert template[0] == "cp -r examples/lab-template ../word-counter-lab"
    assert [line.split()[:3] for line in register] == [
        [".venv/bin/python", "app.py", "doctor"],
        [".venv/bin/python", "app.py", "labs"],
        [".venv/bin/python", "app.py", "labs"],
    ]


class Walk:
    """An operator's machine: `folder` stands for the clone of this project."""

    def __init__(self, folder: Path, sandbox: Sandbox, port: int) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self._log = folder / "serve.log"
        self.address = f"http://127.0.0.1:{port}"
        self.environment = {
            **MACHINE,
            "PORT": str(port),
            "GIT_AUTHOR_NAME": ME,
            "GIT_AUTHOR_EMAIL": "octo-staff@example.com",
            "GIT_COMMITTER_NAME": ME,
            "GIT_COMMITTER_EMAIL": "octo-staff@example.com",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }

    def here(self, line: str) -> str:
        """A line of the README for this machine: other addresses, the same words."""
        git = self.sandbox.url.replace("://", f"://{ME}:any@")
        line = line.replace("https://github.com/", f"{git}/").replace("YOUR-LOGIN", ME)
        app = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'app.py'))}"
        return line.replace(".venv/bin/python app.py", app).replace(
            "make serve ARGS=--poll", f"exec {app} serve --poll"
        )

    async def start(self, lines: list[str], out: IO[bytes] | int) -> asyncio.subprocess.Process:
        """Run the lines in a shell, as if pasted."""
        script = "\n".join(["set -e", *map(self.here, lines)])
        return await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, lines: list[str]) -> str:
        """Run the lines to their end; what they print. All must succeed."""
        process = await self.start(lines, asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, out.decode()
        return out.decode()

    @asynccontextmanager
    async def serving(self, lines: list[str]) -> AsyncIterator[None]:
        """Keep a server running; `said` has what it prints."""
        with self._log.open("wb") as log:
            process = await self.start(lines, log)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE)

    async def said(self, pattern: str) -> str:
        """Wait until the server has printed something that matches; returns that."""
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self._log.read_text(encoding="utf-8"))):
                await asyncio.sleep(0.1)
        return found[0]


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """A folder like a clone of this project, as far as the README's commands look into it."""
    with open_folder() as path:
        (path / "stepgate").mkdir(mode=0o755)
        (path / "stepgate" / "examples").symlink_to(ROOT / "examples")
        yield path / "stepgate"


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.timeout(400)
async def test_from_nothing_to_a_first_verdict(folder: Path, tmp_path: Path) -> None:
    """Each command in its order; the clicks between them; at the end the learner's push has its check-run, and the
    class page shows the learner."""
    start, template, register = commands()
    async with Sandbox(tmp_path / "github", registered=False) as sandbox, clicking() as browser:
        walk = Walk(folder, sandbox, free_port())
        sandbox.add_account(ME)
        await browser.open(f"{sandbox.url}/login")
        await browser.press(f"Sign in as {ME}")
        async with walk.serving(start):
            await _set_up(walk, browser)
            install = browser.links["Install it on the lab's template"]
            assert "Create it on GitHub" not in browser.text

            record = await sandbox.add_repository(ME, LAB)
            await walk.run(template)
            record.is_template = True
            assert install == f"{sandbox.url}/apps/stepgate-test/installations/new"
            installation = await sandbox.install(ME, [record.full_name])

            told = await walk.run(register)
            assert "FAIL" not in told
            assert LAB in told

            assert "You are signed in" in await _sign_in(walk, browser)
            await browser.open(f"{walk.address}/join/{LAB}")
            assert "Or use it as a template" in browser.links
            fork = await sandbox.generate(record.full_name, ME, MINE)
            await sandbox.select(installation.id, add=[fork.full_name])
            clone = await WorkingCopy.clone(sandbox, fork.full_name, ME, tmp_path / "clone")
            head = await clone.commit({"src/cli.js": "console.log(1);\n"}, "Too early")
            await clone.push()

            verdict = await _verdict(sandbox, fork.full_name, head)
            assert (verdict["name"], verdict["conclusion"]) == ("forgea/steps", "failure")
            assert "src/cli.js" in str(verdict["output"])
            await browser.open(f"{walk.address}/")
            assert ME in browser.text
            assert "Too early" not in browser.text  # commit messages are not looked at


async def _set_up(walk: Walk, browser: Clicker) -> None:
    """Step 1: the printed link, the form, GitHub's button; then the App is up."""
    await browser.open(await walk.said(r"http\S+/setup\?token=\S+"))
    await browser.press("Go on", {"name": "Stepgate-test", "github": walk.sandbox.url})
    await browser.press("Create it on GitHub")
    await browser.press(f"Create GitHub App for {ME}")
    assert "goes on by itself" in browser.text, browser.text
    await walk.said(r"Taking deliveries[\s\S]*listening")


async def _sign_in(walk: Walk, browser: Clicker) -> str:
    """Step 4's beginning: the lab's page, and signing in with GitHub. Returns the page's text."""
    await browser.open(f"{walk.address}/join/{LAB}")
    assert browser.status == 200
    await browser.follow("Sign in to see where you stand")
    if "Authorize Stepgate-test" in [label for form in browser.forms for label in form.buttons]:
        await browser.press("Authorize Stepgate-test")
    return browser.text


async def _verdict(sandbox: Sandbox, full_name: str, sha: str) -> dict[str, object]:
    """The check-run of a head, as soon as it is there."""
    async with asyncio.timeout(PATIENCE):
        while not (runs := sandbox.check_runs(full_name, sha)):
            await asyncio.sleep(0.2)
    return runs[-1]
