"""Deliveries taken from GitHub's log: each once, oldest first, whatever fails in between."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot import logwalk, recovery
from bot.logwalk import OVERLAP, SWEEP
from bot.recovery import LOOK_BACK, QUICK, SLOW, DeliveryPoller, look_back
from bot.retry import ATTEMPTS
from bot.webhook import new_delivery
from github.client import GitHubApp
from github.deliverylog import Page
from github.errors import RateLimited, Transient, Unauthorized
from github.governor import MemoryGovernor
from settings import Settings
from storage import headfacts, inbox
from storage import recovery as recovery_store
from storage.database import Pool, open_pool
from storage.health import backlog
from tests.support.delivery_log import ScriptedLog
from tests.support.fault_server import FakeClock, FaultServer, Reply

MINUTE = 60.0


@dataclass
class Desk:
    """A poller on a scripted log and a real inbox, with a clock that moves only when something sleeps."""

    poller: DeliveryPoller
    log: ScriptedLog
    pool: Pool
    clock: FakeClock
    github: GitHubApp

    async def rows(self) -> list[dict[str, Any]]:
        """The inbox, in order of arrival."""
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM delivery ORDER BY inbox_id")]

    def another(self) -> DeliveryPoller:
        """What a restart makes: a poller without memory."""
        return _poller(self.pool, self.github, self.clock)


def _poller(pool: Pool, github: GitHubApp, clock: FakeClock, **options: Any) -> DeliveryPoller:
    return DeliveryPoller(
        pool,
        github,
        now=lambda: datetime.fromtimestamp(clock.now(), UTC),
        sleep=clock.sleep,
        jitter=lambda: 1.0,
        **options,
    )


@pytest.fixture(scope="module", name="key")
def _key() -> str:
    """An App's private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture(name="desk")
async def _desk(fresh_database: str, key: str) -> AsyncIterator[Desk]:
    """A poller that has not looked yet."""
    clock = FakeClock()
    async with FaultServer() as server, aiohttp.ClientSession() as http:
        pool = await open_pool(fresh_database, max_size=4)
        try:
            governor = MemoryGovernor(0.0, now=clock.now, sleep=clock.sleep)
            github = GitHubApp(
                http, api_url=server.url, app_id=1, private_key=key, governor=governor, now=clock.now, sleep=clock.sleep
            )
            yield Desk(_poller(pool, github, clock), ScriptedLog(server, clock), pool, clock, github)
        finally:
            await pool.close()


async def test_what_is_new_is_recorded_oldest_first(desk: Desk) -> None:
    """The log is newest first, the inbox in the order of the events, in the lanes that the webhook would choose."""
    guids = [uuid4() for _ in range(11)]
    for second, guid in enumerate(guids):
        desk.log.add("push", guid=guid, at=desk.clock.now() - 60 + second)

    assert await desk.poller.look() == 11

    rows = await desk.rows()
    assert [row["guid"] for row in rows] == guids
    assert {(row["event"], row["lane_id"], row["repo_id"], row["installation_id"]) for row in rows} == {
        ("push", "repo:7", 7, 99)
    }
    assert rows[0]["payload"] == b'{"repository":{"id":7},"installation":{"id":99},"number":1000}'


async def test_events_that_nobody_handles_are_not_fetched(desk: Desk) -> None:
    """Own echoes and other events cost no request for their payload and leave no row."""
    numbers = [desk.log.add(event) for event in ("check_run", "status", "check_suite", "star")]

    assert await desk.poller.look() == 0

    assert await desk.rows() == []
    assert [desk.log.asked(number) for number in numbers] == [0, 0, 0, 0]


async def test_attempts_at_one_delivery_are_one(desk: Desk) -> None:
    """A delivery that GitHub failed to deliver several times is fetched and recorded once."""
    guid = uuid4()
    numbers = [desk.log.add("push", guid=guid, redelivery=bool(turn)) for turn in range(4)]

    assert await desk.poller.look() == 1

    assert len(await desk.rows()) == 1
    assert sum(desk.log.asked(number) for number in numbers) == 1


