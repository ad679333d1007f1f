"""rules.labfile: a lab file is read whole, or every problem of it is told at its place."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import ErrorDetails

from rules import labfile_problems, model, patterns
from rules.labfile import (
    DefinitionError,
    LabFile,
    definition,
    digest,
    lab_from_definition,
    parse_lab,
)
from rules.labfile_models import MAX_BYTES, MAX_PATTERNS, MAX_STEPS
from rules.labfile_problems import MAX_PROBLEMS, ProblemCode
from rules.model import Lab, Policy, Problem, Step
from tests.support.labfiles import EXAMPLE, JSON, content, read, step

CHECK = {"type": "check", "name": "lint", "app_id": 7}
WORKFLOW = {"type": "workflow", "path": ".github/workflows/a.yml"}
LACKS = {"type": "lacks", "path": "a", "pattern": "x"}
NONE = {"type": "none"}
CHANGED = {"type": "changed"}
SCHEMA_FILE = Path(__file__).parents[2] / "rules" / "steps.schema.json"


def lab_of(value: Any) -> Lab:
    """The lab of a JSON value that must be valid."""
    result = read(value)
    assert result.problems == ()
    assert result.lab is not None
    return result.lab


def problems_of(value: Any) -> list[tuple[str, str]]:
    """Code and pointer of each problem of a JSON value that must not be valid."""
    result = read(value)
    assert result.lab is None
    assert result.problems
    return [(problem.code, problem.pointer) for problem in result.problems]


def one_problem(data: bytes) -> Problem:
    """The only problem of some bytes."""
    result = parse_lab(data)
    assert result.lab is None
    (problem,) = result.problems
    return problem


# --------------------------------------------------------------------------------------------------- what is accepted


def test_every_field_of_the_file_becomes_a_value() -> None:
    """A file that uses the whole language is read into the values of the model, in order."""
    assert parse_lab(EXAMPLE.encode()) == LabFile(
        Lab(
            title="React stale closure",
            branch="main",
            protected=("tests/**", ".forgea/**", ".github/**"),
            shared=("README.md", "notes/"),
            policy=Policy("warn", "warn", "block", "warn", "never"),
            steps=(
                Step(
                    id="reproduce",
                    title="Reproduce the bug",
                    description="See *it*.",
                    files=("src/hooks/**", "!**/*.md"),
                    needs=(),
                    complete=model.Changed("all"),
                ),
                Step(
                    id="fix",
                    title="Fix the closure",
                    files=("src/hooks/useTimer.ts",),
                    needs=("reproduce",),
                    aliases=("repair",),
                    complete=model.AllOf(
                        (
                            model.Contains("src/hooks/useTimer.ts", "useRef\\("),
                            model.Workflow(".github/workflows/test.yml"),
                        )
                    ),
                    hints=("Look at which render the callback closes over.",),
                ),
                Step(
                    id="explain",
                    title="Explain it",
                    files=("ANSWER.md",),
                    needs=("fix",),
                    optional=True,
                    complete=model.Approval(),
                ),
            ),
        ),
        (),
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"type": "changed"}, model.Changed("any")),
        ({"type": "changed", "match": 3}, model.Changed(3)),
        ({"type": "exists", "paths": ["a", "b/**"]}, model.Exists(("a", "b/**"))),
        ({"type": "absent", "paths": ["a"]}, model.Absent(("a",))),
        ({"type": "contains", "path": "a", "pattern": "x|^y"}, model.Contains("a", "x|^y")),
        ({"type": "lacks", "path": "*.ts", "pattern": "TODO"}, model.Lacks("*.ts", "TODO")),
        ({"type": "approval"}, model.Approval()),
        ({"type": "none"}, model.Nothing()),
        ({"type": "workflow", "path": ".github/workflows/a.yaml"}, model.Workflow(".github/workflows/a.yaml")),
        (CHECK, model.Check("lint", 7)),
        ({"type": "all", "of": [{"type": "none"}]}, model.AllOf((model.Nothing(),))),
        ({"type": "any", "of": [{"type": "none"}]}, model.AnyOf((model.Nothing(),))),
        (
            {"type": "not", "of": {"type": "any", "of": [{"type": "exists", "paths": ["a"]}, {"type": "changed"}]}},
            model.Not(model.AnyOf((model.Exists(("a",)), model.Changed()))),
        ),
    ],
)
def test_every_type_of_condition_is_read(raw: dict[str, Any], expected: model.Condition) -> None:
    """Each type of condition becomes its value when it is supported."""
    assert lab_of(content(step(complete=raw))).steps[0].complete == expected


def test_what_is_left_out_has_its_default() -> None:
    """A minimal file has default policy, no branch, and one step complete by any change."""
    lab = lab_of(content())

    assert lab == Lab(
        title="A lab",
        branch=None,
        protected=(".forgea/**",),
        shared=(),
        policy=Policy(),
        steps=(Step("one", "Step one", ("one.txt",), (), model.Changed("any")),),
    )


def test_a_step_needs_the_nearest_earlier_step_that_is_not_optional() -> None:
    """Without `needs` the steps form a chain that leaves optional steps aside; an empty list is open from the start."""
    lab = lab_of(
        content(
            step("zero", optional=True),
            step("a"),
            step("b", optional=True),
            step("c", optional=True),
            step("d"),
            step("e", needs=[]),
            step("f", needs=["e", "b"]),
        )
    )

    assert [one.needs for one in lab.steps] == [(), (), ("a",), ("a",), ("a",), (), ("e", "b")]


def test_a_step_may_need_a_later_one() -> None:
    """Needs point anywhere as long as no steps wait for each other."""
    lab = lab_of(content(step("a", needs=["b"]), step("b", needs=[])))

    assert [one.needs for one in lab.steps] == [("b",), ()]


def test_steps_without_files_are_fine_where_the_condition_needs_none() -> None:
    """`files` may be left out for conditions that name their own paths or none."""
    conditions = [
        {"type": "none"},
        {"type": "approval"},
        {"type": "exists", "paths": ["a"]},
        {"type": "not", "of": {"type": "contains", "path": "a", "pattern": "b"}},
    ]
    lab = lab_of(content(*(step(f"s{at}", files=..., complete=raw) for at, raw in enumerate(conditions))))

    assert [one.files for one in lab.steps] == [(), (), (), ()]


def test_the_lab_file_is_protected_whatever_the_author_says() -> None:
    """`.forgea/**` comes last, so that no pattern of the author's takes it back."""
    lab = lab_of(content(protected=[".forgea/**", "a", "!.forgea/x"]))

    assert lab.protected == ("a", "!.forgea/x", ".forgea/**")


