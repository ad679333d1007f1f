"""Row A12: real deliveries of every event that we handle, about a bound repository, with any fields broken."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.wanted import FILTERED_EVENTS
from bot.webhook import EVENTS
from sandbox import Repository
from tests.support import deliveries, effort
from tests.support.deliveries import World, examples, world

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 2**64, "", "\u0000", "\ud800", "x" * 3000, [], [[]], {}, {"id": None}, "0" * 40,
)  # fmt: skip
# GitHub's examples have none of this event; its body has been an installation's with the account's old name.
_TARGET = {"action": "renamed", "target_type": "User", "changes": {"login": {"from": "before"}}, "account": {"id": 5}}


@pytest.mark.parametrize("event", sorted(EVENTS | FILTERED_EVENTS))
def test_there_is_an_example_of_every_event(event: str) -> None:
    """What is handled some day without being tried here fails this test."""
    assert any(name == event for name, _ in bodies())


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """GitHub's examples of all events that we handle: event and body."""
    handled = [(event, json.loads(body)) for event, body in examples() if event in EVENTS | FILTERED_EVENTS]
    return [*handled, ("installation_target", _TARGET)]


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths of all fields of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in ((*path, key), *paths_of(item, (*path, key)))]


def broken(data: dict[str, Any], path: tuple[str | int, ...], replacement: tuple[Any, ...]) -> None:
    """Drop the field at `path`, or put the one item of `replacement` there. A field that is gone stays so."""
    value: Any = data
    try:
        for key in path[:-1]:
            value = value[key]
        if replacement:
            value[path[-1]] = copy.deepcopy(replacement[0])
        else:
            del value[path[-1]]
    except (KeyError, IndexError, TypeError):
        return


@st.composite
def mutations(draw: st.DrawFn) -> tuple[int, list[tuple[tuple[str | int, ...], tuple[Any, ...]]]]:
    """The number of an example, and what is done to its fields: near the root, where we read, as often as below."""
    number = draw(st.integers(0, len(bodies()) - 1))
    paths = paths_of(bodies()[number][1])
    near = [path for path in paths if len(path) <= 2]
    replacements = st.sampled_from([(), *((value,) for value in WRONG)])
    one = st.tuples(st.one_of(st.sampled_from(near), st.sampled_from(paths)), replacements)
    return number, draw(st.lists(one, max_size=3))


@dataclass
class Target:
    """The fork that the deliveries are about, and what was posted: id and event of each, with its answer."""

    here: World
    fork: Repository
    head: str
    installation_id: int
    posted: list[tuple[UUID, str]] = field(default_factory=list)

    def about_us(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """The body, about the fork, its head and our own reports: nothing is sorted out for being somebody else's."""
        owner = self.fork.owner
        account = {"id": owner.id, "login": owner.login, "type": owner.kind}
        known = {"id": self.fork.id, "full_name": self.fork.full_name, "owner": account}
        if "repository" in data:
            data["repository"] |= known
        if "forkee" in data:
            data["forkee"] |= {"id": self.fork.id, "owner": account}
        data |= {"installation": {"id": self.installation_id, "account": account}, "sender": account}
        for check in ("check_run", "check_suite", "workflow_run"):
            if check in data:
                data[check] |= {"head_sha": self.head, "head_branch": "main"}
        for check in ("check_run", "check_suite"):
            if check in data:
                data[check]["app"] |= {"id": self.here.line.sandbox.app_id}
        if data.get("action") == "requested_action":
            data["requested_action"] = {"identifier": "check_again"}
        if event == "status":
            data |= {"sha": self.head, "context": self.here.line.services.judging.check_name, "state": "failure"}
        if event == "push":
            data |= {"ref": "refs/heads/main", "after": self.head}
        return data


@pytest.fixture(name="target")
async def _target(fresh_database: str) -> AsyncIterator[Target]:
    """A bound fork on a running App. At the end: everything that was stored has its end, and the state is git's."""
    async with world(fresh_database) as here:
        fork = await here.learner("learner-one")
        _, head = await deliveries.commit(fork, deliveries.WORK[0])
        start = json.loads(here.push_body(fork, "0" * 40, head))
        assert await here.post("push", json.dumps(start).encode()) == 202
        await here.line.settle()
        before = await here.progress(fork)
        target = Target(here, fork, head, start["installation"]["id"])
        yield target
        await here.line.settle(60)
        rows = await here.rows()
        assert {row["state"] for row in rows} <= {"done", "superseded", "dead"}
        assert all(row["last_error"] for row in rows if row["state"] == "dead")
        assert await here.progress(fork) == before
        needed = [guid for guid, event in target.posted if event in EVENTS]
        assert set(needed) <= {row["guid"] for row in rows}
        assert len(rows) > len(needed)  # some of those that are only needed now and then


@settings(
    max_examples=effort.examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mutant=mutations())
async def test_no_signed_delivery_is_a_fault_of_ours(
    target: Target, mutant: tuple[int, list[tuple[tuple[str | int, ...], tuple[Any, ...]]]]
) -> None:
    """Each is acknowledged; what is stored ends as done or as a dead letter with its reason; no session moves by it."""
    number, changes = mutant
    event, data = bodies()[number]
    data = target.about_us(event, data)
    for path, replacement in changes:
        broken(data, path, replacement)
    guid = uuid4()
    assert await target.here.post(event, json.dumps(data).encode(), guid) == 202
    target.posted.append((guid, event))
