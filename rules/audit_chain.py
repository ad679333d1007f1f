"""The audit's hash chain: what a sealed row and a sealed batch are hashed from, and what does not fit them any more.

    row     SHA-256 of the canonical JSON of its content and of the digest of its names
    batch   SHA-256 of the canonical JSON of its number, its rows' ids and hashes, the time, and the batch before's hash

Canonical JSON: UTF-8, keys in order, no spaces, numbers as Python's `json` writes them (integers exactly, fractions as
IEEE doubles), times in UTC with six digits and "Z"; what is unknown is left out, so that a column that a later release
adds changes no hash. Names (of repositories, of branches, and words of people) are hashed with a random salt: once salt
and names are forgotten, the rest of the row can still be checked, and the digest tells nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

#: What a person can be named by, and what is erased when a person is forgotten: columns, and keys of `detail`.
NAME_COLUMNS = ("repo_full_name", "ref")
NAME_KEYS = ("detail", "reason", "repo_before", "words")

FORMAT = 1
HASH_BYTES = 32
SALT_BYTES = 16
#: The root before the first batch.
GENESIS = bytes(HASH_BYTES)
#: The salt of a row whose names were forgotten.
FORGOTTEN = bytes(SALT_BYTES)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no canonical form for {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def canonical(value: Any) -> bytes:
    """The one form in which a value of JSON, datetime and UUID is hashed."""
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Row:
    """An audit row as it is hashed: `content` with its `event_id`, and `names` (see NAME_COLUMNS, NAME_KEYS)."""

    event_id: int
    content: Mapping[str, Any]
    names: Mapping[str, Any]

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Row:
        """From the row's columns, `detail` as a mapping."""
        content = {key: value for key, value in columns.items() if value is not None and key not in NAME_COLUMNS}
        names = {key: columns[key] for key in NAME_COLUMNS if columns.get(key) is not None}
        detail = content.get("detail", {})
        if words := {key: detail[key] for key in NAME_KEYS if key in detail}:
            names["detail"] = words
            content["detail"] = {key: value for key, value in detail.items() if key not in NAME_KEYS}
        return cls(columns["event_id"], content, names)

    def name_hash(self, salt: bytes) -> bytes:
        """The digest of the names."""
        return hashlib.sha256(salt + canonical(self.names)).digest()

    def row_hash(self, name_hash: bytes) -> bytes:
        """The hash of the row, given the digest of its names (which may be forgotten)."""
        return hashlib.sha256(canonical({**self.content, "names_sha256": name_hash.hex()})).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """A sealed batch: for each row its id, its hash and the digest of its names; the roots before and after."""

    batch: int
    event_ids: tuple[int, ...]
    row_hashes: tuple[bytes, ...]
    name_hashes: tuple[bytes, ...]
    previous_root: bytes
    root: bytes
    sealed_at: datetime

    @property
    def last_event_id(self) -> int:
        """The newest row."""
        return self.event_ids[-1]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not fit the chain. `event_id`: the row that is meant; None: the batch as a whole."""

    what: Literal["changed", "removed", "inserted", "seal"]
    batch: int
    event_id: int | None
    words: str


def seal_rows(
    batch: int, previous_root: bytes, rows: Sequence[Row], salts: Sequence[bytes], sealed_at: datetime
) -> Seal:
    """Seal a batch of at least one row, in the order of their ids; `salts`: SALT_BYTES random bytes for each."""
    ids = tuple(row.event_id for row in rows)
    name_hashes = tuple(row.name_hash(salt) for row, salt in zip(rows, salts, strict=True))
    row_hashes = tuple(row.row_hash(digest) for row, digest in zip(rows, name_hashes, strict=True))
    root = _root(batch, previous_root, ids, row_hashes, sealed_at)
    return Seal(batch, ids, row_hashes, name_hashes, previous_root, root, sealed_at)


def _root(batch: int, previous: bytes, ids: Sequence[int], row_hashes: Sequence[bytes], sealed_at: datetime) -> bytes:
    value = {
        "format": FORMAT,
        "batch": batch,
        "previous_root": previous.hex(),
        "sealed_at": sealed_at,
        "event_ids": ids,
        "row_hashes": [each.hex() for each in row_hashes],
    }
    return hashlib.sha256(canonical(value)).digest()


def has_its_root(seal: Seal) -> bool:
    """Whether a seal's root is the hash of what the seal says."""
    return seal.root == _root(seal.batch, seal.previous_root, seal.event_ids, seal.row_hashes, seal.sealed_at)


def check_seal(seal: Seal, before: Seal | None) -> list[Fault]:
    """What is wrong with a seal itself, and with its place behind `before` (None: it is the first)."""
    faults = []
    number, root = (before.batch, before.root) if before is not None else (0, GENESIS)
    if seal.batch != number + 1:
        faults.append(
            Fault("seal", number + 1, None, f"batches {number + 1} to {seal.batch - 1} have no seal any more")
        )
    elif seal.previous_root != root:
        faults.append(Fault("seal", seal.batch, None, "it does not continue the batch before it"))
    if not has_its_root(seal):
        words = f"the seal of events {seal.event_ids[0]} to {seal.last_event_id} was changed"
        faults.append(Fault("seal", seal.batch, None, words))
    return faults


def check_rows(seal: Seal, rows: Sequence[Row], salts: Sequence[bytes] | None) -> list[Fault]:
    """What differs between a seal and the rows that there are now, from behind the batch before to its last id.

    `salts` None: names are not checked (an archive without names). A salt that is missing counts as forgotten.
    """
    faults = []
    found = {row.event_id: row for row in rows}
    known = zip(seal.event_ids, seal.row_hashes, seal.name_hashes, strict=False)  # the root covers their numbers
    for place, (event_id, row_hash, name_hash) in enumerate(known):
        row = found.pop(event_id, None)
        if row is None:
            faults.append(Fault("removed", seal.batch, event_id, "it was sealed, and is gone"))
        elif row.row_hash(name_hash) != row_hash:
            faults.append(Fault("changed", seal.batch, event_id, "it is not as it was sealed"))
        elif salts is not None and not _names_fit(row, salts[place] if place < len(salts) else FORGOTTEN, name_hash):
            faults.append(Fault("changed", seal.batch, event_id, "its names are not as they were sealed"))
    words = "it was not there when its batch was sealed"
    return faults + [Fault("inserted", seal.batch, event_id, words) for event_id in found]


def _names_fit(row: Row, salt: bytes, name_hash: bytes) -> bool:
    """Forgotten names stay away; others are those that were sealed."""
    return not row.names if salt == FORGOTTEN else row.name_hash(salt) == name_hash
