"""The receiver: who is let in, what is stored, what is answered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from bot.webhook import MAX_BODY, add_routes, valid_signature
from storage.inbox import NewDelivery

SECRET, OLD_SECRET = "current-secret-of-tests", "previous-secret-of-tests"

Client = TestClient[web.Request, web.Application]


def sign(body: bytes, secret: str = SECRET) -> str:
    """GitHub's X-Hub-Signature-256 for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Store:
    """An inbox in memory: the first of each (guid, event) is new; `failure` is raised instead when set."""

    def __init__(self) -> None:
        self.deliveries: list[NewDelivery] = []
        self.failure: Exception | None = None

    async def record(self, delivery: NewDelivery) -> bool:
        """Keep a delivery; tell whether it was new."""
        if self.failure is not None:
            raise self.failure
        new = (delivery.guid, delivery.event) not in {(known.guid, known.event) for known in self.deliveries}
        if new:
            self.deliveries.append(delivery)
        return new


@pytest.fixture(name="store")
def _store() -> Store:
    return Store()


@pytest.fixture(name="client")
async def _client(store: Store, aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    app = web.Application(client_max_size=MAX_BODY)
    add_routes(app, record=store.record, secrets=(SECRET, OLD_SECRET))
    return await aiohttp_client(app)


@pytest.mark.parametrize(
    ("kind", "number", "status"),
    [
        ("integration", "7", 202),
        (None, None, 202),
        ("integration", "8", 403),
        ("repository", "7", 403),
        ("organization", "9", 403),
        (None, "8", 403),
    ],
)
async def test_what_is_sent_to_another_app_is_refused(
    store: Store,
    aiohttp_client: Callable[[web.Application], Awaitable[Client]],
    kind: str | None,
    number: str | None,
    status: int,
) -> None:
    """Of one event all Apps and webhooks get the same guid. If another one has our address and our secret, its delivery
    is not taken for ours, which would then be known already. GitHub Enterprise Server may leave the headers out."""
    app = web.Application(client_max_size=MAX_BODY)
    add_routes(app, record=store.record, secrets=(SECRET,), app_id=7)
    client = await aiohttp_client(app)
    given = {"X_GitHub_Hook_Installation_Target_Type": kind, "X_GitHub_Hook_Installation_Target_ID": number}
    named = {name: value for name, value in given.items() if value is not None}

    assert await post(client, b'{"repository": {"id": 7}}', **named) == status
    assert len(store.deliveries) == (status == 202)


async def post(client: Client, body: bytes, **changes: str | None) -> int:
    """Post a body as GitHub does; `changes` replace or (None) drop headers, underscores for dashes. The status."""
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid4()),
        "X-Hub-Signature-256": sign(body),
        "Content-Type": "application/json",
    }
    for name, value in changes.items():
        key = name.replace("_", "-")
        if value is None:
            del headers[key]
        else:
            headers[key] = value
    async with client.post("/webhook", data=io.BytesIO(body), headers=headers) as response:
        await response.read()
        return response.status


PUSH = json.dumps({"ref": "refs/heads/main", "repository": {"id": 7}, "installation": {"id": 9}}).encode()


def test_the_official_test_vector_is_accepted() -> None:
    """GitHub's documented example (docs, "Validating webhook deliveries") is a valid signature."""
    digest = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert valid_signature(b"Hello, World!", digest, [b"It's a Secret to Everybody"])


@given(st.binary(max_size=200), st.data())
def test_any_flipped_bit_makes_a_signature_invalid(body: bytes, data: st.DataObject) -> None:
    """One bit more or less in the body or in the signature, and it is refused."""
    header = sign(body).encode()
    target = data.draw(st.sampled_from(["body", "header"] if body else ["header"]))
    changed = bytearray(body if target == "body" else header)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    secrets = [SECRET.encode()]

    assert valid_signature(body, header, secrets)
    if target == "body":
        assert not valid_signature(bytes(changed), header, secrets)
    else:
        assert not valid_signature(body, bytes(changed), secrets)


