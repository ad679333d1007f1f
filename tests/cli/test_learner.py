"""`app.py learner forget` as an operator runs it: what is shown, asked, said and erased, with which exit status."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import Result

from storage.database import Pool, open_pool
from tests.support.bindings import ADA, COURSE, LIN, bind, install
from tests.support.commands import invoke


@dataclass(frozen=True)
class Shell:
    """A shell at a database with two learners."""

    pool: Pool

    async def forget(self, *words: str, answer: str | None = None) -> Result:
        """Run `python app.py learner forget WORDS`."""
        return await asyncio.to_thread(invoke, ["learner", "forget", *words], text=answer)

    async def learners(self) -> list[str]:
        """Logins of those who have a session."""
        rows = await self.pool.fetch(
            "SELECT login FROM lab_session JOIN github_account ON account_id = learner_account_id ORDER BY login"
        )
        return [row["login"] for row in rows]


BOTH = [ADA.login, LIN.login]


@pytest.fixture(name="shell")
async def _shell(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    pool = await open_pool(fresh_database, max_size=4)
    bound = await bind(pool)
    await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
    monkeypatch.setenv("DATABASE_URL", fresh_database)
    monkeypatch.chdir(tmp_path)
    try:
        yield Shell(pool)
    finally:
        await pool.close()


async def test_it_shows_asks_and_erases(shell: Shell) -> None:
    """What goes is shown before the question; after a yes it is gone, and nobody else is."""
    done = await shell.forget(ADA.login, answer="y\n")

    assert done.exit_code == 0, done.output
    assert f"{ADA.login}, number {ADA.account_id}" in done.stdout
    assert re.search(r"sessions, with progress and decisions +1 *\n", done.stdout)
    assert "still installed" in done.stderr
    assert f"Erase {ADA.login} for good?" in done.stderr
    assert done.stderr.rstrip().endswith("Erased.")
    assert await shell.learners() == [LIN.login]
    again = await shell.forget(str(ADA.account_id), "--yes")
    assert (again.exit_code, again.stderr.strip()) == (0, "Nothing is stored of this person.")


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
async def test_without_a_yes_nothing_is_erased(shell: Shell, answer: str) -> None:
    """No, nothing, or nobody there to be asked: exit status 1, and everything is as it was."""
    done = await shell.forget(ADA.login, answer=answer)
    assert done.exit_code == 1, done.output
    assert "nothing was erased: not confirmed" in done.stderr
    assert await shell.learners() == BOTH


async def test_a_dry_run_erases_nothing(shell: Shell) -> None:
    """`--dry-run` tells the same numbers as the erasure, as a table or as JSON."""
    table = await shell.forget(ADA.login, "--dry-run")
    assert (table.exit_code, table.stderr.splitlines()[-1]) == (0, "Nothing was erased.")
    told = json.loads((await shell.forget(ADA.login, "--dry-run", "--json")).stdout)
    assert await shell.learners() == BOTH
    assert (told["account_id"], told["dry_run"], told["sessions"]) == (ADA.account_id, True, 1)

    done = await shell.forget(str(ADA.account_id), "--yes", "--json", "--by", "900")

    assert json.loads(done.stdout) == told | {"dry_run": False}
    assert await shell.learners() == [LIN.login]
    assert await shell.pool.fetchval("SELECT actor_id FROM audit_event WHERE kind = 'learner_forgotten'") == 900


async def test_who_cannot_be_meant_is_explained(shell: Shell) -> None:
    """Nobody, several, or no person: exit status 2 or 1, one line, no traceback, nothing erased."""
    await install(shell.pool, 90, COURSE)
    await shell.pool.execute("INSERT INTO github_account (account_id, login, kind) VALUES (5, 'Learner-One', 'User')")
    for words, status, said in (
        (["nobody"], 2, "was ever seen or invited"),
        ([ADA.login], 2, f"number (5, {ADA.account_id})"),
        ([COURSE.login, "--yes"], 1, "only people can be forgotten"),
        ([], 2, "Missing argument"),
    ):
        done = await shell.forget(*words)
        assert done.exit_code == status, done.output
        assert said in " ".join(done.stderr.replace("│", " ").split())
        assert "Traceback" not in done.output
    assert await shell.pool.fetchval("SELECT count(*) FROM lab_session") == 2
