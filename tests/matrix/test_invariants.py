"""The invariants that are checked after every test: each of them notices when it is broken."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from yarl import URL

from sandbox import Sandbox
from storage.database import Pool, open_pool
from tests.support.deliveries import WORK, world
from tests.support.invariants import NAMES, Invariants
from tests.support.line import Line
from tests.support.outages import Pusher
from tests.support.postgres import new_database

# The ledger is never changed: the database itself refuses that.
UNGUARDED = "ALTER TABLE push_attempt DISABLE TRIGGER USER"


@dataclass
class Story:
    """A learner of whom two heads were judged, the second blocked: what was stored, seen, and is at GitHub."""

    pool: Pool
    sandbox: Sandbox
    invariants: Invariants

    async def broken(self) -> str:
        """What the check says: "" if all hold."""
        try:
            await self.invariants.check(self.pool, self.sandbox)
        except AssertionError as error:
            return str(error)
        return ""


@pytest.fixture(scope="module", name="told_database")
def _told_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Address of the database in which the story is stored."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="told")
async def _told(told_database: str) -> AsyncIterator[Line]:
    """The line on which it happened. It stands still, so that its database can be copied."""
    async with world(told_database) as here:
        learner = await Pusher.enrol(here)
        await learner.push({**WORK[0]})
        await here.line.settle()
        await learner.push({"tests/count.js": "// nothing is tested any more\n"})
        await here.line.settle()
        await here.line.stop()
        yield here.line
        await here.line.start()


@pytest.fixture(name="copied_database")
def _copied_database(postgres_dsn: str, told: Line) -> Iterator[str]:
    """Address of a copy of the story's database."""
    with new_database(postgres_dsn, urlsplit(told.dsn).path.removeprefix("/")) as dsn:
        yield dsn


@pytest_asyncio.fixture(loop_scope="module", name="story")
async def _story(told: Line, copied_database: str) -> AsyncIterator[Story]:
    """The story, to be spoiled."""
    pool = await open_pool(copied_database, min_size=1, max_size=1)
    seen = told.invariants
    own = replace(seen, waived={}, asked=set(seen.asked), shown=list(seen.shown), logged=list(seen.logged))
    try:
        with github_as_it_is(told.sandbox):
            story = Story(pool, told.sandbox, own)
            assert await story.broken() == ""
            yield story
    finally:
        await pool.close()


@contextmanager
def github_as_it_is(sandbox: Sandbox) -> Iterator[None]:
    """What is done to check runs and to the record of exchanges is undone in the end."""
    state, exchanges = sandbox._state, list(sandbox.exchanges)
    runs = copy.deepcopy((state.check_runs, state._runs_of))
    yield
    state.check_runs, state._runs_of = runs
    sandbox.exchanges.clear()
    sandbox.exchanges.extend(exchanges)


async def execute(story: Story, *statements: str) -> None:
    """Change the database behind the App's back."""
    for statement in statements:
        await story.pool.execute(statement)


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
    state = story.sandbox._state
    run = copy.copy(max(state.check_runs.values(), key=lambda run: run.id))
    run.id = next(state.run_ids)
    state.add_run(run)


async def decide_wrongly(story: Story) -> None:
    """The ledger accepts what the rules refuse."""
    await execute(story, UNGUARDED, "UPDATE push_attempt SET verdict = 'accepted' WHERE verdict = 'blocked'")


async def show_green(story: Story) -> None:
    """GitHub shows a success for the head that was blocked."""
    state = story.sandbox._state
    max(state.check_runs.values(), key=lambda run: run.id).conclusion = "success"


async def log_a_token(story: Story) -> None:
    """A line of the log has a token."""
    story.invariants.logged.append("sent with ghs_" + "a1" * 20)


async def store_a_secret(story: Story) -> None:
    """A text of the database has the webhook secret."""
    secret = min(story.invariants.secrets)
    await story.pool.execute("UPDATE delivery SET last_error = $1", f"refused: {secret}")


async def go_astray(story: Story) -> None:
    """A request went to another host."""
    story.invariants.asked.add(URL("http://169.254.169.254/"))


async def hurry(story: Story) -> None:
    """GitHub said when to come back, and was asked before."""
    exchanges = story.sandbox.exchanges
    last = next(each for each in reversed(exchanges) if each.caller.startswith("installation"))
    exchanges.append(replace(last, status=429, response_headers={"Retry-After": "60"}, scripted=True))
    exchanges.append(replace(last, at=last.at + 30))


async def ask_too_much(story: Story) -> None:
    """An endpoint gets more points than a minute has."""
    exchanges = story.sandbox.exchanges
    last = next(each for each in reversed(exchanges) if each.caller.startswith("installation"))
    exchanges.extend([last] * 901)


@pytest.mark.asyncio(loop_scope="module")
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
