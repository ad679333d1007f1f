"""Group D: whatever GitHub's API answers to the running line, the verdict comes, is right, and is reported once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from sandbox import Fault
from sandbox.effects import Answer, Drop, Effect, Headers, Latency, Lose, Redirect, Token, Truncate
from tests.support.deliveries import WORK, World, world
from tests.support.outages import Pusher
from tests.support.working import retry_at_once

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = aiohttp.ClientTimeout(total=0.4, sock_connect=0.3, sock_read=0.2)
FULL = {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}


@dataclass
class Learner(Pusher):
    """A learner to whose requests things happen."""

    async def answered(self, number: int) -> str:
        """Push that part of the work of the lab, with a note so that no other learner has the same trees, and wait for
        the answer; the head."""
        head = await self.push({**WORK[number], "notes/mine.md": f"{self.fork.full_name}\n"})
        await self.here.line.settle()
        return head

    def conclusions(self, sha: str) -> list[str]:
        """What check runs of the head say."""
        return [conclusion for _, conclusion in self.here.runs(self.fork, sha)]

    def fault(self, effect: Effect, **match: Any) -> Any:
        """Let it happen to requests for the learner's repository."""
        return self.here.line.sandbox.faults.add(Fault(effect, repository=self.fork.id, **match))

    def asked(self, number: int) -> int:
        """Requests that the sandbox had so far with tokens of this installation, or for one."""
        mine = {f"installation ID {number}"}
        return sum(
            each.caller in mine or f"/installations/{number}/" in each.path for each in self.here.line.sandbox.exchanges
        )

    def age_token(self) -> None:
        """Let the installation's token be ten minutes old."""
        token = self.here.line.services.app.installation(self.installation_id)._access._tokens._token
        assert token is not None
        object.__setattr__(token, "created_at", token.created_at - 600)

    async def want_again(self) -> None:
        """Let all reports of the repository be due, as if they had never failed."""
        await self.here.line.pool.execute(
            "UPDATE outbox SET state = 'wanted', sent_check_digest = '', due_at = now(), attempts = 0 "
            "WHERE repo_id = $1",
            self.fork.id,
        )
        await self.here.line.pool.execute("SELECT pg_notify('outbox_due', '')")
        await self.here.line.settle()

    @property
    def installation_id(self) -> int:
        """The learner's installation."""
        found = self.here.line.sandbox._state.installation_on(self.fork)
        assert found is not None
        return int(found.id)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="module_world")
async def _module_world(module_database: str) -> AsyncIterator[World]:
    """A running App whose retries come at once."""
    with pytest.MonkeyPatch.context() as patch:
        retry_at_once(patch)
        async with world(module_database) as here:
            yield here


@pytest.fixture(name="here")
def _here(module_world: World) -> Iterator[World]:
    """The same for each test; at the end GitHub behaves again."""
    faults = module_world.line.sandbox.faults
    before = list(faults)
    yield module_world
    for fault in faults:
        if fault not in before:
            faults.discard(fault)


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(here: World) -> Learner:
    """A learner of the test's own."""
    return await Learner.enrol(here)


