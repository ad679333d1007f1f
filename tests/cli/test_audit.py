"""`app.py audit ...` as an operator runs it: what is said, with which exit status, and what is written."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import Result

from storage import audit, sealing
from storage.audit import AuditEvent
from storage.database import Pool, open_pool
from tests.support.commands import invoke

SESSION = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Shell:
    """A shell with a database that holds 2 sealed events in a batch each, and then one that is not sealed."""

    pool: Pool

    async def run(self, *words: str, status: int = 0) -> Result:
        """Run `python app.py audit WORDS`."""
        done = await asyncio.to_thread(invoke, ["audit", *words])
        assert done.exit_code == status, done.output
        assert "Traceback" not in done.output
        return done

    async def tamper(self, statement: str) -> None:
        """Run a statement past all triggers."""
        async with self.pool.acquire() as link:
            await link.execute("SET session_replication_role = replica")
            await link.execute(statement)
            await link.execute("SET session_replication_role = DEFAULT")


@pytest.fixture(name="shell")
async def _shell(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    monkeypatch.setenv("DATABASE_URL", fresh_database)
    monkeypatch.chdir(tmp_path)
    pool = await open_pool(fresh_database, min_size=1, max_size=2)
    try:
        bound = AuditEvent("bound", repo_id=501, session_id=UUID(SESSION), repo_full_name="=1+1/x", ref="a\nb")
        refused = AuditEvent(
            "rejected",
            code="NO_SESSION",
            repo_id=502,
            repo_full_name="learner-two/lab",
            detail={"detail": "nobody was invited"},
        )
        await audit.record(pool, bound, refused)
        await sealing.seal(pool, batch=1)
        await audit.record(pool, AuditEvent("help_requested", actor_id=7, detail={"reason": "where\x1b[1m?"}))
        yield Shell(pool)
    finally:
        await pool.close()


class TestList:
    """`audit list`."""

    async def test_a_table_for_people(self, shell: Shell) -> None:
        """The newest come first, with who and why; nothing from outside reaches the terminal as it is."""
        lines = (await shell.run("list")).stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["id", "3", "2", "1"]
        assert "where\N{REPLACEMENT CHARACTER}[1m?" in lines[1]
        assert "nobody was invited" in lines[2]
        assert "501 =1+1/x" in lines[3]
        assert (await shell.run("list", "--kind", "migrated")).stdout.strip() == "There is no such event."

    async def test_filters(self, shell: Shell) -> None:
        """Each filter narrows; JSON has all that is known."""
        for words, ids in (
            (["--code", "no_session"], [2]),
            (["--kind", "bound"], [1]),
            (["--repo", "502"], [2]),
            (["--repo", "Learner-Two/Lab"], [2]),
            (["--session", SESSION], [1]),
            (["--since", "2020-01-01", "--limit", "2"], [3, 2]),
            (["--until", "2020-01-01T10:00"], []),
            (["--since", "2999-01-01T00:00+02:00"], []),
        ):
            found = json.loads((await shell.run("list", "--json", *words)).stdout)
            assert [event["event_id"] for event in found] == ids, words
        assert "no repository a/b is known" in (await shell.run("list", "--repo", "a/b", status=2)).stderr

    @pytest.mark.parametrize(
        "words",
        [
            ["list", "--since", "soon"],
            ["list", "--session", "x"],
            ["list", "--repo", "x"],
            ["list", "--limit", "0"],
            ["export", "--format", "xml"],
            ["verify", "--root", "abc"],
            ["archive", "--before", "2020-01-01"],
            ["archive", "--before", "2999-01-01", "--to", "x"],
        ],
    )
    def test_wrong_use(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
        """What cannot be meant is status 2, before anything is looked at or written."""
        monkeypatch.chdir(tmp_path)
        done = invoke(["audit", *words])
        assert (done.exit_code, done.stdout) == (2, "")
        assert list(tmp_path.iterdir()) == []


class TestExport:
    """`audit export`."""

    async def test_csv(self, shell: Shell) -> None:
        """All events, the oldest first, one record each; what a spreadsheet would calculate is harmless."""
        done = await shell.run("export")
        first, second, third = csv.DictReader(io.StringIO(done.stdout, newline=""))
        assert [first["event_id"], second["event_id"], third["event_id"]] == ["1", "2", "3"]
        assert (first["repo_full_name"], first["ref"], first["session_id"]) == ("'=1+1/x", "a\nb", SESSION)
        assert json.loads(second["detail"]) == {"detail": "nobody was invited"}
        assert done.stderr == "3 events.\n"

    async def test_json_lines_into_a_file(self, shell: Shell) -> None:
        """The file's name says the form; what exists is not written over."""
        await shell.run("export", "--to", "x.jsonl", "--kind", "rejected")
        (event,) = (json.loads(line) for line in Path("x.jsonl").read_text().splitlines())
        assert (event["event_id"], event["code"], event["count"]) == (2, "NO_SESSION", 1)
        assert "exists already" in (await shell.run("export", "--to", "x.jsonl", status=1)).stderr
        assert "cannot be written" in (await shell.run("export", "--to", "no/x.jsonl", status=1)).stderr


