"""rules.lint: what a lab file means is told before a learner meets it, at its place, without crying wolf."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.labfile import parse_lab
from rules.labfile_models import MAX_BYTES
from rules.lint import Coverage, LintResult, TemplateFile, lint, needed_contents
from rules.model import Problem
from tests.support.effort import examples
from tests.support.labfiles import JSON, content, step
from tests.support.labs import blob_sha

Found = list[tuple[str, str]]
CHANGED = {"type": "changed"}
APPROVAL = {"type": "approval"}


def exists(*paths: str) -> dict[str, Any]:
    """A condition that these paths exist."""
    return {"type": "exists", "paths": list(paths)}


def absent(*paths: str) -> dict[str, Any]:
    """A condition that these paths are absent."""
    return {"type": "absent", "paths": list(paths)}


def contains(path: str, pattern: str = "x") -> dict[str, Any]:
    """A condition that a file contains a text."""
    return {"type": "contains", "path": path, "pattern": pattern}


def lacks(path: str, pattern: str = "x") -> dict[str, Any]:
    """A condition that a file lacks a text."""
    return {"type": "lacks", "path": path, "pattern": pattern}


def workflow(path: str = ".github/workflows/test.yml") -> dict[str, Any]:
    """A condition that a workflow passes."""
    return {"type": "workflow", "path": path}


def every(*of: Any) -> dict[str, Any]:
    """A condition that all parts hold."""
    return {"type": "all", "of": list(of)}


def some(*of: Any) -> dict[str, Any]:
    """A condition that some part holds."""
    return {"type": "any", "of": list(of)}


def no(of: Any) -> dict[str, Any]:
    """A condition that the part does not hold."""
    return {"type": "not", "of": of}


def files_of(contents: dict[str, str], mode: str = "100644") -> list[TemplateFile]:
    """A template of these files."""
    return [TemplateFile(path, mode, blob_sha(text.encode())) for path, text in contents.items()]


def linted(value: Any, template: dict[str, str] | None = None, **options: Any) -> LintResult:
    """What the linter says of a JSON value beside a template, whose contents it is given."""
    data = json.dumps(value).encode()
    if template is None:
        return lint(data, **options)
    contents = {path: text.encode() for path, text in template.items()}
    return lint(data, **{"template": files_of(template), "contents": contents} | options)


def problems_of(value: Any, template: dict[str, str] | None = None) -> Found:
    """Code and pointer of each problem."""
    return [(problem.code, problem.pointer) for problem in linted(value, template).problems]


def message_of(value: Any, template: dict[str, str] | None = None) -> str:
    """Message and suggestion of the only problem."""
    (problem,) = linted(value, template).problems
    return f"{problem.message} {problem.suggestion}"


# ------------------------------------------------------------------------------------------------------ the interface


def test_a_file_that_cannot_be_read_has_its_problems() -> None:
    """What `parse_lab` says is told as it is; there is neither lab nor coverage."""
    data = json.dumps(content(titel="x")).encode()

    result = lint(data, template=files_of({"a": ""}))

    assert result == LintResult(None, parse_lab(data).problems, None)
    assert lint(b"{").problems == parse_lab(b"{").problems


def test_warnings_leave_the_lab_and_errors_do_not() -> None:
    """A lab with warnings may be published, one with an error may not; either way it is told what is covered."""
    warned = linted(content(step(files=["a", "a"])), {"a": ""})
    wrong = linted(content(step(complete=exists("two.md")), step("two", files=["two.md"])), {"a": ""})

    assert warned.lab is not None
    assert [problem.severity for problem in warned.problems] == ["warning"]
    assert wrong.lab is None
    assert "error" in {problem.severity for problem in wrong.problems}
    assert warned.coverage is not None
    assert wrong.coverage is not None


def test_coverage_says_where_every_file_belongs() -> None:
    """Each file of the template is protected, shared, or owned by none, one or several steps."""
    value = content(
        step("a", files=["src/**"]), step("b", files=["/src/b.js"]), protected=["tests/**"], shared=["notes/"]
    )
    paths = ["z.txt", "src/a.js", "src/b.js", "tests/t.js", "notes/n.md", ".forgea/steps.json"]

    coverage = linted(value, dict.fromkeys(paths, "")).coverage

    assert coverage == Coverage(
        owners={"src/a.js": ("a",), "src/b.js": ("a", "b"), "z.txt": ()},
        protected=(".forgea/steps.json", "tests/t.js"),
        shared=("notes/n.md",),
    )
    assert (coverage.none, coverage.one, coverage.several) == (("z.txt",), ("src/a.js",), ("src/b.js",))
    assert (coverage.of_step("a"), coverage.of_step("b")) == (("src/a.js", "src/b.js"), ("src/b.js",))


def test_needed_contents_are_those_that_conditions_read() -> None:
    """The caller reads the files that `contains` and `lacks` name, and no other; links have no text."""
    lab = parse_lab(json.dumps(content(step(complete=every(contains("a.md"), lacks("*.js"), CHANGED)))).encode()).lab
    assert lab is not None
    template = files_of({"a.md": "1", "b.md": "2", "src/c.js": "3"}) + files_of({"d.js": "4"}, "120000")

    assert needed_contents(lab, template) == {"a.md", "src/c.js"}


def test_work_is_told_before_it_is_done() -> None:
    """The caller can end a lint that takes too long: what its tick raises comes through."""

    def tick(_steps: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        linted(content(), {"a": ""}, tick=tick)


def test_the_patterns_of_a_lab_that_matching_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """When RE2 gives up while paths are matched, the author is told that the patterns are too large."""
    from rules import lint_survey
    from rules.patterns import PatternError, SinglePatterns

    class Full(SinglePatterns):
        def match(self, path: str) -> int:
            raise PatternError("The patterns of the lab together are too large for RE2.")

    monkeypatch.setattr(lint_survey, "SinglePatterns", Full)

    assert problems_of(content()) == [("STEPS043", "/steps")]


# ------------------------------------------------------------------------------------------------ steps without an end


@pytest.mark.parametrize(
    ("value", "pointer", "words"),
    [
        # files that never count
        (content(step(files=["tests/**"]), protected=["tests/**"]), "/steps/0/complete", "no file of the step"),
        (content(step(files=[".forgea/x"])), "/steps/0/complete", "no file of the step"),
        (content(step(files=["a.md"]), shared=["*.md"]), "/steps/0/complete", "no file of the step"),
        (content(step(files=["a.md", "b/", "!*"])), "/steps/0/complete", "no file of the step"),
        (
            content(step(files=["src/**", "tests/a.js"], complete=CHANGED | {"match": "all"}), protected=["tests/"]),
            "/steps/0/complete",
            '"tests/a.js" names can count',
        ),
        (
            content(step(files=["/a.md", "src/b.js"], complete=CHANGED | {"match": 3})),
            "/steps/0/complete",
            "wants 3 files changed, and `files` names 2",
        ),
        # paths that learners cannot change
        (content(step(complete=contains("tests/a.js")), protected=["tests/**"]), "/steps/0/complete/path", "protected"),
        (content(step(complete=exists("tests/**")), protected=["tests/**"]), "/steps/0/complete/paths/0", "protected"),
        (content(step(complete=exists("x/")), protected=["x"]), "/steps/0/complete/paths/0", "protected"),
        (content(step(complete=absent("tests/a.js")), protected=["tests/"]), "/steps/0/complete/paths/0", "protected"),
        (content(step(complete=exists("b.md")), policy={"unmapped": "block"}), "/steps/0/complete/paths/0", "no step"),
        (content(step(complete=exists("two.txt")), step("two")), "/steps/0/complete/paths/0", '("two")'),
        (
            content(step(complete=some(no(lacks("three.txt")), exists("two.txt"))), step("two"), step("three")),
            "/steps/0/complete/of/0/of/path",
            '("three")',
        ),
    ],
)  # fmt: skip
def test_a_step_that_can_never_complete_is_an_error(value: Any, pointer: str, words: str) -> None:
    """Whatever learners do, the condition stays as it is: told at the part of it that cannot be."""
    result = linted(value)

    assert [(problem.code, problem.pointer) for problem in result.problems] == [("STEPS050", pointer)]
    assert words in result.problems[0].message
    assert result.lab is None


@pytest.mark.parametrize(
    "value",
    [
        content(step(files=["tests/**"]), protected=["tests/**", "!tests/free/**"]),
        content(step(files=["**/*.ts"]), protected=["**", "!src/**"]),
        content(step(files=["a*"]), protected=["*", "!abc.md"]),
        content(step(complete=exists("**/*.ts")), protected=["**", "!src/**"]),
        content(step(files=["**/*.md"], complete=exists("report")), policy={"unmapped": "block"}),
        content(step(files=["src/**"], complete=exists("**/*.ts")), policy={"unmapped": "block"}),
        content(step(complete=exists("b.md"))),
        content(step(complete=exists("b.md")), policy={"unmapped": "block"}, shared=["b.md"]),
        content(step(complete=exists("two.txt")), step("two"), policy={"out_of_order": "warn"}),
        content(step(complete=exists("two.txt")), step("two", needs=[])),
        content(step("two"), step(complete=exists("two.txt"))),
        content(step(complete=contains("tests/a.js")), protected=["tests/**"], policy={"protected": "warn"}),
        content(step(complete=some(exists("tests/a.js"), CHANGED)), protected=["tests/**"]),
        content(step(complete=every(exists("tests/a.js"), CHANGED)), protected=["tests/**"]),
        content(step(complete=every(no(exists("tests/a.js")), CHANGED)), protected=["tests/**"]),
        content(step(files=["/a.md", "src/b.js"], complete=CHANGED | {"match": 2})),
        content(step(files=["a.md"], complete=CHANGED | {"match": 3})),
        content(step(files=["src/"], complete=CHANGED | {"match": 3})),
        content(step(files=["[!\x01-\U0010ffff]*"])),
        content(step(files=..., complete=APPROVAL)),
        content(step(files=..., complete={"type": "none"})),
        content(step(files=..., complete={"type": "check", "name": "lint", "app_id": 7})),
        content(step(files=..., complete=workflow())),
    ],
)
def test_what_can_complete_has_no_problem(value: Any) -> None:
    """A linter that cries wolf is not read: whatever some path makes possible is fine."""
    assert linted(value).problems == ()


TEMPLATE = {"src/a.js": "let a = useRef();\n", "tests/a.js": "test();\n", ".github/workflows/test.yml": "on: push\n"}


@pytest.mark.parametrize(
    ("complete", "expected"),
    [
        (every(exists("tests/a.js"), CHANGED), []),  # always true, and the rest is the learner's
        (every(exists("tests/b.js"), CHANGED), [("STEPS050", "/steps/0/complete/of/0/paths/0")]),
        (every(no(exists("tests/a.js")), CHANGED), [("STEPS050", "/steps/0/complete/of/0/of/paths/0")]),
        (every(absent("tests/a.js"), CHANGED), [("STEPS050", "/steps/0/complete/of/0/paths/0")]),
        (every(contains("tests/a.js", "test"), CHANGED), []),
        (every(contains("tests/a.js", "spec"), CHANGED), [("STEPS050", "/steps/0/complete/of/0/path")]),
        (every(lacks("tests/a.js", "test"), CHANGED), [("STEPS050", "/steps/0/complete/of/0/path")]),
        (every(workflow(), CHANGED), []),
        (workflow(".github/workflows/ci.yml"), [("STEPS050", "/steps/0/complete/path")]),
        (some(workflow(".github/workflows/ci.yml"), CHANGED), []),
    ],
)
def test_what_learners_cannot_change_is_as_the_template_has_it(complete: Any, expected: Found) -> None:
    """Beside the template it is known what a protected file holds, and whether a workflow is there."""
    value = content(step(files=["src/**"], complete=complete), protected=["tests/**"])

    assert problems_of(value, TEMPLATE) == expected


def test_what_holds_whatever_learners_do_is_an_error_too() -> None:
    """A condition on files that only the template changes holds always or never: no work completes the step."""
    value = content(step(complete=exists("tests/a.js")), protected=["tests/**"])

    for template in (None, TEMPLATE):
        result = linted(value, template)
        assert [problem.code for problem in result.problems] == ["STEPS050"]
        assert result.problems[0].message.startswith("Nothing that learners do completes this step: ")


def test_a_content_that_was_not_read_decides_nothing() -> None:
    """Without contents the linter says nothing about what a file holds."""
    value = content(step(files=["src/**"], complete=every(contains("tests/a.js"), CHANGED)), protected=["tests/**"])

    assert linted(value, TEMPLATE, contents=None).problems == ()
    assert linted(content(step(complete=contains("src/a.js", "let"))), TEMPLATE, contents=None).problems == ()


def test_combinations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made to be slow costs a bounded number of tries; past them nothing is claimed."""
    value = content(step(files=["tests/**"]), protected=["tests/**", "!/x"])
    assert problems_of(value) == [("STEPS050", "/steps/0/complete")]

    monkeypatch.setattr("rules.lint_survey.MAX_COMBINATIONS", 1)

    assert problems_of(value) == []


