"""Secrets: without a good one nothing starts (row A4), and none is shown anywhere afterwards (row A17)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox import Fault
from sandbox.effects import Answer
from settings import SettingsError, load
from storage.deadletters import dead_letters
from tests.support.clicking import clicking
from tests.support.deliveries import WORK, World, commit, headers_of, world
from tests.support.line import SESSION_KEY

STAFF = 900


@pytest.mark.parametrize("secret", [None, "", "development", "fifteen-letters", " " * 20])
@pytest.mark.parametrize("command", ["web", "serve"])
def test_without_a_good_webhook_secret_nothing_starts(
    secret: str | None, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unset, empty, well-known or short secret ends the start with one line that names but does not repeat it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_APP_ID", "7")
    if secret is not None:
        monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", secret)

    with pytest.raises(SettingsError) as refused:
        load(command)

    lines = [line for line in str(refused.value).splitlines() if "GITHUB_WEBHOOK_SECRET" in line]
    assert len(lines) == 1
    assert secret is None or not secret.strip() or secret not in lines[0]


class Echo:
    """A GitHub (or a proxy before it) that repeats the credentials of requests in its answers. `fired`: how often."""

    def __init__(self) -> None:
        self.fired = 0

    def __call__(self, request: web.Request) -> web.Response | None:
        """Answer the first check run with HTML, the second with JSON, both with what authenticated it."""
        if request.method != "POST" or not request.path.endswith("/check-runs") or self.fired >= 2:
            return None
        self.fired += 1
        credential = request.headers["Authorization"]
        if self.fired == 1:
            return web.Response(status=502, text=f"<html>{credential}</html>", content_type="text/html")
        body = {"message": f"Validation Failed: {credential}", "errors": [credential, {"message": credential}]}
        return web.json_response(body, status=422)


def addresses(here: World, session_id: str) -> Iterator[str]:
    """Every address of the App that can be read, with what there is put in for its variables."""
    known = {"session_id": session_id, "slug": "lab", "lab": "lab"}
    for route in here.line.web.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method == "GET" and "events" not in path.split("/"):  # a stream does not end
            yield re.sub(r"\{(\w+)[^}]*\}", lambda name: known.get(name[1], "1"), path)


async def read_all(here: World, session_id: str) -> list[str]:
    """What nobody, a learner and staff are shown, with headers, at every address."""
    learner = here.line.sandbox.account("learner-one").id
    shown = []
    for who in (
        {},
        {"account_id": learner, "login": "learner-one"},
        {"account_id": STAFF, "login": "octo-staff", "staff": True},
    ):
        async with here.line.browser(**who) as me:  # type: ignore[arg-type]
            for path in addresses(here, session_id):
                async with me.get(path, allow_redirects=False) as answer:
                    assert answer.status < 500, path
                    shown.append(f"{path} {dict(answer.headers)} {await answer.text()}")
    return shown


async def test_no_secret_is_shown_anywhere(fresh_database: str) -> None:
    """After a story with every kind of failure no secret, token or key is in a page, an answer, a log line or a table.

    The logs are looked at before they are scrubbed, and the secrets look like no token, so that nothing but care hides
    them. (`world` looks again at the end.)
    """
    async with world(fresh_database, sign_in=True, staff={STAFF}) as here:
        sandbox, line = here.line.sandbox, here.line
        fork = await here.learner("learner-one")
        echo = Echo()
        sandbox.faults.append(echo)
        start, *heads = await commit(fork, WORK[2], WORK[0])
        assert await here.post("push", here.push_body(fork, start, heads[-1])) == 202
        async with asyncio.timeout(30):
            while echo.fired < 2:
                await asyncio.sleep(0.05)
        refused = sandbox.faults.add(Fault(Answer(like="bad-credentials"), path="*/git/*"))
        await line.settle()
        assert await here.post("push", b'{"installation": {"id": 1}, "repository": {"id": 2}}') == 202  # no push at all
        body = b"{}"
        async with line.http.post(
            line.hook, data=body, headers=headers_of("push", body, secret="another-secret")
        ) as wrong:
            assert wrong.status == 401
        async with clicking() as me:
            await me.open(f"{line.pages}/login")
            await me.press("Sign in as learner-one")
            for form in me.forms:
                for label in form.buttons:
                    if "Authorize" in label:
                        await me.press(label)
            assert (me.status, str(me.address).startswith(line.pages)) == (200, True)
        refused.remove()
        await line.settle()
        (session,) = await line.fetch("SELECT session_id::text FROM lab_session")
        assert await dead_letters(line.pool)

        here.credentials |= {sandbox.client_secret, SESSION_KEY}
        here.credentials.discard("")
        shown = await read_all(here, session["session_id"])
        assert len(shown) > 40
        assert any("stepgate_deliveries_total" in text for text in shown)
        assert any("learner-one" in text for text in shown)
        assert await here.leaks(here.logs.getvalue(), *shown) == []
        assert {"ghs_", "ghu_"} <= {credential[:4] for credential in here.credentials}


class Broken:
    """Stands for a method of a database whose errors tell everything it was given, as a careless driver's would."""

    def __init__(self, told: str) -> None:
        self._told = told

    def __get__(self, _pool: object, _type: type) -> Any:
        """Fail before anything is asked, whichever way it is called."""
        raise RuntimeError(f"connection failed: {self._told}")


