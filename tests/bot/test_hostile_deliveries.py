"""Deliveries with a good signature that are odd, repeated, replayed, swapped, lost or poisonous, on the running App.

All tests run in one `world`, which checks at its end that no secret is in any log, answer or column of the database,
that no request went to another host, and that each request to GitHub was one that GitHub takes.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web

from bot.retry import ATTEMPTS
from bot.webhook import EVENTS
from sandbox import Repository
from tests.support import effort
from tests.support.deliveries import WORK, World, commit, examples, reset, world
from tests.support.line import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(module_database: str) -> AsyncIterator[World]:
    """A running App with a published lab, for all tests of this file."""
    async with world(module_database) as here:
        yield here


@pytest_asyncio.fixture(loop_scope="module", name="fork")
async def _fork(here: World) -> Repository:
    """A learner's bound fork."""
    return await here.learner(f"learner-{next(_numbers)}")


# What JSON parsers disagree about or die of.
ODD_JSON = [
    b"", b"null", b"[]", b"1", b'"text"', b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 10_000, b'{"a":' * 10_000,
    b"[" * 10_000 + b"]" * 10_000, b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}',
    b'{"id": ' + b"9" * 10_000 + b"}",
    b'{"a": "\\ud800"}', b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": "\x00"}', b"{'a': 1}", b'{"a": 1,}', b"{} {}",
    b'{"action": "\\u0000", "repository": {"id": 5, "id": 6}, "installation": {"id": 7, "id": 0}}',
]  # fmt: skip


async def test_odd_json_ends_as_a_dead_letter(here: World) -> None:
    """Deep, huge, unpaired, doubled: each is kept as a dead letter that says why, and nothing else happens."""
    before, known = await here.state(), len(await here.rows())
    for event, body in itertools.product(sorted(EVENTS), ODD_JSON):
        assert await here.post(event, body) == 202
    await here.line.settle()

    rows = (await here.rows())[known:]
    assert len(rows) == len(EVENTS) * len(ODD_JSON)
    assert {(row["state"], row["attempts"]) for row in rows} == {("dead", 1)}
    assert all(row["last_error"].startswith("UnreadablePayloadError: the body ") for row in rows)
    kept = await here.line.fetch("SELECT payload FROM delivery ORDER BY inbox_id OFFSET $1", known)
    assert [row["payload"] for row in kept] == ODD_JSON * len(EVENTS)
    assert await here.state() == before


WRONG: tuple[Any, ...] = (
    None, True, 7, "", "..", "refs/heads/\u0000\U0001f600", [], {"id": 8},
)  # fmt: skip
READ = (
    "ref", "before", "after", "created", "deleted", "forced", "commits", "sender", "installation", "installation.id",
    "repository", "repository.id", "repository.full_name", "repository.private", "repository.default_branch",
    "repository.owner", "repository.owner.id", "repository.owner.login", "repository.owner.type",
)  # fmt: skip


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers try again after some milliseconds, as often as ever; and GitHub's replicas be one second behind."""
    monkeypatch.setattr("bot.lag.REPLICATION", timedelta(seconds=1))
    monkeypatch.setattr("bot.lag.ASK_EVERY", 0.1)
    monkeypatch.setattr("bot.worker.delay_before_retry", lambda *_: 0.005)
    monkeypatch.setattr("bot.worker.POLL", 0.02)


