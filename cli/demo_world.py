"""The world of the demo: a sandbox GitHub in this process, the App as two real processes, and a way to look at both.

Nothing here knows the App's inside: it starts `python app.py` as a host would, speaks to it over HTTP, and reads the
verdicts where a learner's browser would, at (the sandbox's) GitHub.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from cli.demo_app import LOOK_EVERY, ROOT, App
from cli.demo_git import Clone, Person
from cli.demo_story import Redeliver, Scene
from cli.faults import CommandError
from sandbox.server import Sandbox
from settings import child_environment

TEMPLATE = ROOT / "examples" / "lab-template"
CHECK_NAME = "forgea/steps"
LAB = "word-counter"

TEACHER = Person("octo-teacher", "Octo Teacher")
LEARNER = Person("learner-one", "Learner Learner")

ANSWER_TIMEOUT = 20.0
# How long nothing may happen before we believe that nothing will: the answers above arrive within some 100 ms.
SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A judged push as the session's page shows it."""

    verdict: str
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read back: the check-run and status of a head from GitHub's API, the ledger from the session's page."""

    conclusion: str
    title: str
    text: str
    status: str
    runs: int
    attempts: tuple[Attempt, ...]
    done: frozenset[str]
    session: str


class World:
    """Sandbox, App and the learner's clone; `play` does a scene and reads back what came of it."""

    def __init__(self, sandbox: Sandbox, app: App, http: aiohttp.ClientSession, home: Path) -> None:
        self.sandbox = sandbox
        self.app = app
        self._http = http
        self._home = home
        self._token = ""
        self._clone: Clone | None = None
        self.fork = ""
        self.session_url = ""

    async def open_lab(self) -> str:
        """The operator's part: a template repository, the App on it, `labs add` and `labs publish`. Returns a line."""
        self.sandbox.add_account("octo-course", kind="Organization")
        self.sandbox.add_account(TEACHER.login)
        template = await self.sandbox.add_repository("octo-course", "word-counter-lab")
        self.sandbox.add_collaborator(template.full_name, TEACHER.login)
        address = f"{self.sandbox.url}/{template.full_name}.git"
        await Clone.publish(TEACHER, TEMPLATE, address, self._home / "template")
        await self.sandbox.install("octo-course", [template.full_name])
        await self.sandbox.idle()
        await self.app.command("labs", "add", template.full_name, "--slug", LAB)
        await self.app.command("labs", "publish", LAB)
        labs = json.loads(await self.app.command("labs", "list", "--json"))
        (lab,) = [lab for lab in labs if lab["slug"] == LAB]
        return f"{template.full_name} is lab {lab['slug']}, version {lab['version']}"

    async def enrol(self) -> str:
        """The learner's part: fork, install the App on the fork, and find it bound to a session. Returns a line."""
        self.sandbox.add_account(LEARNER.login)
        fork = await self.sandbox.fork("octo-course/word-counter-lab", LEARNER.login)
        self.fork = fork.full_name
        installation = await self.sandbox.install(LEARNER.login, [fork.full_name])
        self._token = await self._installation_token(installation.id)
        session_id = await self._session_of(fork.full_name)
        self.session_url = f"{self.app.url}/sessions/{session_id}"
        await self._first_answer()
        address = f"{self.sandbox.url}/{fork.full_name}.git"
        self._clone = await Clone.of(LEARNER, address, self._home / "learner")
        return f"{fork.full_name} is bound to session {session_id}"

    async def play(self, scene: Scene) -> tuple[Observed, list[str]]:
        """Act, wait for the answer, and compare: what was read back, and how it differs from what is expected."""
        if self._clone is None:
            raise RuntimeError("play before enrol")
        before = len((await self._page())[0])
        for action in scene.actions:
            if isinstance(action, Redeliver):
                await self._redeliver(self._clone.heads[action.scene])
            else:
                await self._clone.act(action, scene=scene.name)
        head = self._clone.heads[scene.head or scene.name]
        end = time.monotonic() + ANSWER_TIMEOUT
        await self.sandbox.idle()
        if scene.head is not None:  # that nothing changes can only be seen by waiting
            await asyncio.sleep(SETTLE)
        while True:
            observed = await self.look(head)
            wrong = differences(scene, observed, before)
            if not wrong or time.monotonic() > end:
                return observed, wrong
            await asyncio.sleep(LOOK_EVERY)

    async def look(self, head: str) -> Observed:
        """Read check-run and status of `head` from the REST API, ledger and steps from the session's page."""
        runs = await self._get(f"commits/{head}/check-runs", check_name=CHECK_NAME, filter="all", per_page="100")
        statuses = (await self._get(f"commits/{head}/status"))["statuses"]
        run: dict[str, Any] = max(runs["check_runs"], key=lambda item: item["id"], default={})
        output = run.get("output") or {}
        attempts, done, session = await self._page()
        return Observed(
            conclusion=run.get("conclusion") or "none",
            title=output.get("title") or "",
            text=f"{output.get('title')}\n{output.get('summary')}\n{output.get('text')}",
            status=next((status["state"] for status in statuses if status["context"] == CHECK_NAME), "none"),
            runs=len(runs["check_runs"]),
            attempts=attempts,
            done=done,
            session=session,
        )

    async def _page(self) -> tuple[tuple[Attempt, ...], frozenset[str], str]:
        """Attempts (newest first), complete steps and status, as the session's page marks them."""
        async with self._http.get(self.session_url) as response:
            text = await response.text()
            if response.status != 200:
                raise CommandError(f"{self.session_url} answered {response.status}: {text[:200]}")
        rows = re.findall(r'<tr data-attempt="\d+" data-verdict="(\w+)" data-codes="([\w ]*)"', text)
        steps = re.findall(r'<tr data-step="([\w-]+)" data-state="(\w+)"', text)
        status = re.search(r'data-session-status="(\w+)"', text)
        return (
            tuple(Attempt(verdict, frozenset(codes.split())) for verdict, codes in rows),
            frozenset(step for step, state in steps if state == "done"),
            status[1] if status else "none",
        )

    async def _redeliver(self, head: str) -> None:
        for delivery in reversed(self.sandbox.deliveries):
            if delivery.event == "push" and json.loads(delivery.payload)["after"] == head:
                await self.sandbox.redeliver(delivery.guid)
                return
        raise CommandError(f"no push delivery for {head}")

    async def _session_of(self, full_name: str) -> str:
        end = time.monotonic() + ANSWER_TIMEOUT
        while time.monotonic() < end:
            for session in json.loads(await self.app.command("sessions", "list", "--json")):
                if session["repository"] == full_name:
                    return str(session["session_id"])
        raise CommandError(f"{full_name} was not bound to a session:\n{self.app.log_tail()}")

    async def _first_answer(self) -> None:
        """Wait until the untouched fork is judged, so that what is counted from here on is the learner's pushes."""
        end = time.monotonic() + ANSWER_TIMEOUT
        while not (await self._page())[0]:
            if time.monotonic() > end:
                raise CommandError(f"the untouched fork was not judged:\n{self.app.log_tail()}")
            await asyncio.sleep(LOOK_EVERY)

    async def _installation_token(self, installation_id: int) -> str:
        """A token for reading back, got as the App would get it: with a JWT signed by the App's key."""
        now = int(time.time())
        claims = {"iat": now - 60, "exp": now + 540, "iss": str(self.sandbox.app_id)}
        signed = jwt.encode(claims, self.sandbox.private_key_pem, algorithm="RS256")
        url = f"{self.sandbox.api_url}/app/installations/{installation_id}/access_tokens"
        async with self._http.post(url, headers={"Authorization": f"Bearer {signed}"}) as response:
            response.raise_for_status()
            return str((await response.json())["token"])

    async def _get(self, path: str, **query: str) -> Any:
        url = f"{self.sandbox.api_url}/repos/{self.fork}/{path}"
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/vnd.github+json"}
        async with self._http.get(url, params=query, headers=headers) as response:
            response.raise_for_status()
            return await response.json()


