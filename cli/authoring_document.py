"""Keeps the tables of `docs/authoring.md` equal to the code (`make schema`): fields, limits, codes of the linter.

The rest of the manual is written by hand. A table stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rules import evidence, labfile_models, nearmiss
from rules.labfile_problems import MAX_PROBLEMS
from rules.labfile_schema import json_schema
from rules.lint_codes import CODES
from rules.positions import MAX_DEPTH, MAX_NUMBER

_REGION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def authoring_document(text: str) -> str:
    """The manual with its generated tables made anew. KeyError for a table that nobody can make."""
    return _REGION.sub(lambda found: found[1] + _TABLES[found[2]]() + found[3], text)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def _head(*cells: str) -> str:
    return _row(*cells) + "|" + "---|" * len(cells) + "\n"


# ---------------------------------------------------------------------------------------------------------- fields


def _file() -> str:
    return _fields(json_schema())


def _policy() -> str:
    definition = json_schema()["$defs"]["PolicyModel"]
    rows = [
        _row(f"`{name}`", _policy_values(field), _plain(field["description"]))
        for name, field in definition["properties"].items()
    ]
    return _head("key", "values, the default first", "what it is about") + "".join(rows)


def _policy_values(field: Mapping[str, Any]) -> str:
    values = sorted(field["enum"], key=lambda value: value != field["default"])
    return ", ".join(f"`{value}`" for value in values)


def _step() -> str:
    return _fields(json_schema()["$defs"]["StepModel"])


def _fields(definition: Mapping[str, Any]) -> str:
    required = definition.get("required", ())
    rows = [
        _row(f"`{name}`", _type(field), "yes" if name in required else "", _plain(field["description"]))
        for name, field in definition["properties"].items()
    ]
    return _head("key", "type", "needed", "meaning") + "".join(rows)


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return {"PolicyModel": "object, see below", "Condition": "condition, see below"}[_name(field)]
    if field["type"] == "array":
        return "list of steps" if _name(field["items"]) == "StepModel" else "list of texts"
    return {"string": "text", "integer": "number", "boolean": "`true` or `false`"}[field["type"]]


def _name(field: Mapping[str, Any]) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]


def _plain(description: str) -> str:
    """Text of the schema as Markdown: stars are patterns there."""
    return description.replace("*", "\\*").replace("<", "&lt;")


def _conditions() -> str:
    definitions = json_schema()["$defs"]
    rows = []
    for part in definitions["Condition"]["oneOf"]:
        kind = definitions[_name(part)]
        keys = [
            f"`{key}`: {_plain(field['description'])}" for key, field in kind["properties"].items() if key != "type"
        ]
        tag = kind["properties"]["type"]["const"]
        rows.append(_row(f"`{tag}`", _plain(kind["description"]), "<br>".join(keys)))
    return _head("`type`", "meaning", "further keys") + "".join(rows)


# ------------------------------------------------------------------------------------------------- limits, codes

#: What is limited, by how much, and its unit.
LIMITS: tuple[tuple[str, int, str], ...] = (
    ("the file", labfile_models.MAX_BYTES, "bytes"),
    ("steps", labfile_models.MAX_STEPS, "in a file"),
    ("patterns of a step", labfile_models.MAX_STEP_PATTERNS, "in its list"),
    ("patterns", labfile_models.MAX_PATTERNS, "in a file"),
    ("a pattern, a path of a condition", labfile_models.MAX_PATTERN, "characters"),
    ("a regular expression", labfile_models.MAX_EXPRESSION, "characters"),
    ("a title", labfile_models.MAX_TITLE, "characters"),
    ("`match` as a number", labfile_models.MAX_MATCH, "files"),
    ("open brackets", MAX_DEPTH, "at one place"),
    ("a number", MAX_NUMBER, "characters"),
    ("files that `contains` or `lacks` reads for a pattern", evidence.MAX_FILES, "files, the first in path order"),
    ("a file that `contains` or `lacks` reads", evidence.MAX_BYTES, "bytes; a larger one leaves it undecided"),
    ("changed paths that are looked at for slips of the pen", nearmiss.MAX_PATHS, "in a push"),
    ("problems that the linter shows", MAX_PROBLEMS, "of one file; more are counted"),
)


def _limits() -> str:
    return _head("what", "at most", "of what") + "".join(_row(what, f"{most:,}", unit) for what, most, unit in LIMITS)


def _codes() -> str:
    parts = []
    for code, entry in CODES.items():
        parts.append(
            f'<a id="{entry.anchor}"></a>\n**{code}**, {entry.severity}: {entry.title}.\n{entry.explanation}\n\n'
        )
    return "\n" + "".join(parts)


_TABLES: Mapping[str, Callable[[], str]] = {
    "file": _file,
    "policy": _policy,
    "step": _step,
    "conditions": _conditions,
    "limits": _limits,
    "codes": _codes,
}
