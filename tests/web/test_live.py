"""Live updates: who hears of what, how soon, how much at most, and how a stream ends and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from storage.database import Pool, open_pool
from storage.notify import Listener
from tests.support.bindings import ADA, LIN, bind
from tests.support.browsing import signed_in, signed_out
from web import routes
from web.hub import RELOAD, Hub, Limits, TooMany
from web.live import HUB
from web.site import SignIn, Site

Client = TestClient[web.Request, web.Application]
STAFF = frozenset({900, 901, 902})
QUICK = Limits(quiet=0.02)
NO_LISTENER = object()


class FakeListener:
    """A listener without a database: tests say what is notified."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[str], None]] = {}
        self.missed: Callable[[], None] = lambda: None

    def subscribe(self, channel: str, callback: Callable[[str], None]) -> None:
        """Remember who hears a channel."""
        self.callbacks[channel] = callback

    def when_missed(self, callback: Callable[[], None]) -> None:
        """Remember who is told of a loss."""
        self.missed = callback


class Stream:
    """A browser's side of a stream: events as (event, data), and the id of the last one."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.last_id = ""
        self.comments = 0

    async def next(self, seconds: float = 5.0) -> tuple[str, str]:
        """The next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            while line := (await self.response.content.readline()).decode():
                text = line.rstrip("\r\n")
                if text.startswith(":"):
                    self.comments += 1
                elif text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    self.last_id = fields["id"]
                    return fields["event"], fields["data"]
        raise EOFError("the stream has ended")

    async def nothing(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for so long."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def listening(client: Client, path: str = "/events", last_id: str = "") -> AsyncIterator[Stream]:
    """An open stream whose first event, `reload`, has been taken (it has none when it continues another)."""
    async with client.get(path, headers={"Last-Event-ID": last_id} if last_id else {}) as answer:
        assert answer.status == 200, await answer.text()
        stream = Stream(answer)
        if not last_id:
            assert await stream.next() == ("reload", "*")
        yield stream


@pytest.fixture
async def pool(fresh_database: str) -> AsyncIterator[Pool]:
    """A pool on a migrated database of this test's own."""
    opened = await open_pool(fresh_database, max_size=4)
    yield opened
    await opened.close()


async def client_of(
    aiohttp_client: AiohttpClient, pool: Any = None, limits: Limits = QUICK, listener: Any = None
) -> Client:
    """A browser of somebody of the staff, before an application whose hub has these limits."""
    app = web.Application()
    heard: Any = None if listener is NO_LISTENER else listener or FakeListener()
    site = Site(
        pool,
        web_url="https://github.example.com",
        public_url="http://127.0.0.1:8000",
        sign_in=SignIn("id", "secret", "k" * 32, "https://api.github.example.com"),
        staff=STAFF,
        listener=heard,
    )
    routes.add_routes(app, site)
    app[HUB] = Hub(limits)
    client = await aiohttp_client(app)
    signed_in(client, 900, "octo-staff", staff=True)
    return client


def hub_of(client: Client) -> Hub:
    """The application's hub."""
    assert client.app is not None
    return client.app[HUB]


async def test_a_change_in_the_database_is_heard_within_a_second(
    pool: Pool, fresh_database: str, aiohttp_client: AiohttpClient
) -> None:
    """From the database's notification to the event it takes less than a second; the event names the session alone."""
    async with Listener(fresh_database) as listener:
        client = await client_of(aiohttp_client, listener=listener, limits=Limits())
        await asyncio.wait_for(listener.connected.wait(), 5)
        async with listening(client) as stream:
            assert stream.response.content_type == "text/event-stream"
            assert "no-store" in stream.response.headers["Cache-Control"]
            session = str(uuid4())
            while await stream.nothing(0.01):  # until the listener has taken up the channel
                await pool.execute("SELECT pg_notify('session_changed', 'first')")
            started = asyncio.get_running_loop().time()
            await pool.execute("SELECT pg_notify('session_changed', $1)", session)
            while (event := await stream.next(1.0)) != ("changed", session):
                assert event == ("changed", "first")
            assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_lost_database_connection_means_reload(
    pool: Pool, fresh_database: str, aiohttp_client: AiohttpClient
) -> None:
    """What changed while nobody listened is not known: pages are told to fetch everything anew."""
    async with Listener(fresh_database) as listener:
        client = await client_of(aiohttp_client, listener=listener)
        await asyncio.wait_for(listener.connected.wait(), 5)
        async with listening(client) as stream:
            await pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stepgate listen' "
                "AND datname = current_database()"
            )
            assert await stream.next() == ("reload", "*")


