"""The published forms of audit events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rules.audit_schema import COLUMNS, KINDS, json_schema, kind_schema, kinds_table, schema_text

BASE = {
    "event_id": 1,
    "at": "2030-01-31T12:00:00Z",
    "count": 1,
    "last_at": "2030-01-31T12:00:00Z",
    "binding_mode": "canonical",
    "detail": {},
}
SESSION = "00000000-0000-4000-8000-000000000001"


def is_valid(event: dict[str, Any]) -> bool:
    """Whether the whole schema takes the event."""
    return Draft202012Validator(json_schema()).is_valid({**BASE, **event})


@pytest.mark.heavy
def test_it_is_a_schema() -> None:
    """The document is valid JSON Schema."""
    Draft202012Validator.check_schema(json_schema())


def test_its_text_is_a_file() -> None:
    """The text is the document, and ends with a line break."""
    assert json.loads(schema_text()) == json_schema()
    assert schema_text().endswith("}\n")


@pytest.mark.parametrize(
    ("event", "valid"),
    [
        ({"kind": "rejected", "code": "NO_SESSION", "repo_id": 1, "detail": {"lab_id": 2}}, True),
        ({"kind": "rejected", "repo_id": 1}, False),  # why?
        ({"kind": "rejected", "code": "SOMETHING", "repo_id": 1}, False),
        ({"kind": "rejected", "code": "NO_SESSION", "repo_id": 1, "detail": {"login": "x"}}, False),
        ({"kind": "staff_judge", "session_id": SESSION, "detail": {"from": "STUCK", "to": "STUCK"}}, True),
        ({"kind": "staff_judge", "session_id": SESSION, "detail": {"from": "STUCK", "to": "LOST"}}, False),
        (
            {"kind": "staff_judge", "session_id": SESSION, "code": "TAG", "detail": {"from": "STUCK", "to": "STUCK"}},
            False,
        ),
        ({"kind": "staff_judge", "detail": {"from": "STUCK", "to": "STUCK"}}, False),  # of which session?
        (
            {"kind": "lab_edited", "detail": {"lab_id": 1, "enrolment": ["open", "closed"], "deadline": [None, None]}},
            True,
        ),
        ({"kind": "lab_edited", "detail": {"lab_id": 1, "enrolment": ["open"], "deadline": [None, None]}}, False),
        ({"kind": "danced"}, False),
    ],
)
def test_events_are_told_apart(event: dict[str, Any], valid: bool) -> None:
    """An event is valid as its own kind only: its codes, its columns, its details."""
    assert is_valid(event) == valid


def test_a_forgotten_name_is_valid() -> None:
    """No kind demands what forgetting takes away."""
    for kind in KINDS:
        schema = kind_schema(kind)
        assert not {"repo_full_name", "ref"} & set(schema["required"])
        assert "reason" not in schema["properties"]["detail"].get("required", [])


def test_every_kind_is_in_the_table() -> None:
    """The table for people has a row for each kind, with all its codes."""
    table = kinds_table()
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == list(KINDS)
    assert "`REPOSITORY_GONE`" in table
    assert len(COLUMNS) == 22
