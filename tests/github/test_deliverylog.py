"""GitHub's delivery log: pages from the newest end, payloads by id, and the sandbox's log read the same way."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import pytest

from github.client import GitHubApp
from github.deliverylog import LoggedDelivery, pages, payload
from github.errors import GitHubError, Gone, NotFound, Transient, UnsafeAddress
from github.governor import MemoryGovernor
from sandbox import Sandbox
from tests.support.apispec import check_exchange
from tests.support.delivery_log import LIST, ScriptedLog
from tests.support.fault_server import FakeClock, FaultServer, Reply

NOBODY = "http://127.0.0.1:9/webhook"


@pytest.fixture(name="log")
def _log(server: FaultServer, clock: FakeClock) -> ScriptedLog:
    """A scripted log with pages of two."""
    return ScriptedLog(server, clock, per_page=2)


async def test_pages_come_newest_first_and_only_as_far_as_they_are_wanted(app: GitHubApp, log: ScriptedLog) -> None:
    """Each page is one request; who stops after the first causes no second one."""
    numbers = [log.add(at=log.clock.now() + second) for second in range(5)]

    async for page in pages(app):
        assert [entry.delivery_id for entry in page] == [numbers[4], numbers[3]]
        break
    assert log.lists() == 1

    whole = [[entry.delivery_id for entry in page] async for page in pages(app)]
    assert whole == [[numbers[4], numbers[3]], [numbers[2], numbers[1]], [numbers[0]]]


async def test_an_entry_tells_what_was_sent_and_how_it_went(app: GitHubApp, log: ScriptedLog) -> None:
    """Id, guid, event, time and the receiver's answer are read; unknown fields and an unknown action do no harm."""
    log.add("push", guid="72d3162e-cc78-11e3-81ab-4c9367dc0958", status="OK", status_code=202, surprise={"x": 1})

    (entry,) = [entry async for page in pages(app) for entry in page]

    when = datetime.fromtimestamp(log.clock.now(), UTC)
    expected = LoggedDelivery(1000, "72d3162e-cc78-11e3-81ab-4c9367dc0958", "push", None, when, False, "OK", 202, 7, 99)
    assert entry == expected
    assert entry.arrived


async def test_an_empty_log_is_one_empty_page(app: GitHubApp, log: ScriptedLog) -> None:
    """An App that was never sent anything has a log without entries."""
    assert [page async for page in pages(app)] == [()]


async def test_a_payload_is_the_json_of_the_event(app: GitHubApp, log: ScriptedLog) -> None:
    """The payload is read by the entry's id; what matters of the bytes is that they parse to the same."""
    number = log.add(payload={"ref": "refs/heads/main", "repository": {"id": 7, "full_name": "octo-course/lab"}})

    body = await payload(app, number)

    assert orjson.loads(body) == {"ref": "refs/heads/main", "repository": {"id": 7, "full_name": "octo-course/lab"}}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(404, {"message": "Not Found"}), NotFound),
        (Reply(200, {"request": {"headers": None, "payload": None}}), Gone),
        (Reply(200, {"request": {"headers": {}, "payload": "text"}}), Transient),
        (Reply(200, ["odd"]), Transient),
        (Reply(500, {"message": "Server Error"}), Transient),
    ],
)
async def test_a_payload_that_cannot_be_had_is_a_typed_error(
    app: GitHubApp, log: ScriptedLog, reply: Reply, error: type[GitHubError]
) -> None:
    """Missing, forgotten, odd and failing answers are each one of our error classes."""
    number = log.add(scripts=(reply,))

    with pytest.raises(error):
        await payload(app, number)


@pytest.mark.parametrize(
    ("link", "error"),
    [
        ("{url}/app/hook/deliveries?per_page=100", Transient),
        ("https://elsewhere.example.com/app/hook/deliveries?cursor=2", UnsafeAddress),
    ],
)
async def test_pages_that_lead_in_a_circle_or_elsewhere_end(
    app: GitHubApp, server: FaultServer, link: str, error: type[GitHubError]
) -> None:
    """A next page that was read already, or at another host, is an error and not followed."""
    address = link.format(url=server.url)
    server.on("GET", LIST, Reply(200, [], {"Link": f'<{address}>; rel="next"'}))

    with pytest.raises(error):
        async for _ in pages(app):
            pass
    assert len(server.seen) <= 2


async def test_the_first_page_is_asked_for_conditionally(app: GitHubApp, server: FaultServer) -> None:
    """An unchanged log answers 304, which costs nothing of the hourly budget, and reads the same."""
    item = {"id": 1, "guid": "g", "event": "push", "delivered_at": "2026-01-02T03:04:05Z"}
    server.on("GET", LIST, Reply(200, [item], {"ETag": '"first"'}), Reply(304))

    once = [page async for page in pages(app)]
    again = [page async for page in pages(app)]

    assert once == again
    assert server.seen[1].headers["if-none-match"] == '"first"'


async def test_the_sandboxs_log_tells_of_deliveries_that_nobody_took(
    tmp_path: Path, http: aiohttp.ClientSession, private_key: str
) -> None:
    """A delivery to an address where nobody listens is in the log as failed, and its payload can be read."""
    async with Sandbox(tmp_path / "github", private_key_pem=private_key, webhook_url=NOBODY) as sandbox:
        sandbox.add_account("learner-one")
        await sandbox.add_repository("learner-one", "lab")
        await sandbox.install("learner-one", ["learner-one/lab"])
        await sandbox.idle()
        github = GitHubApp(
            http,
            api_url=sandbox.api_url,
            app_id=sandbox.app_id,
            private_key=private_key,
            governor=MemoryGovernor(0.0),
        )

        entries = [entry async for page in pages(github, per_page=1) for entry in page]
        installed = next(entry for entry in entries if entry.event == "installation")
        body = orjson.loads(await payload(github, installed.delivery_id))

        assert not installed.arrived
        assert body["installation"]["account"]["login"] == "learner-one"
        assert [entry.delivery_id for entry in entries] == sorted((e.delivery_id for e in entries), reverse=True)
        for exchange in sandbox.exchanges:
            check_exchange(exchange)


async def test_an_entry_that_cannot_be_read_hides_no_other(app: GitHubApp, log: ScriptedLog) -> None:
    """Fields that are null do no harm; an entry without what it needs is left out; a page of nonsense is no page."""
    log.per_page = 3
    good = log.add(status=None, status_code=None, redelivery=None, action=None)
    log.add(delivered_at="soon")
    log.add()
    log.items[-1]["event"] = None
    (found,) = [page async for page in pages(app)]
    assert [(entry.delivery_id, entry.status, entry.arrived) for entry in found] == [(good, "", False)]

    log.items = [{"id": None, "delivered_at": "soon"}] * 3
    with pytest.raises(Transient):
        async for _ in pages(app):
            pass


async def test_a_payload_that_is_odd_is_kept_for_whoever_reads_it(app: GitHubApp, log: ScriptedLog) -> None:
    """Half of a surrogate pair and numbers of any size are JSON too: as of a delivery, they are not ours to refuse."""
    odd = {"text": "\ud800", "number": 2**70}
    number = log.add(payload=odd)

    assert json.loads(await payload(app, number)) == odd
