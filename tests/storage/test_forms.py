"""The jsonb forms: every value comes back equal."""

from __future__ import annotations

import orjson
import pytest

from rules.model import Annotation, ChangeKind, CheckRunReport, StatusReport, Violation, ViolationCode
from storage import forms


def through_json(value: object) -> forms.Json:
    """The value as the database gives it back."""
    decoded = orjson.loads(orjson.dumps(value))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("change", [None, ChangeKind.MODE])
def test_a_violation_comes_back(change: ChangeKind | None) -> None:
    """All fields of a violation survive."""
    violation = Violation(ViolationCode.REWORK, "warn", "a\nb", change, ("one",), ("two",), "near")
    assert forms.violation_from_json(through_json(forms.violation_to_json(violation))) == violation


def test_reports_come_back() -> None:
    """Check run and status survive with their annotations."""
    notes = (Annotation("a.js", 1, "failure", "out of order", "title"), Annotation("b", 2, "notice", "m"))
    run = CheckRunReport("n", "a" * 40, "failure", "t", "s", notes, "http://x", "external")
    status = StatusReport("n", "a" * 40, "error", "d", "http://x")
    assert forms.check_run_from_json(through_json(forms.check_run_to_json(run))) == run
    assert forms.status_from_json(through_json(forms.status_to_json(status))) == status