async def test_a_signed_push_is_stored_with_its_ids(client: Client, store: Store) -> None:
    """A delivery is stored as it came, in its repository's lane, and acknowledged with 202."""
    assert await post(client, PUSH, X_GitHub_Delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958") == 202
    (stored,) = store.deliveries
    assert stored.guid == UUID("72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert (stored.event, stored.repo_id, stored.installation_id) == ("push", 7, 9)
    assert stored.lane_id == "repo:7"
    assert stored.payload == PUSH


async def test_both_secrets_are_valid_while_rotating(client: Client, store: Store) -> None:
    """The secret being retired is still accepted, any other is not."""
    assert await post(client, PUSH, X_Hub_Signature_256=sign(PUSH, OLD_SECRET)) == 202
    assert await post(client, PUSH, X_Hub_Signature_256=sign(PUSH, "some-other-secret-of-tests")) == 401
    assert len(store.deliveries) == 1


SHA1 = "sha1=" + hmac.new(SECRET.encode(), PUSH, hashlib.sha1).hexdigest()


@pytest.mark.parametrize(
    "header",
    [None, "", "sha256=", SHA1, sign(PUSH).upper(), sign(PUSH)[7:], sign(PUSH) + " ", "sha256=" + "ä" * 64, "x" * 7000],
)
async def test_a_wrong_signature_is_401_and_stores_nothing(client: Client, store: Store, header: str | None) -> None:
    """Missing, empty, SHA-1, upper-case, bare, padded, non-ASCII and long signatures are all refused, never a 5xx."""
    changes: dict[str, str | None] = {"X_Hub_Signature_256": header}
    if header == sign(PUSH) + " ":  # an HTTP parser strips it: the only harmless one
        assert await post(client, PUSH, **changes) == 202
        return
    assert await post(client, PUSH, **changes) == 401
    assert store.deliveries == []


async def test_sha1_beside_a_wrong_sha256_is_refused(client: Client) -> None:
    """A right SHA-1 signature helps nobody."""
    assert await post(client, PUSH, X_Hub_Signature=SHA1, X_Hub_Signature_256="sha256=" + "0" * 64) == 401


@pytest.mark.parametrize("name", ["X_GitHub_Event", "X_GitHub_Delivery"])
async def test_a_missing_header_is_400(client: Client, store: Store, name: str) -> None:
    """A signed body without event or delivery id is malformed."""
    assert await post(client, PUSH, **{name: None}) == 400
    assert store.deliveries == []


async def test_a_delivery_id_that_is_no_uuid_is_400(client: Client) -> None:
    """GitHub's delivery ids are UUIDs of any version."""
    assert await post(client, PUSH, X_GitHub_Delivery="1; drop table") == 400


async def test_unknown_events_are_acknowledged_and_not_stored(client: Client, store: Store) -> None:
    """An event that nobody here needs costs nothing and is no error."""
    for event in ("ping", "star", "an_event_of_tomorrow"):
        assert await post(client, PUSH, X_GitHub_Event=event) == 202
    assert store.deliveries == []


async def test_a_duplicate_changes_nothing(client: Client, store: Store) -> None:
    """The same delivery again is acknowledged and stored once."""
    guid = str(uuid4())
    assert await post(client, PUSH, X_GitHub_Delivery=guid) == 202
    assert await post(client, PUSH, X_GitHub_Delivery=guid) == 202
    assert len(store.deliveries) == 1


async def test_a_form_encoded_delivery_is_415(client: Client, store: Store) -> None:
    """A webhook set to form encoding gets an answer that says what to change."""
    assert await post(client, PUSH, Content_Type="application/x-www-form-urlencoded") == 415
    assert store.deliveries == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"a": NaN}', b'"\\ud800"', b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"repository": 1}'],
)
async def test_signed_bodies_of_odd_shape_are_kept_in_quarantine(client: Client, store: Store, body: bytes) -> None:
    """Whatever carries a good signature is kept for a person to look at, never a 5xx, nothing lost."""
    assert await post(client, body) == 202
    (stored,) = store.deliveries
    assert stored.lane_id == "quarantine"
    assert stored.payload == body


async def test_a_body_over_26_mib_is_413(client: Client, store: Store) -> None:
    """GitHub caps payloads at 25 MB; larger ones are refused, by their announced length or while they are read."""
    body = b"x" * (MAX_BODY + 1)
    try:
        announced = await post(client, body)
    except (OSError, asyncio.IncompleteReadError):  # refused before it was sent completely
        announced = 413

    async def chunks() -> Any:
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]

    headers = {"X-Hub-Signature-256": sign(body), "Content-Type": "application/json"}
    try:
        async with client.post("/webhook", data=chunks(), headers=headers) as response:
            unannounced = response.status
    except OSError:
        unannounced = 413

    assert (announced, unannounced) == (413, 413)
    assert store.deliveries == []


async def test_a_body_of_25_mb_is_stored(client: Client, store: Store) -> None:
    """The largest delivery that GitHub sends is taken."""
    body = json.dumps({"repository": {"id": 7}, "filler": "x" * 25_000_000}).encode()

    assert await post(client, body) == 202
    assert len(store.deliveries[0].payload) == len(body)


async def test_a_database_that_is_down_is_503(client: Client, store: Store) -> None:
    """GitHub records a failed delivery, so that it can be redelivered; nothing is acknowledged that is not stored."""
    store.failure = ConnectionRefusedError("no server")
    assert await post(client, PUSH) == 503
    store.failure = None
    assert await post(client, PUSH) == 202


async def test_a_fault_of_ours_is_not_acknowledged(client: Client, store: Store) -> None:
    """An unexpected error is a 500: GitHub shows the delivery as failed."""
    store.failure = RuntimeError("bug")
    assert await post(client, PUSH) == 500