@pytest.mark.heavy
def test_more_warnings_than_are_listed_are_warnings() -> None:
    """A file with more problems than are listed says how many, and is published all the same if none is an error."""
    steps = [step(f"s{n}", files=[f"t/{n}/{m}.js" for m in range(18)], complete=APPROVAL) for n in range(30)]

    result = linted(content(*steps, protected=["t/**"]))

    assert {problem.code for problem in result.problems} == {"STEPS051", "STEPS099"}
    assert result.problems[-1].severity == "warning"
    assert result.lab is not None

    steps.append(step("last", files=["t/x"]))
    wrong = linted(content(*reversed(steps), protected=["t/**"]))
    assert wrong.lab is None


# -------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (content(step(files=["!a", "b"])), [("STEPS044", "/steps/0/files/0")]),
        (content(protected=["!a", "b"]), [("STEPS044", "/protected/0")]),
        (content(shared=["b", "a", "!*"]), [("STEPS045", "/shared/0"), ("STEPS045", "/shared/1")]),
        (content(protected=["b/c", "!b/", "a"]), [("STEPS045", "/protected/0")]),
        (content(step(files=["a.md", "b.js", "!*.md"])), [("STEPS045", "/steps/0/files/0")]),
        (content(step(files=["a", "b", "a"])), [("STEPS046", "/steps/0/files/2")]),
        (content(step(files=["a", "!a", "a"])), [("STEPS046", "/steps/0/files/2")]),
        (content(step(files=["a", "t/b"]), protected=["t/**"]), [("STEPS051", "/steps/0/files/1")]),
        (content(step(files=["t/b"], complete=APPROVAL), protected=["t/**"]), [("STEPS051", "/steps/0/files/0")]),
        (content(step(files=["a", "t/b"]), shared=["t/**"]), [("STEPS052", "/steps/0/files/1")]),
        (content(step(files=["a", "t/b"]), protected=["t/c"], shared=["t/"]), [("STEPS052", "/steps/0/files/1")]),
        (content(policy={"rework": "block"}), [("STEPS054", "/policy/rework")]),
    ],
)  # fmt: skip
def test_lists_that_take_from_each_other_are_told(value: Any, expected: Found) -> None:
    """Patterns without effect, and files that a step cannot have, are warnings at the pattern."""
    result = linted(value)

    assert [(problem.code, problem.pointer) for problem in result.problems] == expected
    assert result.lab is not None


