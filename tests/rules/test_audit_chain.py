"""The hash chain of the audit: one canonical form, and nothing changes without being told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.audit_chain import (
    FORGOTTEN,
    GENESIS,
    NAME_KEYS,
    Fault,
    Row,
    Seal,
    canonical,
    check_rows,
    check_seal,
    has_its_root,
    seal_rows,
)
from tests.support.effort import examples

AT = datetime(2030, 1, 31, 12, tzinfo=UTC)
SALTS = [bytes([number]) * 16 for number in range(1, 6)]


def columns(event_id: int, **more: Any) -> dict[str, Any]:
    """A row of the table."""
    return {
        "event_id": event_id,
        "at": AT,
        "kind": "bound",
        "code": None,
        "repo_full_name": f"learner/{event_id}",
        "ref": None,
        "session_id": UUID(int=7),
        "detail": {"reason": "she said so", "n": 1},
        **more,
    }


def rows(*event_ids: int) -> list[Row]:
    """Rows of these ids."""
    return [Row.of(columns(event_id)) for event_id in event_ids]


def sealed(*event_ids: int, batch: int = 1, previous: bytes = GENESIS) -> Seal:
    """A batch of these ids."""
    return seal_rows(batch, previous, rows(*event_ids), SALTS[: len(event_ids)], AT)


def told(faults: list[Fault]) -> list[tuple[str, int | None]]:
    """What is wrong, and with which event."""
    return [(fault.what, fault.event_id) for fault in faults]


class TestCanonical:
    """The same value has one form, and another value another one."""

    def test_it_is_json_with_fixed_forms(self) -> None:
        """Keys are in order, nothing is spaced out, letters stay letters, times are UTC with six digits."""
        value = {"b": [1, 2.5, None, True], "a": datetime(2030, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))}
        assert canonical(value) == b'{"a":"2030-01-31T12:00:00.000000Z","b":[1,2.5,null,true]}'
        assert canonical({"ü": UUID(int=7)}) == '{"ü":"00000000-0000-0000-0000-000000000007"}'.encode()
        assert canonical(2**70) == b"1180591620717411303424"

    def test_other_values_are_refused(self) -> None:
        """What has no fixed form is a defect of ours."""
        with pytest.raises(TypeError, match="bytes"):
            canonical({"a": b"x"})

    def test_an_independent_reckoning_agrees(self) -> None:
        """The hashes are those that docs/audit-events.md describes, so that somebody else can check them."""
        seal = sealed(4)
        name = hashlib.sha256(SALTS[0] + b'{"detail":{"reason":"she said so"},"repo_full_name":"learner/4"}')
        content = (
            '{"at":"2030-01-31T12:00:00.000000Z","detail":{"n":1},"event_id":4,"kind":"bound",'
            f'"names_sha256":"{name.hexdigest()}","session_id":"00000000-0000-0000-0000-000000000007"}}'
        )
        row = hashlib.sha256(content.encode())
        root = (
            f'{{"batch":1,"event_ids":[4],"format":1,"previous_root":"{"0" * 64}",'
            f'"row_hashes":["{row.hexdigest()}"],"sealed_at":"2030-01-31T12:00:00.000000Z"}}'
        )
        assert seal.row_hashes == (row.digest(),)
        assert seal.root == hashlib.sha256(root.encode()).digest()


class TestRows:
    """Rows are those that were sealed."""

    def test_a_whole_batch_is_well(self) -> None:
        """Nothing is told of rows that are as they were; names are not needed for that."""
        seal = sealed(1, 2, 5)
        assert check_rows(seal, rows(1, 2, 5), SALTS[:3]) == []
        assert check_rows(seal, [replace(row, names={}) for row in rows(1, 2, 5)], None) == []

    def test_every_difference_is_named(self) -> None:
        """A row that is gone, another, or one more is told by its id."""
        changed = Row.of(columns(2, kind="unbound"))
        faults = check_rows(sealed(1, 2, 5), [rows(1)[0], changed, *rows(3)], SALTS[:3])
        assert told(faults) == [("changed", 2), ("removed", 5), ("inserted", 3)]

    @pytest.mark.parametrize(
        ("name", "value"), [("repo_full_name", "x/y"), ("repo_full_name", None), ("ref", "x"), ("detail", {"n": 1})]
    )
    def test_names_are_part_of_it(self, name: str, value: object) -> None:
        """Another name, or one that is missing while its salt is there, is a change."""
        row = Row.of(columns(1, **{name: value}))
        assert told(check_rows(sealed(1), [row], SALTS[:1])) == [("changed", 1)]

    def test_names_may_be_forgotten_with_their_salt(self) -> None:
        """Then they have to stay away; a salt that is missing counts as forgotten."""
        bare = [replace(row, names={}) for row in rows(1)]
        assert check_rows(sealed(1), bare, [FORGOTTEN]) == []
        assert check_rows(sealed(1), bare, []) == []
        for salts in ([FORGOTTEN], []):
            assert told(check_rows(sealed(1), rows(1), salts)) == [("changed", 1)]

    def test_a_column_that_comes_later_changes_nothing(self) -> None:
        """What is unknown is left out, so that older rows keep their hash when the table grows."""
        later = Row.of(columns(1, some_new_column=None))
        assert check_rows(sealed(1), [later], SALTS[:1]) == []

    def test_words_in_detail_are_names(self) -> None:
        """All keys that may hold words are kept apart, and only those."""
        row = Row.of(columns(1, detail=dict.fromkeys((*NAME_KEYS, "from"), "x")))
        assert row.content["detail"] == {"from": "x"}
        assert set(row.names["detail"]) == set(NAME_KEYS)

    @settings(max_examples=examples(50), deadline=None)
    @given(
        st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4),
        st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4),
    )
    def test_other_details_are_another_hash(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        """Whatever the details are: equal ones fit the seal, and others do not. (In JSON true is not 1.)"""
        seal = seal_rows(1, GENESIS, [Row.of(columns(1, detail=one))], SALTS[:1], AT)
        faults = check_rows(seal, [Row.of(columns(1, detail=other))], SALTS[:1])
        assert bool(faults) == (canonical(one) != canonical(other))


class TestSeals:
    """Seals follow each other and are what was hashed."""

    def test_a_chain_is_well(self) -> None:
        """Each batch continues the one before it."""
        first = sealed(1, 2)
        second = sealed(3, batch=2, previous=first.root)
        assert check_seal(first, None) == check_seal(second, first) == []

    def test_a_seal_that_is_gone(self) -> None:
        """Missing batches are told by their numbers."""
        first = sealed(1)
        third = sealed(3, batch=3, previous=bytes(32))
        (fault,) = check_seal(third, first)
        assert (fault.what, fault.batch) == ("seal", 2)
        assert "2 to 2" in fault.words

    def test_a_seal_of_another_chain(self) -> None:
        """A batch that continues something else is told."""
        (fault,) = check_seal(sealed(3, batch=2, previous=bytes([1]) * 32), sealed(1))
        assert (fault.what, fault.batch, fault.event_id) == ("seal", 2, None)

    @pytest.mark.parametrize(
        "change",
        [
            {"root": bytes(32)},
            {"event_ids": (1, 3)},
            {"row_hashes": (bytes(32), bytes(32))},
            {"sealed_at": AT + timedelta(seconds=1)},
        ],
    )
    def test_a_seal_that_was_changed(self, change: Mapping[str, Any]) -> None:
        """All of a seal is in its root."""
        seal = replace(sealed(1, 2), **change)
        assert not has_its_root(seal)
        assert [fault.what for fault in check_seal(seal, None)] == ["seal"]
