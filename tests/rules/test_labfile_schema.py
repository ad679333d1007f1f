"""rules.labfile_schema: the JSON Schema is the models', complete, and agrees with what is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.labfile import definition, parse_lab
from rules.labfile_problems import CONDITION_MODELS, ProblemCode
from rules.labfile_schema import json_schema, schema_text
from rules.lint_codes import CODES
from tests.support.effort import examples
from tests.support.labfiles import EXAMPLE, JSON, content, read, step

SCHEMA_FILE = Path(__file__).parents[2] / "rules" / "steps.schema.json"
MANUALS = Path(__file__).parents[2] / "docs"
EXAMPLE_LAB = Path(__file__).parents[2] / "examples" / "lab-template" / ".forgea" / "steps.json"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())

# What a value alone shows, so that a schema can tell it.
STRUCTURAL = {
    ProblemCode.UNKNOWN_KEY,
    ProblemCode.MISSING_KEY,
    ProblemCode.WRONG_TYPE,
    ProblemCode.VALUE,
    ProblemCode.LIMIT,
    ProblemCode.VERSION,
    ProblemCode.ID,
    ProblemCode.CONDITION_TYPE,
}


def test_the_committed_schema_is_the_generated_one() -> None:
    """rules/steps.schema.json is what the models say."""
    assert SCHEMA_FILE.read_text("utf-8") == schema_text(), "write it again: make schema"


def test_the_schema_is_one_of_2020_12() -> None:
    """The schema passes the metaschema check, and uses no keyword of other dialects."""
    schema = json_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "discriminator" not in schema_text()


def keys_of(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every key of every object of the language: the object's title, the key, its schema."""
    objects = [schema, *(part for name, part in schema["$defs"].items() if name != "Condition")]
    return [(one["title"], name, key) for one in objects for name, key in one["properties"].items()]


def test_every_key_explains_itself() -> None:
    """Each key of the language has a title, a description and an example: an editor's hover is the manual."""
    keys = keys_of(json_schema())

    assert len(keys) > 40
    for owner, name, key in keys:
        assert key.get("description", "").endswith("."), (owner, name)
        assert "\n" not in key["description"], (owner, name)
        assert key.get("title") or "$ref" in key, (owner, name)
        assert key["markdownDescription"].startswith(key["description"]), (owner, name)
        assert key["examples"], (owner, name)
        said = ("Default: ", "Required.", "Without this key: ")
        assert sum(word in key["markdownDescription"] for word in said) == 1, (owner, name)
        if "enum" in key:
            assert len(key["enumDescriptions"]) == len(key["enum"]), (owner, name)


def test_examples_and_defaults_are_true() -> None:
    """Every example and every default in the schema is a value that the schema accepts there."""
    schema = json_schema()
    tried = 0
    for owner, name, key in keys_of(schema):
        validator = jsonschema.Draft202012Validator({**key, "$defs": schema["$defs"]})
        for value in key["examples"] + [key[word] for word in ("default",) if word in key]:
            assert validator.is_valid(value) or (name, value) == ("$schema", ""), (owner, name, value)
            tried += 1
    assert tried > 60


def test_hovering_over_a_condition_lists_all_types() -> None:
    """Where a condition stands, the hover says what each type means."""
    complete = json_schema()["$defs"]["StepModel"]["properties"]["complete"]["markdownDescription"]

    for kind in CONDITION_MODELS:
        assert f"\n- `{kind}`: " in complete


@pytest.mark.parametrize(
    "value",
    [
        json.loads(EXAMPLE),
        content(),
        content(step(complete={"type": "not", "of": {"type": "any", "of": [{"type": "changed", "match": 2}]}})),
    ],
)
def test_the_schema_accepts_what_is_accepted(value: dict[str, Any]) -> None:
    """A file without problems has none in an editor either."""
    assert read(value).problems == ()

    VALIDATOR.validate(value)


@pytest.mark.parametrize(
    "value",
    [
        content(titel="x"),
        content(version=2),
        content(steps=[]),
        content(step("A")),
        content(step(complete={"type": "magic"})),
        content(step(complete={"type": "changed", "match": 0})),
        content(step(files=["x"] * 51)),
        content(policy={"rework": "deny"}),
        content(title=" "),
    ],
)
def test_the_schema_refuses_what_values_alone_show(value: dict[str, Any]) -> None:
    """Unknown keys, wrong values and passed limits are shown by an editor while the author types."""
    assert read(value).problems
    assert not VALIDATOR.is_valid(value)