# ------------------------------------------------------------------------------------------------------ one edit

NESTED = [("STEPS053", "/steps/1/complete")]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"files": ["src/**"]}, {"files": ["src/a.js"], "complete": CHANGED}, NESTED),
        ({"files": ["src/a.js"]}, {"files": ["src/**"], "complete": CHANGED}, NESTED),
        ({"files": ["src/**"]}, {"files": ["src/**"], "complete": CHANGED | {"match": 1}}, NESTED),
        ({"files": ["src/**"]}, {"files": ["src/**"], "complete": CHANGED | {"match": 2}}, []),
        ({"files": ["src/**"]}, {"files": ["src/**"], "complete": CHANGED | {"match": "all"}}, NESTED),
        ({"files": ["src/**"]}, {"files": ["src/a", "src/b"], "complete": CHANGED | {"match": "all"}}, []),
        ({"files": ["src/**"]}, {"files": ["src/a"], "complete": every(CHANGED, CHANGED)}, NESTED),
        ({"files": ["src/**"]}, {"files": ["src/a"], "complete": every(CHANGED, contains("src/a"))}, []),
        ({"files": ["src/**"]}, {"files": ["src/a"], "complete": some(CHANGED, APPROVAL)}, NESTED),
        ({"files": ["src/**"]}, {"files": ["src/a"], "complete": APPROVAL}, []),
        ({"files": ["src/**"]}, {"files": ["lib/**"], "complete": CHANGED}, []),
    ],
)
def test_two_steps_that_one_edit_completes_are_told(first: Any, second: Any, expected: Found) -> None:
    """Steps that ask for nothing but a change of a file that they share: the later one is told, once."""
    assert problems_of(content(step("one", **first), step("two", **second))) == expected