def test_workflows_are_protected_when_a_step_uses_one() -> None:
    """A workflow condition, however deep, protects `.github/**` too."""
    deep = {"type": "any", "of": [NONE, {"type": "all", "of": [WORKFLOW]}]}

    assert lab_of(content(step(complete=deep))).protected == (".forgea/**", ".github/**")


@pytest.mark.heavy
def test_a_file_at_every_limit_is_accepted() -> None:
    """The limits themselves are allowed: 100 steps, 50 patterns a step, 2,000 in all, 256 characters, 64 of an id."""
    steps = [step(f"s{number}", files=["x" * 256, *("y" * 19)]) for number in range(MAX_STEPS - 1)]
    steps.append(step("i" * 64, files=["y"] * 20))
    lab = lab_of(content(*steps))
    assert len(lab.steps) == MAX_STEPS

    assert len(lab_of(content(step(files=["x"] * 50), protected=["p"] * (MAX_PATTERNS - 50))).protected) == 1_951
    text = json.dumps(content(title="x"))
    assert parse_lab((text + " " * (MAX_BYTES - len(text))).encode()).lab is not None


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b" " * (MAX_BYTES + 1), "STEPS001", (1, 1)),
        (b'{\n "t": "\xc3\xa9\xff"}', "STEPS002", (2, 9)),
        (b"\xff\xfe{\x00}\x00", "STEPS002", (1, 1)),
        (b"", "STEPS003", (1, 1)),
        (b'{"version": 1,}', "STEPS003", (1, 14)),
        (b'{"version": 1, "version": 1}', "STEPS004", (1, 16)),
        (b"\xef\xbb\xbf{}", "STEPS005", (1, 1)),
        (b'{"version": NaN}', "STEPS006", (1, 13)),
        (b'{"version": ' + b"1" * 10_000 + b"}", "STEPS006", (1, 13)),
        (b"[" * 100_000, "STEPS007", (1, 65)),
        (b'{"title": "\\ud800"}', "STEPS008", (1, 12)),
        (b"[]", "STEPS012", (1, 1)),
        (b"null", "STEPS012", (1, 1)),
    ],
)
def test_what_is_no_json_object_is_one_problem_at_its_place(data: bytes, code: str, place: tuple[int, int]) -> None:
    """Too large, no UTF-8, no strict JSON, no object: one problem, exactly placed, and never a crash."""
    problem = one_problem(data)

    assert (problem.code, (problem.line, problem.column)) == (code, place)


