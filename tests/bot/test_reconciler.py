"""What is found by comparing with GitHub, without any event, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bot import reconciler
from bot.reconciler import NOT_AGAIN
from github.client import InstallationClient
from github.errors import UnsafeAddress
from sandbox import Fault
from sandbox.effects import Answer
from storage import looks
from tests.support.deliveries import WORK, World, world
from tests.support.outages import Pusher, look_for_heads, lose


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database) as here:
        yield here


async def test_pushes_without_any_event_are_judged_once(here: World) -> None:
    """A round judges the heads of which nothing was heard, once; the next one finds nothing."""
    silent, loud = await Pusher.enrol(here), await Pusher.enrol(here)
    lost = lose(here.line, repository=silent.fork.id)
    await silent.work(0, 1)
    await loud.work(0)
    await here.line.settle()
    assert lost.fired

    assert await look_for_heads(here.line) == 1
    assert await look_for_heads(here.line) == 0

    assert [(row["trigger"], row["verdict"]) for row in await silent.attempts()][-1] == ("reconcile", "accepted")
    assert [row["after_sha"] for row in await silent.attempts() if row["after_sha"] in silent.heads] == [silent.head]
    assert await silent.differences() == await loud.differences() == []


async def test_a_quiet_round_costs_what_nothing_costs(here: World) -> None:
    """Of unchanged branches and repositories GitHub answers with 304; a session costs two requests, and writes none.
    The list of installations is read each time."""
    pushers = [await Pusher.enrol(here) for _ in range(2)]
    await look_for_heads(here.line)
    before = len(here.line.sandbox.exchanges)

    assert await look_for_heads(here.line) == 0

    asked = list(here.line.sandbox.exchanges)[before:]
    paths = [exchange.path.partition("?")[0] for exchange in asked]
    assert {exchange.method for exchange in asked} == {"GET"}
    assert {each.status for each in asked if not each.path.partition("?")[0].endswith("/app/installations")} == {304}
    assert sum("/git/ref" in path for path in paths) == len(pushers)
    assert sum("installation/repositories" in path for path in paths) == len(pushers) + 1  # and the template's
    assert sum(path.endswith("/app/installations") for path in paths) == 1

    before = len(here.line.sandbox.exchanges)
    for _ in range(3):  # workers that start one after another, or again and again, make no round each
        await reconciler.begin_round(here.line.services)
        assert await reconciler.reconcile(here.line.services) == 0
    assert len(here.line.sandbox.exchanges) == before


async def test_lost_lifecycle_events_are_made_up_for(here: World) -> None:
    """Installations that came, paused, came back, went or changed their repositories unheard are as at GitHub."""
    sandbox, line = here.line.sandbox, here.line
    paused, gone, chosen_off, renamed = [await Pusher.enrol(here) for _ in range(4)]
    installed = {each.account.login: each for each in sandbox.installations}
    lost = lose(line)
    await sandbox.suspend(installed[paused.fork.owner.login].id)
    await sandbox.uninstall(installed[gone.fork.owner.login].id)
    other = await sandbox.add_repository(chosen_off.fork.owner.login, "diary")
    await sandbox.select(
        installed[chosen_off.fork.owner.login].id, add=[other.full_name], remove=[chosen_off.fork.full_name]
    )
    await sandbox.rename(renamed.fork.full_name, "another-name")
    sandbox.add_account("learner-new")
    fork = await sandbox.fork("octo-course/lab", "learner-new")
    await sandbox.install("learner-new", [fork.full_name])

    assert await look_for_heads(line) >= 3

    async def state(pusher: Pusher) -> tuple[str, str | None]:
        row = await pusher.session()
        return row["status"], row["deferred_by"]

    away = ("DEFERRED", "installation")
    assert [await state(each) for each in (paused, gone, chosen_off)] == [away] * 3
    bound = await line.fetch("SELECT provider_repo_id FROM repo_mapping WHERE state = 'active'")
    assert fork.id in {row["provider_repo_id"] for row in bound}
    names = await line.fetch("SELECT repo_full_name FROM repo_mapping WHERE provider_repo_id = $1", renamed.fork.id)
    assert [row["repo_full_name"] for row in names] == [renamed.fork.full_name]

    await sandbox.unsuspend(installed[paused.fork.owner.login].id)
    await paused.work(0)
    await look_for_heads(line)
    lost.remove()
    assert await paused.differences() == []


async def test_a_branch_that_is_gone_wakes_nobody_twice(here: World) -> None:
    """A deleted branch is told once, not in each round; when it is there again, its head is judged."""
    pusher = await Pusher.enrol(here)
    await pusher.work(0)
    await here.line.settle()
    branch = pusher.fork.path / "refs" / "heads" / "main"
    text = branch.read_text()
    branch.unlink()
    await here.line.pool.execute("UPDATE delivery SET attempts = 0")
    woken = [await looks_woken(here) for _ in range(3)]
    assert woken == [1, 0, 0]
    assert (await pusher.session())["status"] == "IN_PROGRESS"
    branch.write_text(text)
    assert await looks_woken(here) == 0


async def looks_woken(here: World) -> int:
    """One round, without waiting for what comes of it; how many heads were found to differ."""
    await here.line.pool.execute("UPDATE delivery SET state = 'done', finished_at = now() WHERE state = 'waiting'")
    await here.line.pool.execute("UPDATE installation_look SET looked_at = NULL")
    await reconciler.begin_round(here.line.services)
    return await reconciler.reconcile(here.line.services)


async def test_one_that_fails_keeps_no_other_waiting_and_goes_on_where_it_was(here: World) -> None:
    """An installation whose requests fail is visited again soon; the others are compared all the same."""
    broken, fine = await Pusher.enrol(here), await Pusher.enrol(here)
    lost = lose(here.line)
    await broken.work(0)
    await fine.work(0)
    lost.remove()
    fault = here.line.sandbox.faults.add(
        Fault(Answer(like="bad-gateway"), path=f"/repos/{broken.fork.full_name}/git/ref*")
    )

    assert await look_for_heads(here.line) == 1
    assert await fine.differences() == []
    (row,) = await here.line.fetch(
        "SELECT due_at < now() + interval '5 minutes' AS soon FROM installation_look WHERE looked_at IS NULL"
    )
    assert row["soon"]

    fault.remove()
    assert await look_for_heads(here.line) == 1
    assert await broken.differences() == []


@pytest.mark.parametrize("error", [UnsafeAddress("refused to go to another host"), ValueError("a defect of ours")])
async def test_one_head_that_always_fails_does_not_stand_before_the_others(
    here: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever goes wrong with one head, the next turn at the installation goes on behind it."""
    pusher = await Pusher.enrol(here)

    async def fails(_client: InstallationClient, _name: str, _branch: str) -> str | None:
        raise error

    monkeypatch.setattr(InstallationClient, "branch_head", fails)

    assert await look_for_heads(here.line) == 0

    (plan,) = await here.line.fetch("SELECT after_repo_id FROM installation_look WHERE after_repo_id > 0")
    assert plan["after_repo_id"] == pusher.fork.id