def test_one_edit_is_told_with_a_file_of_the_template() -> None:
    """The example is a real file where one is known, and every later step is told once."""
    value = content(*(step(name, files=["src/**"], complete=CHANGED) for name in ("a", "b", "c")))

    problems = linted(value, {"src/deep/x.js": "", "src/y.js": ""}).problems

    assert [problem.pointer for problem in problems] == ["/steps/1/complete", "/steps/2/complete"]
    assert all('"src/deep/x.js"' in problem.message and '"a"' in problem.message for problem in problems)


# ----------------------------------------------------------------------------------------------- beside the template

ALREADY = [("STEPS063", "/steps/0/complete")]
FILES = {"src/hooks/useTimer.ts": "a\n", "src/index.ts": "b\n", "README.md": "c\n"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (content(step(files=["src/hook/**"])), [("STEPS060", "/steps/0/files/0")]),
        (content(step(files=["src/hook/**"], complete=exists("src/hook/a.ts"))), []),
        (content(step(files=["new/**"], complete=every(CHANGED, exists("new/**")))), []),
        (content(step(files=["new/**"], complete=absent("new/b"))), [("STEPS060", "/steps/0/files/0"), *ALREADY]),
        (content(step(files=["ANSWER.md"])), []),
        (content(step(files=["/src/hooks/useTimers.ts"])), [("STEPS060", "/steps/0/files/0")]),
        (content(step(files=["src/hook/useTimer.ts"])), [("STEPS060", "/steps/0/files/0")]),
        (content(step(files=["src/index2.ts"])), []),
        (content(step(files=["src/**", "!*.css"])), []),
        (content(protected=["spec/**"]), [("STEPS060", "/protected/0")]),
        (content(protected=["spec.js"]), [("STEPS060", "/protected/0")]),
        (content(shared=["notes/"]), []),
        (content(step(files=["SRC/**"])), [("STEPS061", "/steps/0/files/0")]),
        (content(step(files=["src/**", "!Readme.md"])), [("STEPS061", "/steps/0/files/1")]),
        (content(shared=["readme.md"]), [("STEPS061", "/shared/0")]),
        (content(step(files=["[Z-a]*"])), [("STEPS060", "/steps/0/files/0")]),
        (content(step(complete=no(exists("readme.md")))), [*ALREADY, ("STEPS061", "/steps/0/complete/of/paths/0")]),
        (content(step(files=["src/**"], complete=contains("ANSWER.md"))), [("STEPS062", "/steps/0/complete/path")]),
        (content(step(files=["src/**"], complete=contains("*.css"))), []),
        (content(step(files=["src/*.ts"], complete=contains("*.css"))), [("STEPS062", "/steps/0/complete/path")]),
        (content(step(files=["src/**"], complete=exists("src/b.css"))), []),
        (content(step(files=["src/**"], complete=exists("b.css")), shared=["*.css"]), []),
        (content(step(complete=exists("src/index.ts"))), ALREADY),
        (content(step(complete=every(exists("src/index.ts"), APPROVAL))), []),
        (content(step(files=..., complete={"type": "none"})), []),
    ],
)  # fmt: skip
def test_what_the_template_shows(value: Any, expected: Found) -> None:
    """Patterns that match nothing or by case only, names that nobody creates, conditions that hold already."""
    assert problems_of(value, FILES) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (content(step(files=["src/hook/useTimer.ts"])), 'Did you mean "src/hooks/useTimer.ts"?'),
        (content(step(files=["src/hook/**"])), 'ask for it with an "exists" condition'),
        (content(protected=["spec/**"]), '"spec/**" matches no file of the template. '),
        (content(shared=["readme.md"]), '"README.md" differs in upper and lower case'),
        (content(step(complete=exists("src/indexx.ts"))), 'Did you mean "src/index.ts"?'),
        (content(step(complete=exists("ANSWER.md"))), 'Add it to the "files"'),
    ],
)
def test_suggestions_name_what_was_meant(value: Any, words: str) -> None:
    """Beside the template a slip of the pen is answered with the name that is there."""
    assert words in message_of(value, FILES)


