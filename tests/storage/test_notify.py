"""The listening connection: hurries, says when it may have missed something, comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from storage import notify
from storage.database import Pool
from storage.notify import Listener


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def cut(pool: Pool) -> None:
    """End the listening connection from the server's side."""
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stepgate listen' "
        "AND datname = current_database()"
    )


async def test_notifications_set_events_and_call_back(pool: Pool, fresh_database: str) -> None:
    """An event is set by its channel; a callback gets the payload; other channels are not heard."""
    heard: list[str] = []
    async with Listener(fresh_database) as listener:
        due = listener.event("lane_due")
        other = listener.event("outbox_due")
        listener.subscribe("binding_changed", heard.append)
        await asyncio.wait_for(listener.connected.wait(), 5)
        await asyncio.wait_for(due.wait(), 5)  # something may have been missed before
        await asyncio.wait_for(other.wait(), 5)
        due.clear()
        other.clear()
        await pool.execute("SELECT pg_notify('lane_due', ''), pg_notify('binding_changed', '501')")
        await asyncio.wait_for(due.wait(), 5)
        await until(lambda: heard == ["501"])
        assert not other.is_set()


async def test_a_channel_can_be_added_later(pool: Pool, fresh_database: str) -> None:
    """A channel that is asked for while the connection stands is heard too; asking twice is the same event."""
    async with Listener(fresh_database) as listener:
        await asyncio.wait_for(listener.connected.wait(), 5)
        event = listener.event("session_changed")
        assert listener.event("session_changed") is event
        await asyncio.wait_for(event.wait(), 5)
        event.clear()
        await pool.execute("SELECT pg_notify('session_changed', 'x')")
        await asyncio.wait_for(event.wait(), 5)


async def test_what_was_learned_before_the_first_listening_is_told_to_be_uncertain(
    pool: Pool, fresh_database: str
) -> None:
    """Whoever calls back is told, as soon as the channel is heard, that changes until then went unheard; once.

    Guards storage/notify.py `_listen`, the words `or fresh & set(self._callbacks)`: a cache that was filled while the
    process began to listen would believe a mapping for its whole time that was changed meanwhile.
    """
    losses: list[int] = []
    heard: list[str] = []
    async with Listener(fresh_database, on_lost=lambda: losses.append(1)) as listener:
        listener.subscribe("binding_changed", heard.append)
        await asyncio.wait_for(listener.connected.wait(), 5)
        assert losses == [1]
        await pool.execute("SELECT pg_notify('binding_changed', '501')")
        await until(lambda: heard == ["501"])
        listener.subscribe("session_changed", heard.append)
        await until(lambda: losses == [1, 1])
        assert heard == ["501"]


async def test_a_lost_connection_is_told_and_comes_back(pool: Pool, fresh_database: str) -> None:
    """The loss is told at once and again when the connection is back; events are set, for some may be missed."""
    losses: list[int] = []
    async with Listener(fresh_database, on_lost=lambda: losses.append(1)) as listener:
        due = listener.event("lane_due")
        await asyncio.wait_for(due.wait(), 5)
        due.clear()
        assert losses == []
        await cut(pool)
        await until(lambda: len(losses) == 2)
        await asyncio.wait_for(due.wait(), 5)
        due.clear()
        await pool.execute("SELECT pg_notify('lane_due', '')")
        await asyncio.wait_for(due.wait(), 5)


async def test_a_server_that_is_away_is_tried_again(
    pool: Pool, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised while the server cannot be reached; as soon as it can, notifications are heard."""
    tries = 0
    real = asyncpg.connect

    async def connect(*args: Any, **values: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError("not yet")
        return await real(*args, **values)

    monkeypatch.setattr(asyncpg, "connect", connect)
    monkeypatch.setattr(notify, "FIRST_PAUSE", 0.01)
    async with Listener(fresh_database) as listener:
        due = listener.event("lane_due")
        await asyncio.wait_for(due.wait(), 5)
    assert tries == 3


async def test_a_connection_that_fell_silent_is_found_by_asking(
    pool: Pool, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose end was never told (a cut cable) is noticed by the next question."""
    monkeypatch.setattr(notify, "PING_EVERY", 0.05)
    monkeypatch.setattr(asyncpg.Connection, "add_termination_listener", lambda *_: None)
    losses: list[int] = []
    async with Listener(fresh_database, on_lost=lambda: losses.append(1)) as listener:
        await asyncio.wait_for(listener.connected.wait(), 5)
        await cut(pool)
        await until(lambda: len(losses) >= 2)


async def test_leaving_ends_the_connection(pool: Pool, fresh_database: str) -> None:
    """After the block no listening connection is left."""
    async with Listener(fresh_database) as listener:
        await asyncio.wait_for(listener.connected.wait(), 5)
    async with asyncio.timeout(5):
        while await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stepgate listen' "
            "AND datname = current_database()"
        ):
            await asyncio.sleep(0.02)