async def test_a_push_with_any_wrong_field_loses_nothing(
    here: World, fork: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each field that is read, dropped or given a wrong value in a bound fork's push: answered or a dead letter that
    says why, within its attempts; the learner's progress is that of the true branch.
    """
    retry_at_once(monkeypatch)
    base, first = await commit(fork, WORK[0])
    assert await here.post("push", here.push_body(fork, base, first)) == 202
    await here.line.settle()
    before, known = await here.progress(fork), len(await here.rows())
    sent = 0
    for path in READ:
        for replacement in ((), *((value,) for value in WRONG)):
            body = json.loads(here.push_body(fork, base, first))
            *parents, last = path.split(".")
            part = body
            for name in parents:
                part = part[name]
            part.pop(last)
            part.update({last: replacement[0]} if replacement else {})
            assert await here.post("push", json.dumps(body).encode()) == 202
            sent += 1
        await here.line.settle()

    rows = (await here.rows())[known:]
    assert len(rows) == sent == len(READ) * (len(WRONG) + 1)
    dead = [row for row in rows if row["state"] == "dead"]
    assert all("UnreadablePayloadError" in row["last_error"] and row["attempts"] == 1 for row in dead)
    assert {row["state"] for row in rows} == {"done", "superseded", "dead"}
    assert {row["outcome"] for row in rows} >= {"INSTALLATION_UNKNOWN", "REPO_NOT_SELECTED", "accepted"}
    assert await here.progress(fork) == before
    conclusions = [conclusion for _, conclusion in here.runs(fork, first)]
    assert conclusions == ["success"]  # an owner that only the push names is not believed


# ------------------------------------------------------------------------------------------------ confused and replayed


async def test_a_body_under_another_event_name_changes_nothing(here: World, fork: Repository) -> None:
    """Only bodies are signed: a real body of each kind (the examples', and those of a bound fork) under each other
    event's name leaves a row in the inbox, and no other trace.
    """
    base, first = await commit(fork, WORK[0])
    assert await here.post("push", here.push_body(fork, base, first)) == 202
    await here.line.sandbox.rename(fork.full_name, "renamed")
    own = {delivery.event: delivery.payload for delivery in here.line.sandbox.deliveries}
    assert await here.post("installation", own["installation"]) == 202  # takes over the new name
    await here.line.settle()
    own["push"] = here.push_body(fork, base, first)
    assert set(own) > EVENTS - {"installation_repositories", "installation_target"}
    kinds: dict[tuple[str, Any], list[bytes]] = {}
    for event, body in examples():
        kinds.setdefault((event, json.loads(body).get("action")), []).append(body)
    each = effort.examples(1)  # of each kind one, or all
    bodies = [(event, body) for (event, _), found in kinds.items() for body in found[:each]] + list(own.items())
    before, known = await here.state(), len(await here.rows())

    pairs = [(name, body) for event, body in bodies for name in sorted(EVENTS) if name != event]
    for name, body in pairs:
        assert await here.post(name, body) == 202
    await here.line.settle()

    assert await here.state() == before
    rows = (await here.rows())[known:]
    assert len(rows) == len(pairs) > 150
    assert {row["state"] for row in rows} == {"done", "dead"}
    assert {row["outcome"] for row in rows if row["event"] == "push"} == {"dead"}
    assert here.runs(fork, first) == here.runs(fork, first)[:1]


async def test_a_replay_under_a_new_id_has_no_second_effect(here: World, fork: Repository) -> None:
    """A captured push sent again, at once or after the branch went on, gives no new check run, no gain and no loss."""
    line = await commit(fork, *WORK[:2])
    bodies = [here.push_body(fork, before, after) for before, after in itertools.pairwise(line)]
    for body in bodies:
        assert await here.post("push", body) == 202
    await here.line.settle()
    reached, runs = await here.progress(fork), [here.runs(fork, sha) for sha in line]
    assert [len(each) for each in runs][1:] == [1, 1] or runs[-1]  # the first may have been overtaken

    for body in (*bodies, *reversed(bodies)):
        assert await here.post("push", body) == 202
        await here.line.settle()

    assert await here.progress(fork) == reached
    assert [here.runs(fork, sha) for sha in line] == runs


async def test_a_replay_that_fits_the_chain_is_not_believed(
    here: World, fork: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After A -> B -> A by force, the first push fits the last known head again: sent under a new id it brings neither
    the work of B back, nor, from B, takes it away.
    """
    retry_at_once(monkeypatch)
    base, first = await commit(fork, WORK[0])
    there, back = here.push_body(fork, base, first), here.push_body(fork, first, base, forced=True)

    async def arrive(body: bytes) -> dict[str, Any]:
        assert await here.post("push", body) == 202
        await here.line.settle()
        return await here.progress(fork)

    done = await arrive(there)
    await reset(fork, base)
    undone = await arrive(back)
    assert (done["accepted_sha"], undone["accepted_sha"]) == (first, base)
    assert [step["state"] for step in undone["steps"]] == ["reopened"]

    assert await arrive(there) == undone
    await reset(fork, first)
    again = await arrive(there)  # a real one, with the same content as the first
    assert (again["accepted_sha"], again["steps"][0]["state"]) == (first, "completed")
    assert await arrive(back) == again


async def test_replays_after_a_new_installation_change_nothing(here: World, fork: Repository) -> None:
    """Captured deliveries of a former installation neither judge, nor bind, nor bring it back."""
    sandbox = here.line.sandbox
    base, first = await commit(fork, WORK[0])
    old_push = here.push_body(fork, base, first)
    assert await here.post("push", old_push) == 202
    await here.line.settle()
    former = {
        delivery.action: delivery for delivery in sandbox.deliveries if delivery.event == "installation"
    }["created"]  # fmt: skip
    assert former.installation_id is not None
    await sandbox.uninstall(former.installation_id)
    await here.line.settle()
    await sandbox.install(fork.owner.login, [fork.full_name])
    await here.line.settle()
    deleted = [delivery for delivery in sandbox.deliveries if delivery.action == "deleted"][-1]
    before, reached = await here.state(), await here.progress(fork)

    for event, body in (
        ("push", old_push),
        ("installation", former.payload),
        ("installation", deleted.payload),
        ("installation_repositories", former.payload),
    ):
        assert await here.post(event, body) == 202
        await here.line.settle()

    assert [row["outcome"] for row in await here.rows()][-4:] == [
        "INSTALLATION_DELETED",
        "installation_deleted",
        "installation_deleted",
        "installation_deleted",
    ]
    after = await here.state()
    assert {name for name in after if after[name] != before[name]} == {"audit_event", "rejection_count"}
    assert await here.progress(fork) == reached


# --------------------------------------------------------------------------------------------------- poison and secrets


async def test_poison_dies_and_others_flow(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery whose processing always fails is tried so many times and becomes a dead letter; other repositories,
    and later deliveries of the same one, are judged all the while.
    """
    retry_at_once(monkeypatch)
    ill, well = [await here.learner(f"learner-{next(_numbers)}") for _ in range(2)]
    known = len(await here.rows())
    poison, later = await commit(ill, {"notes/ill.md": "x\n"}, WORK[0]), await commit(ill, WORK[1])
    sound = await commit(well, WORK[1])  # no commit of these is another test's: trees are cached by sha

    def fault(request: web.Request) -> web.Response | None:
        failing = f"{ill.full_name}/git/trees/{poison[1]}" in request.path
        return web.json_response({"message": "boom", "documentation_url": ""}, status=500) if failing else None

    here.line.sandbox.faults.append(fault)
    guid = uuid4()
    assert await here.post("push", here.push_body(ill, poison[0], poison[1]), guid) == 202
    assert await here.post("push", here.push_body(well, *sound)) == 202
    await here.line.settle()

    (row,) = [row for row in await here.rows() if row["guid"] == guid]
    assert (row["state"], row["outcome"], row["attempts"]) == ("dead", "dead", ATTEMPTS)
    assert row["last_error"].startswith("Transient: ")
    assert [conclusion for _, conclusion in here.runs(well, sound[1])] == ["success"]
    here.line.sandbox.faults.remove(fault)
    assert await here.post("push", here.push_body(ill, poison[1], later[0])) == 202
    await here.line.settle()
    assert [conclusion for _, conclusion in here.runs(ill, later[-1])] == ["success"]
    assert [row["state"] for row in (await here.rows())[known:]].count("dead") == 1


async def test_secrets_would_be_found(here: World, fork: Repository) -> None:
    """The search for secrets finds each kind that was planted: it would not pass over one that leaked."""
    pem, pool = here.line.sandbox.private_key_pem, here.line.pool
    (token, *_), (jwt, *_) = (
        [credential for credential in here.credentials if credential.startswith(prefix)] for prefix in ("gh", "eyJ")
    )
    logging.getLogger("a.library").info("a library's word")
    assert '"check_run"' in here.logs.getvalue()  # our own logs are really captured,
    assert "a library's word" in here.logs.getvalue()

    await pool.execute("UPDATE delivery SET last_error = $1", f"said {token}")
    await pool.execute("UPDATE lane SET holder = $1, leased_until = now() + interval '1 h'", pem)
    mine = "UPDATE installation SET permissions = $1 WHERE account_id = $2"
    await pool.execute(mine, {"key": jwt}, fork.owner.id)
    found = await here.leaks("fine", f"token {token}", pem, f"Bearer {jwt}", SECRET)
    await pool.execute("UPDATE delivery SET last_error = NULL")
    await pool.execute("UPDATE lane SET holder = NULL, leased_until = NULL")
    await pool.execute(mine, {}, fork.owner.id)

    planted = ["delivery.last_error", "installation.permissions", "lane.holder"]
    assert found == [*planted, "text 1", "text 2", "text 3", "text 4"]