async def test_what_the_webhook_brought_is_not_fetched(desk: Desk) -> None:
    """A guid that is in the inbox costs no request, in whatever state it is; one of another event is another one."""
    guid = uuid4()
    await inbox.record(desk.pool, [new_delivery("push", guid, b"{}")])
    known, other = desk.log.add("push", guid=guid), desk.log.add("repository", guid=guid)

    assert await desk.poller.look() == 1

    assert (desk.log.asked(known), desk.log.asked(other)) == (0, 1)
    assert [row["event"] for row in await desk.rows()] == ["push", "repository"]


async def test_a_webhook_that_is_faster_by_a_hair_makes_no_second_row(desk: Desk) -> None:
    """A delivery that arrives while its payload is being fetched is recorded once and counted as old."""
    guid = uuid4()
    number = desk.log.add("push", guid=guid)
    payload = Reply(200, {"request": {"headers": {}, "payload": {"repository": {"id": 7}}}})

    async def overtaken(_seen: object) -> Reply:
        await inbox.record(desk.pool, [new_delivery("push", guid, b"{}")])
        return payload

    desk.log.server.on("GET", f"/app/hook/deliveries/{number}", overtaken)

    assert await desk.poller.look() == 0
    assert [row["payload"] for row in await desk.rows()] == [b"{}"]


async def test_a_quiet_log_costs_one_request_a_look(desk: Desk) -> None:
    """After the first look each further one reads one page, and nothing is fetched again."""
    desk.log.per_page = 2
    for second in range(6):
        desk.log.add(at=desk.clock.now() - 30 + second)
    await desk.poller.look()
    before = len(desk.log.server.seen)

    for _ in range(5):
        desk.clock.time += 10
        assert await desk.poller.look() == 0

    assert len(desk.log.server.seen) - before == 5


async def test_news_over_many_pages_is_all_found(desk: Desk) -> None:
    """More news than a page holds is followed to the first page without any."""
    desk.log.per_page = 3
    desk.log.add()
    await desk.poller.look()
    for _ in range(10):
        desk.clock.time += 1
        desk.log.add()

    assert await desk.poller.look() == 10


async def test_the_first_look_goes_back_as_far_as_the_log_is_kept(desk: Desk) -> None:
    """After a stop of less than three days nothing is missed; older entries are not fetched."""
    old, young = LOOK_BACK + timedelta(minutes=1), LOOK_BACK - timedelta(minutes=1)
    desk.log.add(at=desk.clock.now() - old.total_seconds())
    found = desk.log.add(at=desk.clock.now() - young.total_seconds())
    desk.log.add("check_run")

    assert await desk.poller.look() == 1
    assert desk.log.asked(found) == 1


async def test_a_restart_takes_nothing_twice(desk: Desk) -> None:
    """A poller without memory reads the log again, and skips what the inbox has without fetching it."""
    numbers = [desk.log.add() for _ in range(5)]
    await desk.poller.look()

    assert await desk.another().look() == 0
    assert [desk.log.asked(number) for number in numbers] == [1] * 5


async def test_an_entry_that_comes_late_below_newer_ones_is_found(desk: Desk) -> None:
    """GitHub may log a delivery minutes late: the regular sweep finds it under a page that has no news."""
    desk.log.per_page = 1
    desk.log.add(at=desk.clock.now() - 1)
    desk.log.add()
    await desk.poller.look()
    late = desk.log.add(at=desk.clock.now() - (OVERLAP.total_seconds() - MINUTE))
    desk.clock.time += 1
    assert await desk.poller.look() == 0

    desk.clock.time += SWEEP.total_seconds()

    assert await desk.poller.look() == 1
    assert desk.log.asked(late) == 1


async def test_a_clock_that_was_set_back_stops_no_sweep(desk: Desk) -> None:
    """The last sweep seems to be in the future then: entries that are logged late are found all the same."""
    began = desk.clock.now()
    desk.clock.time += timedelta(days=1).total_seconds()
    for number in range(150):
        desk.log.add("star", at=began - 150 + number)
    desk.log.add("push", at=began)
    assert await desk.poller.look() == 1
    desk.clock.time = began + 10 * MINUTE
    for _ in range(150):
        desk.log.add("star", at=began + MINUTE)
    late = desk.log.add("push", at=began - 140)

    assert await desk.another().look() == 1
    assert desk.log.asked(late) == 1