class TestVerify:
    """`audit verify`."""

    async def test_an_intact_chain(self, shell: Shell) -> None:
        """Status 0, the newest root, and how much is not sealed yet; a root that was noted is found."""
        first, newest = [
            row["root"].hex() for row in await shell.pool.fetch("SELECT root FROM audit_seal ORDER BY batch")
        ]
        done = await shell.run("verify", "--root", first.upper())
        for words in ("intact", newest, "2 events here; 2 batches", "1 events", "is that of batch 1"):
            assert words in done.stdout
        found = json.loads((await shell.run("verify", "--json")).stdout)
        assert (found["intact"], found["root"], found["unsealed"]) == (True, newest, 1)

    async def test_a_changed_row_is_named(self, shell: Shell) -> None:
        """Status 1, and the row's id."""
        await shell.tamper("UPDATE audit_event SET repo_id = 9 WHERE event_id = 2")
        done = await shell.run("verify", status=1)
        assert "changed: event 2, batch 2: it is not as it was sealed" in done.stdout
        assert "broken: 1 faults" in done.stdout
        found = json.loads((await shell.run("verify", "--json", status=1)).stdout)
        assert [fault["event_id"] for fault in found["faults"]] == [2]

    async def test_a_root_of_another_chain(self, shell: Shell) -> None:
        """A noted root that is not in the chain is a broken chain."""
        done = await shell.run("verify", "--root", "0" * 64, status=1)
        assert "is NOT in this chain" in done.stdout
        assert json.loads((await shell.run("verify", "--root", "0" * 64, "--json", status=1)).stdout)["intact"] is False

    async def test_nothing_is_sealed_yet(self, shell: Shell) -> None:
        """An App that has just begun is well."""
        await shell.tamper("TRUNCATE audit_seal CASCADE")
        assert "none yet" in (await shell.run("verify")).stdout


class TestArchive:
    """`audit archive`."""

    async def test_old_events_move_to_a_file(self, shell: Shell) -> None:
        """They leave the database, the file is checked with the chain, and both are told when they do not fit."""
        await shell.tamper("UPDATE audit_event SET at = at - interval '90 days'")
        await shell.tamper("TRUNCATE audit_seal CASCADE")
        await sealing.seal(shell.pool, batch=2)
        before = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()

        done = await shell.run("archive", "--before", before, "--to", "old.jsonl.gz")

        assert done.stderr.startswith("3 events in 2 batches are in old.jsonl.gz. The last root is ")
        assert json.loads((await shell.run("list", "--json")).stdout) == []
        assert "old.jsonl.gz" in (await shell.run("verify")).stdout
        checked = json.loads((await shell.run("verify", "--json", "--archive", "old.jsonl.gz")).stdout)
        assert (checked["intact"], checked["archived"], checked["unchecked"]) == (True, 2, {})
        assert "Nothing was archived" in (await shell.run("archive", "--before", before, "--to", "b.gz")).stderr
        assert not Path("b.gz").exists()
        Path("other.gz").write_bytes(b"x")
        assert "archive" in (await shell.run("verify", "--archive", "other.gz", status=1)).stderr
        assert "cannot be read" in (await shell.run("verify", "--archive", "none.gz", status=1)).stderr