async def test_a_list_that_cannot_be_read_does_not_stand_before_the_heads(here: World) -> None:
    """The heads of the repositories that are known are compared, also while GitHub does not list them."""
    pusher = await Pusher.enrol(here)
    lost = lose(here.line)
    await pusher.work(0)
    lost.remove()
    failing = here.line.sandbox.faults.add(Fault(Answer(like="bad-gateway"), path="/installation/repositories"))

    assert await look_for_heads(here.line) == 1

    assert failing.fired
    assert await pusher.differences() == []


async def test_rounds_are_spread_and_shared(here: World) -> None:
    """Two that compare at the same time take different installations; the next visit is 15 to 30 minutes away."""
    for _ in range(2):
        await Pusher.enrol(here)
    await looks.begin_round(here.line.pool, NOT_AGAIN)
    before = len(here.line.sandbox.exchanges)

    await asyncio.gather(*(reconciler.reconcile(here.line.services) for _ in range(3)))

    asked = [each.path for each in list(here.line.sandbox.exchanges)[before:]]
    assert sum("installation/repositories" in path for path in asked) == 3
    assert sum(path.endswith("/app/installations") for path in asked) == 1
    plan = await here.line.fetch(
        "SELECT extract(epoch FROM due_at - now())::float8 / 60 AS minutes, EXISTS (SELECT FROM repo_mapping AS m "
        "WHERE m.installation_id = l.installation_id) AS class FROM installation_look AS l"
    )
    assert all(14.9 <= row["minutes"] <= 30 for row in plan if row["class"])
    assert all(row["minutes"] >= 119 for row in plan if not row["class"])
    assert len({row["minutes"] for row in plan}) == len(plan)
    assert await reconciler.reconcile(here.line.services) == 0
    assert len(here.line.sandbox.exchanges) == before + len(asked)