async def test_a_look_that_broke_off_is_made_up_for(desk: Desk) -> None:
    """When GitHub fails on the second page, the entries there are found by the next look, not only by the sweep."""
    desk.log.per_page = 1
    desk.log.add()
    await desk.poller.look()
    desk.clock.time += 1
    desk.log.add()
    desk.clock.time += 1
    desk.log.add()

    original = desk.log._list
    pages = 0

    def breaks(seen: Any) -> Reply:
        nonlocal pages
        pages += 1
        return Reply(502) if pages == 2 else original(seen)

    desk.log.server.on("GET", "/app/hook/deliveries", breaks)
    with pytest.raises(Transient):
        await desk.poller.look()

    assert len(await desk.rows()) == 2  # what was on the first page was taken all the same
    assert await desk.poller.look() == 1


async def test_a_poison_delivery_stops_no_other_and_is_given_up(desk: Desk) -> None:
    """One whose payload is never given is tried ATTEMPTS times, ever later; the others are recorded at once."""
    poison = desk.log.add(scripts=(Reply(500, {"message": "Server Error"}),))
    good = [desk.log.add() for _ in range(6)]

    assert await desk.poller.look() == 6
    waits = []
    for step in (*[30] * 40, *[240] * 45):  # 200 minutes
        before = desk.log.asked(poison)
        desk.clock.time += step
        await desk.poller.look()
        waits += [desk.clock.time] if desk.log.asked(poison) > before else []

    assert desk.log.asked(poison) == ATTEMPTS
    await desk.another().look()  # a restart begins nothing anew
    assert desk.log.asked(poison) == ATTEMPTS
    (letter,) = await inbox.dead_letters(desk.pool)
    assert (letter.event, letter.attempts, letter.lane_id) == ("push", ATTEMPTS, "delivery-log")
    assert "GitHub's delivery log" in (letter.last_error or "")
    gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert gaps == sorted(gaps)
    assert [desk.log.asked(number) for number in good] == [1] * 6
    assert len(await desk.rows()) == 6


async def test_a_dead_letter_of_the_log_can_be_asked_for_again(desk: Desk) -> None:
    """Whoever retries it lets its payload be asked for anew; once it is there it is no dead letter any more."""
    payload = Reply(200, {"request": {"headers": {}, "payload": {"repository": {"id": 7}}}})
    number = desk.log.add(scripts=(*[Reply(500, {"message": "Server Error"})] * ATTEMPTS, payload))
    for _ in range(ATTEMPTS):
        desk.clock.time += 3 * 3600
        await desk.poller.look()
    (letter,) = await inbox.dead_letters(desk.pool)
    assert await desk.poller.look() == 0

    assert await inbox.replay(desk.pool, letter.inbox_id)
    assert not await inbox.replay(desk.pool, letter.inbox_id)

    assert await desk.poller.look() == 1
    assert desk.log.asked(number) == ATTEMPTS + 1
    assert await inbox.dead_letters(desk.pool) == ()


async def test_what_was_given_up_and_comes_after_all_is_no_dead_letter(desk: Desk) -> None:
    """A delivery that GitHub's owner sends again by hand is taken by the receiver, and missed no more."""
    guid = uuid4()
    desk.log.add(guid=guid, scripts=(Reply(500, {"message": "Server Error"}),))
    for _ in range(ATTEMPTS):
        desk.clock.time += 3 * 3600
        await desk.poller.look()
    assert (await backlog(desk.pool)).missing == {"waiting": 0, "given_up": 1}

    assert await inbox.record(desk.pool, [new_delivery("push", guid, b"{}")]) == [True]
    await desk.poller.look()

    assert (await backlog(desk.pool)).missing == {"waiting": 0, "given_up": 0}
    read_at = await desk.pool.fetchval("SELECT read_at FROM recovery_state")
    assert read_at == datetime.fromtimestamp(desk.clock.now(), UTC)


