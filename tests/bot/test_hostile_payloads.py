"""Signatures and shapes of bodies: only the exact signature counts; every shape is read, or said to be unreadable."""

from __future__ import annotations

import copy
import hmac
import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.handlers import HANDLERS
from bot.payloads import (
    BindPayload,
    ForkPayload,
    InstallationPayload,
    PressPayload,
    PushPayload,
    RepositoryEventPayload,
    RerunPayload,
    ResultPayload,
    StatusPayload,
    UnreadablePayloadError,
    envelope,
    read,
)
from bot.wanted import FILTERED_EVENTS, RESULT_EVENTS
from bot.webhook import EVENTS, MAX_BODY, add_routes, valid_signature
from tests.support import effort
from tests.support.deliveries import MemoryInbox, examples, headers_of, sign
from tests.support.line import SECRET


def test_every_single_bit_counts() -> None:
    """Only the exact body under the exact signature is valid: each single flipped bit of either is refused."""
    body, secrets = b"Hello, World!", [b"It's a Secret to Everybody"]
    good = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    def flips(data: bytes) -> list[bytes]:
        return [
            data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)
        ]

    assert valid_signature(body, good, secrets)
    assert [flip for flip in flips(body) if valid_signature(flip, good, secrets)] == []
    assert [flip for flip in flips(good) if valid_signature(body, flip, secrets)] == []


