"""The audit's chain: sealed without slowing writers, whole whatever order they commit in, and every change is found."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rules.audit_chain import NAME_COLUMNS, NAME_KEYS
from storage import audit, sealing
from storage.audit import AuditEvent
from storage.audit_archive import ArchiveError, archive, read_archive
from storage.audit_check import Verification, verify
from storage.database import Pool
from storage.errors import AppendOnly, domain_errors
from tests.support.bindings import bind

NOW = timedelta(0)
LATER = datetime.now(UTC) + timedelta(days=1)


async def some_events(pool: Pool, number: int, *, first: int = 1) -> None:
    """Events of different repositories, with names and words."""
    events = [
        AuditEvent("bound", repo_id=each, repo_full_name=f"learner/{each}", detail={"reason": f"no. {each}", "n": 1.5})
        for each in range(first, first + number)
    ]
    await audit.record(pool, *events)


async def sealed_events(pool: Pool, number: int = 6, *, batch: int = 2) -> list[int]:
    """Sealed events in batches of `batch`; their ids."""
    await some_events(pool, number)
    await sealing.seal(pool, patience=NOW, batch=batch)
    return [row["event_id"] for row in await pool.fetch("SELECT event_id FROM audit_event ORDER BY event_id")]


@asynccontextmanager
async def tampering(pool: Pool) -> AsyncIterator[Any]:
    """A connection on which no trigger refuses anything: a superuser's, or the owner's who switched them off."""
    async with pool.acquire() as link:
        await link.execute("SET session_replication_role = replica")
        yield link
        await link.execute("SET session_replication_role = DEFAULT")


def told(found: Verification) -> list[tuple[str, int, int | None]]:
    """What is broken: what, batch, event."""
    return [(fault.what, fault.batch, fault.event_id) for fault in found.faults]


def text_of(file: Path) -> str:
    """What is in a compressed file."""
    return gzip.decompress(file.read_bytes()).decode()


class TestSealing:
    """Batches are sealed in the order of ids, each row once."""

    async def test_everything_is_sealed_once(self, pool: Pool) -> None:
        """A run seals all there is, in batches; the next one nothing; the one after that what came meanwhile."""
        assert await sealing.seal(pool, patience=NOW) == sealing.Sealed()
        await some_events(pool, 5)
        first = await sealing.seal(pool, patience=NOW, batch=2)
        assert (first.batches, first.rows, first.batch) == (3, 5, 3)
        assert await sealing.seal(pool, patience=NOW) == sealing.Sealed()
        await some_events(pool, 1)
        state = await sealing.chain_state(pool)
        assert (state.batches, state.unsealed, state.root) == (3, 1, first.root)
        second = await sealing.seal(pool, patience=NOW)
        assert (second.rows, second.batch) == (1, 4)
        found = await verify(pool, noted_root=first.root)
        assert (told(found), found.rows, found.batches, found.noted, found.unsealed) == ([], 6, 4, 3, 0)
        assert found.root == second.root != first.root

    async def test_several_may_do_it_at_once(self, pool: Pool) -> None:
        """Four replicas that seal at the same moment make one chain, with each row in it once."""
        await some_events(pool, 40)
        done = await asyncio.gather(*(sealing.seal(pool, batch=3) for _ in range(4)))
        assert sum(each.rows for each in done) == 40
        found = await verify(pool)
        assert (told(found), found.rows) == ([], 40)

    async def test_a_slow_writer_is_waited_for(self, pool: Pool) -> None:
        """A row with a smaller id that is committed late is neither left out nor taken for one that was put in.

        Without the wait for writers in `_settled` the late row is below the sealed ones: "inserted".
        """
        async with pool.acquire() as slow:
            writing = slow.transaction()
            await writing.start()
            await slow.execute("SELECT write_audit($1)", [AuditEvent("bound", repo_id=1).to_json()])
            await some_events(pool, 2, first=2)
            assert await sealing.seal(pool, patience=NOW) == sealing.Sealed(waits=True)
            assert (await sealing.chain_state(pool)).batches == 0
            waiting = asyncio.create_task(sealing.seal(pool, patience=timedelta(seconds=30)))
            await asyncio.sleep(0.1)
            await some_events(pool, 1, first=4)  # nobody who writes waits for the seal
            assert not waiting.done()
            await writing.commit()
        assert (await waiting).rows >= 3
        found = await verify(pool)
        assert (told(found), found.rows + found.unsealed) == ([], 4)

    async def test_who_reads_or_writes_elsewhere_is_not_waited_for(self, pool: Pool) -> None:
        """A transaction that only reads the audit, or writes to another table, does not put sealing off."""
        await some_events(pool, 1)
        async with pool.acquire() as other, other.transaction():
            await other.fetch("SELECT * FROM audit_event")
            await other.execute("INSERT INTO github_account (account_id, login, kind) VALUES (1, 'x', 'User')")
            assert (await sealing.seal(pool, patience=NOW)).rows == 1

    async def test_a_row_that_was_given_up_leaves_no_hole(self, pool: Pool) -> None:
        """Ids of transactions that were rolled back are missing in the chain too."""
        await some_events(pool, 1)
        async with pool.acquire() as link:
            attempt = link.transaction()
            await attempt.start()
            await link.execute("SELECT write_audit($1)", [AuditEvent("bound").to_json()])
            await attempt.rollback()
        await some_events(pool, 1)
        await sealing.seal(pool, patience=NOW)
        assert told(await verify(pool)) == []

    async def test_every_column_is_in_the_hash(self, pool: Pool) -> None:
        """A change of any column of a sealed row is found, each alone."""
        columns = await pool.fetch(
            "SELECT column_name AS name, data_type AS type FROM information_schema.columns "
            "WHERE table_name = 'audit_event' AND column_name <> 'event_id'"
        )
        (event_id,) = await sealed_events(pool, 1)
        values = {"bigint": "77", "text": "'other'", "jsonb": "'{\"n\": 2}'", "uuid": "gen_random_uuid()"}
        values["timestamp with time zone"] = "at + interval '1 microsecond'"
        for column in columns:
            new = "'shadow'" if column["name"] == "binding_mode" else values[column["type"]]
            async with tampering(pool) as link:
                await link.execute("CREATE TEMP TABLE kept AS SELECT * FROM audit_event")
                await link.execute(f"UPDATE audit_event SET {column['name']} = {new}")
                assert told(await verify(pool)) == [("changed", 1, event_id)], column["name"]
                await link.execute(
                    f"UPDATE audit_event SET {column['name']} = kept.{column['name']} FROM kept; DROP TABLE kept"
                )
        assert told(await verify(pool)) == []


class TestBroken:
    """Whoever switches the triggers off is found."""

    async def test_changed_removed_and_inserted_rows_are_named(self, pool: Pool) -> None:
        """Each row that was changed, removed or put in is told by its id; the others are well."""
        ids = await sealed_events(pool)
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_event SET code = 'TAG' WHERE event_id = $1", ids[0])
            await link.execute("UPDATE audit_event SET repo_full_name = 'x/y' WHERE event_id = $1", ids[2])
            await link.execute("DELETE FROM audit_event WHERE event_id = $1", ids[3])
            await link.execute(
                "INSERT INTO audit_event (event_id, kind) OVERRIDING SYSTEM VALUE VALUES ($1, 'bound')", ids[0] - 1
            )
        assert told(await verify(pool)) == [
            ("changed", 1, ids[0]),
            ("inserted", 1, ids[0] - 1),
            ("changed", 2, ids[2]),
            ("removed", 2, ids[3]),
        ]

    async def test_names_that_look_forgotten_are_told(self, pool: Pool) -> None:
        """A name that is taken away without its salt is a change; with its salt it is counted as forgotten."""
        ids = await sealed_events(pool, 2)
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_event SET repo_full_name = NULL WHERE event_id = $1", ids[0])
            await link.execute("DELETE FROM audit_seal_salt")
        found = await verify(pool)
        assert told(found) == [("changed", 1, ids[0]), ("changed", 1, ids[1])]

    async def test_seals_that_were_changed_are_told(self, pool: Pool) -> None:
        """A seal that is gone, or was fitted to a changed row, breaks the chain at its place."""
        ids = await sealed_events(pool)
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_seal SET row_hashes = $1 WHERE batch = 1", bytes(64))
        assert [fault.batch for fault in (await verify(pool)).faults if fault.what == "seal"] == [1]
        async with tampering(pool) as link:
            await link.execute("DELETE FROM audit_seal WHERE batch = 1")
        found = await verify(pool)
        assert ("seal", 1, None) in told(found)
        assert ("inserted", 2, ids[0]) in told(found)

    async def test_a_chain_made_anew_fits_no_root_that_was_noted(self, pool: Pool) -> None:
        """Who seals everything anew over a changed row is found by a root that was kept elsewhere, and only so."""
        ids = await sealed_events(pool)
        noted = (await sealing.chain_state(pool)).root
        assert (await verify(pool, noted_root=noted)).noted == 3
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_event SET code = 'TAG' WHERE event_id = $1", ids[0])
            await link.execute("TRUNCATE audit_seal CASCADE")
        await sealing.seal(pool, patience=NOW, batch=2)
        found = await verify(pool, noted_root=noted)
        assert (told(found), found.noted) == ([], None)

    @pytest.mark.parametrize("table", ["audit_event", "audit_seal", "audit_seal_salt"])
    @pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
    async def test_in_normal_use_nothing_is_changed(self, pool: Pool, table: str, statement: str) -> None:
        """Not even the tables' owner changes, deletes or empties what was recorded or sealed."""
        await sealed_events(pool)
        column = {"audit_event": "code", "audit_seal": "root", "audit_seal_salt": "salts"}[table]
        with pytest.raises(AppendOnly), domain_errors():
            await pool.execute(statement.format(table, column))
        assert told(await verify(pool)) == []