def test_files_that_are_not_read_are_told() -> None:
    """More files than are read, and larger ones, are told at the path; the first 20 of at most 1 MiB are."""
    many = {f"d/{number}.txt": "x" for number in range(21)}
    value = content(step(files=["d/**"], complete=no(contains("d/**", "y"))))
    assert ("STEPS064", "/steps/0/complete/of/path") in problems_of(value, many)

    large = {"d/a.txt": "x" * (1 << 20) + "x"}
    assert problems_of(content(step(files=["d/**"], complete=every(CHANGED, lacks("d/a.txt")))), large) == [
        ("STEPS064", "/steps/0/complete/of/1/path")
    ]


# --------------------------------------------------------------------------------------------------- hostile input

GOOD = json.dumps(content(), indent=2)


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"", "STEPS003", (1, 1)),
        (b" \n\t\n ", "STEPS003", (3, 2)),
        (b'\r\r{\r\t"version": 1,\r\t"title": ,\r}', "STEPS003", (5, 11)),
        (b'{\r\n"version": 1\r\n"title"', "STEPS003", (3, 1)),
        (b'{\n\t\t"version"\t 1}', "STEPS003", (2, 14)),
        (b"\xef\xbb\xbf{}", "STEPS005", (1, 1)),
        (b'{"version": 1,\n"a": Infinity}', "STEPS006", (2, 6)),
        (b'{"version": -NaN}', "STEPS006", (1, 13)),
        (b'{"version":\n' + b"9" * 10_000 + b"}", "STEPS006", (2, 1)),
        (b'{"a": 1e999}', "STEPS006", (1, 7)),
        (b'{"a": 1, "\\u0061": 2}', "STEPS004", (1, 10)),
        (b"[" * 100_000, "STEPS007", (1, 65)),
        (b'{"a":' * 20_000, "STEPS007", (1, 321)),
        (b'{"a": "\\ud800"}', "STEPS008", (1, 8)),
        (b'{"a": "\\udc00\\ud800"}', "STEPS008", (1, 8)),
        (b'{"a": "\\u0000"}', "STEPS008", (1, 8)),
        (b'{"a": "\x00"}', "STEPS003", (1, 8)),
        (b"\x00" * 1_000, "STEPS003", (1, 1)),
        (b'{\r"a": "\xc3\x28"}', "STEPS002", (2, 7)),
        (b"\xed\xa0\x80", "STEPS002", (1, 1)),
        (b"\xff\xfe{\x00}\x00", "STEPS002", (1, 1)),
        (b"{" + b" " * (MAX_BYTES - 1), "STEPS003", (1, MAX_BYTES + 1)),
        (b'"' + b"\\" * (MAX_BYTES - 1), "STEPS003", (1, MAX_BYTES)),
        (b" " * (MAX_BYTES + 1), "STEPS001", (1, 1)),
    ],
)  # fmt: skip
def test_hostile_input_is_one_clear_problem(data: bytes, code: str, place: tuple[int, int]) -> None:
    """Whatever the bytes are, there is one problem at its exact place, soon."""
    started = time.monotonic()

    (problem,) = lint(data, template=files_of({"a": ""})).problems

    assert (problem.code, (problem.line, problem.column)) == (code, place)
    assert problem.message.endswith(".")
    assert time.monotonic() - started < 10  # about a hundredth of it on an idle machine


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_do(ends: str) -> None:
    """Whatever ends a line, a problem is on the line that an editor shows."""
    text = GOOD.replace('"one.txt"', '"a["').replace("\n", ends)

    (problem,) = lint(text.encode()).problems

    assert (problem.code, problem.line) == ("STEPS040", 1 + GOOD[: GOOD.index('"one.txt"')].count("\n"))


