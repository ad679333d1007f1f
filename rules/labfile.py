"""The lab file: bytes of `.forgea/steps.json` -> Lab, or all its problems; and a Lab as JSON for storage.

Reading is strict, because an author wants to know; a definition that was stored once is read as it is, because the
limits of a later version must not break the sessions of an earlier one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from rules.labfile_checks import check_whole, conditions, default_needs
from rules.labfile_models import MAX_BYTES, LabFileModel
from rules.labfile_problems import FAULT_CODES, ProblemCode, Problems, add_validation_errors
from rules.mapping import condition_paths, leaves
from rules.model import (
    Absent,
    AllOf,
    AnyOf,
    Approval,
    Changed,
    Check,
    Condition,
    Contains,
    Exists,
    Lab,
    Lacks,
    Not,
    Nothing,
    Policy,
    Problem,
    Step,
    Workflow,
)
from rules.patterns import PatternError, PatternSet, with_roots
from rules.positions import Document, JsonError, parse

FORMAT_VERSION = 1
ALWAYS_PROTECTED = ".forgea/**"
PROTECTED_WITH_WORKFLOW = ".github/**"


@dataclass(frozen=True, slots=True)
class LabFile:
    """What reading a lab file gave: the lab, or problems. Exactly one of the two is there."""

    lab: Lab | None
    problems: tuple[Problem, ...]


def parse_lab(data: bytes) -> LabFile:
    """Read the bytes of `.forgea/steps.json`. All problems are the author's; of a syntax error only the first is told.

    What a file can be read with and still be a mistake is for `rules.lint`.
    """
    document = read_document(data)
    return LabFile(None, (document,)) if isinstance(document, Problem) else lab_of_document(document)


def lab_of_document(document: Document) -> LabFile:
    """Read the JSON document of a lab file."""
    problems = Problems(document)
    if _check_version(document.value, problems):
        check_whole(document.value, problems)
        try:
            model = LabFileModel.model_validate(document.value)
        except ValidationError as error:
            add_validation_errors(error, problems)
        else:
            if not problems.all():
                return _checked_set(_lab(model), problems)
    return LabFile(None, problems.all())


def read_document(data: bytes) -> Document | Problem:
    """The JSON document, or why there is none."""
    if len(data) > MAX_BYTES:
        message = f"The file has {len(data):,} bytes; a lab file may have {MAX_BYTES:,}."
        return Problem(ProblemCode.TOO_LARGE, message, "Patterns with ** say more than lists of files.")
    try:
        return parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        before = re.split("\r\n?|\n", data[: error.start].decode("utf-8"))
        message = f"The file is not UTF-8: byte 0x{data[error.start]:02x} does not belong here."
        return Problem(ProblemCode.NOT_UTF8, message, "Save it as UTF-8.", "", len(before), len(before[-1]) + 1)
    except JsonError as error:
        return Problem(FAULT_CODES[error.fault], error.message, error.suggestion, "", error.line, error.column)


def _check_version(value: object, problems: Problems) -> bool:
    """Check the version; False if the rest is written for another one and cannot be read."""
    version = value.get("version", FORMAT_VERSION) if isinstance(value, dict) else FORMAT_VERSION
    if type(version) is int and version == FORMAT_VERSION:
        return True
    message = f"This version of Stepgate reads lab files of version {FORMAT_VERSION} only."
    problems.add(ProblemCode.VERSION, ("version",), message, f'Write "version": {FORMAT_VERSION}.')
    return type(version) is not int


def _lab(model: LabFileModel) -> Lab:
    """The lab of a valid file, with what is left to defaults filled in."""
    content = model.model_dump()
    content["branch"] = model.branch or None
    earlier: list[tuple[str, bool]] = []
    always = [ALWAYS_PROTECTED]
    for step, raw in zip(model.steps, content["steps"], strict=True):
        if "needs" not in step.model_fields_set:
            raw["needs"] = default_needs(earlier)
        earlier.append((step.id, step.optional))
        if any(kind == "workflow" for kind, _, _ in conditions(raw["complete"], ())):
            always = [ALWAYS_PROTECTED, PROTECTED_WITH_WORKFLOW]
    # They come last, where no `!` of the author's can take them back.
    content["protected"] = [pattern for pattern in model.protected if pattern not in always] + always
    return lab_from_definition(content)


def _checked_set(lab: Lab, problems: Problems) -> LabFile:
    """The lab, if RE2 can hold all its patterns in one set."""
    named = [path for step in lab.steps for leaf in leaves(step.complete) for path in condition_paths(leaf)]
    try:
        PatternSet([with_roots(lab.protected), lab.shared, *(step.files for step in lab.steps), named])
    except PatternError as error:
        problems.add(ProblemCode.PATTERNS_TOO_LARGE, ("steps",), str(error), "Use fewer wildcards in a pattern.")
        return LabFile(None, problems.all())
    return LabFile(lab, ())


# ------------------------------------------------------------------------------------------------------- definitions


class DefinitionError(ValueError):
    """Our fault: a stored definition is not one that `definition` wrote."""


_TYPE_NAMES: dict[type, str] = {
    Changed: "changed",
    Exists: "exists",
    Absent: "absent",
    Contains: "contains",
    Lacks: "lacks",
    Approval: "approval",
    Nothing: "none",
    Workflow: "workflow",
    Check: "check",
    AllOf: "all",
    AnyOf: "any",
    Not: "not",
}
_BUILDERS: dict[str, Callable[[Mapping[str, Any]], Condition]] = {
    "changed": lambda raw: Changed(raw["match"]),
    "exists": lambda raw: Exists(tuple(raw["paths"])),
    "absent": lambda raw: Absent(tuple(raw["paths"])),
    "contains": lambda raw: Contains(raw["path"], raw["pattern"]),
    "lacks": lambda raw: Lacks(raw["path"], raw["pattern"]),
    "approval": lambda _: Approval(),
    "none": lambda _: Nothing(),
    "workflow": lambda raw: Workflow(raw["path"]),
    "check": lambda raw: Check(raw["name"], raw["app_id"]),
    "all": lambda raw: AllOf(tuple(_condition(part) for part in raw["of"])),
    "any": lambda raw: AnyOf(tuple(_condition(part) for part in raw["of"])),
    "not": lambda raw: Not(_condition(raw["of"])),
}


def definition(lab: Lab) -> dict[str, Any]:
    """The lab as a JSON object, every default filled in; `lab_from_definition` gives the same lab back."""
    return {
        "version": FORMAT_VERSION,
        "title": lab.title,
        "branch": lab.branch,
        "protected": list(lab.protected),
        "shared": list(lab.shared),
        "policy": asdict(lab.policy),
        "steps": [
            {
                "id": step.id,
                "title": step.title,
                "description": step.description,
                "files": list(step.files),
                "needs": list(step.needs),
                "complete": _condition_definition(step.complete),
                "optional": step.optional,
                "hints": list(step.hints),
                "aliases": list(step.aliases),
            }
            for step in lab.steps
        ],
    }


def lab_from_definition(content: Mapping[str, Any]) -> Lab:
    """The lab of a `definition`; DefinitionError if it is none. Limits of lab files are not checked again."""
    try:
        if content["version"] != FORMAT_VERSION:
            raise DefinitionError(
                f"A stored definition has version {content['version']!r}, which this code cannot read."
            )
        return Lab(
            title=content["title"],
            branch=content["branch"],
            protected=tuple(content["protected"]),
            shared=tuple(content["shared"]),
            policy=Policy(**content["policy"]),
            steps=tuple(_step(raw) for raw in content["steps"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DefinitionError(f"A stored definition of a lab cannot be read: {error!r}.") from error


def digest(lab: Lab) -> str:
    """SHA-256 in hex of the lab's definition as canonical JSON: equal for labs that are equal."""
    text = json.dumps(definition(lab), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _step(raw: Mapping[str, Any]) -> Step:
    return Step(
        id=raw["id"],
        title=raw["title"],
        files=tuple(raw["files"]),
        needs=tuple(raw["needs"]),
        complete=_condition(raw["complete"]),
        optional=raw["optional"],
        description=raw["description"],
        hints=tuple(raw["hints"]),
        aliases=tuple(raw["aliases"]),
    )


def _condition(raw: Mapping[str, Any]) -> Condition:
    return _BUILDERS[raw["type"]](raw)


def _condition_definition(condition: Condition) -> dict[str, Any]:
    match condition:
        case AllOf(parts) | AnyOf(parts):
            fields: dict[str, Any] = {"of": [_condition_definition(part) for part in parts]}
        case Not(part):
            fields = {"of": _condition_definition(part)}
        case Exists(paths) | Absent(paths):
            fields = {"paths": list(paths)}
        case _:
            fields = asdict(condition)
    return {"type": _TYPE_NAMES[type(condition)], **fields}
