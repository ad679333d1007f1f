"""The jsonb forms of the values that storage keeps whole, and their way back. Pure functions, in pairs.

A lab's rules have their form in `rules.labfile` (`definition`, `lab_from_definition`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rules.model import (
    Annotation,
    Button,
    ChangeKind,
    CheckRunReport,
    Gain,
    Loss,
    StatusReport,
    Violation,
    ViolationCode,
)

Json = dict[str, Any]


def violation_to_json(violation: Violation) -> Json:
    """A violation as kept in the ledger."""
    return asdict(violation)


def violation_from_json(data: Json) -> Violation:
    """The twin of `violation_to_json`."""
    return Violation(
        code=ViolationCode(data["code"]),
        level=data["level"],
        path=data["path"],
        change=ChangeKind(data["change"]) if data["change"] is not None else None,
        owners=tuple(data["owners"]),
        missing=tuple(data["missing"]),
        suggestion=data["suggestion"],
    )


def gain_from_json(data: Json) -> Gain:
    """A gain from the ledger (its form is `dataclasses.asdict`)."""
    return Gain(**data)


def loss_from_json(data: Json) -> Loss:
    """A loss from the ledger (its form is `dataclasses.asdict`)."""
    return Loss(data["step_id"], data["reason"], tuple(data["because_of"]))


def check_run_to_json(report: CheckRunReport) -> Json:
    """A check run as kept in the outbox."""
    return asdict(report)


def check_run_from_json(data: Json) -> CheckRunReport:
    """The twin of `check_run_to_json`."""
    annotations = tuple(Annotation(**note) for note in data["annotations"])
    buttons = tuple(Button(**button) for button in data.get("buttons", ()))  # older rows have none
    return CheckRunReport(**(data | {"annotations": annotations, "buttons": buttons}))


def status_to_json(report: StatusReport) -> Json:
    """A commit status as kept in the outbox."""
    return asdict(report)


def status_from_json(data: Json) -> StatusReport:
    """The twin of `status_to_json`."""
    return StatusReport(**data)
