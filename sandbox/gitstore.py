"""Git on disk: bare repositories, read through long-lived processes and caches.

A fork of a process costs milliseconds, a question to a running `git cat-file` a tenth of one. So objects are read
through one `cat-file --batch` and one `--batch-check` per repository, objects of a sha are cached (they never change),
and processes are started only for what these cannot answer: diffs, histories, ancestry.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache

from .errors import GitError
from .views import view

GIT_TIMEOUT = 60.0  # seconds for one git process; the largest repositories of the tests need a few
CACHED_BYTES = 128 * 1024 * 1024
CACHED_OBJECT_MAX = 8 * 1024 * 1024
OPEN_REPOSITORIES = 24  # each holds two processes
BATCH = 500  # questions of 41 bytes at once; a pipe holds 64 KiB
SHA = re.compile(r"[0-9a-f]{40}")
# What git check-ref-format forbids, and what would make git read a name as an expression ("main~2", "main:a/b").
UNSAFE_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/]|/$|//|\.lock$|^$")

_CONFIGURATION = {
    "core.fsmonitor": "false",
    "gc.auto": "0",  # unreachable commits stay readable, as on GitHub
    "maintenance.auto": "false",
    "safe.directory": "*",  # the folder may belong to another user than the process, e.g. in a container
}


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which only the repository's own configuration and ours count."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(_CONFIGURATION)),
    }
    for number, (key, value) in enumerate(_CONFIGURATION.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    environment.update(extra or {})
    return environment


async def run_git(
    arguments: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> tuple[int, bytes]:
    """Run git without a shell and return its status and output; GitError for a status outside `accept`."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env=git_environment(environment),
        # uvloop cannot write, not even nothing, to a program that has ended by then.
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(GIT_TIMEOUT):
            output, errors = await process.communicate(stdin or None)
    except BaseException:
        await end_process(process)
        raise
    status = process.returncode
    if status is None or status not in accept:
        said = errors.decode(errors="replace").strip()
        raise GitError(f"git {arguments[0]} ended with status {status}: {said}")
    return status, output


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Kill the process if it still runs, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@dataclass(frozen=True, slots=True)
class GitObject:
    """One object: sha, type ("commit", "tree", "blob", "tag") and content."""

    sha: str
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What `cat-file --batch-check` tells: sha, type, size in bytes."""

    sha: str
    type: str
    size: int


class _ReaderClosedError(Exception):
    """The reader was closed to make room while a question waited for it: ask a new one."""


class _Reader:
    """One long-lived `git cat-file` process: lines in, answers out, one batch of questions at a time."""

    def __init__(self, path: Path, option: str) -> None:
        self._path = path
        self._option = option
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    async def ask(self, names: Sequence[str]) -> list[tuple[ObjectInfo, bytes] | None]:
        """Return what git knows of each name, None for a name that it does not know."""
        async with self._lock:
            if self._closed:
                raise _ReaderClosedError
            try:
                async with asyncio.timeout(GIT_TIMEOUT):
                    return await self._ask(names)
            except BaseException:  # half an answer may still be in the pipe: never read it as the next one
                await self._end()
                raise

    async def _ask(self, names: Sequence[str]) -> list[tuple[ObjectInfo, bytes] | None]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                "git", "cat-file", self._option, cwd=self._path, env=git_environment(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
            )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise GitError("git cat-file was started without pipes")
        answers: list[tuple[ObjectInfo, bytes] | None] = []
        # As much at once as surely fits into both pipes: when both are full, git and we would wait for ever.
        batch = BATCH if self._option == "--batch-check" else 1
        for start in range(0, len(names), batch):
            asked = names[start : start + batch]
            stdin.write("".join(f"{name}\n" for name in asked).encode())
            await stdin.drain()
            answers += [await self._answer(name, stdout) for name in asked]
        return answers

    async def _answer(self, name: str, stdout: asyncio.StreamReader) -> tuple[ObjectInfo, bytes] | None:
        line = await stdout.readline()
        if not line.endswith(b"\n"):
            raise GitError(f"git cat-file {self._option} ended before it answered")
        words = line.split()
        if len(words) == 3 and words[2].isdigit() and len(words[0]) == 40:
            info = ObjectInfo(words[0].decode(), words[1].decode(), int(words[2]))
            if self._option == "--batch-check":
                return info, b""
            data = await stdout.readexactly(info.size + 1)
            return info, data[:-1]
        if line.startswith(name.encode()) and words[-1] in {b"missing", b"ambiguous"}:
            return None
        raise GitError(f"git cat-file answered {line!r} to {name!r}")

    async def close(self) -> None:
        """End the process, after the question that is under way."""
        async with self._lock:
            self._closed = True
            await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            await end_process(process)


class GitStore:
    """Reads objects of the bare repositories. A repository is named by its id and its path."""

    def __init__(self) -> None:
        self._readers: OrderedDict[Path, tuple[_Reader, _Reader]] = OrderedDict()
        self._objects: LRUCache[tuple[Path, str], GitObject] = LRUCache(
            CACHED_BYTES, lambda found: len(found.data) + 200
        )
        self._infos: LRUCache[tuple[Path, str], ObjectInfo] = LRUCache(400_000)

    async def _ask(self, path: Path, number: int, names: Sequence[str]) -> list[tuple[ObjectInfo, bytes] | None]:
        """Ask the repository's content reader (0) or its checker (1)."""
        while True:
            try:
                return await (await self._readers_of(path))[number].ask(names)
            except _ReaderClosedError:
                continue

    async def _readers_of(self, path: Path) -> tuple[_Reader, _Reader]:
        if path not in self._readers:
            self._readers[path] = (_Reader(path, "--batch"), _Reader(path, "--batch-check"))
        self._readers.move_to_end(path)
        readers = self._readers[path]
        while len(self._readers) > OPEN_REPOSITORIES:
            _, oldest = self._readers.popitem(last=False)
            for reader in oldest:
                await reader.close()
        return readers

    async def read(self, path: Path, name: str) -> GitObject | None:
        """Return the object that a sha, or an expression that the caller has built safely, names."""
        name = view().renamed(path, name)
        if view().hides(path, name):
            return None
        cached = self._objects.get((path, name))
        if cached is not None:
            return cached
        (answer,) = await self._ask(path, 0, [name])
        if answer is None:
            return None
        info, data = answer
        found = GitObject(info.sha, info.type, data)
        if len(data) <= CACHED_OBJECT_MAX:
            self._objects[path, info.sha] = found
        return found

    async def infos(self, path: Path, names: Sequence[str]) -> list[ObjectInfo | None]:
        """Return sha, type and size of each name, None where there is no such object. Refs are not cached."""
        seen = view()
        names = [seen.renamed(path, name) for name in names]
        hidden = {number for number, name in enumerate(names) if seen.hides(path, name)}
        found = [None if number in hidden else self._infos.get((path, name)) for number, name in enumerate(names)]
        missing = [number for number, info in enumerate(found) if info is None and number not in hidden]
        if missing:
            answers = await self._ask(path, 1, [names[number] for number in missing])
            for number, answer in zip(missing, answers, strict=True):
                if answer is not None:
                    info = answer[0]
                    found[number] = info
                    if SHA.match(names[number]):  # a sha, or what a sha leads to: neither can change
                        self._infos[path, names[number]] = info
        return found

    async def resolve(self, path: Path, name: str, kind: str = "commit") -> str | None:
        """Return the sha of the commit (or tree) that a sha, a branch, a tag or a full ref names, or None."""
        if UNSAFE_NAME.search(name):
            return None
        if SHA.fullmatch(name):
            names = [f"{name}^{{{kind}}}"]
        else:
            places = ["refs/heads/", "refs/tags/", "refs/"] if name != "HEAD" else [""]
            names = [f"{place}{name}^{{{kind}}}" for place in places]
            names += [f"{name}^{{{kind}}}"] if re.fullmatch(r"refs/.+|[0-9a-f]{7,39}", name) else []
        for info in await self.infos(path, names):
            if info is not None:
                return info.sha
        return None

    async def close(self, path: Path | None = None) -> None:
        """End the processes of one repository, or of all; a deleted repository's objects are forgotten."""
        paths = [path] if path is not None else list(self._readers)
        for each in paths:
            for reader in self._readers.pop(each, ()):
                await reader.close()
        if path is not None:
            for cache in (self._objects, self._infos):
                for key in [key for key in cache if key[0] == path]:
                    del cache[key]