@pytest.mark.heavy
def test_the_largest_file_is_linted_soon() -> None:
    """100 steps, 2,000 patterns full of wildcards and a large template are looked at in seconds, not minutes."""
    steps = [step(f"s{n}", files=[f"d{n}/**/*{m}*.js" for m in range(19)]) for n in range(100)]
    template = {f"d{n}/x/{m}y{k}.js": "" for n in range(100) for m in range(10) for k in range(2)}
    started = time.monotonic()

    result = linted(content(*steps, protected=["d1/**", "d2/**"]), template)

    assert result.coverage is not None
    assert len(result.coverage.one) == 1_960
    assert time.monotonic() - started < 60


PATHS = st.sampled_from(["a", "a/", "/a/b", "*", "*.md", "!*.md", "a/**", "!a/b", "**/b", "A", "a/x.md", ".forgea/x"])
LISTS = st.lists(PATHS, max_size=3)
CONDITION: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([CHANGED, CHANGED | {"match": "all"}, CHANGED | {"match": 2}, APPROVAL, {"type": "none"}])
    | st.builds(exists, PATHS.filter(lambda path: path[0] != "!"))
    | st.builds(absent, PATHS.filter(lambda path: path[0] != "!"))
    | st.builds(contains, PATHS.filter(lambda path: path[0] != "!"), st.sampled_from(["x", "y"]))
    | st.builds(workflow),
    lambda inner: st.builds(every, inner, inner) | st.builds(some, inner, inner) | st.builds(no, inner),
    max_leaves=4,
)
STEP = st.builds(lambda files, complete: {"files": files, "complete": complete}, LISTS, CONDITION)


