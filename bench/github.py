"""GitHub's side of a bench, as a process of its own: the sandbox with a lab, learners' forks and their commits.

`python -m bench.github` reads a plan (JSON) from standard input and prints the world it has made; then one line
"SHA TIME" (time.monotonic, which all processes of a machine share) for each commit that has both its check run and its
status. The line "counts" makes it print how many requests it has answered, by kind.

With `prompt` the three requests that each push costs are answered from memory at once: what is left is the App's cost.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from bench.lab import BRANCH, Shape, blob_sha, commit_files
from sandbox.faults_http import RequestFaults
from sandbox.server import Sandbox
from sandbox.state import Repository

TEMPLATE = ("octo-course", "bench-lab")
# Commits of which a check run was posted and no status yet; more are never in flight.
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The world that is wanted: forks (each in an account and installation of its own), and commits in each."""

    home: str
    secret: str
    repositories: int
    commits: int
    shape: dict[str, int]
    prompt: bool = False


@dataclass(frozen=True, slots=True)
class Fork:
    """A learner's repository. `shas`: the template's head, then the learner's commits, one on the other."""

    repo_id: int
    full_name: str
    owner_id: int
    installation_id: int
    shas: list[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the App and the sender must know of this GitHub."""

    api_url: str
    url: str
    app_id: int
    private_key: str
    template: str
    forks: list[Fork]


class TimedSandbox(Sandbox):
    """A sandbox that tells when a commit has its check run and its status, and counts requests."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.counts: Counter[str] = Counter()
        self.prompt: dict[str, dict[str, tuple[str, int]]] | None = None  # commit -> path -> blob and its size
        self._reported: dict[str, None] = {}
        self._next_id = 1
        self._request_faults = _Watched(self)

    async def observe(
        self, request: web.Request, serve: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count a request and have it served, and tell of the commit that has both its reports by it."""
        parts = request.path.removeprefix("/api/v3/").split("/")
        kind = f"{request.method} {_what(parts, depth=1 if request.method == 'POST' else 2)}"
        self.counts[kind] += 1
        prompt = await self._promptly(request, kind, parts[-1])
        response = prompt if prompt is not None else await serve()
        if kind == "POST check-runs" and response.status == 201:
            self._reported[orjson.loads(await request.read())["head_sha"]] = None
            if len(self._reported) > KEPT:
                del self._reported[next(iter(self._reported))]
        elif kind == "POST statuses" and response.status == 201 and parts[-1] in self._reported:
            del self._reported[parts[-1]]
            print(f"{parts[-1]} {time.monotonic()}", flush=True)
        return response

    async def _promptly(self, request: web.Request, kind: str, name: str) -> web.Response | None:
        """The answer from memory, if there is one."""
        if self.prompt is None:
            return None
        if kind in ("POST check-runs", "POST statuses"):
            await request.read()
            self._next_id += 1
            return web.Response(body=b'{"id":%d}' % self._next_id, status=201, content_type="application/json")
        if kind == "GET git/trees" and name in self.prompt and "recursive" in request.query:
            listing = [
                {"path": path, "mode": "100644", "type": "blob", "sha": sha, "size": size, "url": f"{self.api_url}/x"}
                for path, (sha, size) in self.prompt[name].items()
            ]
            body = orjson.dumps({"sha": name, "tree": listing, "truncated": False})
            return web.Response(body=body, content_type="application/json")
        return None


class _Watched(RequestFaults):
    """What all requests pass through, with the sandbox looking on."""

    def __init__(self, sandbox: TimedSandbox) -> None:
        super().__init__(sandbox._core, sandbox._auth, sandbox._rest)
        self._sandbox = sandbox

    @web.middleware
    async def serve(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        return await self._sandbox.observe(request, partial(super().serve, request, handler))


def _what(parts: list[str], depth: int) -> str:
    """What a path is about: of a repository's the words after its name, else the first one."""
    return "/".join(parts[3 : 3 + depth]) or "repos" if parts[0] == "repos" else parts[0]


async def furnish(sandbox: TimedSandbox, plan: Plan) -> Facts:
    """Make the template, the forks, the installations and all commits."""
    shape = Shape(**plan.shape)
    owner, name = TEMPLATE
    sandbox.add_account(owner, kind="Organization")
    template = await sandbox.add_repository(owner, name)
    files = shape.template()
    (base,) = await commit_files(template.path, [files])
    await sandbox.install(owner, [template.full_name])
    trees = {base: {path: (blob_sha(content), len(content)) for path, content in files.items()}}
    edits = [shape.edit(commit) for commit in range(plan.commits)]
    forks = []
    for number in range(plan.repositories):
        account = sandbox.add_account(f"learner-{number:04d}")
        fork: Repository = await sandbox.fork(template.full_name, account.login)
        # a word of its own makes the same edit another commit in each fork
        changes = [{path: content + f"of {account.login}\n".encode()} for path, content in edits]
        shas = await commit_files(fork.path, changes, onto=f"refs/heads/{BRANCH}^0")
        installation = await sandbox.install(account.login, [fork.full_name])
        forks.append(Fork(fork.id, fork.full_name, account.id, installation.id, [base, *shas]))
        for below, sha, change in zip([base, *shas], shas, changes, strict=False):
            blobs = {path: (blob_sha(content), len(content)) for path, content in change.items()}
            trees[sha] = trees[below] | blobs
    sandbox.prompt = trees if plan.prompt else None
    return Facts(sandbox.api_url, sandbox.url, sandbox.app_id, sandbox.private_key_pem, template.full_name, forks)


async def serve(plan: Plan) -> None:
    """Be GitHub until standard input ends."""
    sandbox = TimedSandbox(Path(plan.home), webhook_secret=plan.secret, rate_limit=1_000_000_000, echo_events=False)
    async with sandbox:
        print(json.dumps(asdict(await furnish(sandbox, plan))), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if json.loads(line) == "counts":
                print(f"counts {json.dumps(sandbox.counts)}", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Plan(**json.loads(sys.stdin.readline()))))
