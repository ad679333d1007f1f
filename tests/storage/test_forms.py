"""The jsonb forms: every value comes back equal."""

from __future__ import annotations

from typing import get_args

import orjson
import pytest

from rules.model import (
    Absent,
    AllOf,
    Annotation,
    AnyOf,
    Approval,
    Changed,
    ChangeKind,
    Check,
    CheckRunReport,
    Condition,
    Contains,
    Exists,
    Lab,
    Lacks,
    Not,
    Nothing,
    Policy,
    StatusReport,
    Step,
    Violation,
    ViolationCode,
    Workflow,
)
from storage import forms

CONDITIONS: list[Condition] = [
    Changed(),
    Changed("all"),
    Changed(3),
    Exists(("a", "b/**")),
    Absent(("c",)),
    Contains("a.js", r"useRef\("),
    Lacks("b.js", "x"),
    Approval(),
    Nothing(),
    Workflow(".github/workflows/test.yml"),
    Check("lint", 77),
    AllOf((Exists(("a",)), AnyOf((Changed(), Not(Absent(("z",))))))),
    AnyOf(()),
    Not(Contains("a", "b")),
]


def through_json(value: object) -> forms.Json:
    """The value as the database gives it back."""
    decoded = orjson.loads(orjson.dumps(value))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_conditions_come_back(condition: Condition) -> None:
    """A condition of any type survives, at any depth."""
    assert forms.condition_from_json(through_json(forms.condition_to_json(condition))) == condition


def test_every_type_of_condition_is_covered() -> None:
    """A condition type that is added to the rules needs a stored form."""
    assert {type(condition) for condition in CONDITIONS} == set(get_args(Condition))


def test_a_condition_of_a_later_release_is_told() -> None:
    """A stored type that this release does not know is named."""
    with pytest.raises(ValueError, match="telepathy"):
        forms.condition_from_json({"type": "telepathy"})


def test_a_lab_comes_back() -> None:
    """All fields of a lab's rules survive, hashable as before."""
    steps = (
        Step("a", "A", ("a/**", "!a/b"), (), AllOf((Changed(), Approval())), True, "text", ("hint",), ("old",)),
        Step("b", "B", ("b",), ("a",), Changed(2)),
    )
    lab = Lab("T", None, (".forgea/**",), ("notes/",), Policy("warn", "block", "block", "warn", "never"), steps)
    again = forms.lab_from_json(through_json(forms.lab_to_json(lab)))
    assert again == lab
    assert hash(again) == hash(lab)


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