async def test_the_gap_tells_what_is_missing_and_since_when(desk: Desk) -> None:
    """While a payload cannot be had, the gap names how many are missing and the oldest one's time."""
    desk.log.add(at=desk.clock.now() - 100, scripts=(Reply(500, {"message": "Server Error"}),))
    desk.log.add(scripts=(Reply(500, {"message": "Server Error"}),))
    await desk.poller.look()

    gap = await backlog(desk.pool)
    assert gap.missing == {"waiting": 2, "given_up": 0}
    since = datetime.now(UTC).timestamp() - int(desk.clock.now() - 100)
    assert gap.oldest_missing == pytest.approx(since, abs=5)


async def test_a_sweep_goes_on_where_it_was_broken_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After days away the log is read in parts, each taken before the next; a restart in between reads none twice."""
    monkeypatch.setattr(logwalk, "PAGES", 3)
    desk.log.per_page = 2
    for second in range(20):
        desk.log.add(at=desk.clock.now() - 100 + second)
    original, asked = desk.log._list, 0

    def breaks(seen: Any) -> Reply:
        nonlocal asked
        asked += 1
        return Reply(502) if asked == 6 else original(seen)

    desk.log.server.on("GET", "/app/hook/deliveries", breaks)
    with pytest.raises(Transient):
        await desk.poller.look()
    assert len(await desk.rows()) == 2 * 4  # four pages came
    asked = 100

    assert await desk.another().look() == 12

    assert asked == 100 + 7 + 3  # from the fourth page down, in three parts; before each the news
    assert await desk.poller.look() == 0


async def test_a_sweep_whose_place_is_lost_begins_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that GitHub answers with errors for a day, as it may do with one that is no longer good, is given up:
    what was below it is found all the same."""
    monkeypatch.setattr(logwalk, "PAGES", 1)
    desk.log.per_page = 2
    for number in range(6):
        desk.log.add(at=desk.clock.now() - 60 + number)
    read, good, most = desk.poller._log.page, set[str | None](), [1]

    async def page(address: str | None = None) -> Page:
        if address is not None and address not in good:
            raise Transient("502 Bad Gateway")
        found = await read(address)
        if len(good) < most[0]:
            good.add(found.next_page)
        return found

    monkeypatch.setattr(desk.poller._log, "page", page)
    for hours in (0, 1, 24):  # the last one gives up
        desk.clock.time += timedelta(hours=hours).total_seconds()
        good.clear()
        with pytest.raises(Transient, match="502"):
            await desk.poller.look()
    good.clear()
    most[0] = 9

    assert await desk.poller.look() == 2


async def test_two_pollers_do_not_read_the_same_log(desk: Desk) -> None:
    """While one reads, another one does nothing; if the first one dies, the other goes on after its lease."""
    desk.log.add()
    held = await recovery_store.take_log(desk.pool, "somebody else", timedelta(minutes=1))
    assert held is not None

    assert await desk.poller.look() == 0
    assert desk.log.lists() == 0

    await desk.pool.execute("UPDATE recovery_state SET leased_until = now() - interval '1 second'")
    assert await desk.poller.look() == 1


async def test_the_budget_for_tokens_is_left_alone(desk: Desk) -> None:
    """When little of the App's hourly requests is left, the log waits: without tokens nobody is judged."""
    for number in range(16):
        left = "2000" if number < 8 else "900"
        payload = {"request": {"headers": {}, "payload": {"repository": {"id": 7}}}}
        limits = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": left}
        desk.log.add(at=desk.clock.now() - 60 + number, scripts=(Reply(200, payload, limits),))

    with pytest.raises(RateLimited) as limit:
        await desk.poller.look()

    assert limit.value.retry_after == pytest.approx(60)
    assert len(await desk.rows()) == 12
    desk.clock.time += 60
    assert await desk.poller.look() == 4