class TestForgetting:
    """A person's names leave the audit, and the chain stays whole."""

    async def test_names_are_forgotten_and_ids_stay(self, pool: Pool) -> None:
        """Names and words about the person's sessions go, sealed or not; everybody else's stay; it is counted."""
        bound = await bind(pool)
        account, session = bound.session.learner_account_id, bound.session.session_id
        login = await pool.fetchval("SELECT login FROM github_account WHERE account_id = $1", account)
        await audit.record(
            pool,
            AuditEvent("rejected", owner_id=account, repo_full_name="old-name/x", ref="refs/heads/jane"),
            AuditEvent(
                "staff_defer", session_id=session, actor_id=9, detail={"reason": "Jane is ill", "from": "STUCK"}
            ),
            AuditEvent("staff_relink", detail={"repo_before": f"{login.upper()}/x", "mapping_before": 1}),
            AuditEvent("rejected", owner_id=account + 1, repo_full_name="other/x", ref="refs/heads/main"),
        )
        await sealing.seal(pool, patience=NOW, batch=2)
        await audit.record(pool, AuditEvent("rejected", owner_id=account, repo_full_name=f"{login}/y"))

        assert await pool.fetchval("SELECT forget_audit_names($1)", account) == 5  # the binding, too
        assert await pool.fetchval("SELECT forget_audit_names($1)", account) == 0

        events = [each.event for each in reversed(await audit.list_events(pool))]
        assert [each.repo_full_name for each in events] == [None, None, None, None, "other/x", None]
        assert [each.ref for each in events][1:5] == [None, None, None, "refs/heads/main"]
        assert dict(events[2].detail) == {"from": "STUCK"}
        assert dict(events[3].detail) == {"mapping_before": 1}
        assert (events[2].actor_id, events[1].owner_id) == (9, account)
        found = await verify(pool)
        assert (told(found), found.forgotten, found.unsealed) == ([], 4, 1)
        await sealing.seal(pool, patience=NOW)
        assert told(await verify(pool)) == []

    async def test_a_name_cannot_come_back(self, pool: Pool) -> None:
        """A name that is written into a row whose names were forgotten is a change."""
        bound = await bind(pool)
        await sealing.seal(pool, patience=NOW)
        await pool.execute("SELECT forget_audit_names($1)", bound.session.learner_account_id)
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_event SET repo_full_name = 'a/b'")
        assert [fault.what for fault in (await verify(pool)).faults] == ["changed"]

    async def test_the_names_are_the_same_everywhere(self, pool: Pool) -> None:
        """The database forgets exactly what the chain keeps apart."""
        assert await pool.fetchval("SELECT audit_name_keys()") == list(NAME_KEYS)
        source = await pool.fetchval("SELECT pg_get_functiondef('forget_audit_names'::regproc)")
        for column in NAME_COLUMNS:
            assert f"{column} = NULL" in source

    async def test_forgetting_and_sealing_take_turns(self, pool: Pool) -> None:
        """While names are being forgotten nothing is sealed, so that no seal holds a name that was taken away."""
        bound = await bind(pool)
        async with pool.acquire() as link:
            forgetting = link.transaction()
            await forgetting.start()
            await link.execute("SELECT forget_audit_names($1)", bound.session.learner_account_id)
            sealed = asyncio.create_task(sealing.seal(pool, patience=timedelta(seconds=30)))
            await asyncio.sleep(0.1)
            assert not sealed.done()
            await forgetting.commit()
        assert (await sealed).rows == 1
        assert told(await verify(pool)) == []


