"""Group J: clocks that differ or jump, on the running line and in the client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from github.clock import SKEW
from github.refusals import Context, refusal, server_time
from sandbox import Fault
from sandbox.effects import ClockOffset
from tests.support.deliveries import World, world
from tests.support.outages import Pusher


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(module_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(module_database) as here:
        yield here


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("offset", [59, -59, 300, -300])
async def test_a_push_is_judged_whatever_the_clocks_say(here: World, offset: float) -> None:
    """GitHub's clock is off from ours, from one moment to the next: at most one request is refused, and none after."""
    learner, sandbox = await Pusher.enrol(here), here.line.sandbox
    assert SKEW._value.get() == pytest.approx(0, abs=2)
    away = sandbox.faults.add(Fault(ClockOffset(offset)))
    since = len(sandbox.exchanges)
    await here.line.services.app.app()
    number = sandbox._state.installation_on(learner.fork)
    assert number is not None
    here.line.services.app.installation(number.id).forget_token()
    await learner.work(0)
    await here.line.settle()
    assert [conclusion for _, conclusion in here.runs(learner.fork, learner.head)] == ["success"]
    refused = [each for each in list(sandbox.exchanges)[since:] if each.status == 401]
    assert len(refused) == (1 if (abs(offset) > 60 and offset < 0) or offset > 540 else 0)
    assert SKEW._value.get() == pytest.approx(-offset, abs=2)
    away.remove()


@pytest.fixture(params=["America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC),  # an hour is left out in New York a second later
        datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),  # in Berlin
        datetime(2026, 10, 25, 0, 30, 0, tzinfo=UTC),  # an hour that comes twice
        datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC),  # before a leap second
        datetime(2028, 2, 29, 12, 0, 0, tzinfo=UTC),
    ],
)
def test_no_zone_and_no_change_of_the_hour_moves_a_wait(moment: datetime) -> None:
    """What GitHub says in dates is the same number of seconds everywhere, without Date as with it."""
    began = moment.timestamp()
    until = datetime.fromtimestamp(began + 90, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert server_time({"date": until}) == began + 90
    context = Context("GET thing", 1, True, lambda: began)
    error = refusal(429, {"retry-after": until}, b"{}", context)
    assert error.retry_after == 90


def test_a_leap_second_in_a_date_is_no_defect() -> None:
    """23:59:60 is the next second, or tells nothing."""
    assert server_time({"date": "Sat, 31 Dec 2016 23:59:60 GMT"}) in (None, 1483228800.0)
