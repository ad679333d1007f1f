"""Whatever answers, every operation ends with a value or with a GitHubError: status x headers x body, by hypothesis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from github import calls, deliverylog, health, results, statuses
from github.client import GitHubApp, InstallationClient, _private_key
from github.errors import GitHubError, Permanent
from github.governor import MemoryGovernor
from rules.model import CheckRunReport, StatusReport
from tests.support.effort import examples
from tests.support.fault_server import FakeClock
from tests.support.github_answers import APP_ID, INSTALLATION, installation, repository

SHA = "a" * 40
LAB = "octo-course/lab"
RUN = CheckRunReport("forgea/steps", SHA, "success", "Done", "Text", external_id="s-1")


@dataclass(frozen=True)
class Odd:
    """An answer of anybody on the way."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


@dataclass
class Wire:
    """Stands for aiohttp's session: answers every request alike, but makes tokens as GitHub does if `tokens`."""

    odd: Odd
    tokens: bool
    sent: list[str] = field(default_factory=list)
    closed: bool = False

    @asynccontextmanager
    async def request(self, method: str, url: Any, **_: Any) -> AsyncIterator[Any]:
        """What aiohttp.ClientSession.request gives."""
        self.sent.append(method)
        odd = self.odd
        if self.tokens and str(url).endswith("/access_tokens"):
            body = {"token": "ghs_x", "expires_at": "2099-01-01T00:00:00Z", "permissions": {}}
            odd = Odd(201, (("content-type", "application/json"),), json.dumps(body).encode())
        yield _Response(odd.status, CIMultiDict(odd.headers), _Content(odd.body))