class TestArchive:
    """Old rows leave for files that prove themselves."""

    async def test_old_batches_move_to_a_file(self, pool: Pool, tmp_path: Path) -> None:
        """Whole batches are written and removed, the chain goes on, and file and chain fit each other."""
        ids = await sealed_events(pool)
        await pool.execute('SELECT count_rejection(\'{"kind": "rejected", "code": "TAG", "repo_id": 1}\')')
        await pool.execute('SELECT count_rejection(\'{"kind": "rejected", "code": "TAG", "repo_id": 1}\')')
        await sealing.seal(pool, patience=NOW)
        await some_events(pool, 1)
        file = tmp_path / "audit.jsonl.gz"

        done = await archive(pool, file, LATER)

        assert done is not None
        assert (done.batches, done.rows) == (4, 7)
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 1
        assert await pool.fetchval("SELECT count(*) FROM rejection_count") == 0
        assert file.stat().st_mode & 0o777 == 0o600
        batches = list(read_archive(file))
        assert [faults for _, faults in batches] == [[], [], [], []]
        assert [event_id for seal, _ in batches for event_id in seal.event_ids][:6] == ids
        text = text_of(file)
        assert "learner/" not in text
        assert "no. 1" not in text
        assert '"count":2' in text
        found = await verify(pool, filed={seal.batch: seal.root for seal, _ in batches}, noted_root=done.root)
        assert (told(found), found.archived, found.unchecked, found.noted) == ([], 4, {}, 4)
        assert (await verify(pool)).unchecked == {"audit.jsonl.gz": 4}
        await sealing.seal(pool, patience=NOW)
        assert told(await verify(pool)) == []

    async def test_only_what_is_old_and_whole(self, pool: Pool, tmp_path: Path) -> None:
        """A batch with one younger row stays, and what is behind it; with nothing to do there is no file."""
        await sealed_events(pool)
        async with tampering(pool) as link:  # time is not injected into the database
            await link.execute("UPDATE audit_event SET at = at - interval '9 days'")
            await link.execute("TRUNCATE audit_seal CASCADE")
        await some_events(pool, 1)
        await sealing.seal(pool, patience=NOW, batch=2)
        file = tmp_path / "a.gz"
        assert await archive(pool, file, LATER - timedelta(days=20)) is None
        assert list(tmp_path.iterdir()) == []
        done = await archive(pool, file, LATER - timedelta(days=5))
        assert done is not None
        assert (done.batches, done.rows) == (3, 6)
        with pytest.raises(ArchiveError, match="exists already"):
            await archive(pool, file, LATER)
        second = await archive(pool, tmp_path / "b.gz", LATER, with_names=True)
        assert second is not None
        assert second.batches == 1
        assert "learner/1" in text_of(tmp_path / "b.gz")
        assert [faults for _, faults in read_archive(tmp_path / "b.gz")] == [[]]

    async def test_what_is_broken_is_not_archived(self, pool: Pool, tmp_path: Path) -> None:
        """A row that is not as it was sealed stops it, with nothing removed and no file left."""
        ids = await sealed_events(pool)
        async with tampering(pool) as link:
            await link.execute("UPDATE audit_event SET code = 'TAG' WHERE event_id = $1", ids[2])
        with pytest.raises(ArchiveError, match=f"event {ids[2]}: .*nothing was archived"):
            await archive(pool, tmp_path / "a.gz", LATER)
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 6
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("line", "change", "what"),
        [
            (2, lambda value: value["content"].update(code="TAG"), "changed"),
            (2, lambda value: value["names"].update(ref="x"), "changed"),
            (1, lambda value: value["seal"]["row_hashes"].reverse(), "seal"),
            (3, None, "removed"),
        ],
    )
    async def test_a_file_that_was_changed_is_found(
        self, pool: Pool, tmp_path: Path, line: int, change: Any, what: str
    ) -> None:
        """A changed, a missing row or a changed seal in a file is told."""
        await sealed_events(pool, 2)
        file = tmp_path / "a.gz"
        await archive(pool, file, LATER, with_names=True)
        lines = text_of(file).splitlines()
        if change is None:
            del lines[line]
        else:
            value = json.loads(lines[line])
            change(value)
            lines[line] = json.dumps(value)
        with gzip.open(file, "wt") as out:
            out.write("\n".join(lines) + "\n")
        ((_, faults),) = read_archive(file)
        assert what in [fault.what for fault in faults]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"text",
            gzip.compress(b"{}\n", mtime=0),  # (without the time, so that each process of a run names the tests alike)
            gzip.compress(b'{"archive": 1}\n[]\n', mtime=0),
            gzip.compress(b"\n" * 99, mtime=0)[:15],
        ],
    )
    def test_another_file_is_refused(self, tmp_path: Path, data: bytes) -> None:
        """A file that is no archive, or is cut off, is one sentence."""
        file = tmp_path / "x.gz"
        file.write_bytes(data)
        with pytest.raises(ArchiveError, match="archive of an audit"):
            list(read_archive(file))

    async def test_a_file_of_another_chain_is_told(self, pool: Pool, tmp_path: Path) -> None:
        """Batches that the chain does not have, or has otherwise, are faults."""
        await sealed_events(pool, 2)
        found = await verify(pool, filed={1: bytes(32), 9: bytes(32)})
        assert told(found) == [("seal", 1, None), ("seal", 9, None)]

    async def test_rows_leave_only_with_their_own_root(self, pool: Pool) -> None:
        """The one way out takes whole batches by their root, the oldest first."""
        await sealed_events(pool)
        roots = {row["batch"]: row["root"] for row in await pool.fetch("SELECT batch, root FROM audit_seal")}
        for batch, root in ((1, roots[2]), (2, roots[2]), (7, roots[1])):
            with pytest.raises(asyncpg.RestrictViolationError):
                await pool.execute("SELECT archive_audit($1, $2, 'x')", batch, root)
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 6
        assert await pool.fetchval("SELECT archive_audit(1, $1, 'x')", roots[1]) == 2
        assert await pool.fetchval("SELECT archive_audit(1, $1, 'x')", roots[1]) == 0
