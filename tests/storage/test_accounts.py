"""Accounts and installations: a copy of what the API said last."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from rules.model import Installation, InstallationState
from storage import accounts
from storage.database import Pool
from tests.support.bindings import ADA, COURSE, a_repo, install


async def test_an_account_is_known_by_its_id(pool: Pool) -> None:
    """A renamed account keeps its row; two accounts may have had the same login."""
    await accounts.upsert_account(pool, ADA)
    await accounts.upsert_account(pool, replace(ADA, login="renamed"))
    await accounts.upsert_account(pool, replace(COURSE, login="renamed"))
    assert await accounts.account(pool, 101) == replace(ADA, login="renamed")
    assert await accounts.account(pool, 900) == replace(COURSE, login="renamed")
    assert await accounts.account(pool, 1) is None


async def test_an_unchanged_account_is_not_written(pool: Pool) -> None:
    """Seeing the same account again within the hour costs no write."""
    await accounts.upsert_account(pool, ADA)
    before = await pool.fetchval("SELECT xmin::text FROM github_account")
    await accounts.upsert_account(pool, ADA)
    assert await pool.fetchval("SELECT xmin::text FROM github_account") == before


async def test_an_installation_is_as_the_api_said_last(pool: Pool) -> None:
    """State, selection, permissions and account are replaced by the newest."""
    first = await install(pool, 71)
    assert await accounts.installation(pool, 71) == first
    newer = Installation(71, COURSE, InstallationState.SUSPENDED, "all", {"checks": "write", "contents": "read"})
    await accounts.upsert_installation(pool, newer)
    assert await accounts.installation(pool, 71) == newer
    assert await accounts.installation(pool, 72) is None


async def test_deleted_is_final(pool: Pool) -> None:
    """Ids are never used again: a late answer does not bring a deleted installation back."""
    first = await install(pool, 71)
    assert await accounts.set_installation_state(pool, 71, InstallationState.DELETED)
    await accounts.upsert_installation(pool, first)
    assert await accounts.set_installation_state(pool, 71, InstallationState.ACTIVE)
    found = await accounts.installation(pool, 71)
    assert found is not None
    assert found.state is InstallationState.DELETED
    assert not await accounts.set_installation_state(pool, 72, InstallationState.DELETED)


async def test_repositories_are_a_set(pool: Pool) -> None:
    """The stored set becomes the given one; what came and went is told; new names are taken over."""
    await install(pool, 71, ADA, a_repo(1), a_repo(2))
    changes = await accounts.set_repositories(pool, 71, {2: "learner-one/renamed", 3: "learner-one/three"})
    assert (changes.added, changes.removed) == (frozenset({3}), frozenset({1}))
    assert await accounts.repositories(pool, 71) == {2: "learner-one/renamed", 3: "learner-one/three"}
    again = await accounts.set_repositories(pool, 71, {2: "learner-one/renamed", 3: "learner-one/three"})
    assert (again.added, again.removed) == (frozenset(), frozenset())
    assert (await accounts.set_repositories(pool, 71, {})).removed == {2, 3}


async def test_many_repositories_are_one_quick_statement(pool: Pool) -> None:
    """3,000 repositories are taken at once, also by two workers at the same moment."""
    await install(pool, 71)
    many = {number: f"octo-course/r{number}" for number in range(1, 3001)}
    started = time.monotonic()
    first, second = await asyncio.gather(*(accounts.set_repositories(pool, 71, many) for _ in range(2)))
    assert time.monotonic() - started < 5
    assert len(first.added) + len(second.added) == 3000
    assert await accounts.repositories(pool, 71) == many


async def test_coverage(pool: Pool) -> None:
    """A selected repository is covered, another is not, unless the installation covers all; unknown covers nothing."""
    value = await install(pool, 71, ADA, a_repo(1))
    assert await accounts.coverage(pool, 71, 1) == accounts.Coverage(value, selected=True)
    assert await accounts.coverage(pool, 71, 2) == accounts.Coverage(value, selected=False)
    assert await accounts.coverage(pool, 72, 1) == accounts.Coverage(None, selected=False)
    await accounts.upsert_installation(pool, replace(value, repository_selection="all"))
    assert (await accounts.coverage(pool, 71, 2)).selected