def test_the_example_lab_satisfies_the_schema() -> None:
    """The lab that operators start from is as good for an editor as for the App; so is its stored definition."""
    data = EXAMPLE_LAB.read_bytes()
    lab = parse_lab(data).lab

    VALIDATOR.validate(json.loads(data))
    assert lab is not None
    VALIDATOR.validate(definition(lab))


def as_file(value: Any) -> Any:
    """A documented JSON value as a whole lab file: a file, one step or several; None if it is none of these."""
    steps = value if isinstance(value, list) else [value]
    if all(isinstance(one, dict) and {"id", "title"} <= one.keys() for one in steps):
        return content(*steps)
    return value if isinstance(value, dict) and "steps" in value else None


def test_what_is_documented_satisfies_the_schema() -> None:
    """Every lab file and every step in the manuals, and every good example of a code, is one for an editor too."""
    texts = [path.read_text("utf-8") for path in sorted(MANUALS.glob("**/*.md"))]
    blocks = [block for text in texts for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    documented = [file for block in blocks if (file := as_file(json.loads(block))) is not None]

    assert len(documented) > 5
    for file in [*documented, *(json.loads(entry.good) for entry in CODES.values())]:
        VALIDATOR.validate(file)


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 7, -1, 10**30, "", " ", "a", "A b", "x" * 300, "any", "all", "block", "allow", "rewrite",
    [], {}, ["a"], ["a", "b"], [""], [1], ["x"] * 51, {"type": "none"}, {"type": "magic"}, [{"type": "none"}],
    {"type": "not", "of": {"type": "changed"}}, {"type": "changed", "match": 2}, {"rework": "warn"}, {"a": 1},
)  # fmt: skip
WHOLE = definition(parse_lab(EXAMPLE.encode()).lab)  # type: ignore[arg-type]
MORE = {"aliases": ["old"], "complete": {"type": "check", "name": "lint", "app_id": 7}}
WHOLE["steps"].append({"id": "last", "title": "Last", "needs": [], **MORE})


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all parts of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for key, part in parts for below in paths_of(part, (*path, key)))]


def changed(value: Any, path: tuple[str | int, ...], change: Any) -> Any:
    """The value with the part at a path changed by a function; what it makes `...` of is left out."""
    if not path:
        return change(value)
    if isinstance(value, dict):
        new = {key: changed(part, path[1:], change) if key == path[0] else part for key, part in value.items()}
        return {key: part for key, part in new.items() if part is not ...}
    new_items = [changed(part, path[1:], change) if at == path[0] else part for at, part in enumerate(value)]
    return [part for part in new_items if part is not ...]


@pytest.mark.heavy
@settings(max_examples=examples(80), deadline=None)
@given(st.data())
def test_the_schema_and_the_reader_agree_on_structure(data: st.DataObject) -> None:
    """Whatever part of a whole file is replaced, removed or given a key more: an editor shows a mistake exactly when
    reading finds one that a value alone shows."""
    path = data.draw(st.sampled_from(paths_of(WHOLE)))
    replacement = data.draw(st.sampled_from(VALUES))
    key = data.draw(st.sampled_from(["titel", "type", "of", "match", "files", "version"]))
    change = data.draw(
        st.sampled_from(
            [
                lambda _: replacement,
                lambda part: ... if path else part,
                lambda part: {**part, key: replacement} if isinstance(part, dict) else replacement,
            ]
        )
    )
    file = changed(WHOLE, path, change)

    found = {problem.code for problem in read(file).problems}

    assert VALIDATOR.is_valid(file) == found.isdisjoint(STRUCTURAL), (file, found)


@pytest.mark.heavy
@settings(max_examples=examples(60), deadline=None)
@given(JSON, st.sampled_from(["condition", "step", "policy"]))
def test_the_schema_and_the_reader_agree_on_any_value(value: object, where: str) -> None:
    """Conditions, steps and policies of any shape are shown wrong by an editor exactly when their structure is."""
    files = {"condition": content(step(complete=value)), "step": content(step("a"), value)}
    file = files.get(where) or content(policy=value)

    found = {problem.code for problem in read(file).problems}

    assert VALIDATOR.is_valid(file) == found.isdisjoint(STRUCTURAL), (file, found)
