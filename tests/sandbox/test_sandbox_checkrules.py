"""Each rule of GitHub's check runs, one broken body at a time."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.checkrules import check_run_body
from sandbox.errors import ApiError

NOTE = {"path": "a.txt", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"}
ACTION = {"label": "Judge again", "description": "Judge the head again", "identifier": "rejudge"}
GOOD = {"name": "steps", "head_sha": "0" * 40}


def output(**fields: Any) -> dict[str, Any]:
    """Return an output with the required fields."""
    return {"output": {"title": "t", "summary": "s", **fields}}


def note(**fields: Any) -> dict[str, Any]:
    """Return an output with one annotation changed by `fields`."""
    changed = {name: value for name, value in {**NOTE, **fields}.items() if value is not None}
    return output(annotations=[changed])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"name": None}, id="no name"),
        pytest.param({"head_sha": None}, id="no sha"),
        pytest.param({"name": 1}, id="name is a number"),
        pytest.param({"status": "completed"}, id="completed without a conclusion"),
        pytest.param({"status": "waiting"}, id="a status of Actions only"),
        pytest.param({"conclusion": "stale"}, id="stale is GitHub's own"),
        pytest.param({"conclusion": "good"}, id="unknown conclusion"),
        pytest.param({"started_at": "yesterday"}, id="not a time"),
        pytest.param({"completed_at": "2026-01-01T00:00:00"}, id="a time without a zone"),
        pytest.param({"output": "text"}, id="output is text"),
        pytest.param({"output": {"title": "t"}}, id="no summary"),
        pytest.param({"output": {"summary": "s"}}, id="no title"),
        pytest.param(output(summary="x" * 65_536), id="summary too long"),
        pytest.param(output(text="x" * 65_536), id="text too long"),
        pytest.param(output(annotations=[NOTE] * 51), id="51 annotations"),
        pytest.param(output(annotations=["note"]), id="annotation is text"),
        pytest.param(note(path=None), id="annotation without path"),
        pytest.param(note(start_line=None), id="annotation without line"),
        pytest.param(note(start_line="1"), id="line is text"),
        pytest.param(note(start_line=2), id="end before start"),
        pytest.param(note(annotation_level="error"), id="unknown level"),
        pytest.param(note(message=None), id="annotation without message"),
        pytest.param(note(message="x" * 65_537), id="message over 64 KB"),
        pytest.param(note(title="x" * 256), id="annotation title too long"),
        pytest.param(note(end_line=2, start_column=1), id="column over several lines"),
        pytest.param({"actions": [ACTION] * 4}, id="four actions"),
        pytest.param({"actions": [{**ACTION, "label": "x" * 21}]}, id="label too long"),
        pytest.param({"actions": [{**ACTION, "description": "x" * 41}]}, id="description too long"),
        pytest.param({"actions": [{**ACTION, "identifier": "x" * 21}]}, id="identifier too long"),
        pytest.param({"actions": [{"label": "x"}]}, id="action without identifier"),
    ],
)
def test_a_broken_rule_is_refused(fields: dict[str, Any]) -> None:
    """Each broken rule is a 422 in the words of GitHub's schema checker; the same body without it is taken."""
    check_run_body(GOOD, creating=True)
    with pytest.raises(ApiError, match="422 Invalid request"):
        check_run_body({**GOOD, **fields}, creating=True)


def test_a_change_needs_less_than_a_new_run() -> None:
    """A PATCH may leave out name, sha and the output's title, never its summary."""
    check_run_body({"output": {"summary": "s"}}, creating=False)
    with pytest.raises(ApiError, match="summary"):
        check_run_body({"output": {"title": "t"}}, creating=False)