@pytest.mark.heavy
@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=3),
    LISTS,
    LISTS,
    st.sampled_from(["allow", "block"]),
    st.dictionaries(st.sampled_from(["a", "a/b", "x.md", "a/x.md", "b"]), st.sampled_from(["x", ""]), max_size=4),
)
def test_linting_is_total(
    steps: list[Any], protected: list[str], shared: list[str], unmapped: str, template: dict[str, str]
) -> None:
    """Any lab beside any template is linted, twice the same; problems are in order, each inside the file."""
    whole = [step(f"s{number}", **fields) for number, fields in enumerate(steps)]
    value = content(*whole, protected=protected, shared=shared, policy={"unmapped": unmapped})

    result = linted(value, template)

    assert result == linted(value, template)
    assert (result.lab is None) == any(problem.severity == "error" for problem in result.problems)
    places = [(problem.line, problem.column) for problem in result.problems]
    assert places == sorted(places)
    assert all(isinstance(problem, Problem) and problem.message.endswith(".") for problem in result.problems)


@pytest.mark.heavy
@settings(deadline=None)
@given(JSON)
def test_any_json_can_be_linted(value: object) -> None:
    """Whatever is read as JSON, as a step or as a condition, never crashes the linter."""
    for file in (content(step("a"), value), content(step(complete=value))):
        result = linted(file, {"a": ""})
        assert result.lab is not None or result.problems
