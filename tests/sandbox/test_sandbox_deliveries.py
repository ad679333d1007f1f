"""Deliveries: signed, in order, logged, sent again; real HTTP to a real receiver."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox import Installation, Sandbox, SandboxError
from tests.support.githost import ApiClient, WorkingCopy

LAB = "octo-course/lab"


@dataclass
class Receiver:
    """An App's webhook that remembers what it got and answers as told."""

    url: str = ""
    status: int = 202
    delay: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Remember and answer."""
        self.got.append((dict(request.headers), await request.read()))
        await asyncio.sleep(self.delay)
        return web.Response(status=self.status, text="noted", headers={"Location": "/elsewhere"})


@pytest.fixture
async def receiver(sandbox: Sandbox) -> AsyncIterator[Receiver]:
    """A receiver that the sandbox sends to."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/webhook", made.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("/webhook"))
        sandbox.webhook_url = made.url
        yield made


async def test_a_delivery_is_signed_and_has_githubs_headers(
    sandbox: Sandbox, receiver: Receiver, installed: Installation, lab: WorkingCopy
) -> None:
    """What arrives is what was logged, signed with the secret, with all of GitHub's headers, in order of birth."""
    await sandbox.idle()
    assert [headers["X-GitHub-Event"] for headers, _ in receiver.got] == ["installation", "push", "check_suite"]
    headers, body = receiver.got[1]
    delivery = sandbox.deliveries[1]
    assert body == delivery.payload
    key = sandbox.webhook_secret.encode()
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature"] == "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest()
    assert headers["X-GitHub-Delivery"] == delivery.guid
    assert headers["X-GitHub-Hook-Installation-Target-ID"] == str(sandbox.app_id)
    assert headers["X-GitHub-Hook-Installation-Target-Type"] == "integration"
    assert headers["X-GitHub-Hook-ID"].isdigit()
    assert headers["User-Agent"].startswith("GitHub-Hookshot/")
    assert headers["Content-Type"] == "application/json"
    (attempt,) = delivery.attempts
    assert (attempt.status_code, attempt.status, attempt.redelivery) == (202, "OK", False)


async def test_a_redelivery_has_the_same_guid_and_body(
    sandbox: Sandbox, receiver: Receiver, installed: Installation
) -> None:
    """By id or by GUID, it is a real POST again, and an attempt of its own."""
    await sandbox.idle()
    (delivery,) = sandbox.deliveries
    await sandbox.redeliver(delivery.guid)
    await sandbox.redeliver(delivery.id)
    await sandbox.idle()
    assert len({(headers["X-GitHub-Delivery"], body) for headers, body in receiver.got}) == 1
    assert len(receiver.got) == 3
    assert [attempt.redelivery for attempt in delivery.attempts] == [False, True, True]
    with pytest.raises(SandboxError, match="no delivery"):
        await sandbox.redeliver("unknown")


async def test_a_failed_delivery_is_not_repeated(sandbox: Sandbox, receiver: Receiver, installed: Installation) -> None:
    """A 5xx, a redirect, silence and a dead address are logged as failures; nothing is sent again by itself."""
    receiver.status = 503
    await sandbox.suspend(installed.id)
    await sandbox.idle()
    receiver.status = 302
    await sandbox.unsuspend(installed.id)
    await sandbox.idle()
    sandbox.webhook_url = "http://127.0.0.1:1/webhook"
    await sandbox.suspend(installed.id)
    await sandbox.idle()
    outcomes = [delivery.attempts[0].status_code for delivery in sandbox.deliveries]
    assert outcomes[1:] == [503, 302, 502]
    assert all(len(delivery.attempts) == 1 for delivery in sandbox.deliveries)
    assert len(receiver.got) == 3


async def test_a_slow_receiver_times_out(
    sandbox: Sandbox, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, installed: Installation
) -> None:
    """After the deadline (10 s on GitHub, shortened here) the delivery has failed."""
    await sandbox.idle()
    monkeypatch.setattr("sandbox.deliveries.DELIVERY_TIMEOUT", 0.05)
    receiver.delay = 0.5
    await sandbox.suspend(installed.id)
    await sandbox.idle()
    (attempt,) = sandbox.deliveries[-1].attempts
    assert (attempt.status_code, attempt.status) == (504, "timed out")
    await sandbox.unsuspend(installed.id)
    with pytest.raises(TimeoutError):
        await sandbox.idle(timeout=0.01)


