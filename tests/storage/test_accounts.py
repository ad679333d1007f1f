"""Accounts and installations: a copy of what the API said last."""

from __future__ import annotations

from dataclasses import replace

from rules.model import Installation, InstallationState
from storage import accounts, lifecycle
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
    await lifecycle.end_installation(pool, 71)
    await accounts.upsert_installation(pool, first)
    found = await accounts.installation(pool, 71)
    assert found is not None
    assert found.state is InstallationState.DELETED
    await lifecycle.end_installation(pool, 72)
    assert await accounts.installation(pool, 72) is None


async def test_coverage(pool: Pool) -> None:
    """A listed repository is covered, another is not, also of an installation on all; unknown covers nothing."""
    value = await install(pool, 71, ADA, a_repo(1))
    assert await accounts.coverage(pool, 71, 1) == accounts.Coverage(value, selected=True)
    assert await accounts.coverage(pool, 71, 2) == accounts.Coverage(value, selected=False)
    assert await accounts.coverage(pool, 72, 1) == accounts.Coverage(None, selected=False)
    await accounts.upsert_installation(pool, replace(value, repository_selection="all"))
    assert not (await accounts.coverage(pool, 71, 2)).selected