async def test_a_large_installation_has_turns(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many branches under one installation a few are looked at in a turn, the rest in the next ones, each once."""
    monkeypatch.setattr(reconciler, "HEADS", 1)
    line = here.line
    lost: list[Pusher] = [await Pusher.enrol(here) for _ in range(2)]
    lose(line)
    for pusher in lost:
        await pusher.push(WORK[0])
    (large,) = {each.id for each in line.sandbox.installations if each.account.id == lost[0].fork.owner.id}
    await line.pool.execute(
        "INSERT INTO installation_repository SELECT $1, provider_repo_id, repo_full_name FROM repo_mapping "
        "ON CONFLICT DO NOTHING",
        large,
    )
    await line.pool.execute("UPDATE repo_mapping SET installation_id = $1", large)
    await looks.begin_round(line.pool, NOT_AGAIN)
    await line.pool.execute("DELETE FROM installation_look WHERE installation_id <> $1", large)
    await line.pool.execute("UPDATE installation SET account_id = NULL WHERE installation_id <> $1", large)
    await line.pool.execute("UPDATE recovery_state SET installations_due_at = now() + interval '1 hour'")

    turns = []
    for _ in range(3):
        # in the middle of a pass: the list of repositories, which GitHub has otherwise, is not compared
        await line.pool.execute(
            "UPDATE installation_look SET due_at = now(), after_repo_id = greatest(after_repo_id, 1)"
        )
        turns.append(await reconciler.reconcile(line.services))
        await line.settle()

    assert turns == [1, 1, 0]
    (plan,) = await line.fetch("SELECT after_repo_id, looked_at IS NOT NULL AS over FROM installation_look")
    assert (plan["after_repo_id"], plan["over"]) == (0, True)
    woken = await line.fetch("SELECT session_id, woken_sha FROM head_look")
    told = {row["session_id"]: row["woken_sha"] for row in woken}
    assert told == {(await pusher.session())["session_id"]: pusher.head for pusher in lost}


async def test_a_status_of_somebody_else_is_replaced(here: World) -> None:
    """A commit status under our name of which no event told is found by looking, once an hour, and ours is back."""
    line = here.line
    pusher = await Pusher.enrol(here)
    await pusher.push({"tests/count.js": "// nothing is tested any more\n"})
    await line.settle()
    await look_for_heads(line)
    name, context = pusher.fork.full_name, line.services.judging.check_name
    lose(line)
    token = line.sandbox.personal_token(pusher.fork.owner.login)
    address = f"{line.sandbox.api_url}/repos/{name}/statuses/{pusher.head}"
    body = {"state": "success", "context": context, "description": "all is well"}
    async with line.http.post(address, json=body, headers={"Authorization": f"token {token}"}) as response:
        assert response.status == 201
    await look_for_heads(line)
    assert line.sandbox.statuses(name, pusher.head)[-1]["state"] == "success"  # not yet

    await line.pool.execute("UPDATE installation_look SET statuses_at = now() - interval '2 hours'")
    assert await look_for_heads(line) == 1

    assert line.sandbox.statuses(name, pusher.head)[-1]["state"] == "failure"
    assert [row["code"] for row in await line.fetch("SELECT code FROM audit_event WHERE kind = 'status_forged'")] == [
        "STATUS_FORGED"
    ]
    await line.pool.execute("UPDATE installation_look SET statuses_at = now() - interval '2 hours'")
    assert await look_for_heads(line) == 0
