"""The cache of mappings: time to live, single flight, invalidation. Time is injected."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

import app
import storage.cache
from rules.model import Account, AccountKind, Repo, RepoMapping
from settings import Settings, load
from storage.audit import AuditEvent
from storage.cache import CachedMappings
from storage.database import Pool
from storage.mappings import Mappings
from tests.support.bindings import bind

EVENT = AuditEvent("test")


def a_mapping(repo_id: int) -> RepoMapping:
    """An active mapping of this repository."""
    return RepoMapping(repo_id, repo_id, 71, 101, f"learner-one/r{repo_id}", uuid4(), "event")


class Store:
    """A store that counts its queries, answers when it is let, and can be made to fail."""

    def __init__(self, *mappings: RepoMapping) -> None:
        self.rows = {mapping.repo_id: mapping for mapping in mappings}
        self.queries = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def find(self, repo_id: int) -> RepoMapping | None:
        """Answer with what was known when the question came."""
        self.queries += 1
        answer, error = self.rows.get(repo_id), self.error
        await self.open.wait()
        if error is not None:
            raise error
        return answer

    async def take_installation(self, mapping: RepoMapping, installation_id: int, event: AuditEvent) -> bool:
        """Not stored here."""
        return True

    async def revoke(
        self, mapping: RepoMapping, reason: str, event: AuditEvent, *, forget_accepted: bool = False
    ) -> bool:
        """Forget the mapping."""
        return self.rows.pop(mapping.repo_id, None) is not None

    async def see(self, repo: Repo) -> bool:
        """Not stored here."""
        return True


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def cached(store: Store, clock: Clock, *, chance: float = 0.5, size: int = 100) -> CachedMappings:
    """A cache with figures that are easy to see: 100 s for found, 10 s for absent."""
    return CachedMappings(store, ttl=100, miss_ttl=10, size=size, timer=clock, chance=lambda: chance)


def told() -> Counter[str]:
    """What /metrics shows of caches: look-ups by result, and what was dropped by cause."""
    return Counter(
        {
            sample.labels.get("result") or sample.labels["cause"]: int(sample.value)
            for metric in REGISTRY.collect()
            if metric.name in ("stepgate_mapping_lookups", "stepgate_mapping_cache_dropped")
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
    )


async def asked(store: Store, queries: int) -> None:
    """Let others run until the store was asked so many times."""
    async with asyncio.timeout(5):
        while store.queries < queries:
            await asyncio.sleep(0)


async def test_found_and_absent_live_for_their_own_time() -> None:
    """Found mappings are believed for the long time, absent ones for the short one, to the second."""
    store, clock = Store(a_mapping(1)), Clock()
    cache = cached(store, clock)
    for repo_id in (1, 2, 1, 2):
        assert await cache.find(repo_id) == store.rows.get(repo_id)
    assert store.queries == 2
    clock.now += 9.9
    await cache.find(2)
    assert store.queries == 2
    clock.now += 0.2
    await cache.find(2)
    assert store.queries == 3
    clock.now = 1099.9
    await cache.find(1)
    assert store.queries == 3
    clock.now = 1100.1
    await cache.find(1)
    assert store.queries == 4


@pytest.mark.parametrize(("chance", "lives"), [(0.0, 90), (0.999999, 110)])
async def test_times_are_spread(chance: float, lives: float) -> None:
    """Found mappings live up to ten per cent shorter or longer; absent ones are not spread."""
    store, clock = Store(a_mapping(1)), Clock()
    cache = cached(store, clock, chance=chance)
    await cache.find(1)
    clock.now += lives - 0.1
    await cache.find(1)
    assert store.queries == 1
    clock.now += 0.2
    await cache.find(1)
    assert store.queries == 2


async def test_a_thousand_misses_at_once_are_one_query() -> None:
    """Concurrent misses of one repository share one query; other repositories have their own."""
    store = Store(a_mapping(1))
    cache = cached(store, Clock())
    results = await asyncio.gather(*(cache.find(1) for _ in range(1000)), cache.find(2))
    assert results == [store.rows[1]] * 1000 + [None]
    assert store.queries == 2


async def test_a_thousand_misses_at_once_are_one_query_of_the_database(pool: Pool) -> None:
    """The same with the real store behind it."""
    bound = await bind(pool)
    mappings = Mappings(pool)
    queries = 0
    real = mappings.find

    async def counted(repo_id: int) -> RepoMapping | None:
        nonlocal queries
        queries += 1
        return await real(repo_id)

    mappings.find = counted  # type: ignore[method-assign]
    cache = CachedMappings(mappings)
    assert await asyncio.gather(*(cache.find(501) for _ in range(1000))) == [bound.mapping] * 1000
    assert queries == 1


async def test_a_caller_that_gives_up_stops_nobody() -> None:
    """When the first of several waiting callers is cancelled, the others get their answer from the same query."""
    store = Store(a_mapping(1))
    store.open.clear()
    cache = cached(store, Clock())
    first, second = asyncio.create_task(cache.find(1)), asyncio.create_task(cache.find(1))
    await asked(store, 1)
    first.cancel()
    await asyncio.sleep(0)
    store.open.set()
    assert await second == store.rows[1]
    assert store.queries == 1


async def test_a_failed_query_is_told_to_all_and_not_kept() -> None:
    """An error reaches every waiting caller; the next one asks again."""
    store = Store(a_mapping(1))
    store.error = ConnectionError("gone")
    cache = cached(store, Clock())
    results = await asyncio.gather(*(cache.find(1) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    store.error = None
    assert await cache.find(1) == store.rows[1]
    assert store.queries == 2


@pytest.mark.parametrize("cause", ["write", "notify", "lost"])
async def test_an_answer_that_was_on_its_way_is_not_kept(cause: str) -> None:
    """A mapping that changed while it was read is not believed afterwards, however we heard of the change."""
    store = Store(a_mapping(1))
    store.open.clear()
    cache = cached(store, Clock())
    early = asyncio.create_task(cache.find(1))
    await asked(store, 1)
    newer = a_mapping(1)
    store.rows[1] = newer
    before = told()
    {"write": lambda: cache.drop(1), "notify": lambda: cache.heard("1"), "lost": cache.clear}[cause]()
    assert told() - before == {cause: 1}
    store.open.set()
    assert (await early) != newer
    assert store.queries == 1
    assert await cache.find(1) == newer
    assert store.queries == 2


async def test_who_asks_after_a_change_does_not_wait_for_the_old_answer() -> None:
    """An answer that was on its way is not shared with those who ask after the change; theirs is kept."""
    store = Store(a_mapping(1))
    store.open.clear()
    cache = cached(store, Clock())
    early = asyncio.create_task(cache.find(1))
    await asked(store, 1)
    newer = store.rows[1] = a_mapping(1)
    cache.drop(1)
    late = asyncio.create_task(cache.find(1))
    await asked(store, 2)
    store.open.set()
    assert (await early) != newer
    assert await late == newer
    assert await cache.find(1) == newer
    assert store.queries == 2


async def test_local_writes_are_seen_at_once() -> None:
    """Moving, revoking or renaming through the cache forgets the repository, and only this one."""
    store = Store(a_mapping(1), a_mapping(2))
    cache = cached(store, Clock())
    mapping = await cache.find(1)
    await cache.find(2)
    assert mapping is not None
    owner = Account(101, "learner-one", AccountKind.USER)
    await cache.see(Repo(1, "learner-one/new", owner, private=False, default_branch="main"))
    await cache.find(1)
    await cache.take_installation(mapping, 99, EVENT)
    await cache.find(1)
    assert await cache.revoke(mapping, "gone", EVENT)
    assert await cache.find(1) is None
    await cache.find(2)
    assert store.queries == 5


async def test_the_cache_is_bounded() -> None:
    """More repositories than its size push others out; answers stay right."""
    store = Store(*(a_mapping(number) for number in range(50)))
    cache = cached(store, Clock(), size=10)
    before = told()
    for _ in range(2):
        for number in range(50):
            assert await cache.find(number) == store.rows[number]
    assert store.queries > 80
    assert len(cache._entries) <= 10
    assert (told() - before)["evicted"] == store.queries - 10


async def test_metrics_tell_hits_misses_and_why_mappings_were_forgotten() -> None:
    """/metrics counts each look-up once, and each forgotten mapping once, under what made it so; else nothing."""
    store, clock = Store(*(a_mapping(number) for number in range(5))), Clock()
    cache = cached(store, clock)
    before = told()
    for number in (0, 1, 2, 3, 4, 0, 1):
        await cache.find(number)
    assert told() - before == {"hit": 2, "miss": 5}
    cache.drop(0)
    cache.heard("1")
    cache.heard("1")  # it is not known any more
    cache.drop(99)
    cache.clear()
    assert told() - before == {"hit": 2, "miss": 5, "write": 1, "notify": 1, "lost": 3}
    await cache.find(0)
    clock.now += 101
    await cache.find(1)
    assert told() - before == {"hit": 2, "miss": 7, "write": 1, "notify": 1, "lost": 3, "expired": 1}


async def test_settings_say_how_long_mappings_are_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MAPPING_TTL and MAPPING_MISS_TTL are what a worker's cache is built with."""

    class BuiltError(Exception):
        """A worker got as far as its cache."""

    def build(_store: object, **options: object) -> None:
        raise BuiltError(options)

    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MAPPING_TTL", "77")
    monkeypatch.setenv("MAPPING_MISS_TTL", "7")
    monkeypatch.setattr(storage.cache, "CachedMappings", build)
    for needed in ("pool_on", "github_of"):
        monkeypatch.setattr(app, needed, lambda *_: contextlib.nullcontext())
    with pytest.raises(BuiltError) as built:
        await app.run_worker(load("version"), "", asyncio.Event())
    assert built.value.args == ({"ttl": 77.0, "miss_ttl": 7.0},)