def negated(part: dict[str, Any]) -> dict[str, Any]:
    """A condition `not` over `all` over `changed` and the part."""
    return {"type": "not", "of": {"type": "all", "of": [{"type": "changed"}, part]}}


@pytest.mark.parametrize(
    ("value", "code", "pointer"),
    [
        (content(titel="x"), "STEPS010", "/titel"),
        (content(policy={"protect": "block"}), "STEPS010", "/policy/protect"),
        (content(step(file=[])), "STEPS010", "/steps/0/file"),
        (content(step(complete={"type": "changed", "mach": 1})), "STEPS010", "/steps/0/complete/mach"),
        (content(step(complete={"type": "not", "of": CHANGED | {"x": 1}})), "STEPS010", "/steps/0/complete/of/x"),
        (content(step(complete={"type": "any", "of": [NONE | {"of": []}]})), "STEPS010", "/steps/0/complete/of/0/of"),
        (content(version=...), "STEPS011", ""),
        (content(title=...), "STEPS011", ""),
        (content(steps=...), "STEPS011", ""),
        (content(step(title=...)), "STEPS011", "/steps/0"),
        (content(step(complete={"type": "exists"})), "STEPS011", "/steps/0/complete"),
        (content(step(complete={})), "STEPS011", "/steps/0/complete"),
        (content(title=3), "STEPS012", "/title"),
        (content(title=None), "STEPS012", "/title"),
        (content(shared={"a": 1}), "STEPS012", "/shared"),
        (content(shared=[1.5]), "STEPS012", "/shared/0"),
        (content(steps=True), "STEPS012", "/steps"),
        (content(step(), "two"), "STEPS012", "/steps/1"),
        (content(step(needs="one")), "STEPS012", "/steps/0/needs"),
        (content(step(aliases=[7])), "STEPS012", "/steps/0/aliases/0"),
        (content(step(needs=[7])), "STEPS012", "/steps/0/needs/0"),
        (content(step(optional="yes")), "STEPS012", "/steps/0/optional"),
        (content(step(complete="changed")), "STEPS012", "/steps/0/complete"),
        (content(step(complete={"type": ["changed"]})), "STEPS012", "/steps/0/complete/type"),
        (content(step(complete={"type": "all", "of": {"type": "none"}})), "STEPS012", "/steps/0/complete/of"),
        (content(step(complete=CHECK | {"app_id": "7"})), "STEPS012", "/steps/0/complete/app_id"),
        (content(policy={"rework": "deny"}), "STEPS013", "/policy/rework"),
        (content(step(complete={"type": "changed", "match": 0})), "STEPS013", "/steps/0/complete/match"),
        (content(step(complete={"type": "changed", "match": True})), "STEPS013", "/steps/0/complete/match"),
        (content(step(complete={"type": "changed", "match": "some"})), "STEPS013", "/steps/0/complete/match"),
        (content(step(complete={"type": "changed", "match": 10**30})), "STEPS013", "/steps/0/complete/match"),
        (content(title=""), "STEPS014", "/title"),
        (content(title=" \n"), "STEPS014", "/title"),
        (content(title="x" * 201), "STEPS014", "/title"),
        (content(steps=[]), "STEPS014", "/steps"),
        (content(*(step(f"s{n}") for n in range(101))), "STEPS014", "/steps"),
        (content(step(files=["x"] * 51)), "STEPS014", "/steps/0/files"),
        (content(step(files=["x" * 257])), "STEPS014", "/steps/0/files/0"),
        (content(step(hints=[""])), "STEPS014", "/steps/0/hints/0"),
        (content(step(complete={"type": "any", "of": []})), "STEPS014", "/steps/0/complete/of"),
        (content(step(complete={"type": "exists", "paths": []})), "STEPS014", "/steps/0/complete/paths"),
        (content(protected=["p"] * 1_000, shared=["s"] * 1_000), "STEPS014", ""),
        (content(step(complete=CHECK | {"app_id": 0})), "STEPS014", "/steps/0/complete/app_id"),
        (content(step(complete=CHECK | {"app_id": 2**53})), "STEPS014", "/steps/0/complete/app_id"),
        (content(version="1"), "STEPS015", "/version"),
        (content(version=1.0), "STEPS015", "/version"),
        (content(version=True), "STEPS015", "/version"),
        (content(step("Fix it")), "STEPS016", "/steps/0/id"),
        (content(step("-a")), "STEPS016", "/steps/0/id"),
        (content(step("é")), "STEPS016", "/steps/0/id"),
        (content(step("a\n", files=["a"])), "STEPS016", "/steps/0/id"),
        (content(step("i" * 65)), "STEPS016", "/steps/0/id"),
        (content(step(aliases=["A"])), "STEPS016", "/steps/0/aliases/0"),
        (content(step(needs=["A"])), "STEPS016", "/steps/0/needs/0"),
        (content(branch=""), "STEPS014", "/branch"),
        (content(branch="refs/heads/main"), "STEPS017", "/branch"),
        (content(branch="a b"), "STEPS017", "/branch"),
        (content(branch="a..b"), "STEPS017", "/branch"),
        (content(branch="-a"), "STEPS017", "/branch"),
        (content(branch="a//b"), "STEPS017", "/branch"),
        (content(branch="a/.b"), "STEPS017", "/branch"),
        (content(branch="a.lock"), "STEPS017", "/branch"),
        (content(branch="a."), "STEPS017", "/branch"),
        (content(branch="a@{b"), "STEPS017", "/branch"),
        (content(branch="a~1"), "STEPS017", "/branch"),
        (content(step("a"), step("b"), step("a")), "STEPS020", "/steps/2/id"),
        (content(step("a"), step("b", aliases=["a"])), "STEPS020", "/steps/1/aliases/0"),
        (content(step("a", aliases=["x"]), step("b", aliases=["x"])), "STEPS020", "/steps/1/aliases/0"),
        (content(step("a", aliases=["a"])), "STEPS020", "/steps/0/aliases/0"),
        (content(step("a"), step("b", needs=["a", "c"])), "STEPS021", "/steps/1/needs/1"),
        (content(step("a", needs=["a"])), "STEPS022", "/steps/0/needs/0"),
        (content(step("a", needs=["b"]), step("b", needs=["a"])), "STEPS022", "/steps/0/needs"),
        (content(step("a", needs=["b"]), step("b")), "STEPS022", "/steps/0/needs"),
        (content(step("x", needs=["b"]), step("a", needs=["c"]), step("b"), step("c")), "STEPS022", "/steps/1/needs"),
        (content(step("a"), step("b", needs=["a", "a"])), "STEPS023", "/steps/1/needs/1"),
        (content(step(files=...)), "STEPS024", "/steps/0"),
        (content(step(files=[])), "STEPS024", "/steps/0"),
        (content(step(files=..., complete={"type": "all", "of": [NONE, {"type": "changed"}]})), "STEPS024", "/steps/0"),
        (content(step("a", optional=True), step("b", optional=True)), "STEPS025", "/steps"),
        (content(step(complete={"type": "change"})), "STEPS030", "/steps/0/complete/type"),
        (content(step(complete={"type": "not", "of": {"type": ""}})), "STEPS030", "/steps/0/complete/of/type"),
        (content(step(complete=negated({"type": "approval"}))), "STEPS032", "/steps/0/complete/of/of/1/type"),
        (content(step(complete=negated(NONE))), "STEPS032", "/steps/0/complete/of/of/1/type"),
        (content(step(complete=negated(WORKFLOW))), "STEPS032", "/steps/0/complete/of/of/1/type"),
        (content(step(complete=negated(CHECK))), "STEPS032", "/steps/0/complete/of/of/1/type"),
        (content(step(complete=CHECK | {"app_id": 15368})), "STEPS033", "/steps/0/complete/app_id"),
        (content(step(complete=WORKFLOW | {"path": "test.yml"})), "STEPS034", "/steps/0/complete/path"),
        (content(step(complete=WORKFLOW | {"path": ".github/workflows/a/.yml"})), "STEPS034", "/steps/0/complete/path"),
        (content(step(complete=WORKFLOW | {"path": ".github/workflows/a.txt"})), "STEPS034", "/steps/0/complete/path"),
        (content(step(files=["a["])), "STEPS040", "/steps/0/files/0"),
        (content(protected=["a", "./b"]), "STEPS040", "/protected/1"),
        (content(shared=["#a"]), "STEPS040", "/shared/0"),
        (content(step(complete={"type": "absent", "paths": ["a", "!b"]})), "STEPS040", "/steps/0/complete/paths/1"),
        (content(step(complete=LACKS | {"path": "/"})), "STEPS040", "/steps/0/complete/path"),
        (content(step(files=["!a", "!b"])), "STEPS041", "/steps/0/files"),
        (content(step(complete=LACKS | {"pattern": "(?=x)"})), "STEPS042", "/steps/0/complete/pattern"),
    ],
)  # fmt: skip
def test_each_rule_has_its_code_and_place(value: dict[str, Any], code: str, pointer: str) -> None:
    """A file that breaks one rule has exactly that problem, at that part of it."""
    assert problems_of(value) == [(code, pointer)]


