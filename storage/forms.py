"""The jsonb forms of the values that storage keeps whole, and their way back. Pure functions, in pairs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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
    Gain,
    Lab,
    Lacks,
    Loss,
    Not,
    Nothing,
    Policy,
    StatusReport,
    Step,
    Violation,
    ViolationCode,
    Workflow,
)

Json = dict[str, Any]


#: The conditions by their type in the lab file; their fields are spelled there as here.
_CONDITIONS: dict[str, type[Condition]] = {
    "changed": Changed,
    "exists": Exists,
    "absent": Absent,
    "contains": Contains,
    "lacks": Lacks,
    "approval": Approval,
    "none": Nothing,
    "workflow": Workflow,
    "check": Check,
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
}
_TYPES = {kind: name for name, kind in _CONDITIONS.items()}


def condition_to_json(condition: Condition) -> Json:
    """A condition as the lab file spells it: `{"type": ..., ...}`."""
    parts: Json = {"type": _TYPES[type(condition)]}
    match condition:
        case AllOf(of) | AnyOf(of):
            return parts | {"of": [condition_to_json(part) for part in of]}
        case Not(part):
            return parts | {"of": condition_to_json(part)}
    return parts | asdict(condition)


def condition_from_json(data: Json) -> Condition:
    """The twin of `condition_to_json`. Raises ValueError for a type that this release does not know."""
    kind = _CONDITIONS.get(data["type"])
    if kind is None:
        raise ValueError(f"a stored lab version has a condition that this release does not know: {data['type']!r}")
    return kind(**{name: _condition_field(value) for name, value in data.items() if name != "type"})


def _condition_field(value: Any) -> Any:
    if isinstance(value, dict):
        return condition_from_json(value)
    if isinstance(value, list):
        return tuple(_condition_field(item) for item in value)
    return value


def lab_to_json(lab: Lab) -> Json:
    """A lab's rules as stored with its version."""
    return {
        "title": lab.title,
        "branch": lab.branch,
        "protected": list(lab.protected),
        "shared": list(lab.shared),
        "policy": asdict(lab.policy),
        "steps": [asdict(step) | {"complete": condition_to_json(step.complete)} for step in lab.steps],
    }


def lab_from_json(data: Json) -> Lab:
    """The twin of `lab_to_json`."""
    return Lab(
        title=data["title"],
        branch=data["branch"],
        protected=tuple(data["protected"]),
        shared=tuple(data["shared"]),
        policy=Policy(**data["policy"]),
        steps=tuple(_step_from_json(step) for step in data["steps"]),
    )


def _step_from_json(data: Json) -> Step:
    lists = {name: tuple(data[name]) for name in ("files", "needs", "hints", "aliases")}
    return Step(**(data | lists | {"complete": condition_from_json(data["complete"])}))


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
    return CheckRunReport(**(data | {"annotations": tuple(Annotation(**note) for note in data["annotations"])}))


def status_to_json(report: StatusReport) -> Json:
    """A commit status as kept in the outbox."""
    return asdict(report)


def status_from_json(data: Json) -> StatusReport:
    """The twin of `status_to_json`."""
    return StatusReport(**data)
