"""Installations and repositories come and go on the running line: sessions follow, and nobody else waits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bot.coverage import refresh_installation
from storage.actions import Decision, defer, resume
from storage.sessions import get
from tests.support.deliveries import headers_of
from tests.support.direct import begin
from tests.support.effort import examples
from tests.support.githost import run
from tests.support.learners import COURSE, Learner
from tests.support.line import SECRET, Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "word-counter"
REPORT: dict[str, str | bytes | None] = {"report/bug.md": "Expected: 2\nActual: 3\n"}
STAFF = Decision(None, "for a reason")


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line) -> Learner:
    """A learner who has done the first step."""
    learner = await begin(line, LAB)
    await learner.push(REPORT)
    return learner


async def post(line: Line, event: str, body: dict[str, Any]) -> int:
    """Send a signed delivery of our own making."""
    data = json.dumps(body).encode()
    async with line.http.post(line.hook, data=data, headers=headers_of(event, data, secret=SECRET)) as response:
        return response.status


async def standing(learner: Learner) -> tuple[str, str | None]:
    """The session's status, and who defers it."""
    session = await learner.session()
    return session["status"], session["deferred_by"]


async def why(learner: Learner) -> list[str | None]:
    """The codes of the changes of the session's status."""
    rows = await learner.line.fetch(
        "SELECT code FROM audit_event WHERE session_id = $1 AND kind = 'status_changed' ORDER BY event_id",
        learner.session_id,
    )
    return [row["code"] for row in rows]


def installation_of(line: Line, learner: Learner) -> int:
    """The App's installation on the learner's account."""
    login = learner.fork.split("/")[0]
    return next(each.id for each in line.sandbox.installations if each.account.login == login)


@pytest.mark.parametrize("how", ["suspend", "deselect", "uninstall"])
async def test_what_was_pushed_while_the_app_was_away_is_judged_when_it_is_back(
    line: Line, learner: Learner, how: str
) -> None:
    """Deferred at once with its reason; back again it goes on with all progress, and the unseen head counts."""
    ident = installation_of(line, learner)
    match how:
        case "suspend":
            await line.sandbox.suspend(ident)
        case "deselect":
            await line.sandbox.select(ident, remove=[learner.fork])
        case _:
            await line.sandbox.uninstall(ident)
    await line.settle()
    assert await standing(learner) == ("DEFERRED", "installation")
    head = await learner.push({"notes.txt": "unseen\n"})
    match how:
        case "suspend":
            await line.sandbox.unsuspend(ident)
        case "deselect":
            await line.sandbox.select(ident, add=[learner.fork])
        case _:
            await line.sandbox.install(learner.fork.split("/")[0], [learner.fork])
    await line.settle()

    assert await standing(learner) == ("IN_PROGRESS", None)
    assert ((await learner.session())["accepted_sha"], await learner.done()) == (head, {"report"})
    assert learner.told(head) == ("success", "success")
    code = {"suspend": "INSTALLATION_SUSPENDED", "deselect": "REPO_NOT_SELECTED", "uninstall": "INSTALLATION_DELETED"}
    assert await why(learner) == [code[how], None]


async def test_a_deleted_repository_defers_its_session(line: Line, learner: Learner) -> None:
    """Nobody knows its id any more; the reason is told as exactly as it is known."""
    await line.sandbox.delete_repository(learner.fork)
    await line.settle()
    assert await standing(learner) == ("DEFERRED", "installation")
    assert await why(learner) == ["REPOSITORY_GONE"]


async def test_staff_resumes_while_the_repository_cannot_be_reached(line: Line, learner: Learner) -> None:
    """Staff's deferral stays while it lasts, whatever the App does; then the other cause is found at once."""
    ident = installation_of(line, learner)
    session = await get(line.pool, learner.session_id)
    assert session is not None
    await defer(line.pool, session, STAFF)
    await line.sandbox.suspend(ident)
    await line.settle()
    assert await standing(learner) == ("DEFERRED", "staff")
    session = await get(line.pool, learner.session_id)
    assert session is not None
    await resume(line.pool, session, STAFF)
    await line.settle()
    assert await standing(learner) == ("DEFERRED", "installation")
    await line.sandbox.unsuspend(ident)
    await line.settle()
    assert await standing(learner) == ("IN_PROGRESS", None)


