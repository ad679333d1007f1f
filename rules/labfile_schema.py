"""The JSON Schema (2020-12) of a lab file: what editors complete by, check with and show on hover."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from rules.labfile_models import LabFileModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Names the schema wherever a copy of it is served from.
SCHEMA_ID = "urn:stepgate:schema:steps:1"


def json_schema() -> dict[str, Any]:
    """The schema. It accepts every file that `parse_lab` does, and some more: what several values say together, and
    what patterns and expressions mean, is not for a schema to tell."""
    condition: dict[str, Any] = {}
    schema = _tidied(LabFileModel.model_json_schema(), condition)
    kinds = [schema["$defs"][part["$ref"].rpartition("/")[2]] for part in condition["oneOf"]]
    lines = [f"- `{kind['properties']['type']['const']}`: {kind['description']}" for kind in kinds]
    schema["$defs"]["Condition"] = condition
    _add_markdown(schema, "\n".join(lines))
    return {"$schema": DIALECT, "$id": SCHEMA_ID, **schema}


@cache
def schema_text() -> str:
    """The text of rules/steps.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _tidied(node: Any, condition: dict[str, Any]) -> Any:
    """The schema as editors like it: the union of conditions once, in `condition`; a condition's description also at
    its type, where authors point; no line breaks in descriptions."""
    if isinstance(node, list):
        return [_tidied(item, condition) for item in node]
    if not isinstance(node, dict):
        return " ".join(node.split("\n")) if isinstance(node, str) else node
    if "discriminator" in node:  # of OpenAPI, not of JSON Schema
        description = "When a step counts as complete."
        condition.update(oneOf=node["oneOf"], title="Condition", description=description)
        return {"$ref": "#/$defs/Condition"} | {key: node[key] for key in node if key not in ("oneOf", "discriminator")}
    if "const" in node.get("properties", {}).get("type", {}):
        kind = node["properties"]["type"]
        kind.update(title=node["title"], description=node["description"], examples=[kind["const"]])
    return {key: _tidied(value, condition) for key, value in node.items()}


def _add_markdown(schema: dict[str, Any], conditions: str) -> None:
    """Give every key of every object the text that VS Code shows in place of the description: with what the key is by
    default, an example and, where a condition stands, all of them. `conditions`: the Markdown list of these."""
    for owner in (schema, *schema["$defs"].values()):
        for name, key in owner.get("properties", {}).items():
            parts = [key["description"]]
            if key.get("$ref") == "#/$defs/Condition":
                parts.append("One of:\n\n" + conditions)
            if "default" in key:
                parts.append(f"Default: {_code(key['default'])}")
            elif name in owner.get("required", ()):
                parts.append("Required.")
            parts += [f"Example: {_code(example)}" for example in key["examples"]]
            key["markdownDescription"] = "\n\n".join(parts)


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"