def test_what_re2_cannot_hold_is_a_problem_of_all_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little memory for RE2 few patterns are too many (those that are too many for all of it: below)."""
    monkeypatch.setattr(patterns, "MAX_MEMORY", 1 << 16)

    assert problems_of(content(step(files=[f"{n}{'?' * 100}" for n in range(9)]))) == [("STEPS043", "/steps")]


@pytest.mark.heavy
def test_patterns_that_re2_cannot_hold_together_are_a_problem() -> None:
    """Patterns that are fine one by one but too large for one set are told when the file is read."""
    steps = [step(f"s{n}", files=[f"{n}x{m}{'?' * 240}" for m in range(20)]) for n in range(16)]

    assert problems_of(content(*steps)) == [("STEPS043", "/steps")]


@pytest.mark.heavy
def test_paths_of_conditions_belong_to_the_set_and_to_the_count() -> None:
    """The patterns that conditions name, however nested, count for the limit and for RE2's memory."""

    def condition(paths: list[str]) -> dict[str, Any]:
        parts = [
            {"type": "exists", "paths": paths},
            {"type": "contains", "path": paths[0], "pattern": "x"},
            {"type": "changed"},
        ]
        return {"type": "all", "of": [{"type": "not", "of": {"type": "any", "of": parts}}]}

    heavy = [step(f"s{n}", complete=condition([f"{n}x{m}{'?' * 240}" for m in range(20)])) for n in range(16)]
    assert problems_of(content(*heavy)) == [("STEPS043", "/steps")]
    many = [step(f"s{n}", complete=condition(["a"] * 18)) for n in range(100)]
    assert lab_of(content(*many)).steps
    many[0]["files"] = ["a", "b"]
    assert problems_of(content(*many)) == [("STEPS014", "")]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    """Wrong values, unknown keys and broken needs of one file are told together, by line and column."""
    text = """{
  "version": 1,
  "title": 5,
  "polcy": {},
  "steps": [
    {"id": "a", "title": "A", "files": ["x", "a["], "needs": ["zeta"]},
    {"id": "zet", "titel": "B", "files": ["!b"], "complete": {"type": "exist", "paths": []}},
    {"id": "a", "title": "C", "optional": 1}
  ]
}"""
    result = parse_lab(text.encode())

    assert [(found.line, found.column, found.code, found.pointer) for found in result.problems] == [
        (3, 12, "STEPS012", "/title"),
        (4, 3, "STEPS010", "/polcy"),
        (6, 46, "STEPS040", "/steps/0/files/1"),
        (6, 63, "STEPS021", "/steps/0/needs/0"),
        (7, 5, "STEPS011", "/steps/1"),
        (7, 19, "STEPS010", "/steps/1/titel"),
        (7, 42, "STEPS041", "/steps/1/files"),
        (7, 71, "STEPS030", "/steps/1/complete/type"),
        (8, 5, "STEPS024", "/steps/2"),
        (8, 12, "STEPS020", "/steps/2/id"),
        (8, 43, "STEPS012", "/steps/2/optional"),
    ]
    assert all(found.message.endswith(".") for found in result.problems)