async def test_the_app_goes_away_between_gathering_and_saving(line: Line, learner: Learner) -> None:
    """The verdict in the making is refused by its guard, the push is answered for what is so now, nothing is buried."""
    ident = installation_of(line, learner)
    seen = asyncio.Event()

    async def suspend_now(request: web.Request) -> None:
        if "/git/trees/" in request.path and learner.fork in request.path and not seen.is_set():
            seen.set()
            await line.sandbox.suspend(ident)
            async with asyncio.timeout(10):
                while (await standing(learner))[0] != "DEFERRED":
                    await asyncio.sleep(0.01)

    line.sandbox.faults.append(suspend_now)
    try:
        head = await learner.push({"notes.txt": "in between\n"})
    finally:
        line.sandbox.faults.remove(suspend_now)
    assert seen.is_set()
    assert (await learner.session())["accepted_sha"] != head
    rows = await line.fetch("SELECT state FROM delivery WHERE repo_id = $1", learner.repo_id)
    assert {row["state"] for row in rows} == {"done"}
    await line.sandbox.unsuspend(ident)
    await line.settle()
    assert (await learner.session())["accepted_sha"] == head


@pytest.mark.parametrize("how", ["fork", "generate", "by the parent's event alone"])
async def test_a_new_fork_under_an_installation_on_everything_is_greeted(line: Line, how: str) -> None:
    """Where the App is on all repositories, a new copy of the lab is connected without any further click."""
    login = f"all-{how.partition(' ')[0]}"
    line.sandbox.add_account(login)
    ident = (await line.sandbox.install(login, "all")).id
    await line.settle()
    hook, line.sandbox.webhook_url = (
        line.sandbox.webhook_url,
        None if how.startswith("by") else line.sandbox.webhook_url,
    )
    if how == "generate":
        made = await line.sandbox.generate(f"{COURSE}/{LAB}", login, "mine")
    else:
        made = await line.sandbox.fork(f"{COURSE}/{LAB}", login)
    await line.sandbox.idle()
    line.sandbox.webhook_url = hook
    if how.startswith("by"):
        told = next(each for each in reversed(line.sandbox.deliveries) if each.event == "fork")
        await line.sandbox.redeliver(told.guid)
    await line.settle()

    head = await run("rev-parse", "main", cwd=made.path)
    (run_,) = line.sandbox.check_runs(made.full_name, head)
    assert run_["output"]["title"].startswith("Welcome")
    (mapping,) = await line.fetch("SELECT installation_id FROM repo_mapping WHERE provider_repo_id = $1", made.id)
    assert mapping["installation_id"] == ident


async def test_strangers_cost_next_to_nothing(line: Line) -> None:
    """What happens to a repository that is no lab's is one request when it is made, and none when it is edited."""
    line.sandbox.add_account("stranger")
    await line.sandbox.install("stranger", "all")
    await line.settle()

    async def asked(about: str) -> list[str]:
        before = len(line.sandbox.exchanges)
        if about == "made":
            await line.sandbox.add_repository("stranger", "diary")
        else:
            await line.sandbox.set_visibility("stranger/diary", private=True)
        await line.settle()
        return [
            exchange.path for exchange in list(line.sandbox.exchanges)[before:] if "access_tokens" not in exchange.path
        ]

    assert len(await asked("made")) == 1
    assert await asked("edited") == []
    bodies = await line.fetch("SELECT payload FROM delivery WHERE event = 'repository' ORDER BY inbox_id DESC LIMIT 2")
    assert [row["payload"] for row in bodies] == [None, None]


async def test_what_needs_nothing_is_acknowledged(line: Line) -> None:
    """A ping, and a sign-in that its owner took back, are answered and not stored."""
    before = await line.fetch("SELECT count(*) FROM delivery")
    for event in ("ping", "github_app_authorization"):
        assert await post(line, event, {"action": "revoked", "sender": {"id": 7, "login": "x"}}) == 202
    assert await line.fetch("SELECT count(*) FROM delivery") == before


async def test_a_renamed_account_is_called_by_its_new_name(line: Line, learner: Learner) -> None:
    """Account, covered repositories and mapping take over the name; the session goes on."""
    login = learner.fork.split("/")[0]
    line.sandbox.rename_account(login, f"{login}-now")
    await line.settle()
    (row,) = await line.fetch(
        "SELECT login, m.repo_full_name, r.repo_full_name AS covered FROM repo_mapping AS m "
        "JOIN github_account ON account_id = owner_account_id JOIN installation_repository AS r "
        "ON (r.installation_id, r.repo_id) = (m.installation_id, m.provider_repo_id) WHERE m.provider_repo_id = $1",
        learner.repo_id,
    )
    name = f"{login}-now/{LAB}"
    assert (row["login"], row["repo_full_name"], row["covered"]) == (f"{login}-now", name, name)


