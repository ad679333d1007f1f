"""Audit rows in files: whole sealed batches with their seals, which can be checked without the database.

The file is gzip-compressed JSON Lines: {"archive": 1}, then for each batch {"seal": ...} and one line for each of its
rows, {"content": ..., "names_sha256": ..., "count": ...}; what is hashed of it is in rules/audit_chain.py. Names are
only written when asked for ({"names": ..., "salt": ...}): a file cannot forget a person.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from rules.audit_chain import FORGOTTEN, Fault, Row, Seal, canonical, check_rows, check_seal, has_its_root
from storage.database import Pool
from storage.errors import StorageError
from storage.sealing import SealedBatch, sealed_batches

VERSION = 1


class ArchiveError(StorageError):
    """A file cannot be written, or is no archive of an audit, or what is to be archived is not as it was sealed."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What was archived. `root`: of the last batch, hexadecimal."""

    batches: int
    rows: int
    root: str


async def archive(
    pool: Pool,
    file: Path,
    before: datetime,
    *,
    with_names: bool = False,
    progress: Callable[[int], None] = lambda _batches: None,
) -> Archived | None:
    """Move all whole batches with rows from before `before` only, the oldest first, into a new file.

    The file is complete, on the disk and checked before the first row is removed; batches are removed one by one, each
    whole. None, and no file: there is nothing so old. Raises ArchiveError, with nothing removed. `progress` is told
    how many batches are written.
    """
    unfinished = _reserve(file)
    try:
        written = await _write(pool, unfinished, before, with_names=with_names, progress=progress)
        return await _remove(pool, unfinished, file) if written else None
    finally:
        unfinished.unlink(missing_ok=True)


def _reserve(file: Path) -> Path:
    """The file under the name that it has until it is complete, readable for its owner only."""
    if file.exists():
        raise ArchiveError(f"{file} exists already: an archive is never written over; choose another name")
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        unfinished.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise ArchiveError(f"{unfinished} exists: it is being written, or was interrupted; then delete it") from error
    except OSError as error:
        raise ArchiveError(f"{file} cannot be written: {error.strerror}") from error
    return unfinished


async def _write(
    pool: Pool, unfinished: Path, before: datetime, *, with_names: bool, progress: Callable[[int], None]
) -> int:
    """Write the batches; how many they are."""
    first_kept = await pool.fetchval("SELECT min(event_id) FROM audit_event WHERE at >= $1", before)
    written = 0
    last: Seal | None = None
    with gzip.open(unfinished, "wt", encoding="utf-8", newline="\n") as lines:
        lines.write(_line({"archive": VERSION}))
        async for batch in sealed_batches(pool):
            if first_kept is not None and batch.seal.last_event_id >= first_kept:
                break
            if batch.archive_name is None:
                _refuse(check_seal(batch.seal, last) + check_rows(batch.seal, batch.rows, batch.salts))
                counts = await _counts(pool, batch.seal)
                lines.writelines(_batch_lines(batch, counts, with_names=with_names))
                written += 1
                progress(written)
            last = batch.seal
    return written


async def _remove(pool: Pool, unfinished: Path, file: Path) -> Archived:
    seals = []
    for seal, faults in read_archive(unfinished):
        _refuse(faults)
        seals.append((seal.batch, seal.root))
    _publish(unfinished, file)
    rows = 0
    for batch, root in seals:
        try:
            rows += await pool.fetchval("SELECT archive_audit($1, $2, $3)", batch, root, file.name)
        except asyncpg.RestrictViolationError as error:
            words = f"{error}: it changed meanwhile. {file} holds it as it was; see `audit verify`"
            raise ArchiveError(words) from error
    return Archived(len(seals), rows, seals[-1][1].hex())


def _refuse(faults: list[Fault]) -> None:
    if faults:
        fault = faults[0]
        which = f"event {fault.event_id}" if fault.event_id is not None else f"batch {fault.batch}"
        raise ArchiveError(f"{which}: {fault.words}; nothing was archived. See `audit verify`")


def _publish(unfinished: Path, file: Path) -> None:
    """Give the file its name, on the disk: nothing is removed before."""
    _sync(unfinished)
    unfinished.rename(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


async def _counts(pool: Pool, seal: Seal) -> dict[int, Any]:
    rows = await pool.fetch(
        "SELECT event_id, count, last_at FROM rejection_count WHERE event_id = ANY ($1)", list(seal.event_ids)
    )
    return {row["event_id"]: {"count": row["count"], "last_at": row["last_at"]} for row in rows}


def _batch_lines(batch: SealedBatch, counts: Mapping[int, Any], *, with_names: bool) -> Iterator[str]:
    seal = batch.seal
    yield _line(
        {
            "seal": {
                "batch": seal.batch,
                "event_ids": seal.event_ids,
                "row_hashes": [each.hex() for each in seal.row_hashes],
                "previous_root": seal.previous_root.hex(),
                "root": seal.root.hex(),
                "sealed_at": seal.sealed_at,
            }
        }
    )
    salts = with_names and dict(zip(seal.event_ids, batch.salts, strict=False))
    for row, name_hash in zip(batch.rows, seal.name_hashes, strict=True):
        named = {"names": row.names, "salt": salts.get(row.event_id, FORGOTTEN).hex()} if salts else {}
        yield _line({"content": row.content, "names_sha256": name_hash.hex(), **named, **counts.get(row.event_id, {})})


def _line(value: Mapping[str, Any]) -> str:
    return canonical(value).decode() + "\n"


def read_archive(file: Path) -> Iterator[tuple[Seal, list[Fault]]]:
    """Every batch of an archive, and what does not fit its seal, in flat memory.

    (Whether it belongs to a chain is told by the seals in the database.) Raises ArchiveError for any other file.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            if json.loads(next(lines, "null")) != {"archive": VERSION}:
                raise ArchiveError(f"{file} is no archive of an audit that this program can read")
            for line in lines:
                yield _read_batch(json.loads(line)["seal"], lines)
    except (gzip.BadGzipFile, zlib.error, EOFError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{file} is damaged, or no archive of an audit") from error
    except OSError as error:
        raise ArchiveError(f"{file} cannot be read: {error.strerror}") from error


def _read_batch(told: Mapping[str, Any], lines: Iterator[str]) -> tuple[Seal, list[Fault]]:
    rows, names, salts = [], [], []
    for _, line in zip(told["event_ids"], lines, strict=False):
        row = json.loads(line)
        names.append(bytes.fromhex(row["names_sha256"]))
        salts.append(bytes.fromhex(row["salt"]) if "salt" in row else None)
        rows.append(Row(row["content"]["event_id"], row["content"], row.get("names", {})))
    seal = Seal(
        batch=told["batch"],
        event_ids=tuple(told["event_ids"]),
        row_hashes=tuple(bytes.fromhex(each) for each in told["row_hashes"]),
        name_hashes=(*names, *[b""] * (len(told["event_ids"]) - len(names))),  # of rows that are gone
        previous_root=bytes.fromhex(told["previous_root"]),
        root=bytes.fromhex(told["root"]),
        sealed_at=datetime.fromisoformat(told["sealed_at"]),
    )
    given = [salt for salt in salts if salt is not None]
    faults = check_rows(seal, rows, given if len(given) == len(salts) else None)
    if not has_its_root(seal):
        faults.append(Fault("seal", seal.batch, None, "its seal was changed"))
    return seal, faults