async def test_time_outs_at_every_stage(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too late before the request is executed, before the headers, or amid the body; of reads and of the report."""
    monkeypatch.setattr(learner.here.line.services.app._transport, "_timeout", QUICK)
    faults = [
        learner.fault(Latency(**{stage: 1.0}), path=path, times=1)
        for path in ("*/git/trees/*", "*/check-runs")
        for stage in ("before", "headers", "body")
    ]

    head = await learner.answered(0)

    assert [fault.fired for fault in faults] == [1] * 6
    assert learner.conclusions(head) == ["success"]


async def test_answers_that_are_none(learner: Learner) -> None:
    """Server errors, pages of proxies, codes that nobody knows, broken JSON and connections: all are tried again, and
    none is ever held against the learner.
    """
    answers: list[Effect] = [
        *(Answer(like=kind) for kind in ("server-error", "bad-gateway", "unavailable", "gateway-timeout")),
        *(Answer(like=kind) for kind in ("unknown-error", "html")),
        Answer(status=599, body="?"),
        Answer(status=200, body={"nothing": "of it"}),
        Answer(status=200, body={}, content_type="text/html"),
        Truncate(),
        Truncate(promise="whole"),
        Drop(),
    ]
    trees = [learner.fault(effect, path="*/git/trees/*", times=1) for effect in answers[:6]]
    trees += [learner.fault(effect, path="*/check-runs", method="POST", times=1) for effect in answers[6:]]

    head = await learner.answered(0)

    assert [fault.fired for fault in trees] == [1] * len(answers)
    *meanwhile, last = learner.conclusions(head)
    assert last == "success"
    assert set(meanwhile) <= {"action_required"}, "cannot be verified yet"


@pytest.mark.parametrize("length", [40, 600])
async def test_a_token_that_is_refused_in_mid_life_is_replaced(learner: Learner, length: int) -> None:
    """It was revoked: one new one, whatever its length, and the report is there once."""
    learner.here.line.sandbox.faults.add(Fault(Token(length)))
    await learner.answered(0)
    learner.age_token()
    learner.here.line.sandbox._auth._tokens.clear()
    before = len(_tokens_made(learner))

    head = await learner.answered(1)

    assert learner.conclusions(head) == ["success"]
    assert len(_tokens_made(learner)) == before + 1


def _tokens_made(learner: Learner) -> list[int]:
    path = f"/app/installations/{learner.installation_id}/access_tokens"
    return [each.status for each in learner.here.line.sandbox.exchanges if each.path.endswith(path)]


@pytest.mark.parametrize("gone", [False, True])
async def test_an_installation_that_goes_away_unheard_is_left_alone(learner: Learner, gone: bool) -> None:
    """It is suspended, or deleted, between verdict and report, and no event tells: that is stored, nothing more is
    asked however often somebody wants to, and all is made up for when it is back.
    """
    sandbox, number = learner.here.line.sandbox, learner.installation_id
    lost = sandbox.faults.add(Fault(Lose("nothing"), event="installation"))
    went = False

    async def goes(request: web.Request) -> None:
        nonlocal went
        if request.method == "POST" and request.path.endswith("/check-runs") and not went:
            went = True
            await (sandbox.uninstall(number) if gone else sandbox.suspend(number))

    sandbox.faults.append(goes)
    learner.age_token()
    head = await learner.answered(0)

    assert went
    assert lost.fired == 1
    assert learner.conclusions(head) == []
    (stored,) = await learner.here.line.fetch("SELECT state FROM installation WHERE installation_id = $1", number)
    assert stored["state"] == ("deleted" if gone else "suspended")
    asked = learner.asked(number)
    for _ in range(20):
        await learner.want_again()
    assert learner.asked(number) <= asked + 1

    lost.remove()
    await (sandbox.install(learner.fork.owner.login, [learner.fork.full_name]) if gone else sandbox.unsuspend(number))
    await learner.here.line.settle()
    assert learner.conclusions(head) == ["success"]


async def test_what_another_process_heard_counts(learner: Learner) -> None:
    """This process took the installation for suspended, another one heard that it is back: the report is sent."""
    sandbox, number = learner.here.line.sandbox, learner.installation_id
    lost = sandbox.faults.add(Fault(Lose("nothing"), event="installation"))
    await sandbox.suspend(number)
    client = learner.here.line.services.app.installation(number)
    with pytest.raises(Exception, match="suspended"):
        await client.branch_head(learner.fork.full_name, "main")
    await sandbox.unsuspend(number)
    lost.remove()

    await learner.want_again()

    states = await learner.here.line.fetch("SELECT state FROM outbox WHERE repo_id = $1", learner.fork.id)
    assert {row["state"] for row in states} == {"sent"}


async def test_a_permission_that_is_missing_and_then_accepted(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without checks:write the report fails at once, and others are not kept waiting; accepted, it is sent."""
    sandbox = here.line.sandbox
    began = asyncio.get_running_loop().time()
    with monkeypatch.context() as app:
        app.setattr(sandbox._core.app, "permissions", {each: FULL[each] for each in FULL if each != "checks"})
        learner = await Learner.enrol(here)
        head = await learner.answered(0)
    assert asyncio.get_running_loop().time() - began < 8
    assert learner.conclusions(head) == []
    rows = await here.line.fetch("SELECT state, last_error FROM outbox WHERE head_sha = $1", head)
    assert [row["state"] for row in rows] == ["failed"]
    assert "checks=write" in rows[0]["last_error"]

    await sandbox.accept_permissions(learner.installation_id)
    await here.line.settle()
    assert learner.conclusions(head) == ["success"]


async def test_redirects_after_a_rename_and_to_another_host(learner: Learner) -> None:
    """Moved on the same host: followed, with verb and body. To another host: not followed, and it is tried again."""
    learner.here.line.services.trees._kept.clear()  # so that there is more than one tree to read
    moved = [learner.fault(Redirect(status=status), path="/repos/*", method="GET", times=1) for status in (301, 307)]
    posted = learner.fault(Redirect(status=307), path="/repos/*/check-runs", method="POST", times=1)

    head = await learner.answered(0)

    assert [fault.fired for fault in (*moved, posted)] == [1, 1, 1]
    assert learner.conclusions(head) == ["success"]


async def test_no_token_goes_to_another_host(learner: Learner) -> None:
    """A redirect elsewhere is refused: no request leaves (checked for all tests of a World), the delivery is kept."""
    away = learner.fault(Redirect(to="http://elsewhere.example.com"), path="*/git/trees/*")

    await learner.answered(0)

    (push,) = [row for row in await learner.here.rows("push") if row["lane_id"] == f"repo:{learner.fork.id}"]
    assert push["state"] == "dead"
    assert "outside of the API" in push["last_error"]
    assert away.fired >= 1


async def test_headers_that_are_missing_or_nonsense(learner: Learner) -> None:
    """Neither rate headers, Date nor ETag are needed; nonsense in them stops nothing."""
    nonsense = {"x-ratelimit-remaining": "many", "x-ratelimit-reset": "9" * 40, "etag": '"', "date": "now"}
    learner.fault(Headers(set=nonsense), path="*/git/*")
    learner.fault(Headers(remove=("x-ratelimit-*", "date", "etag", "link")), path="*/check-runs")

    head = await learner.answered(0)

    assert learner.conclusions(head) == ["success"]


async def test_the_rate_limit_is_never_asked_for(learner: Learner) -> None:
    """Headers tell of budgets: /rate_limit is not polled (it counts against the secondary limits)."""
    await learner.answered(0)
    paths = {each.path for each in learner.here.line.sandbox.exchanges}
    assert any("/check-runs" in path for path in paths)
    assert not any("rate_limit" in path for path in paths)
