"""The invariants that are checked after every test: each of them notices when it is broken."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from yarl import URL

from tests.support.deliveries import WORK, world
from tests.support.invariants import NAMES, Invariants
from tests.support.line import Line
from tests.support.outages import Pusher

# The ledger is never changed: the database itself refuses that.
UNGUARDED = "ALTER TABLE push_attempt DISABLE TRIGGER USER"


@dataclass
class Story:
    """A learner of whom two heads were judged; the second is blocked."""

    learner: Pusher
    line: Line

    @property
    def invariants(self) -> Invariants:
        """Those that the line checks in the end."""
        return self.line.invariants

    async def broken(self) -> str:
        """What the check says: "" if all hold."""
        try:
            await self.invariants.check(self.line.pool, self.line.sandbox)
        except AssertionError as error:
            return str(error)
        return ""


@pytest.fixture(name="story")
async def _story(fresh_database: str) -> AsyncIterator[Story]:
    async with world(fresh_database) as here:
        learner = await Pusher.enrol(here)
        await learner.push({**WORK[0]})
        await here.line.settle()
        await learner.push({"tests/count.js": "// nothing is tested any more\n"})
        await here.line.settle()
        story = Story(learner, here.line)
        assert await story.broken() == ""
        yield story
        await execute(story, "UPDATE delivery SET last_error = NULL")  # else the world finds the secret too
        for name in NAMES:
            here.line.invariants.waive(name, "this test has broken it")


async def execute(story: Story, *statements: str) -> None:
    """Change the database behind the App's back."""
    for statement in statements:
        await story.line.pool.execute(statement)


async def lose_a_decision(story: Story) -> None:
    """A push counts as done, and the ledger has nothing of it."""
    await execute(story, UNGUARDED, "DELETE FROM push_attempt WHERE verdict = 'blocked'")
    story.invariants.waive("I3", "the ledger ends before the last head")


async def forget_a_push(story: Story) -> None:
    """A push waits in a lane that nobody will look at."""
    await execute(
        story,
        "UPDATE delivery SET state = 'waiting', finished_at = NULL, payload = '{}' WHERE event = 'push'",
        "UPDATE lane SET due_at = NULL, holder = NULL, leased_until = NULL",
    )


async def report_twice(story: Story) -> None:
    """The same check run is posted again."""
    state = story.line.sandbox._state
    run = copy.copy(max(state.check_runs.values(), key=lambda run: run.id))
    run.id = next(state.run_ids)
    state.add_run(run)


async def decide_wrongly(story: Story) -> None:
    """The ledger accepts what the rules refuse."""
    await execute(story, UNGUARDED, "UPDATE push_attempt SET verdict = 'accepted' WHERE verdict = 'blocked'")


async def show_green(story: Story) -> None:
    """GitHub shows a success for the head that was blocked."""
    state = story.line.sandbox._state
    max(state.check_runs.values(), key=lambda run: run.id).conclusion = "success"


async def log_a_token(story: Story) -> None:
    """A line of the log has a token."""
    story.invariants.logged.append("sent with ghs_" + "a1" * 20)


async def store_a_secret(story: Story) -> None:
    """A text of the database has the webhook secret."""
    secret = min(story.invariants.secrets)
    await story.line.pool.execute("UPDATE delivery SET last_error = $1", f"refused: {secret}")


async def go_astray(story: Story) -> None:
    """A request went to another host."""
    story.invariants.asked.add(URL("http://169.254.169.254/"))


async def hurry(story: Story) -> None:
    """GitHub said when to come back, and was asked before."""
    exchanges = story.line.sandbox.exchanges
    last = next(each for each in reversed(exchanges) if each.caller.startswith("installation"))
    exchanges.append(replace(last, status=429, response_headers={"Retry-After": "60"}, scripted=True))
    exchanges.append(replace(last, at=last.at + 30))


async def ask_too_much(story: Story) -> None:
    """An endpoint gets more points than a minute has."""
    exchanges = story.line.sandbox.exchanges
    last = next(each for each in reversed(exchanges) if each.caller.startswith("installation"))
    exchanges.extend([last] * 901)


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("I1", lose_a_decision),
        ("I1", forget_a_push),
        ("I2", report_twice),
        ("I3", decide_wrongly),
        ("I4", show_green),
        ("I5", log_a_token),
        ("I5", store_a_secret),
        ("I6", go_astray),
        ("I7", hurry),
        ("I7", ask_too_much),
    ],
)
async def test_a_broken_invariant_is_noticed(
    story: Story, name: str, breaks: Callable[[Story], Awaitable[None]]
) -> None:
    """The check names the invariant that was broken; waived with a reason, it does not."""
    await breaks(story)
    assert f"{name}, {NAMES[name]}" in await story.broken()

    story.invariants.waive(name, "this test has broken it")
    assert NAMES[name] not in await story.broken()


def test_waiving_needs_a_reason() -> None:
    """Nobody waives an invariant without saying why, or one that there is not."""
    with pytest.raises(AssertionError):
        Invariants().waive("I1", "")
    with pytest.raises(AssertionError):
        Invariants().waive("I9", "a reason that is long enough")