@pytest.mark.parametrize("secret", ["current-secret-of-tests", "previous-secret-of-tests", "retired-secret-of-tests"])
def test_all_secrets_are_tried_whichever_fits(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current and the previous secret are valid, a retired one is not, and the work done does not tell which."""
    digests: list[bytes] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        digests.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    secrets = [b"current-secret-of-tests", b"previous-secret-of-tests"]

    assert valid_signature(b"{}", sign(b"{}", secret).encode(), secrets) is (secret.encode() in secrets)
    assert len(digests) == len(secrets)


# ------------------------------------------------------------------------------------------------------------- shapes

WRONG_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 2**64, "", "\u0000", "x" * 3000, "\U0001f600", [], [[]], {}, {"id": None},
)  # fmt: skip
Model = PushPayload | InstallationPayload | RepositoryEventPayload | ForkPayload | ResultPayload | StatusPayload
MODELS: dict[str, type[Model]] = {
    "push": PushPayload,
    "installation": InstallationPayload,
    "installation_repositories": InstallationPayload,
    "installation_target": InstallationPayload,
    "repository": RepositoryEventPayload,
    "fork": ForkPayload,
    **dict.fromkeys(RESULT_EVENTS, ResultPayload),
    "status": StatusPayload,
}


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths of all fields of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in ((*path, key), *paths_of(item, (*path, key)))]


def variants(data: Any, wrong: tuple[Any, ...]) -> Iterator[tuple[tuple[str | int, ...], bytes]]:
    """Bodies of `data` with each field dropped, or with each wrong value; and the field's path."""
    for path in paths_of(data):
        *parents, last = path
        part = data
        for key in parents:
            part = part[key]
        true = part[last]
        for value in wrong:
            part[last] = value
            yield path, json.dumps(data).encode()
        del part[last]
        yield path, json.dumps(data).encode()
        if isinstance(part, list):
            part.insert(int(last), true)
        else:
            part[last] = true


def without(value: Any, path: tuple[str | int, ...], replacement: tuple[Any, ...]) -> None:
    """Drop the field at `path`, or replace it by the one item of `replacement`. A field that is gone stays so."""
    *parents, last = path
    try:
        for key in parents:
            value = value[key]
        if replacement:
            value[last] = copy.deepcopy(replacement[0])
        else:
            del value[last]
    except (KeyError, IndexError, TypeError):
        return


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real example of an event that we handle, with up to four fields dropped, nulled, retyped, or added."""
    event, body = draw(st.sampled_from([(event, body) for event, body in examples() if event in EVENTS]))
    data = json.loads(body)
    for path in draw(st.lists(st.sampled_from(paths_of(data)), min_size=1, max_size=4)):
        without(data, path, draw(st.sampled_from([(), *((value,) for value in WRONG_VALUES)])))
    if draw(st.booleans()):
        data["a_field_of_tomorrow"] = draw(st.sampled_from(WRONG_VALUES))
        data["action"] = draw(st.sampled_from(["an_action_of_tomorrow", data.get("action")]))
    return event, json.dumps(data).encode()


@pytest.fixture(name="hook")
async def _hook(aiohttp_client: Any) -> tuple[Any, MemoryInbox]:
    inbox = MemoryInbox()
    app = web.Application(client_max_size=MAX_BODY)
    add_routes(app, record=inbox.record, secrets=(SECRET,))
    return await aiohttp_client(app), inbox


@settings(max_examples=effort.examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutant=mutants())
async def test_whatever_is_signed_is_kept(hook: tuple[Any, MemoryInbox], mutant: tuple[str, bytes]) -> None:
    """Real deliveries with fields dropped, nulled and retyped are acknowledged and stored byte for byte."""
    client, inbox = hook
    event, body = mutant
    async with client.post("/webhook", data=io.BytesIO(body), headers=headers_of(event, body)) as response:
        assert response.status == 202
    assert inbox.deliveries[-1].payload == body
    assert inbox.deliveries[-1].event == event


@settings(max_examples=effort.examples(100), deadline=None)
@given(mutant=mutants())
def test_what_cannot_be_read_is_said_to_be_so(mutant: tuple[str, bytes]) -> None:
    """The worker reads a mutant or says that it is unreadable; it never fails in another way."""
    event, body = mutant
    try:
        payload = read(MODELS[event], body)
    except UnreadablePayloadError:
        return
    if isinstance(payload, PushPayload):
        push = payload.value(uuid4())
        assert 0 < push.repo.repo_id < 2**63


@pytest.mark.parametrize("event", sorted(EVENTS & {event for event, _ in examples()}))
def test_every_single_field_may_be_wrong(event: str) -> None:
    """Each field of a real delivery dropped or given each wrong value: it is read, or said to be unreadable."""
    body = max((body for name, body in examples() if name == event), key=len)
    read_ones = unreadable = 0
    for path, broken in variants(json.loads(body), WRONG_VALUES):
        try:
            read(MODELS[event], broken)
            read_ones += 1
        except UnreadablePayloadError as error:
            unreadable += 1
            assert str(path[0]) in str(error)  # noqa: PT017 (the error names the field)
    assert read_ones > 100
    assert unreadable > 10


@pytest.mark.parametrize("event", sorted(RESULT_EVENTS))
def test_results_need_a_repository_and_a_commit(event: str) -> None:
    """GitHub's own examples are read; without repository id or commit they are said to be unreadable, not more."""
    for body in (body for name, body in examples() if name == event):
        assert len(read(ResultPayload, body).subject.head_sha) == 40
    small: dict[str, Any] = {"repository": {"id": 7}, event: {"head_sha": "a" * 40, "head_branch": None}}
    assert read(ResultPayload, json.dumps(small).encode()).subject.head_branch is None
    for broken in (small | {"repository": {}}, small | {event: {"head_sha": "x"}}, small | {event: None}):
        with pytest.raises(UnreadablePayloadError):
            read(ResultPayload, json.dumps(broken).encode()).subject  # noqa: B018 (asking for it may raise)


@pytest.mark.parametrize(
    ("event", "action", "model"),
    [
        ("check_run", "requested_action", PressPayload),
        ("check_run", "rerequested", RerunPayload),
        ("check_suite", "rerequested", RerunPayload),
        ("check_suite", "requested", RerunPayload),
        ("status", None, StatusPayload),
    ],
)
def test_what_people_do_to_our_reports_may_be_broken_anywhere(
    event: str, action: str | None, model: type[PressPayload | RerunPayload | StatusPayload]
) -> None:
    """Each field of GitHub's own examples, wrong or missing: the event is read, or said to be unreadable, no more."""
    found = [json.loads(body) for name, body in examples() if name == event]
    data = next((each for each in found if each.get("action") == action), found[0])
    data |= {"installation": {"id": 71}, "requested_action": {"identifier": "check_again"}}
    seen: set[str | int | None] = set()
    for _, broken in variants(data, WRONG_VALUES[:12]):
        envelope(broken)
        try:
            told = read(model, broken)
            seen.add(told.subject.head_sha if isinstance(told, ResultPayload) else told.repository.id)
        except UnreadablePayloadError:
            seen.add(None)
    assert None in seen
    assert len(seen) > 1


def test_hints_and_nulls_refuse_no_push() -> None:
    """What only saves a call or fills the audit may have any shape, and null is as good as absent."""
    body = json.loads(next(body for event, body in examples() if event == "push"))
    plain = read(PushPayload, json.dumps(body).encode()).value(None)
    body["repository"] |= {"private": None, "default_branch": None}
    body |= {"commits": None, "forced": None, "created": None, "installation": None}
    odd_ones: tuple[Any, ...] = (None, {}, [{}], [None], [{"id": 5}], "x")
    for odd in odd_ones:
        push = read(PushPayload, json.dumps(body | {"commits": odd, "sender": odd}).encode()).value(None)
        assert (push.after, push.sender_id, push.single_commit) == (plain.after, None, False)


def test_receiver_and_worker_read_alike() -> None:
    """Of a key given twice both take the last, so that a body never acts in another lane than its own."""
    body = b'{"action": "x", "installation": {"id": 1, "id": 2}}'
    parts = envelope(body)

    assert parts.installation_id == read(InstallationPayload, body).installation.id == 2
    for unreadable in (b'{"a": NaN, %b' % body[1:], b"\xef\xbb\xbf" + body):
        with pytest.raises(UnreadablePayloadError):
            envelope(unreadable)
        with pytest.raises(UnreadablePayloadError):
            read(InstallationPayload, unreadable)


def test_our_own_entries_cannot_come_from_outside() -> None:
    """The event of our own inbox entries is handled by the worker and not accepted by the receiver."""
    assert set(HANDLERS) - EVENTS - FILTERED_EVENTS == {"stepgate.bind", "stepgate.judge", "stepgate.look"}
    assert set(MODELS) == EVENTS | FILTERED_EVENTS
    assert read(BindPayload, b'{"installation_id": 1}').installation_id == 1