async def test_a_burst_is_two_events(aiohttp_client: AiohttpClient) -> None:
    """The first change is told at once; whatever follows within the quiet time is one event at its end."""
    client = await client_of(aiohttp_client, limits=Limits(quiet=0.1))
    async with listening(client) as stream:
        for _ in range(50):
            hub_of(client).changed("a")
        hub_of(client).changed("b")
        assert [await stream.next(), await stream.next()] == [("changed", "a"), ("changed", "b")]
        assert await stream.next() == ("changed", "a")
        assert await stream.nothing(0.3)
        hub_of(client).changed("a")
        assert await stream.next(0.09) == ("changed", "a")


async def test_a_cut_stream_goes_on_where_it_was(aiohttp_client: AiohttpClient) -> None:
    """With the id of the last event heard, what was missed comes, once each, and nothing before it."""
    client = await client_of(aiohttp_client)
    async with listening(client) as stream:
        hub_of(client).changed("a")
        await stream.next()
        last = stream.last_id
    for session in ("b", "c"):
        hub_of(client).changed(session)
    async with listening(client, last_id=last) as stream:
        assert [await stream.next(), await stream.next()] == [("changed", "b"), ("changed", "c")]
        assert await stream.nothing()
        last = stream.last_id
    async with listening(client, last_id=last) as stream:
        assert await stream.nothing()


@pytest.mark.parametrize("last", ["else-1", "{name}-1", "{name}-999999", "{name}-x", "{name}-\u0663", "x" * 300, "-"])
async def test_a_stream_that_cannot_go_on_begins_anew(aiohttp_client: AiohttpClient, last: str) -> None:
    """An id of another process, of too long ago, of the future or of nobody is answered with reload."""
    client = await client_of(aiohttp_client, limits=Limits(quiet=0.0, kept=3))
    hub = hub_of(client)
    for number in range(10):
        hub.changed(f"s{number}")
    with hub.client("me", lambda _: True, last.format(name=hub.event_id(0).partition("-")[0])) as stream:
        assert [session for session, _ in stream.take()] == [RELOAD]


async def test_a_client_that_does_not_keep_up_is_told_to_reload() -> None:
    """What waits for one client is bounded: beyond, one reload stands for all of it, whatever still comes."""
    hub = Hub(Limits(quiet=0.0, waiting=5))
    with hub.client("me", lambda _: True) as client:
        client.take()
        for number in range(5):
            hub.changed(f"s{number}")
        assert [session for session, _ in client.take()] == [f"s{number}" for number in range(5)]
        for number in range(100):
            hub.changed(f"t{number}")
        ((session, number),) = client.take()
        assert (session, number) == (RELOAD, 105)
    hub.close()


async def test_what_waits_is_sent_in_the_order_of_its_numbers() -> None:
    """A session that changes again while it waits goes to the end, so that a cut stream never skips what it lacks."""
    hub = Hub(Limits(quiet=0.0))
    with hub.client("me", lambda _: True) as client:
        client.take()
        for session in ("a", "b"):
            hub.changed(session)
        await asyncio.sleep(0.01)
        hub.changed("a")
        assert client.take() == [("b", 2), ("a", 3)]
    hub.close()


async def test_a_storm_of_sessions_is_one_reload() -> None:
    """When more sessions change at a time than are held apart, everybody reloads, and memory stays bounded."""
    hub = Hub(Limits(quiet=60.0, sessions=10))
    with hub.client("me", lambda _: True) as client:
        client.take()
        for number in range(5000):
            hub.changed(f"s{number}")
        assert [session for session, _ in client.take()] == [RELOAD]
        assert len(hub._held) == 11
    hub.close()


async def test_too_many_streams(aiohttp_client: AiohttpClient) -> None:
    """A visitor who opens more streams than are given gets 429; a full process says 503; both say when to come back."""
    client = await client_of(aiohttp_client, limits=Limits(per_visitor=2, clients=3))
    async with listening(client), listening(client):
        answer = await client.get("/events")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "20")
        signed_in(client, 901, "octo-second", staff=True)
        async with listening(client):
            signed_in(client, 902, "octo-third", staff=True)
            answer = await client.get("/events")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "20")
    async with asyncio.timeout(5):
        while hub_of(client)._clients:  # both sides notice that a stream is closed
            hub_of(client).changed(str(uuid4()))
            await asyncio.sleep(0.01)
    async with listening(client):
        pass


