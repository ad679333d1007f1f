"""Scripted faults of requests: each really happens, to what it was meant for, and is listed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox import Fault, Installation, Sandbox, SandboxError
from sandbox.effects import (
    Answer,
    ClockOffset,
    Drop,
    Headers,
    Latency,
    Limits,
    Pause,
    Rates,
    Redirect,
    Reset,
    Stale,
    Token,
    Truncate,
)
from sandbox.presets import PRESETS
from tests.support.githost import ApiClient

LAB = "octo-course/lab"
REPO = f"/repos/{LAB}"


def run_body(head: str) -> dict[str, Any]:
    """A check run of the commit."""
    return {"name": "steps", "head_sha": head, "conclusion": "success", "external_id": "s-1"}


class Sleeper:
    """Waits no time, and remembers for how long it was asked to."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Do not wait."""
        self.slept.append(seconds)


@pytest.fixture
def sleeper(sandbox: Sandbox) -> Sleeper:
    """What faults of the sandbox wait with."""
    sandbox.faults.sleep = made = Sleeper()
    return made


async def test_a_drop_executes_nothing_and_a_reset_everything(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """Both lose the answer; after a drop there is no check run, after a reset there is one."""
    for effect, runs in ((Drop(), 0), (Reset(), 1)):
        fault = sandbox.faults.add(Fault(effect, method="POST", path="*/check-runs", times=1))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await api.call("POST", f"{REPO}/check-runs", run_body(head), credentials=token)
        assert (fault.fired, fault.left) == (1, 0)
        assert len(sandbox.check_runs(LAB, head)) == runs
    assert (await api.call("POST", f"{REPO}/check-runs", run_body(head), credentials=token)).status == 201
    assert [(each.kind, each.what) for each in sandbox.faults.fired] == [
        ("drop", f"POST {REPO}/check-runs"), ("reset", f"POST {REPO}/check-runs"),
    ]  # fmt: skip


async def test_latency_waits_where_it_is_told_to(
    sandbox: Sandbox, sleeper: Sleeper, api: ApiClient, token: str
) -> None:
    """Before the execution, before the headers and amid the body; the answer is whole all the same."""
    fault = sandbox.faults.add(Fault(Latency(before=1, headers=2, body=3), path=REPO))
    answer = await api.call("GET", REPO, credentials=token)
    assert (answer.status, answer.body["full_name"]) == (200, LAB)
    assert (sleeper.slept, fault.fired) == ([1, 2, 3], 1)


async def test_a_client_that_stops_waiting_sees_headers_or_not(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """With a late body the status has arrived by then, with late headers nothing, though the request is executed."""
    url, sent = f"{sandbox.api_url}{REPO}/check-runs", json.dumps(run_body(head))
    going_on = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await going_on.wait()

    sandbox.faults.sleep = sleep
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session:
        late = sandbox.faults.add(Fault(Latency(body=60), times=1))
        async with session.post(url, data=sent, headers=headers) as response:
            assert response.status == 201
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.read(), 0.05)
        sandbox.faults.add(Fault(Latency(headers=60), times=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.post(url, data=sent, headers=headers), 0.3)
    going_on.set()
    assert late.fired == 1
    assert len(sandbox.check_runs(LAB, head)) == 2


async def test_truncated_bodies_are_no_json(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """A cut body either has a fitting length, and is broken JSON, or ends before the length that was promised."""
    whole = (await api.call("GET", REPO, credentials=token)).raw
    sandbox.faults.add(Fault(Truncate(keep=10), path=REPO, times=1))
    with pytest.raises(json.JSONDecodeError):
        await api.call("GET", REPO, credentials=token)
    sandbox.faults.add(Fault(Truncate(promise="whole"), path=REPO, times=1))
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.call("GET", REPO, credentials=token)
    assert len((await api.call("GET", REPO, credentials=token)).raw) == len(whole)
    assert [each.kind for each in sandbox.faults.fired] == ["truncate", "truncate"]


async def test_every_named_answer_is_given(sandbox: Sandbox) -> None:
    """`like` gives status, headers with their times filled in, and a body of the type that it says."""
    sandbox.clock = lambda: 1_700_000_000.0
    headers = {}
    async with aiohttp.ClientSession() as session:
        for name, preset in PRESETS.items():
            sandbox.faults.add(Fault(Answer(like=name), path="/meta", times=1))
            async with session.get(f"{sandbox.api_url}/meta") as response:
                text = await response.text()
            assert (response.status, sandbox.exchanges[-1].scripted) == (preset.status, True), name
            assert "{" not in "".join(response.headers.values()), name
            if "json" in response.headers["Content-Type"]:
                assert json.loads(text) == preset.body, name
            else:
                assert text.startswith("<!DOCTYPE html>"), name
            headers[name] = response.headers
    assert headers["secondary-limit-date"]["Retry-After"] == "Tue, 14 Nov 2023 22:14:20 GMT"
    assert "Retry-After" not in headers["secondary-limit-silent"]
    assert headers["primary-limit"]["X-RateLimit-Reset"] == "1700002400"


async def test_an_answer_may_be_made_up_or_come_after_the_execution(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """Any status, body and headers; `executed` writes the check run first; parts of a named answer can be replaced."""
    path = f"{REPO}/check-runs"
    sandbox.faults.add(Fault(Answer(520, body={"a": 1}, headers={"Retry-After": "{date-5}"}), path=path, times=1))
    sandbox.faults.add(Fault(Answer(429, like="secondary-limit"), path=path, times=1))
    sandbox.faults.add(Fault(Answer(like="bad-gateway", executed=True), path=path, times=1))
    made_up, limited, after = [
        await api.call("POST", path, run_body(head), credentials=token) for _ in range(3)
    ]  # fmt: skip
    assert (made_up.status, made_up.body) == (520, {"a": 1})
    assert parsedate_to_datetime(made_up.headers["Retry-After"]).timestamp() == pytest.approx(time.time() - 5, abs=3)
    assert (limited.status, limited.headers["Retry-After"]) == (429, "60")
    assert (after.status, after.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert len(sandbox.check_runs(LAB, head)) == 1
    assert sandbox.faults.fired[-1].detail == "bad-gateway instead of 201"


async def test_headers_are_set_and_removed(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """As on an Enterprise Server without rate limits, or with odd figures; the body stays, and Date can be wrong."""
    fault = sandbox.faults.add(
        Fault(Headers(set={"Date": "{date-300}", "X-New": "1"}, remove=("x-ratelimit-*", "etag")), times=1)
    )
    answer = await api.call("GET", REPO, credentials=token)
    assert answer.body["full_name"] == LAB
    names = {name.lower() for name in answer.headers}
    assert not [name for name in names if name.startswith("x-ratelimit") or name == "etag"]
    assert answer.headers["X-New"] == "1"
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == pytest.approx(time.time() - 300, abs=3)
    assert fault.fired == 1
    assert "X-RateLimit-Limit" in (await api.call("GET", REPO, credentials=token)).headers


async def test_redirects_lead_by_id_or_to_another_host(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """301 or 307, to the same repository by its id as after a rename, or to the same path elsewhere."""
    number = sandbox.repository(LAB).id
    sandbox.faults.add(Fault(Redirect(status=307), path="/repos/*", times=1))
    sandbox.faults.add(Fault(Redirect(to="https://github.example.com"), times=1))
    here = await api.call("GET", f"{REPO}/commits/main?x=1", credentials=token)
    assert (here.status, here.headers["Location"]) == (
        307, f"{sandbox.api_url}/repositories/{number}/commits/main?x=1",
    )  # fmt: skip
    assert "api/v3/repositories" in sandbox.faults.fired[0].detail
    there = await api.call("GET", "/meta?x=1", credentials=token)
    assert (there.status, there.headers["Location"]) == (301, "https://github.example.com/api/v3/meta?x=1")
    assert (await api.call("GET", here.headers["Location"].partition("/commits")[0], credentials=token)).status == 200


async def test_the_clock_is_off_in_all_it_says_and_checks(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """Date is wrong, a JWT of our time is refused, a token of an hour has ended; without the fault all is well."""
    ahead = sandbox.faults.add(Fault(ClockOffset(3_601)))
    answer = await api.app("GET", "/app")
    assert (answer.status, answer.body["message"][:17]) == (401, "'Expiration time'")
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == pytest.approx(time.time() + 3_601, abs=3)
    assert (await api.call("GET", REPO, credentials=token)).status == 401
    assert ahead.fired == 2
    ahead.remove()
    sandbox.faults.add(Fault(ClockOffset(-61)))
    assert (await api.app("GET", "/app")).body["message"].startswith("'Issued at'")
    sandbox.faults.clear()
    assert (await api.app("GET", "/app")).status == 200
    assert (await api.call("GET", REPO, credentials=token)).status == 200


@pytest.mark.parametrize("length", [40, 41, 520, 600])
async def test_tokens_have_any_length(sandbox: Sandbox, api: ApiClient, installed: Installation, length: int) -> None:
    """A token of 40 to 600 characters works as others do."""
    fault = sandbox.faults.add(Fault(Token(length), times=1))
    token = await api.token(installed.id)
    assert (len(token), fault.fired) == (length, 1)
    assert (await api.call("GET", REPO, credentials=token)).status == 200
    assert len(await api.token(installed.id)) == 520


async def test_limits_are_as_small_as_wanted(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """A tree is `truncated`; comparisons and commits list fewer files; only what was cut counts as happened."""
    sandbox.permissions["contents"] = "write"
    sandbox.installations[0].permissions["contents"] = "write"
    writer = await api.token(sandbox.installations[0].id)
    for name in ("a.txt", "b.txt"):
        body = {"message": "m", "content": "eA=="}
        assert (await api.call("PUT", f"{REPO}/contents/{name}", body, credentials=writer)).status == 201
    compare, tree = f"{REPO}/compare/{head}...main", f"{REPO}/git/trees/main?recursive=1"

    async def seen() -> tuple[bool, int, int, int, int]:
        listing = (await api.call("GET", tree, credentials=token)).body
        compared = (await api.call("GET", compare, credentials=token)).body
        commit = (await api.call("GET", f"{REPO}/commits/{head}", credentials=token)).body
        files, commits = len(compared["files"]), len(compared["commits"])
        return listing["truncated"], len(listing["tree"]), files, commits, len(commit["files"])

    usual = await seen()
    assert usual == (False, 5, 2, 2, 2)
    fault = sandbox.faults.add(Fault(Limits(tree_entries=3, compare_files=1, compare_commits=1, commit_files=0)))
    assert await seen() == (True, 3, 1, 1, 0)
    assert await seen() == (True, 3, 1, 1, 0)
    assert fault.fired == 6
    fault.remove()
    wide = sandbox.faults.add(Fault(Limits(tree_entries=5, compare_files=2)))
    assert (await seen(), wide.fired) == (usual, 0)


async def test_a_stale_read_is_what_was_there_before(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """The first answer is repeated, with its ETag, until the fault has gone; another caller's is their own."""
    fault = sandbox.faults.add(Fault(Stale(), times=2))
    first = await api.call("GET", REPO, credentials=token)
    assert (await api.call("GET", REPO, credentials=token)).body["private"] is False
    assert fault.fired == 0
    await sandbox.set_visibility(LAB, private=True)
    old = await api.call("GET", REPO, credentials=token)
    assert (old.body["private"], old.headers["ETag"]) == (False, first.headers["ETag"])
    assert (await api.call("GET", REPO, credentials=token, if_none_match=first.headers["ETag"])).status == 304
    assert fault.fired == 2
    assert (await api.call("GET", REPO, credentials=token)).body["private"] is True


# ------------------------------------------------------------------------------------------------ rate limits


async def statuses(calls: list[Callable[[], Any]]) -> list[int]:
    """The statuses of the calls, made one after another."""
    return [(await call()).status for call in calls]


async def test_points_are_counted_by_endpoint_and_caller(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """A read is 1 point, a write 5; the refusal is GitHub's, it lasts, and others are not touched."""
    now = 1_700_000_000.0
    sandbox.clock = lambda: now
    other = await sandbox.install("learner-one", "all")
    token = sandbox._auth.issue(sandbox.installations[0], None, {"checks": "write", "metadata": "read"}).value
    foreign = sandbox._auth.issue(other, None, {"metadata": "read"}).value
    fault = sandbox.faults.add(Fault(Rates(points_per_minute=10, retry_after=30)))

    def post() -> Any:
        return api.call("POST", f"{REPO}/check-runs", run_body(head), credentials=token)

    assert await statuses([post, post]) == [201, 201]
    assert (await api.call("GET", REPO, credentials=token)).status == 200, "another endpoint"
    refused = await post()
    assert (refused.status, refused.headers["Retry-After"]) == (403, "30")
    assert "secondary rate limit" in refused.body["message"]
    assert (await api.call("GET", REPO, credentials=token)).status == 403, "blocked: going on is refused everywhere"
    assert (await api.call("GET", REPO, credentials=foreign)).status == 200
    now += 60
    assert await statuses([post]) == [201]
    assert fault.state.peaks["points_per_minute"] == 10
    assert dict(fault.state.refused) == {"points_per_minute": 1, "blocked": 1}
    assert [each.detail for each in sandbox.faults.fired] == ["points_per_minute", "blocked"]


async def test_writes_are_counted_by_minute_and_hour(
    sandbox: Sandbox, api: ApiClient, installed: Installation, head: str
) -> None:
    """Content limits count what is created, the hourly one for an hour; tokens are free; 429 without Retry-After."""
    now = 1_700_000_000.0
    sandbox.clock = lambda: now
    token = sandbox._auth.issue(installed, None, {"checks": "write"}).value
    rates = Rates(content_per_minute=2, content_per_hour=3, status=429, retry_after=None, blocks=0)
    sandbox.faults.add(Fault(rates))

    def post() -> Any:
        return api.call("POST", f"{REPO}/check-runs", run_body(head), credentials=token)

    assert await statuses([post, post]) == [201, 201]
    refused = await post()
    assert (refused.status, "Retry-After" in refused.headers) == (429, False)
    run = sandbox.check_runs(LAB, head)[0]["id"]
    change = await api.call(
        "PATCH", f"{REPO}/check-runs/{run}", {"details_url": "https://x.example"}, credentials=token
    )
    assert change.status == 200, "nothing is created"
    now += 60
    assert await statuses([post, post]) == [201, 429]
    now += 3_540
    token = sandbox._auth.issue(installed, None, {"checks": "write"}).value
    assert await statuses([post, post]) == [201, 201]
    details = [each.detail for each in sandbox.faults.fired]
    assert details == ["content_per_minute", "content_per_hour"]
    sandbox.faults.clear()
    strict = sandbox.faults.add(Fault(Rates(writes_per_minute=1, blocks=0)))
    path = f"{REPO}/check-runs/{run}"
    changes = [lambda: api.call("PATCH", path, {"details_url": "https://x.example"}, credentials=token)] * 2
    assert await statuses(changes) == [200, 403]
    assert dict(strict.state.refused) == {"writes_per_minute": 1}


async def test_requests_at_the_same_time_are_counted(sandbox: Sandbox, api: ApiClient, token: str) -> None:
    """The one beyond the limit is refused while the others are under way."""
    going_on, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def sleep(_seconds: float) -> None:
        waiting.release()
        await going_on.wait()

    sandbox.faults.sleep = sleep
    fault = sandbox.faults.add(Fault(Rates(concurrent=2, blocks=0)))
    sandbox.faults.add(Fault(Latency(before=1), times=2))
    first = [asyncio.create_task(api.call("GET", REPO, credentials=token)) for _ in range(2)]
    for _ in first:
        await waiting.acquire()
    assert (await api.call("GET", REPO, credentials=token)).status == 403
    going_on.set()
    assert [(await each).status for each in first] == [200, 200]
    assert (await api.call("GET", REPO, credentials=token)).status == 200
    assert (fault.state.peaks["concurrent"], fault.fired) == (2, 1)


async def test_the_primary_limit_can_be_low(sandbox: Sandbox, api: ApiClient, installed: Installation) -> None:
    """Headers count down to 0, then 403 until the reset; it counts as happened only then."""
    now = time.time()
    token = await api.token(installed.id)
    fault = sandbox.faults.add(Fault(Rates(per_hour=2), installation=installed.id))
    answers = [await api.call("GET", REPO, credentials=token) for _ in range(3)]
    assert [each.status for each in answers] == [200, 200, 403]
    assert [each.headers["X-RateLimit-Remaining"] for each in answers] == ["1", "0", "0"]
    assert answers[2].body["message"] == f"API rate limit exceeded for installation ID {installed.id}."
    assert fault.fired == 1
    sandbox.clock = lambda: now + 3_590
    assert (await api.call("GET", REPO, credentials=token)).status == 403
    sandbox.clock = lambda: now + 3_610
    again = await api.call("GET", "/meta")
    assert again.headers["X-RateLimit-Limit"] == "5000", "others have their own"


# ------------------------------------------------------------------------------------------------ what it happens to


async def test_a_fault_happens_to_what_fits_and_as_often_as_told(
    sandbox: Sandbox, api: ApiClient, token: str, installed: Installation
) -> None:
    """Method, path, installation, repository by id and name, after, times: all must fit."""
    await sandbox.add_repository("octo-course", "other")
    number = sandbox.repository(LAB).id
    gone = Answer(like="gone")

    async def hit(fault: Fault, method: str = "GET", path: str = REPO, credentials: str | None = token) -> bool:
        armed = sandbox.faults.add(fault)
        answer = await api.call(method, path, credentials=credentials)
        armed.remove()
        assert (answer.status == 410) == (armed.fired == 1)
        return armed.fired == 1

    assert await hit(Fault(gone))
    assert await hit(Fault(gone, method="post|GET", path="/repos/*"))
    assert not await hit(Fault(gone, method="POST"))
    assert not await hit(Fault(gone, path="/repos"))
    assert await hit(Fault(gone, installation=installed.id))
    assert not await hit(Fault(gone, installation=installed.id), credentials=None)
    assert await hit(Fault(gone, installation=7), path="/app/installations/7", credentials=None)
    assert await hit(Fault(gone, repository=number))
    assert await hit(Fault(gone, repository="Octo-Course/LAB"), path=f"/repositories/{number}")
    assert not await hit(Fault(gone, repository="octo-course/other"))
    assert not await hit(Fault(gone, area="pages"))
    assert await hit(Fault(gone, area="pages"), path=f"{sandbox.url}/octo-course/lab")
    some = sandbox.faults.add(Fault(gone, path="/meta", after=1, times=2))
    assert [(await api.call("GET", "/meta")).status for _ in range(5)] == [200, 410, 410, 200, 200]
    assert (some.matched, some.fired, some.left) == (5, 2, 0)


async def test_chance_is_the_same_every_time(sandbox: Sandbox, api: ApiClient) -> None:
    """With a probability and a seed the same requests are hit again; another seed hits others."""

    async def pattern(seed: int) -> list[int]:
        armed = sandbox.faults.add(Fault(Answer(like="unavailable"), path="/meta", probability=0.5, seed=seed))
        seen = [(await api.call("GET", "/meta")).status for _ in range(20)]
        armed.remove()
        assert seen.count(503) == armed.fired
        return seen

    first = await pattern(7)
    assert set(first) == {200, 503}
    assert await pattern(7) == first
    assert await pattern(8) != first


async def test_faults_are_asked_in_their_order(sandbox: Sandbox, sleeper: Sleeper, api: ApiClient) -> None:
    """The first answer counts and the next one is spared; delays and headers are added to whatever is answered."""
    first = sandbox.faults.add(Fault(Answer(like="unavailable"), path="/meta", times=1))
    second = sandbox.faults.add(Fault(Answer(like="gone"), path="/meta", times=1))
    sandbox.faults.add(Fault(Latency(headers=5), path="/meta", times=1))
    sandbox.faults.add(Fault(Headers(set={"Retry-After": "9"}), path="/meta"))
    answer = await api.call("GET", "/meta")
    assert (answer.status, answer.headers["Retry-After"], sleeper.slept) == (503, "9", [5])
    assert (first.fired, second.matched) == (1, 0)
    assert (await api.call("GET", "/meta")).status == 410


async def test_functions_are_faults_too(sandbox: Sandbox, api: ApiClient) -> None:
    """A function may look on or answer; it is listed only if it answered, and can be taken out by itself."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response | None:
        seen.append(request.path)
        return web.Response(status=418) if request.path.endswith("/meta") else None

    sandbox.faults.append(answer)
    assert (await api.call("GET", "/meta")).status == 418
    assert (await api.call("GET", "/rate_limit")).status == 200
    assert [(each.kind, each.detail) for each in sandbox.faults.fired] == [("scripted", "418")]
    sandbox.faults.remove(answer)
    assert (await api.call("GET", "/meta")).status == 200
    assert (len(seen), len(sandbox.faults)) == (2, 0)
    with pytest.raises(SandboxError, match="no such fault"):
        sandbox.faults.remove(answer)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Fault(Reset(), event="push"), "event and action do not apply"),
        (lambda: Fault(Pause(), path="/meta"), "method, path and area do not apply"),
        (lambda: Fault(ClockOffset(1), times=2), "nothing else can be given"),
        (lambda: Fault(Reset(), probability=0), "probability is 0"),
        (lambda: Fault(Reset(), times=0), "times 1 or more"),
        (Latency, "give before, headers or body"),
        (lambda: Latency(body=-1), "body is -1, below 0"),
        (Answer, "give a status, or like"),
        (lambda: Answer(99), "not within 200 and 999"),
        (lambda: Answer(like="tea"), "like is 'tea', not one of abuse-limit"),
        (lambda: Token(39), "not within 40 and 600"),
        (lambda: Rates(concurrent=0), "concurrent is 0, not above 0"),
        (Limits, "give one of tree_entries"),
        (Headers, "give set or remove"),
    ],
)
def test_impossible_faults_are_refused(made: Callable[[], object], words: str) -> None:
    """Whoever writes one is told what is wrong."""
    with pytest.raises(SandboxError, match=words):
        made()