def test_a_file_of_a_later_version_has_one_problem() -> None:
    """What another version of the format means is not guessed: only the version is told."""
    assert problems_of({"version": 2, "sections": []}) == [("STEPS015", "/version")]


@pytest.mark.parametrize(
    ("value", "message", "suggestion"),
    [
        (content(titel="x"), '"titel" is not a key that is known here.', 'Did you mean "title"?'),
        (content(**{"\x07" * 80: 1}), "is not a key", "Known are $schema, version, title,"),
        (content(step(complete={"type": "exist"})), '"exist" is not a type of condition.', 'Did you mean "exists"?'),
        (content(step(complete={"type": "magic"})), '"magic"', "Known are changed, exists,"),
        (content(step(complete={"x": 1})), 'The condition has no "type".', "Known are changed, exists,"),
        (content(policy={"protected": "Blok"}), 'This must be "block" or "warn".', 'Did you mean "block"?'),
        (content(policy={"unmapped": 7}), 'This must be "allow", "warn" or "block".', ""),
        (content(version=2), "reads lab files of version 1 only", 'Write "version": 1.'),
        (content(step("Fix It!")), '"Fix It!" is not an id.', 'Write "fix-it".'),
        (content(step("??")), '"??" is not an id.', ""),
        (content(step("first"), step("b", needs=["frist"])), 'No step has the id "frist".', 'Did you mean "first"?'),
        (content(step("a", aliases=["old"]), step("b", needs=["old"])), 'has the id "old".', 'is now called "a".'),
        (content(step("a", needs=["c"]), step("b"), step("c")), '"a" -> "c" -> "b" -> "a".', "Remove one"),
        (content(step("a"), step("a")), '"a" names a step already; see line 1.', "used once"),
        (content(title="x" * 201), "more than 200 characters", ""),
        (content(step(files=["x"] * 51)), "more than 50 entries", ""),
        (content(shared=[None]), "Expected text, not null.", ""),
        (content(shared=True), "Expected a list, not true or false.", ""),
        (content(step(complete=LACKS | {"pattern": "("})), "RE2 cannot read the expression: missing ): (", ""),
    ],
)  # fmt: skip
def test_sentences_say_what_is_wrong_and_what_to_write(value: dict[str, Any], message: str, suggestion: str) -> None:
    """Each problem is a sentence in plain words, with a suggestion where one can be made."""
    (problem,) = read(value).problems

    assert message in problem.message
    assert suggestion in problem.suggestion
    assert bool(suggestion) == bool(problem.suggestion)
    assert len(problem.message) < 400


