"""Faults as JSON: from a file, and by hand over `/_sandbox/faults` while the sandbox runs."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from sandbox import Fault, Sandbox, SandboxError
from sandbox.effects import Answer, Lag, Latency, Lose, Reset
from sandbox.faults_format import KINDS, read_faults
from tests.support.githost import ApiClient

EVERY_KIND: list[dict[str, Any]] = [
    {"kind": "latency", "before": 0.5, "headers": 1, "body": 2},
    {"kind": "drop", "method": "GET"},
    {"kind": "reset", "method": "POST", "path": "*/check-runs", "times": 1},
    {"kind": "truncate", "keep": 10, "promise": "whole"},
    {"kind": "answer", "status": 422, "body": {"errors": ["odd"]}, "headers": {"Retry-After": "{date+9}"}},
    {"kind": "redirect", "to": "https://github.example.com", "status": 307},
    {"kind": "headers", "set": {"X-A": "1"}, "remove": ["x-ratelimit-*"]},
    {"kind": "lag", "seconds": 10, "hides": ["refs"], "repository": "octo-course/lab"},
    {"kind": "stale", "repository": 7},
    {"kind": "limits", "tree_entries": 1},
    {"kind": "token", "length": 40},
    {"kind": "clock-offset", "seconds": -300},
    {"kind": "rates", "content_per_minute": None, "status": 429, "installation": 1},
    {"kind": "delay", "seconds": 60, "event": "push"},
    {"kind": "duplicate", "copies": 3},
    {"kind": "reorder", "size": 4, "how": "shuffled", "seed": 9},
    {"kind": "lose", "log": "nothing", "probability": 0.25},
    {"kind": "misreport", "status_code": 500, "after": 2},
    {"kind": "pause", "action": "created"},
]


def test_every_kind_can_be_written() -> None:
    """Each kind is read with its own fields and those that say what it happens to."""
    assert {item["kind"] for item in EVERY_KIND} == set(KINDS)
    faults = read_faults(json.dumps(EVERY_KIND).encode())
    assert [fault.kind for fault in faults] == [item["kind"] for item in EVERY_KIND]
    for fault, item in zip(faults, EVERY_KIND, strict=True):
        for name, value in item.items():
            if name != "kind":
                read = getattr(fault if hasattr(fault, name) else fault.effect, name)
                assert (list(read) if isinstance(read, tuple) else read) == value
    assert faults[0] == Fault(Latency(before=0.5, headers=1, body=2))
    assert faults[2] == Fault(Reset(), method="POST", path="*/check-runs", times=1)
    assert faults[7] == Fault(Lag(10, ("refs",)), repository="octo-course/lab")
    assert read_faults(b'{"kind": "lose"}') == [Fault(Lose())]
    assert read_faults(b'{"kind": "answer", "like": "gone"}') == [Fault(Answer(like="gone"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{]", "line 1, column 3"),
        ("[7]", "fault 1: 7 is not an object"),
        (
            '[{"kind": "drop"}, {"kind": "rset"}]',
            r"fault 2: kind is 'rset' \(did you mean 'reset'\?\): one of answer, ",
        ),
        ("{}", "fault 1: kind is None: one of answer, "),
        ('{"kind": "scripted"}', "kind is 'scripted'"),
        ('{"kind": "reset", "pathh": "/"}', r"reset has no 'pathh' \(did you mean 'path'\?\)"),
        ('{"kind": "latency", "before": "1"}', "fault 1: before: "),
        ('{"kind": "latency", "before": -1}', "fault 1: before is -1"),
        ('{"kind": "lag", "hides": ["all"]}', r"fault 1: hides\.0: "),
        ('{"kind": "token"}', "fault 1: length: "),
        ('{"kind": "reset", "times": 1.5}', "fault 1: times: "),
        ('{"kind": "reset", "times": 0}', "fault 1: after is 0 or more, times 1 or more"),
        ('{"kind": "reset", "event": "push"}', "event and action do not apply"),
        ('{"kind": "answer", "like": "tea"}', "fault 1: like is 'tea'"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    """The place, the key and what was meant are said."""
    with pytest.raises(SandboxError, match=words):
        read_faults(text.encode())


async def test_faults_are_added_listed_and_taken_out_by_hand(sandbox: Sandbox, api: ApiClient) -> None:
    """POST, GET and DELETE; faults happen to everything but these addresses."""
    url = f"{sandbox.url}/_sandbox/faults"
    async with aiohttp.ClientSession() as session:
        gone = {"kind": "answer", "like": "gone", "area": "any", "times": 1}
        async with session.post(url, json=[gone, {"kind": "duplicate", "copies": 3}]) as response:
            assert response.status == 201
            first, second = (await response.json())["faults"]
        assert first == {**gone, "id": 1, "matched": 0, "fired": 0, "left": 1}
        assert second == {"kind": "duplicate", "copies": 3, "id": 2, "matched": 0, "fired": 0, "left": None}
        assert (await api.call("GET", "/meta")).status == 410
        sandbox.faults.append(lambda _request: None)
        async with session.get(url) as response:
            listed = await response.json()
        assert [(each["kind"], each["fired"]) for each in listed["faults"]][:2] == [("answer", 1), ("duplicate", 0)]
        assert "lambda" in listed["faults"][2]["function"]
        assert [(each["fault_id"], each["what"], each["detail"]) for each in listed["fired"]] == [
            (1, "GET /meta", "410")
        ]
        for address, status in ((f"{url}/2", 204), (f"{url}/2", 404), (url, 204)):
            async with session.delete(address) as response:
                assert response.status == status
        assert (len(sandbox.faults), len(sandbox.faults.fired)) == (0, 0)


async def test_wrong_faults_and_pages_are_refused(sandbox: Sandbox) -> None:
    """Of a list with a wrong fault none is added; a page of another site cannot script faults."""
    url, good = f"{sandbox.url}/_sandbox/faults", {"kind": "drop"}
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json=[good, {"kind": "tea"}]) as response:
            assert response.status == 422
            assert (await response.json())["message"].startswith("fault 2: kind is 'tea'")
        async with session.post(url, data=json.dumps(good), headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        for method in ("POST", "DELETE"):
            foreign = {"Origin": "https://elsewhere.example.com"}
            async with session.request(method, url, json=good, headers=foreign) as response:
                assert response.status == 403
    assert len(sandbox.faults) == 0