@pytest.mark.parametrize(("address", "days"), [("https://api.github.com", 3), ("https://github.example.com/api/v3", 7)])
def test_the_log_is_read_as_far_back_as_it_is_kept(address: str, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """github.com keeps three days of deliveries, an Enterprise Server seven."""
    monkeypatch.setenv("GITHUB_API_URL", address)
    assert look_back(is_enterprise_server=Settings().is_enterprise_server) == timedelta(days=days)


async def test_an_enterprise_server_is_asked_for_seven_days(desk: Desk) -> None:
    """With a longer look back what is older than three days is taken, too."""
    desk.log.add(at=desk.clock.now() - timedelta(days=6).total_seconds())
    older = _poller(desk.pool, desk.github, desk.clock, kept=look_back(is_enterprise_server=True))

    assert await desk.poller.look() == 0
    await desk.pool.execute("UPDATE recovery_state SET horizon = NULL, swept_at = NULL, newest_at = NULL")
    assert await older.look() == 1


async def test_results_that_the_receiver_has_looked_at_are_not_looked_at_again(desk: Desk) -> None:
    """Of checks the receiver stores only some: what it has answered is not fetched, what it has not is looked into."""
    receiving = _poller(desk.pool, desk.github, desk.clock, receives=True)
    seen = desk.log.add("check_suite", action="completed", status="OK", status_code=202)
    pushed = desk.log.add("push", status="OK", status_code=202)

    assert await receiving.look() == 1

    assert (desk.log.asked(seen), desk.log.asked(pushed)) == (0, 1)


async def test_what_was_found_to_be_no_news_is_not_asked_for_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An echo of our own is told from a result by its payload: that is fetched once, not in each look that meets the
    entry in the log again."""

    async def awaits(_pool: Pool, _repo_id: int) -> bool:
        return True

    monkeypatch.setattr(headfacts, "awaited", awaits)
    poller = _poller(desk.pool, desk.github, desk.clock)
    suite = {"app": {"id": desk.github.app_id, "slug": "ours"}, "head_sha": "a" * 40}
    echo = {"action": "completed", "check_suite": suite, "repository": {"id": 7}, "installation": {"id": 99}}
    number = desk.log.add("check_suite", action="completed", payload=echo)
    for _ in range(3):
        assert await poller.look() == 0
        desk.clock.time += SWEEP.total_seconds()

    assert desk.log.asked(number) == 1
    assert await desk.pool.fetchval("SELECT count(*) FROM delivery_missed") == 0


async def test_what_was_sent_to_another_app_is_not_taken(desk: Desk) -> None:
    """An event has one guid for all Apps: an entry whose headers name another App is left alone, whatever it holds."""
    guid, body = uuid4(), {"repository": {"id": 7}, "installation": {"id": 99}}
    mine = {"X-GitHub-Hook-Installation-Target-ID": str(desk.github.app_id)}
    other = {"x-github-hook-installation-target-id": "4711", "x-github-hook-installation-target-type": "integration"}
    for headers in (other, mine):
        answer = Reply(200, {"request": {"headers": headers, "payload": body}})
        desk.log.add(guid=guid if headers is other else None, scripts=(answer,))

    assert await desk.poller.look() == 1

    (row,) = await desk.rows()
    assert row["guid"] != guid
    assert await desk.pool.fetchval("SELECT count(*) FROM delivery_missed") == 0


async def test_what_is_missing_of_a_forgotten_person_is_not_taken(desk: Desk) -> None:
    """Erasing a repository's owner ends the search for its deliveries: they count as processed."""
    desk.log.add(scripts=(Reply(500, {"message": "Server Error"}),))
    await desk.poller.look()

    await desk.pool.execute("SELECT forget_repositories(ARRAY[7]::bigint[], '{}')")

    assert (await backlog(desk.pool)).missing["waiting"] == 0
    desk.clock.time += 3600
    assert await desk.poller.look() == 0
    assert [(row["state"], row["repo_id"], row["payload"]) for row in await desk.rows()] == [("done", None, None)]


async def test_a_payload_that_comes_at_a_later_try_is_recorded(desk: Desk) -> None:
    """A fault of the moment loses nothing."""
    payload = Reply(200, {"request": {"headers": {}, "payload": {"repository": {"id": 7}}}})
    number = desk.log.add(scripts=(Reply(502), payload))

    assert await desk.poller.look() == 0
    desk.clock.time += MINUTE

    assert await desk.poller.look() == 1
    assert desk.log.asked(number) == 2


async def test_a_body_that_is_no_event_ends_in_the_quarantine(desk: Desk) -> None:
    """A payload without a repository is kept for a person to look at, as from the webhook."""
    desk.log.add("push", payload={"zen": "nothing"})

    await desk.poller.look()

    assert [row["lane_id"] for row in await desk.rows()] == ["quarantine"]


async def test_an_entry_without_a_guid_is_left_out(desk: Desk) -> None:
    """What cannot be told apart from its redelivery is not taken, and stops nothing."""
    desk.log.add(guid="not-a-guid")
    desk.log.add()

    assert await desk.poller.look() == 1


async def test_a_refused_key_is_no_fault_of_a_delivery(desk: Desk) -> None:
    """A 401 for a payload ends the look and counts for no delivery: the key is the operator's to repair."""
    desk.log.add(scripts=(Reply(401, {"message": "Bad credentials"}),))

    for _ in range(ATTEMPTS + 1):
        with pytest.raises(Unauthorized):
            await desk.poller.look()


# ------------------------------------------------------------------------------------------------------------ running


async def _run_for(desk: Desk, seconds: float) -> None:
    """Let the poller run until its clock has moved on by so much."""
    stop, end = asyncio.Event(), desk.clock.time + seconds
    running = asyncio.create_task(desk.poller.run(stop))
    async with asyncio.timeout(30):
        while desk.clock.time < end:
            await asyncio.sleep(0)
    stop.set()
    await running


async def test_looks_are_quick_while_something_comes_and_rarer_while_nothing_does(desk: Desk) -> None:
    """Two seconds after news, then ever longer, up to ten: within GitHub's 5,000 requests an hour in any case."""
    desk.log.add()
    await _run_for(desk, 200)

    assert desk.clock.slept[0] == QUICK
    assert desk.clock.slept[:6] == sorted(desk.clock.slept[:6])
    assert set(desk.clock.slept[6:]) == {SLOW}
    assert 3600 / QUICK < 5000


async def test_github_away_is_said_once_and_waited_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While GitHub is away the pauses grow to a minute, the log has one line, and afterwards nothing is missing."""
    lines: list[str] = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(recovery.log, level, lambda event, **_: lines.append(event), raising=False)
    desk.log.down = True
    await _run_for(desk, 600)
    slept = desk.clock.slept[:]

    assert slept[:6] == [2, 4, 8, 16, 32, 60]
    assert set(slept[6:]) == {60}
    assert lines == ["delivery_log_not_read"]

    desk.log.down = False
    desk.log.add()
    await _run_for(desk, 10)
    assert lines == ["delivery_log_not_read", "delivery_pulled", "delivery_log_back"]
    assert len(await desk.rows()) == 1


async def test_a_limit_is_waited_for_as_long_as_github_says(desk: Desk) -> None:
    """Nothing is asked before the time that Retry-After names."""
    asked: list[float] = []

    def limited(_seen: object) -> Reply:
        asked.append(desk.clock.time)
        return Reply(429, {"message": "slow down"}, {"Retry-After": "300"})

    desk.log.server.on("GET", "/app/hook/deliveries", limited)
    await _run_for(desk, 700)

    assert len(asked) >= 2
    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(asked))


async def test_a_database_that_cannot_be_used_loses_nothing(desk: Desk) -> None:
    """What could not be recorded is recorded when the database can be used again."""
    desk.log.add()
    await desk.pool.execute("ALTER TABLE delivery RENAME TO elsewhere")
    stop = asyncio.Event()
    running = asyncio.create_task(desk.poller.run(stop))
    async with asyncio.timeout(20):
        while len(desk.clock.slept) < 2:
            await asyncio.sleep(0.01)
        await desk.pool.execute("ALTER TABLE elsewhere RENAME TO delivery")
        while not await desk.rows():
            await asyncio.sleep(0.01)
    stop.set()
    await running

    assert len(await desk.rows()) == 1