async def test_an_overtaken_reading_is_made_again(line: Line, learner: Learner) -> None:
    """While one lane lists the repositories another one stores what it read since: the list is read once more."""
    ident = installation_of(line, learner)
    times = 0

    async def overtake(request: web.Request) -> None:
        nonlocal times
        if request.path.endswith("/installation/repositories"):
            times += 1
            if times == 1:
                await line.pool.execute(
                    "UPDATE installation SET checked_at = clock_timestamp() WHERE installation_id = $1", ident
                )

    line.sandbox.faults.append(overtake)
    try:
        await refresh_installation(line.services, ident)
    finally:
        line.sandbox.faults.remove(overtake)
    assert times == 2
    assert await standing(learner) == ("IN_PROGRESS", None)


async def test_many_first_looks_at_once_share_a_reading(line: Line, learner: Learner) -> None:
    """Forty repositories of a new installation are pushed to at once: each waits for a reading that begins after it
    asked, none of them fails, and the list is not read forty times.
    """
    ident, asked = installation_of(line, learner), 0

    async def count(request: web.Request) -> None:
        nonlocal asked
        asked += request.path.endswith("/installation/repositories")

    line.sandbox.faults.append(count)
    try:
        first = asyncio.create_task(refresh_installation(line.services, ident))
        while not asked:
            await asyncio.sleep(0.005)
        await asyncio.gather(first, *(refresh_installation(line.services, ident) for _ in range(40)))
    finally:
        line.sandbox.faults.remove(count)
    assert asked == 2
    assert await standing(learner) == ("IN_PROGRESS", None)


async def test_a_new_name_behind_an_old_one_is_never_judged_for_the_old_session(line: Line, learner: Learner) -> None:
    """The name of a bound fork is another repository's by now: judging again reads the bound one, by its id."""
    login = learner.fork.split("/")[0]
    await line.sandbox.rename(learner.fork, "moved")
    other = await line.sandbox.generate(f"{COURSE}/{LAB}", login, LAB)
    await line.settle()
    await line.pool.execute(
        "UPDATE repo_mapping SET repo_full_name = $1 WHERE provider_repo_id = $2", other.full_name, learner.repo_id
    )
    await line.pool.execute("SELECT wake_session($1, 'staff')", learner.session_id)
    await line.settle()
    head = await run("rev-parse", "main", cwd=other.path)
    session = await learner.session()
    assert session["head_sha"] != head
    assert line.sandbox.check_runs(other.full_name, head) == []


@pytest.mark.timeout(500)
async def test_a_large_installation_does_not_hold_up_others(line: Line, learner: Learner, tmp_path: Path) -> None:
    """The App comes to an account with very many forks: a push of somebody else is answered while they wait."""
    size, login = examples(300), "octo-large"
    line.sandbox.add_account(login, "Organization")
    first = await line.sandbox.generate(f"{COURSE}/{LAB}", login, "r0")
    state = line.sandbox._state  # (making them one by one would take minutes)
    for number in range(1, size):
        copy = type(first)(**{name: getattr(first, name) for name in first.__slots__})
        copy.id, copy.name, copy.fork = next(state.repository_ids), f"r{number}", True
        copy.parent_id, copy.template_id = first.id, None
        state.add_repository(copy)
    await line.sandbox.install(login, "all")
    await line.sandbox.idle()
    async with asyncio.timeout(60):
        while not await line.pool.fetchval("SELECT count(*) FROM installation_repository WHERE look"):
            await asyncio.sleep(0.01)
    started = asyncio.get_running_loop().time()
    head = await learner.clone.commit({"notes.txt": "in the middle\n"})
    await learner.clone.push()
    async with asyncio.timeout(30):
        while not learner.runs(head):
            await asyncio.sleep(0.02)
    waited = asyncio.get_running_loop().time() - started
    left = await line.pool.fetchval("SELECT count(*) FROM installation_repository WHERE look")
    assert left > 0, "they were all done before: too few to tell"
    assert waited < 10
    if size > 300:  # at their pace that takes minutes
        await line.settle(timeout=300)
        assert await line.pool.fetchval("SELECT count(*) FROM installation_repository WHERE look") == 0