async def test_the_log_is_read_by_cursor(
    sandbox: Sandbox, api: ApiClient, receiver: Receiver, installed: Installation
) -> None:
    """Every attempt is an item, newest first; pages follow Link; one can be asked for with its payload."""
    for _ in range(2):
        await sandbox.suspend(installed.id)
        await sandbox.unsuspend(installed.id)
    await sandbox.idle()
    receiver.status = 500
    await sandbox.redeliver(sandbox.deliveries[0].guid)
    await sandbox.idle()
    first = await api.app("GET", "/app/hook/deliveries?per_page=4")
    assert (first.body[0]["redelivery"], first.body[0]["status_code"]) == (True, 500)
    assert first.body[0]["guid"] == sandbox.deliveries[0].guid
    url = first.headers["Link"].partition(">")[0].lstrip("<")
    second = await api.app("GET", url)
    assert "Link" not in second.headers
    ids = [item["id"] for item in first.body + second.body]
    assert len(ids) == 6
    assert ids == sorted(ids, reverse=True)
    failed = await api.app("GET", "/app/hook/deliveries?status=failure")
    assert [item["id"] for item in failed.body] == ids[:1]
    assert len((await api.app("GET", "/app/hook/deliveries?status=success")).body) == 5
    one = (await api.app("GET", f"/app/hook/deliveries/{ids[-1]}")).body
    assert one["request"]["payload"] == json.loads(sandbox.deliveries[0].payload)
    assert one["request"]["headers"]["X-GitHub-Event"] == "installation"
    assert one["response"]["payload"] == "noted"
    assert (await api.app("GET", "/app/hook/deliveries?cursor=wrong")).status == 400
    assert (await api.app("GET", "/app/hook/deliveries/1")).status == 404


async def test_the_api_redelivers(
    sandbox: Sandbox, api: ApiClient, receiver: Receiver, installed: Installation
) -> None:
    """POST .../attempts sends it again."""
    await sandbox.idle()
    answer = await api.app("POST", f"/app/hook/deliveries/{sandbox.deliveries[0].id}/attempts")
    assert answer.status == 202
    await sandbox.idle()
    assert len(receiver.got) == 2
    assert (await api.app("POST", "/app/hook/deliveries/1/attempts")).status == 404


async def test_the_hook_is_configured(sandbox: Sandbox, api: ApiClient, receiver: Receiver) -> None:
    """Address and secret change by PATCH; the secret is never shown; the next delivery is signed with it."""
    shown = await api.app("GET", "/app/hook/config")
    assert (shown.body["url"], shown.body["secret"]) == (receiver.url, "********")
    assert (await api.app("PATCH", "/app/hook/config", {"url": "nonsense"})).status == 422
    changed = await api.app("PATCH", "/app/hook/config", {"secret": "another-secret-of-20", "url": receiver.url})
    assert changed.body["secret"] == "********"
    await sandbox.install("octo-course", "all")
    await sandbox.idle()
    headers, body = receiver.got[-1]
    expected = hmac.new(b"another-secret-of-20", body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={expected}"


async def test_without_an_address_the_log_still_fills(sandbox: Sandbox, api: ApiClient) -> None:
    """Who has no public address can read the log: deliveries stand there as failed."""
    await sandbox.install("octo-course", "all")
    await sandbox.idle()
    (item,) = (await api.app("GET", "/app/hook/deliveries")).body
    assert (item["status_code"], item["event"], item["action"]) == (502, "installation", "created")
    assert "url" not in (await api.app("GET", "/app/hook/config")).body


async def test_a_form_hook_gets_the_payload_as_a_field(sandbox: Sandbox, api: ApiClient, receiver: Receiver) -> None:
    """With content type `form` the body is a form whose field `payload` is the event, and the signature is of that."""
    changed = await api.app("PATCH", "/app/hook/config", {"content_type": "form"})
    assert changed.body["content_type"] == "form"
    await sandbox.install("learner-one", "all")
    await sandbox.idle()
    headers, body = receiver.got[-1]
    (sent,) = parse_qs(body.decode())["payload"]
    assert json.loads(sent)["installation"]["account"]["login"] == "learner-one"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    key = sandbox.webhook_secret.encode()
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    listed = await api.app("GET", f"/app/hook/deliveries/{sandbox.deliveries[-1].id}")
    assert listed.body["request"]["payload"] == json.loads(sent)


async def test_an_inactive_hook_has_no_deliveries(sandbox: Sandbox, api: ApiClient, receiver: Receiver) -> None:
    """Nothing is sent or logged until it is active again; an address that nobody listens at is logged as failed."""
    sandbox.hook_active = False
    installation = await sandbox.install("learner-one", "all")
    assert (await api.app("GET", "/app/hook/deliveries")).body == []
    sandbox.hook_active, sandbox.webhook_url = True, "http://127.0.0.1:9/webhook"
    sandbox.clock = lambda: 1_700_000_000.0
    await sandbox.uninstall(installation.id)
    await sandbox.idle()
    sandbox.clock = time.time
    (item,) = (await api.app("GET", "/app/hook/deliveries?status=failure")).body
    assert (item["status_code"], item["delivered_at"]) == (502, "2023-11-14T22:13:20Z")
    assert receiver.got == []
