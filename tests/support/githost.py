"""A person and an App at a sandbox: working copies driven by the real git, and REST calls."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives import serialization

from sandbox import Repository, Sandbox

GIT_TIMEOUT = 60.0
IDENTITY = {"GIT_AUTHOR_NAME": "Learner", "GIT_COMMITTER_NAME": "Learner"}
ADDRESS = "learner@example.org"


class GitFailedError(RuntimeError):
    """git ended with an error; the text is what it said."""


async def run(*arguments: str, cwd: Path, stdin: bytes = b"") -> str:
    """Run git as a person would, with no configuration of the machine; GitFailedError with git's words."""
    environment = {
        "PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0", "GIT_AUTHOR_EMAIL": ADDRESS, "GIT_COMMITTER_EMAIL": ADDRESS, **IDENTITY,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, cwd=cwd, env=environment, stdin=-1, stdout=-1, stderr=-1
    )
    async with asyncio.timeout(GIT_TIMEOUT):
        output, errors = await process.communicate(stdin)
    if process.returncode != 0:
        raise GitFailedError(errors.decode(errors="replace"))
    return output.decode(errors="replace").strip()


def fast_import(commits: Sequence[Mapping[str, str | bytes]], branch: str = "main", *, start: str = "") -> bytes:
    """Return a `git fast-import` stream: each commit writes its files on top of the one before (`start`: a ref)."""
    stream: list[bytes] = []
    for number, files in enumerate(commits):
        stream.append(
            f"commit refs/heads/{branch}\ncommitter Learner <{ADDRESS}> {1700000000 + number} +0100\n".encode()
        )
        stream.append(f"data {len(str(number))}\n{number}\n".encode())
        if number == 0 and start:
            stream.append(f"from {start}\n".encode())
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            stream.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
    return b"".join(stream)


async def seed(repository: Repository, *commits: Mapping[str, str | bytes], branch: str = "main") -> str:
    """Write commits straight into the bare repository, without a push; return the head."""
    await run("fast-import", "--quiet", cwd=repository.path, stdin=fast_import(commits, branch))
    return await run("rev-parse", branch, cwd=repository.path)


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """A clone of a repository of the sandbox, of one person."""

    path: Path
    url: str

    @classmethod
    async def clone(cls, sandbox: Sandbox, full_name: str, login: str, path: Path) -> WorkingCopy:
        """Clone over HTTP with the person's credentials."""
        url = f"{sandbox.url.replace('//', f'//{login}:secret@')}/{full_name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        await run("clone", "--quiet", url, str(path), cwd=path.parent)
        return cls(path, url)

    async def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in the working copy."""
        return await run(*arguments, cwd=self.path, stdin=stdin)

    async def commit(self, files: dict[str, str | bytes | None], message: str = "Work") -> str:
        """Write files (None: remove), commit them, return the commit's sha."""
        for name, content in files.items():
            target = self.path / name
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        await self.git("add", "--all")
        await self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return await self.git("rev-parse", "HEAD")

    async def push(self, *arguments: str) -> str:
        """Push; without arguments the current branch to its name."""
        return await self.git("push", "--quiet", "origin", *(arguments or ("HEAD",)))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the REST API."""

    status: int
    headers: Mapping[str, str]
    body: Any
    raw: bytes


@cache
def _loaded(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)


def basic(sandbox: Sandbox, secret: str | None = None) -> str:
    """The Authorization header with the App's client id and secret."""
    pair = f"{sandbox.client_id}:{sandbox.client_secret if secret is None else secret}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


class ApiClient:
    """REST calls with any credentials: no cleverness, so that the sandbox itself is seen."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session

    def jwt(self, *, iat: int = -60, exp: int = 540, key: str | None = None, **claims: Any) -> str:
        """Return an App JWT; `iat` and `exp` are seconds from the sandbox's now."""
        now = int(time.time())
        payload = {"iat": now + iat, "exp": now + exp, "iss": str(self.sandbox.app_id), **claims}
        return jwt.encode(payload, _loaded(key or self.sandbox.private_key_pem), algorithm="RS256")

    async def token(self, installation_id: int, **body: Any) -> str:
        """Return an installation token."""
        answer = await self.app("POST", f"/app/installations/{installation_id}/access_tokens", body or None)
        assert answer.status == 201, answer.body
        return str(answer.body["token"])

    async def app(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Call as the App."""
        return await self.call(method, path, body, credentials=self.jwt(), **headers)

    async def call(
        self, method: str, path: str, body: Any = None, *, credentials: str | None = None, **headers: str
    ) -> Answer:
        """Call with a token, a JWT or nothing. Redirects are not followed; `if_none_match=` becomes a header."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if credentials is not None:
            sent["Authorization"] = f"Bearer {credentials}"
        url = path if path.startswith("http") else self.sandbox.api_url + path
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(method, url, data=data, headers=sent, allow_redirects=False) as response:
            raw = await response.read()
            is_json = raw and "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, orjson.loads(raw) if is_json else None, raw)