def differences(scene: Scene, observed: Observed, attempts_before: int) -> list[str]:
    """How `observed` differs from what the scene expects, a sentence each; empty when all is as expected."""
    expect = scene.expect
    new = len(observed.attempts) - attempts_before
    newest = observed.attempts[0] if new > 0 else Attempt("", frozenset())
    pairs: list[tuple[str, object, object]] = [
        ("check-run", expect.conclusion, observed.conclusion),
        ("status", expect.status, observed.status),
        ("new attempts", 0 if expect.verdict is None else 1, new),
        ("verdict", expect.verdict or "", newest.verdict),
        ("codes", sorted(expect.codes), sorted(newest.codes) if expect.codes else []),
        ("complete steps", sorted(expect.done), sorted(observed.done)),
        ("session", expect.session, observed.session),
        ("check-runs on the head", expect.runs, observed.runs),
    ]
    wrong = [f"{name}: expected {want}, found {found}" for name, want, found in pairs if want != found]
    wrong += [f"the check-run does not name {text}" for text in expect.mentions if text not in observed.text]
    if expect.title not in observed.title:
        wrong.append(f"title: expected ...{expect.title}..., found {observed.title}")
    return wrong


@asynccontextmanager
async def world(home: Path, dsn: str) -> AsyncIterator[World]:
    """Start sandbox and App on the empty database `dsn`, with all files in `home`; stop both at the end."""
    secret = secrets.token_hex(32)
    async with Sandbox(home / "github", webhook_secret=secret) as sandbox, aiohttp.ClientSession() as http:
        app = App(
            home,
            child_environment(
                DATABASE_URL=dsn,
                GITHUB_API_URL=sandbox.api_url,
                GITHUB_WEB_URL=sandbox.url,
                GITHUB_APP_ID=str(sandbox.app_id),
                GITHUB_PRIVATE_KEY=sandbox.private_key_pem,
                GITHUB_WEBHOOK_SECRET=secret,
                CHECK_NAME=CHECK_NAME,
                LOG_FORMAT="json",
                PYTHONUNBUFFERED="1",
            ),
        )
        try:
            await app.start()
            sandbox.webhook_url = f"{app.url}/webhook"
            yield World(sandbox, app, http, home)
        finally:
            await app.stop()