def test_two_rings_are_told_each_once() -> None:
    """Steps that wait for each other are told once for each ring, and a step that only leads into one is not blamed."""
    steps = [step("a", needs=["b"]), step("b", needs=["a"]), step("c", needs=["a"]), step("d", needs=["e"]), step("e")]

    assert problems_of(content(*steps)) == [("STEPS022", "/steps/0/needs"), ("STEPS022", "/steps/3/needs")]


def test_needs_of_the_wrong_type_hide_no_other_problem() -> None:
    """A file full of wrong types is told type by type; nothing crashes on the way."""
    value = content(
        {"id": 1, "title": "t", "files": 3, "needs": [[]], "aliases": "x", "complete": {"type": "all", "of": 3}},
        {"id": "b", "title": "t", "files": ["b"], "complete": {"type": "exists", "paths": 1}},
    )

    wrong = ["0/id", "0/files", "0/needs/0", "0/aliases", "0/complete/of", "1/complete/paths"]
    assert problems_of(value) == [("STEPS012", f"/steps/{path}") for path in wrong]


def test_too_many_problems_are_counted_not_listed() -> None:
    """A file with thousands of problems is answered in moments: the first ones, and how many more there are."""
    names = [f"s{number}-{'x' * 50}" for number in range(30)]
    steps = [step(name, needs=[f"s{at}-{'y' * 50}" for at in range(100)]) for name in names]
    started = time.monotonic()

    result = read(content(*steps))

    assert time.monotonic() - started < 30
    assert len(result.problems) == MAX_PROBLEMS + 1
    assert result.problems[-1].code == "STEPS099"
    assert result.problems[-1].message == f"The file has {3_000 - MAX_PROBLEMS} more problems."