@pytest.mark.parametrize("path", ["/events/own", "/join/closures/events"])
async def test_a_learner_hears_of_their_own_sessions_only(pool: Pool, aiohttp_client: AiohttpClient, path: str) -> None:
    """A learner's streams tell of their own sessions, also of one that began a moment ago; never of another's."""
    client = await client_of(aiohttp_client, pool)
    signed_in(client, ADA.account_id, ADA.login)
    async with listening(client, path) as stream:
        mine = await bind(pool)
        theirs = await bind(pool, published=(mine.lab, mine.version), owner=LIN, repo_id=502, installation_id=72)
        for bound in (theirs, mine, theirs):
            hub_of(client).changed(str(bound.session.session_id))
        assert await stream.next() == ("changed", str(mine.session.session_id))
        assert await stream.nothing()


async def test_a_session_page_hears_of_that_session(aiohttp_client: AiohttpClient) -> None:
    """The stream of a session names no other; an address that is no session's is 404."""
    client = await client_of(aiohttp_client)
    session, other = str(uuid4()), str(uuid4())
    async with listening(client, f"/sessions/{session.upper()}/events") as stream:
        hub_of(client).changed(other)
        hub_of(client).changed(session)
        assert await stream.next() == ("changed", session)
    assert (await client.get("/sessions/nonsense/events")).status == 404


async def test_a_public_session_is_heard_by_everybody_and_a_private_one_by_its_own(
    pool: Pool, aiohttp_client: AiohttpClient
) -> None:
    """Without signing in one hears of what one may see without it; a private session is not there for others."""
    client = await client_of(aiohttp_client, pool)
    bound = await bind(pool)
    path = f"/sessions/{bound.session.session_id}/events"
    for private in (False, True):
        await pool.execute("UPDATE repo_mapping SET private = $1", private)
        signed_in(client, ADA.account_id, ADA.login)
        async with listening(client, path) as stream:
            hub_of(client).changed(str(bound.session.session_id))
            assert await stream.next() == ("changed", str(bound.session.session_id))
        signed_out(client)
        async with client.get(path) as answer:
            assert answer.status == (404 if private else 200)
        signed_in(client, LIN.account_id, LIN.login)
        async with client.get(path) as answer:
            assert answer.status == (404 if private else 200)


async def test_heartbeats_and_the_end_of_a_long_stream(aiohttp_client: AiohttpClient) -> None:
    """Comments keep the stream open between events; after its longest time it ends, so that rights are asked anew."""
    client = await client_of(aiohttp_client, limits=Limits(heartbeat=0.02, longest=0.2))
    async with listening(client) as stream:
        with pytest.raises(EOFError):
            await stream.next()
        assert stream.comments >= 3
    assert not hub_of(client)._clients


async def test_the_end_of_the_process_ends_streams_at_once(aiohttp_client: AiohttpClient) -> None:
    """An open page does not hold up the stop; nothing new is opened while it stops."""
    client = await client_of(aiohttp_client)
    assert client.app is not None
    async with listening(client) as stream:
        await asyncio.wait_for(client.app.shutdown(), 2)
        with pytest.raises(EOFError):
            await stream.next(2)
    assert (await client.get("/events")).status == 503


async def test_nothing_is_live_without_a_listener(aiohttp_client: AiohttpClient) -> None:
    """Where nothing is heard of changes, a stream is refused rather than silent."""
    client = await client_of(aiohttp_client, listener=NO_LISTENER)
    answer = await client.get("/events")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")


async def test_asking_for_the_head_of_a_stream_returns(aiohttp_client: AiohttpClient) -> None:
    """HEAD is answered and does not stay."""
    client = await client_of(aiohttp_client)
    answer = await client.head("/events")
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert not hub_of(client)._clients


async def test_the_count_of_a_visitor_goes_back() -> None:
    """A refused stream costs nothing, and a closed one makes room."""
    hub = Hub(Limits(per_visitor=1))
    with hub.client("me", lambda _: True):
        with pytest.raises(TooMany) as caught, hub.client("me", lambda _: True):
            pass
        assert caught.value.theirs
    with hub.client("me", lambda _: True):
        pass
    assert not hub._visitors
