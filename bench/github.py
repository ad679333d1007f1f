"""GitHub's side of a bench, as a process of its own: the sandbox with a lab, learners' forks and their commits.

`python -m bench.github` reads a plan (JSON) from standard input and prints the world it has made; then one line
"SHA TIME" (time.monotonic, which all processes of a machine share) for each commit that has both its check run and its
status. What it is asked on standard input, a line of JSON each, it answers with a line that begins with the same word:

- "counts": how many requests it has answered, by kind; "reports": what was written about each commit (`Written`).
- {"limits": true}: from now on GitHub's limits hold, and writes are counted; "writes": what came of it (`Limits`).
- {"latency": S}: from now on each answer takes S seconds.

With `prompt` the three requests that each push costs are answered from memory at once: what is left is the App's cost.
Where a branch is, is always answered so.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from bench.lab import BRANCH, Shape, blob_sha, commit_files
from bench.payloads import Target
from sandbox import effects
from sandbox.faults import Armed, Fault
from sandbox.faults_http import Handler, RequestFaults
from sandbox.server import Sandbox
from sandbox.state import Repository

TEMPLATE = ("octo-course", "bench-lab")
# What owns the repositories of a class that has one installation in all.
CLASS = "octo-class"


@dataclass(frozen=True, slots=True)
class Plan:
    """The world that is wanted: forks (each in an account and installation of its own), and commits in each.

    `class_repositories`: forks besides, which belong to one organisation with one installation; of so many commits.
    """

    home: str
    secret: str
    repositories: int
    commits: int
    shape: dict[str, int]
    prompt: bool = False
    class_repositories: int = 0
    class_commits: int = 2


@dataclass(frozen=True, slots=True)
class Fork:
    """A learner's repository. `shas`: the template's head, then the learner's commits, one on the other.

    `learner`: the login, where an organisation owns the repository; else it is the owner's.
    """

    repo_id: int
    full_name: str
    owner_id: int
    installation_id: int
    shas: list[str]
    learner: str = ""

    @property
    def target(self) -> Target:
        """What a delivery says of it."""
        kind = "Organization" if self.learner else "User"
        return Target(self.repo_id, self.full_name, self.owner_id, self.installation_id, kind)


@dataclass(slots=True)
class Written:
    """How often GitHub took a check run and a status of a commit, and when the last of them (time.monotonic)."""

    check_runs: int = 0
    statuses: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits have counted. `peaks`, `refused`: by limit, of the installation that came nearest (sandbox.rates).

    `at`: when each write of each installation's repositories arrived (time.monotonic), by installation id and kind.
    """

    peaks: dict[str, int]
    refused: dict[str, int]
    at: dict[str, dict[str, list[float]]]


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
        self.prompt = False
        self.trees: dict[str, dict[str, tuple[str, int]]] = {}  # commit -> path -> blob and its size
        self.written: defaultdict[str, Written] = defaultdict(Written)
        self.forks: dict[str, Fork] = {}
        self._heads: dict[str, int] = {}
        self._limits: Armed | None = None
        self._writes: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._next_id = 1
        self._request_faults = _Watched(self)

    def ask(self, question: str | dict[str, Any]) -> tuple[str, Any]:
        """Answer what the bench asks, or do what it says: a word, and what is to be told."""
        match question:
            case "counts":
                return "counts", self.counts
            case "reports":
                return "reports", {sha: asdict(each) for sha, each in self.written.items()}
            case "writes":
                assert self._limits is not None, "nothing is counted before limits hold"
                book = self._limits.state
                at = {str(installation_id): dict(kinds) for installation_id, kinds in self._writes.items()}
                return "writes", asdict(Limits(dict(book.peaks), dict(book.refused), at))
            case {"limits": True}:
                self._limits = self.faults.add(Fault(effects.Rates(content_per_minute=None, content_per_hour=None)))
                return "limits", True
            case {"latency": float(seconds)}:
                self.faults.add(Fault(effects.Latency(before=seconds)))
                return "latency", seconds
        raise ValueError(f"no such question: {question!r}")

    async def observe(
        self, request: web.Request, serve: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count a request and have it served, and tell of the commit that has both its reports by it."""
        parts = request.path.removeprefix("/api/v3/").split("/")
        kind = f"{request.method} {_what(parts, depth=1 if request.method == 'POST' else 2)}"
        self.counts[kind] += 1
        if self._limits is not None and request.method != "GET" and (fork := self.forks.get("/".join(parts[1:3]))):
            self._writes[fork.installation_id][kind].append(time.monotonic())
        response = await serve()
        if response.status == 201 and kind == "POST check-runs":
            self._note(orjson.loads(await request.read())["head_sha"], check_runs=1)
        elif response.status == 201 and kind == "POST statuses":
            self._note(parts[-1], statuses=1)
        return response

    def _note(self, sha: str, *, check_runs: int = 0, statuses: int = 0) -> None:
        """A report was taken; the first time that a commit has both, it is told."""
        written = self.written[sha]
        lacking = not (written.check_runs and written.statuses)
        written.check_runs += check_runs
        written.statuses += statuses
        written.at = time.monotonic()
        if lacking and written.check_runs and written.statuses:
            print(f"{sha} {written.at}", flush=True)

    async def promptly(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """The answer from memory, or else the handler's.

        A branch is where the newest commit is that the App has read: nobody pushes with git, and the App's regular
        look at all branches must not find them set back.
        """
        parts = request.path.removeprefix("/api/v3/repos/").split("/")
        fork = self.forks.get("/".join(parts[:2]))
        match request.method, parts[2:]:
            case ("POST", ["check-runs"] | ["statuses", _]) if self.prompt:
                await request.read()
                self._next_id += 1
                return web.Response(body=b'{"id":%d}' % self._next_id, status=201, content_type="application/json")
            case "GET", ["git", "trees", name] if name in self.trees and "recursive" in request.query:
                self._was_read(fork, name)
                if not self.prompt:
                    return await handler(request)
                return _json({"sha": name, "tree": self._listing(name), "truncated": False})
            case "GET", ["git", "ref", "heads", branch] if fork is not None and fork.full_name in self._heads:
                sha = fork.shas[self._heads[fork.full_name]]
                pointed = {"type": "commit", "sha": sha, "url": f"{self.api_url}/x"}
                return _json(
                    {"ref": f"refs/heads/{branch}", "node_id": "x", "url": f"{self.api_url}/x", "object": pointed}
                )
        return await handler(request)

    def _was_read(self, fork: Fork | None, sha: str) -> None:
        """The App reads a commit's files; a branch never goes back when that is an older one."""
        if fork is not None:
            with suppress(ValueError):
                self._heads[fork.full_name] = fork.shas.index(sha, self._heads.get(fork.full_name, 0))

    def _listing(self, name: str) -> list[dict[str, Any]]:
        return [
            {"path": path, "mode": "100644", "type": "blob", "sha": sha, "size": size, "url": f"{self.api_url}/x"}
            for path, (sha, size) in self.trees[name].items()
        ]


class _Watched(RequestFaults):
    """What all requests pass through, with the sandbox looking on."""

    def __init__(self, sandbox: TimedSandbox) -> None:
        super().__init__(sandbox._core, sandbox._auth, sandbox._rest)
        self._sandbox = sandbox

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = partial(self._sandbox.promptly, handler)
        return await self._sandbox.observe(request, partial(super().serve, request, answer))


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


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

    async def commits(fork: Repository, count: int) -> list[str]:
        """The shas of new commits there, after the template's."""
        # a word of its own makes the same edit another commit in each fork
        word = f"of {fork.full_name}\n".encode()
        changes = [{path: content + word} for path, content in map(shape.edit, range(count))]
        shas = [base, *await commit_files(fork.path, changes, onto=f"refs/heads/{BRANCH}^0")]
        for below, sha, change in zip(shas, shas[1:], changes, strict=False):
            trees[sha] = trees[below] | {path: (blob_sha(content), len(content)) for path, content in change.items()}
        return shas

    for number in range(plan.repositories):
        account = sandbox.add_account(f"learner-{number:04d}")
        fork = await sandbox.fork(template.full_name, account.login)
        shas = await commits(fork, plan.commits)
        installation = await sandbox.install(account.login, [fork.full_name])
        sandbox.forks[fork.full_name] = Fork(fork.id, fork.full_name, account.id, installation.id, shas)
    if plan.class_repositories:
        organisation = sandbox.add_account(CLASS, kind="Organization")
        names = [f"{name}-{number:04d}" for number in range(plan.class_repositories)]
        forks = [await sandbox.fork(template.full_name, CLASS, name=each) for each in names]
        installation = await sandbox.install(CLASS, [fork.full_name for fork in forks])
        for number, fork in enumerate(forks):
            learner = sandbox.add_account(f"student-{number:04d}").login
            shas = await commits(fork, plan.class_commits)
            sandbox.forks[fork.full_name] = Fork(
                fork.id, fork.full_name, organisation.id, installation.id, shas, learner
            )
    sandbox.trees, sandbox.prompt = trees, plan.prompt
    all_forks = list(sandbox.forks.values())
    return Facts(sandbox.api_url, sandbox.url, sandbox.app_id, sandbox.private_key_pem, template.full_name, all_forks)


async def serve(plan: Plan) -> None:
    """Be GitHub until standard input ends."""
    sandbox = TimedSandbox(Path(plan.home), webhook_secret=plan.secret, rate_limit=1_000_000_000, echo_events=False)
    async with sandbox:
        print(json.dumps(asdict(await furnish(sandbox, plan))), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, value = sandbox.ask(json.loads(line))
            print(f"{word} {json.dumps(value)}", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Plan(**json.loads(sys.stdin.readline()))))
