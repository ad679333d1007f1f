"""Git as the people of the demo use it: real commands in real clones, pushed over HTTP."""

from __future__ import annotations

import asyncio
import shutil
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from cli.demo_story import Commit, Push, Reset, Revert, Switch, Write
from cli.faults import CommandError
from settings import child_environment

GIT_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account: name and e-mail address go into commits, login and password to the server."""

    login: str
    name: str
    email: str = ""
    password: str = field(default="demo", repr=False)  # the sandbox takes any

    def environment(self, home: Path) -> dict[str, str]:
        """Git's environment: nothing of this machine's configuration, no prompts, no proxy."""
        email = self.email or f"{self.login}@example.com"
        return child_environment(
            HOME=str(home),
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL="/dev/null",
            GIT_TERMINAL_PROMPT="0",
            GIT_AUTHOR_NAME=self.name,
            GIT_AUTHOR_EMAIL=email,
            GIT_COMMITTER_NAME=self.name,
            GIT_COMMITTER_EMAIL=email,
            LC_ALL="C",
            no_proxy="*",
            NO_PROXY="*",
        )

    def access(self, address: str) -> dict[str, str]:
        """What lets git in at the server of `address`, and nowhere else: in the environment, so that no list of
        processes and no file of the clone shows the password."""
        parts = urlsplit(address)
        credentials = b64encode(f"{self.login}:{self.password}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {credentials}",
        }


def with_login(address: str, login: str) -> str:
    """`address` with `login` (and any password: the sandbox takes all) as HTTP credentials, for people to copy."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=f"{quote(login)}:demo@{parts.netloc}"))


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill the process unless it has ended, and wait for its end: nothing is left behind, also when cancelled."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def git(person: Person, folder: Path, *arguments: str, remote: str) -> str:
    """Run git in `folder` and return its output without the last newline; CommandError with git's words if it fails.

    `remote`: the address of the repository that the person has access to.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=folder,
        env=person.environment(folder) | person.access(remote),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), GIT_TIMEOUT)
    except TimeoutError:
        raise CommandError(f"git {arguments[0]} took longer than {GIT_TIMEOUT:.0f} s") from None
    finally:
        await end(process)
    if process.returncode != 0:
        raise CommandError(f"git {arguments[0]} failed: {err.decode(errors='replace').strip()}")
    return out.decode().rstrip("\n")


class Clone:
    """A working copy. `heads` remembers the head of each scene by the scene's name."""

    def __init__(self, person: Person, folder: Path, address: str) -> None:
        self._person = person
        self._folder = folder
        self._address = address
        self.heads: dict[str, str] = {}

    @classmethod
    async def of(cls, person: Person, address: str, folder: Path) -> Clone:
        """Clone `address` into the new folder `folder`."""
        await git(person, folder.parent, "clone", "--quiet", address, str(folder), remote=address)
        return cls(person, folder, address)

    @classmethod
    async def publish(cls, person: Person, source: Path, address: str, folder: Path) -> Clone:
        """Make a repository of the files of `source` and push it to the empty repository at `address`."""
        shutil.copytree(source, folder)
        clone = cls(person, folder, address)
        await clone._git("init", "--quiet", "--initial-branch=main")
        await clone._git("remote", "add", "origin", address)
        await clone.act(Commit("The lab"), scene="template")
        await clone.act(Push(), scene="template")
        return clone

    async def act(self, action: Write | Commit | Revert | Switch | Reset | Push, *, scene: str) -> None:
        """Do what a learner does; a commit is remembered as the head of `scene`."""
        match action:
            case Write(path, text):
                target = self._folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            case Commit(message, amend):
                await self._git("add", "--all")
                await self._git("commit", "--quiet", *(["--amend"] if amend else []), "--message", message)
                await self._remember(scene)
            case Revert():
                await self._git("revert", "--no-edit", "HEAD")
                await self._remember(scene)
            case Switch(branch, new):
                await self._git("switch", "--quiet", *(["--create"] if new else []), branch)
            case Reset(earlier):
                await self._git("reset", "--quiet", "--hard", self.heads[earlier])
            case Push(branch, force, earlier):
                source = self.heads[earlier] if earlier else "HEAD"
                options = ["--force"] if force else []
                await self._git("push", "--quiet", *options, "origin", f"{source}:refs/heads/{branch}")

    async def _remember(self, scene: str) -> None:
        self.heads[scene] = await self._git("rev-parse", "HEAD")

    async def _git(self, *arguments: str) -> str:
        return await git(self._person, self._folder, *arguments, remote=self._address)