@dataclass
class _Content:
    body: bytes

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The body in parts."""
        for start in range(0, len(self.body), size):
            yield self.body[start : start + size]


@dataclass
class _Response:
    status: int
    headers: CIMultiDict[str]
    content: _Content

    def close(self) -> None:
        """End the connection."""


async def _all(pages: AsyncIterator[Any]) -> list[Any]:
    return [page async for page in pages]


Operation = Callable[[GitHubApp, InstallationClient], Awaitable[Any]]
READS: dict[str, Operation] = {
    "app": lambda app, _: app.app(),
    "installation": lambda app, _: app.installation_record(INSTALLATION),
    "installation of": lambda app, _: app.installation_of(LAB),
    "installations": lambda app, _: _all(app.installations()),
    "delivery log": lambda app, _: _all(deliverylog.pages(app)),
    "payload": lambda app, _: deliverylog.payload(app, 7),
    "hook": lambda app, _: health.hook(app),
    "registration": lambda app, _: health.registration(app),
    "repository": lambda _, client: client.repository(LAB),
    "by id": lambda _, client: client.repository_by_id(7),
    "condition": lambda _, client: client.condition(LAB),
    "offer": lambda _, client: client.offer(LAB),
    "repositories": lambda _, client: client.repositories(),
    "account": lambda _, client: client.account("learner-one"),
    "account by id": lambda _, client: client.account_by_id(5),
    "head": lambda _, client: client.branch_head(LAB, "main"),
    "compare": lambda _, client: client.compare(LAB, SHA, "b" * 40),
    "commit": lambda _, client: client.commit(LAB, SHA),
    "commit of branch": lambda _, client: client.commit(LAB, "main"),
    "tree": lambda _, client: client.tree(LAB, SHA),
    "blob": lambda _, client: client.blob(LAB, SHA),
    "file": lambda _, client: client.file(LAB, "a/b.txt", SHA),
    "find": lambda _, client: client.find_check_run(LAB, SHA, RUN.name, RUN.external_id),
    "annotations": lambda _, client: client.count_annotations(LAB, 3),
    "workflow runs": lambda _, client: results.workflow_runs(client, LAB, repo_id=7, branch="main", head_sha=SHA),
    "shown status": lambda _, client: statuses.shown_status(client, LAB, SHA, RUN.name),
    "check runs": lambda _, client: results.check_runs(client, LAB, head_sha=SHA),
}
WRITES: dict[str, Operation] = {
    "check run": lambda _, client: client.create_check_run(LAB, RUN),
    "more annotations": lambda _, client: client.add_annotations(LAB, 3, RUN, 0),
    "status": lambda _, client: client.create_status(LAB, StatusReport("forgea/steps", SHA, "success", "x")),
    "redeliver": lambda app, _: deliverylog.redeliver(app, 7),
}
OPERATIONS = READS | WRITES

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_WORDS = st.sampled_from(
    [
        "Not Found",
        "Bad credentials",
        "Resource not accessible by integration",
        "This installation has been suspended",
        "You have exceeded a secondary rate limit",
        "API rate limit exceeded for installation ID 1.",
        "No commit found for SHA: x",
        "Integration not found",
        "",
    ]
)
# What GitHub says when it refuses, with parts of any other kind in its place.
_REFUSALS = st.fixed_dictionaries(
    {"message": _WORDS | _JSON},
    optional={"errors": _JSON | st.lists(st.fixed_dictionaries({}, optional={"message": _JSON, "code": _JSON}))},
)
_SHAPES: list[Any] = [
    repository(),
    installation(),
    {"id": 1, "total_count": 1, "check_runs": [{"id": 1, "name": "forgea/steps", "external_id": "s-1"}]},
    {"ref": "refs/heads/main", "object": {"sha": SHA}},
    {"sha": SHA, "tree": [{"path": "a", "mode": "100644", "type": "blob", "sha": SHA}], "truncated": False},
    {"sha": SHA, "tree": {"sha": SHA}, "parents": [{"sha": SHA}]},
    {"content": "YQ==", "encoding": "base64", "size": 1, "sha": SHA},
    {"status": "ahead", "total_commits": 1, "commits": []},
    {"url": "https://stepgate.example.com", "content_type": "json", "insecure_ssl": "0", "secret": "********"},
    {"id": 7, "request": {"payload": {"text": "\ud800", "number": 2**70}}},
]


@st.composite
def _spoilt(draw: st.DrawFn) -> Any:
    """A right answer of which one part is missing or of another kind."""
    shape = dict(draw(st.sampled_from(_SHAPES)))
    key = draw(st.sampled_from(sorted(shape)))
    if draw(st.booleans()):
        del shape[key]
    else:
        shape[key] = draw(_JSON)
    return shape


_BODIES = st.one_of(
    st.one_of(_JSON, _REFUSALS, _spoilt(), st.sampled_from(_SHAPES)).map(lambda data: json.dumps(data).encode()),
    st.one_of(_REFUSALS, _spoilt()).map(lambda data: json.dumps(data).encode()[:-3]),
    st.binary(max_size=40),
    st.sampled_from([b"", b"<html><h1>502 Bad Gateway</h1></html>", b"[" * 100_000, b"9" * 5000, b'{"a": NaN}']),
)
_STATUS = st.one_of(
    st.sampled_from(
        [200, 201, 202, 204, 206, 301, 304, 307, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 520, 999]
    ),
    st.integers(100, 999),
)
_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)
_ODD_NUMBERS = ["0", "-1", "60", "1e9", "9" * 30, "9" * 400, "1_0", "nan", "", "٣", " 7 "]
_NUMBER = st.sampled_from(_ODD_NUMBERS) | st.integers().map(str)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/json", "text/html", "application/json; charset=klingon", "", ";;=", "application/json; x"]
        ),
        "retry-after": _NUMBER | st.sampled_from(["Wed, 21 Oct 2099 07:28:00 GMT", "Wed, 99 Zzz", "0000"]) | _TEXT,
        "x-ratelimit-remaining": _NUMBER | _TEXT,
        "x-ratelimit-limit": _NUMBER,
        "x-ratelimit-reset": _NUMBER | _TEXT,
        "date": st.sampled_from(["Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -2359", "soon"]) | _TEXT,
        "age": _NUMBER,
        "etag": _TEXT,
        "location": st.sampled_from(["/repositories/7", "https://evil.example.com/", "//x", "http://[", ""]) | _TEXT,
        "link": st.sampled_from(['<https://api.example.com/x?page=2>; rel="next"', "<>; rel=next", "<"]) | _TEXT,
        "x-accepted-github-permissions": st.sampled_from(["checks=write", "=;=,", ";"]) | _TEXT,
    },
)


@pytest.fixture(scope="module")
def _one_key(private_key: str) -> Iterator[None]:
    """The key is read once: that takes longer than all else of an example."""
    key = _private_key(private_key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("github.client._private_key", lambda _: key)
        yield


@pytest.mark.usefixtures("_one_key")
@given(
    st.sampled_from(sorted(OPERATIONS)),
    _STATUS,
    _HEADERS,
    _BODIES,
    st.booleans(),
)
@example("tree", 200, {"content-type": "application/json"}, b"[" * 100_000, True)
@example("hook", 200, {"content-type": "application/json"}, b'{"insecure_ssl": "yes"}', True)
@example("payload", 200, {"content-type": "application/json"}, b'{"request": {"payload": {"a": "\\ud800"}}}', True)
@example("delivery log", 200, {"x-ratelimit-remaining": "9" * 400, "x-ratelimit-limit": "1"}, b"[]", True)
@example("status", 520, {"content-type": "text/html"}, b"<html>", True)
@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_untyped_is_raised(name: str, status: int, headers: dict[str, str], body: bytes, tokens: bool) -> None:
    """A value, or an error of the tree whose kind fits: reads are never of unknown outcome, failed writes always."""
    wire = Wire(Odd(status, tuple(headers.items()), body), tokens)
    clock = FakeClock()
    app = _app(wire, clock)
    began = time.process_time()
    error = asyncio.run(_failure(OPERATIONS[name], app))
    if error is not None:
        outcome = calls.outcome_of(error)
        assert isinstance(error, Permanent) == (outcome == "permanent")
        assert outcome != "unknown" or name in WRITES
        sent = wire.sent[-1:] in (["POST"], ["PATCH"])
        assert outcome == "unknown" or not (name in WRITES and sent and status >= 500 and tokens)
        assert outcome != "limited" or 0 < (error.retry_after or 0) <= 3600
        assert error.retry_after is None or error.retry_after >= 0
    assert len(wire.sent) <= 20, "nobody is asked again and again"
    assert sum(clock.slept) <= 11
    assert time.process_time() - began < 10


async def _failure(operation: Operation, app: GitHubApp) -> GitHubError | None:
    """What the operation raises. Anything but a GitHubError fails the test."""
    try:
        await operation(app, app.installation(INSTALLATION))
    except GitHubError as error:
        return error
    return None


def _app(wire: Wire, clock: FakeClock) -> GitHubApp:
    return GitHubApp(
        cast("aiohttp.ClientSession", wire),
        api_url="https://api.example.com",
        app_id=APP_ID,
        private_key="",
        governor=MemoryGovernor(0.0, now=clock.now, sleep=clock.sleep),
        now=clock.now,
        sleep=clock.sleep,
    )