@pytest.mark.heavy
@given(JSON, st.sampled_from(["steps", "step", "complete", "file"]))
def test_any_json_is_a_lab_or_has_problems_inside_the_file(value: object, where: str) -> None:
    """Reading is total: whatever stands where, there is a lab or there are problems, each placed inside the text."""
    files: dict[str, Any] = {
        "steps": content(steps=value),
        "step": content(step("a"), value),
        "complete": content(step(complete=value)),
        "file": value,
    }
    text = json.dumps(files[where], indent=1)
    lines = text.split("\n")

    result = parse_lab(text.encode())

    assert (result.lab is None) == bool(result.problems)
    for problem in result.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1])
        assert problem.code in set(ProblemCode)


def test_codes_are_unique() -> None:
    """No code has two meanings."""
    assert len(set(ProblemCode)) == len(ProblemCode.__members__)


def test_an_error_that_a_later_pydantic_invents_is_told_in_its_words() -> None:
    """An error type without a sentence of ours is passed on rather than dropped or crashed on."""
    details = cast("ErrorDetails", {"type": "brand_new", "loc": (), "msg": "Something new", "input": 1})

    assert labfile_problems._sentence(details) == (ProblemCode.LIMIT, "Something new", "")


# ------------------------------------------------------------------------------------------------------- definitions

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
TUPLES = st.lists(WORDS, max_size=3).map(tuple)
LEAVES = st.one_of(
    st.builds(model.Changed, st.sampled_from(["any", "all"]) | st.integers(1, 100_000)),
    st.builds(model.Exists, TUPLES),
    st.builds(model.Absent, TUPLES),
    st.builds(model.Contains, WORDS, WORDS),
    st.builds(model.Lacks, WORDS, WORDS),
    st.just(model.Approval()),
    st.just(model.Nothing()),
    st.builds(model.Workflow, WORDS),
    st.builds(model.Check, WORDS, st.integers(1, 2**53 - 1)),
)
CONDITIONS: st.SearchStrategy[model.Condition] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(model.AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(model.AnyOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(model.Not, inner),
    ),
    max_leaves=6,
)
STEPS = st.builds(Step, WORDS, WORDS, TUPLES, TUPLES, CONDITIONS, st.booleans(), WORDS, TUPLES, TUPLES)
POLICIES = st.builds(
    Policy,
    st.sampled_from(["block", "warn"]),
    st.sampled_from(["block", "warn"]),
    st.sampled_from(["allow", "warn", "block"]),
    st.sampled_from(["allow", "warn", "block"]),
    st.sampled_from(["rewrite", "always", "never"]),
)
LABS = st.builds(Lab, WORDS, st.none() | WORDS, TUPLES, TUPLES, POLICIES, st.lists(STEPS, max_size=4).map(tuple))


@pytest.mark.heavy
@given(LABS)
def test_a_definition_gives_the_same_lab_back(lab: Lab) -> None:
    """A lab survives storage as JSON whole, and its digest with it."""
    stored = json.loads(json.dumps(definition(lab), sort_keys=True))

    assert lab_from_definition(stored) == lab
    assert digest(lab_from_definition(stored)) == digest(lab)


@pytest.mark.heavy
@given(LABS, LABS)
def test_digests_differ_exactly_when_labs_do(one: Lab, other: Lab) -> None:
    """The digest stands for the whole lab."""
    assert (digest(one) == digest(other)) == (one == other)


def test_the_digest_is_stable() -> None:
    """The digest of a known lab never changes between versions of the code: stored versions are compared by it."""
    assert digest(lab_of(content())) == "32c58047b937157af4f11da44f5db8e09d79a6c6f3c3ea4ad99043c895028bac"


def test_a_definition_reads_as_the_file_it_came_from() -> None:
    """The definition of a lab with a branch is itself a lab file: an operator sees the author's language stored."""
    lab = parse_lab(EXAMPLE.encode()).lab
    assert lab is not None

    assert read(definition(lab)).lab == lab


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"version": 2},
        [],
        definition(lab_of(content())) | {"steps": [{"id": "a"}]},
        definition(lab_of(content())) | {"policy": {"new": "block"}},
        definition(lab_of(content())) | {"steps": [step(needs=[], complete={"type": "x"})]},
        definition(lab_of(content())) | {"steps": None},
    ],
)  # fmt: skip
def test_a_broken_stored_definition_is_our_fault(stored: Any) -> None:
    """What storage gives back broken is an error of ours, not a problem of the author's file."""
    with pytest.raises(DefinitionError, match="stored definition"):
        lab_from_definition(stored)