def posts(here: World, session_id: str) -> Iterator[str]:
    """Every address of the App that a form can be sent to."""
    for route in here.line.web.router.routes():
        if route.method == "POST" and route.resource is not None:
            yield re.sub(
                r"\{(\w+)[^}]*\}", lambda name: session_id if name[1] == "session_id" else "1", route.resource.canonical
            )


async def test_no_error_shows_a_secret(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither refusals (no such page, not for you, a form of one's own making) nor the pages and answers of a program
    whose database fails, with all it was given in the error, show a secret or anything else of such an error.
    """
    password = "hunter22-of-the-database"
    async with world(fresh_database, sign_in=True, staff={STAFF}) as here:
        await here.learner("learner-one")
        (session,) = await here.line.fetch("SELECT session_id::text FROM lab_session")
        refusals = await failures(here, session["session_id"])
        assert {303, 400, 401, 404} <= {status for status, _ in refusals}
        assert max(status for status, _ in refusals) < 500

        since = len(here.logs.getvalue())
        broken = Broken(f"postgresql://staff:{password}@db.example.com/course")
        for name in ("acquire", "fetch", "fetchrow", "fetchval", "execute"):
            monkeypatch.setattr(type(here.line.pool), name, broken)
        faults = await failures(here, session["session_id"])
        assert await here.hook.post("push", b"{}") >= 500
        monkeypatch.undo()
        assert max(status for status, _ in faults) >= 500
        assert password in here.logs.getvalue()[since:], "it is told to nobody but the log, which is scrubbed"
        here.logs.truncate(here.logs.seek(since))

        here.credentials |= {here.line.sandbox.client_secret, SESSION_KEY, password} - {""}
        shown = [text for _, text in (*refusals, *faults)]
        assert await here.leaks(*shown, *here.hook.answers) == []
        here.credentials.discard(password)  # workers go on to log what failed then
        assert not [text for text in shown if "RuntimeError" in text or "Traceback" in text]


async def failures(here: World, session_id: str) -> list[tuple[int, str]]:
    """Status and text, with headers, of what nobody and staff are answered at every address, and to every form."""
    found = []
    for who in ({}, {"account_id": STAFF, "login": "octo-staff", "staff": True}):
        async with here.line.browser(**who) as me:  # type: ignore[arg-type]
            asked = [("GET", path) for path in ("/nowhere", "/sessions/nobody", *addresses(here, session_id))]
            asked += [("POST", path) for path in posts(here, session_id)]
            for method, path in asked:
                form = {"made": "up"} if method == "POST" else None
                async with me.request(method, path, data=form, allow_redirects=False) as answer:
                    text = ""
                    with suppress(aiohttp.ClientPayloadError):  # a file that is broken off half-way
                        async for piece in answer.content.iter_any():
                            text += piece.decode(errors="replace")
                found.append((answer.status, f"{method} {path} {dict(answer.headers)} {text}"))
    return found
