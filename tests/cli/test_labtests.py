"""`app.py lab test` as an author runs it: what passes, what does not, and what is wrong with a test itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rules.patterns import PatternError
from tests.support.authoring import git, make_repository, write
from tests.support.commands import invoke
from tests.support.line import TEMPLATE

STEPS = {
    "version": 1,
    "title": "A lab",
    "branch": "main",
    "protected": ["tests/**"],
    "policy": {"unmapped": "warn", "reopen": "always"},
    "steps": [
        {
            "id": "describe",
            "aliases": ["report"],
            "title": "Describe it",
            "files": ["bug.md"],
            "complete": {"type": "contains", "path": "bug.md", "pattern": "^Expected:"},
        },
        {"id": "fix", "title": "Fix it", "files": ["src/**"]},
        {
            "id": "passes",
            "title": "Tests pass",
            "files": ["x.md"],
            "complete": {"type": "check", "name": "ci", "app_id": 7},
        },
        {"id": "sign", "title": "Sign off", "files": ["sign.md"], "complete": {"type": "approval"}},
    ],
}
FILES = {".forgea/steps.json": json.dumps(STEPS), "tests/t.js": "t\n", "src/a.js": "todo\n", "run.sh": "x\n"}


def run(*words: str) -> Result:
    """Run `python app.py lab test WORDS`."""
    return invoke(["lab", "test", *words])


def a_lab(folder: Path, *fixtures: dict[str, Any] | str, files: dict[str, str] | None = None) -> Path:
    """A template with these tests, as they lie there; only the lab itself is committed."""
    make_repository(folder, FILES)
    texts = [each if isinstance(each, str) else json.dumps(each) for each in fixtures]
    write(folder, {f".forgea/tests/{number}.json": text for number, text in enumerate(texts)} | (files or {}))
    return folder


def outcome(folder: Path, **fixture: Any) -> dict[str, Any]:
    """The result of one test, as --json tells it."""
    write(folder, {".forgea/tests/0.json": json.dumps({"name": "a test"} | fixture)})
    done = run(str(folder), "--json")
    (result,) = json.loads(done.stdout)["tests"]
    assert done.exit_code == (0 if result["passed"] else 1)
    return dict(result)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_lab(tmp_path_factory.mktemp("labs") / "lab", {}, files={".forgea/tests/answers/a.js": "done\n"})


def test_the_tests_of_the_example_lab_pass(tmp_path: Path) -> None:
    """The example lab comes with tests of its own, and each of them passes, in a copy that is not committed too."""
    folder = tmp_path / "lab"
    shutil.copytree(TEMPLATE, folder)
    git(folder, "init", "--quiet")

    done = run(str(folder))

    assert done.exit_code == 0, done.output
    assert re.findall(r"^ok ", done.stdout, re.MULTILINE) == ["ok "] * len(
        list((folder / ".forgea/tests").glob("*.json"))
    )
    assert done.stdout.splitlines()[-1] == "6 tests: all passed."


def test_the_example_of_the_help_text_passes(tmp_path: Path) -> None:
    """The test that `lab test --help` shows can be copied into the example lab, and passes there."""
    shown = run("--help").stdout
    example = shown[shown.index("    {\n") : shown.index("\n    }\n") + 6]
    folder = tmp_path / "lab"
    shutil.copytree(TEMPLATE, folder)
    git(folder, "init", "--quiet")
    shutil.rmtree(folder / ".forgea/tests")
    write(folder, {".forgea/tests/too-early.json": example})

    done = run(str(folder))

    assert done.exit_code == 0, done.output
    assert "The command must wait for the fix" in done.stdout


def test_each_expectation_that_is_not_met_is_shown_as_a_difference(folder: Path) -> None:
    """What was expected and not found has a minus, what was found and not expected a plus; exit status 1."""
    fixture = {
        "name": "Too early",
        "push": [{"src/a.js": "done\n", "odd\u202e.txt": ""}],
        "expect": {
            "verdict": "accepted",
            "complete": True,
            "done": ["fix"],
            "violations": [{"path": "src/a.js", "code": "REWORK", "step": "sign"}],
        },
    }
    write(folder, {".forgea/tests/0.json": json.dumps(fixture)})

    done = run(str(folder))

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "FAIL .forgea/tests/0.json: Too early",
        "  after push 1, verdict: expected accepted, found blocked",
        "  after push 1, complete: expected true, found false",
        "  after push 1, done:",
        "    - fix  (expected, not found)",
        "  after push 1, violations:",
        "    - src/a.js: REWORK, step sign  (expected, not found)",
        "    + odd\N{REPLACEMENT CHARACTER}.txt: UNMAPPED_PATH, warning  (found, not expected)",
        "    + src/a.js: OUT_OF_ORDER, step fix, missing describe  (found, not expected)",
        "1 test: 1 failed, 0 passed.",
    ]


BUG = {"bug.md": "Expected: 1\n"}
SOLVED = BUG | {"src/a.js": "done\n"}
LATE = {"done": ["describe", "fix", "passes"], "files": SOLVED}
TREES: list[tuple[str, dict[str, Any]]] = [
    ("nothing was accepted yet", {"push": [BUG], "expect": {"verdict": "accepted", "gained": ["describe"]}}),
    (
        "given files alone are an accepted head",
        {
            "given": {"files": SOLVED},
            "push": [{}],
            "expect": {"gained": ["describe", "fix"], "open": [], "waiting": ["passes"]},
        },
    ),
    (
        "a step done under an old id counts",
        {
            "given": {"done": ["report"], "files": BUG},
            "push": [{"src/a.js": "done\n"}],
            "expect": {"done": ["fix", "describe"], "gained": ["fix"], "waiting": ["passes"], "locked": ["sign"]},
        },
    ),
    (
        "the bytes of a file beside the test",
        {"push": [BUG | {"src/a.js": {"file": "answers/a.js"}}], "expect": {"gained": ["describe", "fix"]}},
    ),
    (
        "a mode alone is no work",
        {
            "given": {"done": ["describe"], "files": BUG},
            "push": [{"src/a.js": {"text": "todo\n", "mode": "executable"}}],
            "expect": {"verdict": "accepted", "gained": [], "open": ["fix"]},
        },
    ),
    (
        "a link is not the file that the step wants",
        {"push": [{"bug.md": {"text": "Expected:", "mode": "link"}}], "expect": {"gained": [], "open": ["describe"]}},
    ),
    (
        "what was deleted is gone",
        {
            "given": {"done": ["describe"], "files": BUG},
            "push": [{"bug.md": None}],
            "expect": {"reopened": ["describe"]},
        },
    ),
    (
        "each push has its own expectation",
        {
            "push": [{"src/a.js": "done\n"}, BUG],
            "expect": [
                {"verdict": "blocked", "violations": [{"path": "src/a.js", "code": "OUT_OF_ORDER", "level": "block"}]},
                {"verdict": "accepted", "gained": ["describe", "fix"], "violations": []},
            ],
        },
    ),
    (
        "commits of one push earn steps one by one",
        {"push": [[BUG, {"bug.md": None}]], "expect": {"gained": ["describe"], "open": ["fix"]}},
    ),
    (
        "a check that passed on the pushed head",
        {
            "given": {"done": ["describe", "fix"], "files": SOLVED, "facts": {"checks": [{"name": "ci", "app_id": 7}]}},
            "push": [{}],
            "expect": {"gained": ["passes"], "waiting": ["sign"], "complete": False},
        },
    ),
    (
        "an approval finishes the lab",
        {
            "given": LATE | {"facts": {"approved": ["sign"]}},
            "push": [{}],
            "expect": {"gained": ["sign"], "complete": True},
        },
    ),
    (
        "a complete lab takes no push",
        {
            "given": LATE | {"done": [*LATE["done"], "sign"]},
            "push": [{"bug.md": None}],
            "expect": {"verdict": "closed", "gained": [], "reopened": [], "violations": [], "complete": True},
        },
    ),
    (
        "a lab that staff reopened takes pushes again",
        {
            "given": LATE | {"done": [*LATE["done"], "sign"], "facts": {"reopened": ["sign"]}},
            "push": [{}],
            "expect": {"verdict": "accepted", "reopened": ["sign"]},
        },
    ),
    (
        "staff unlocked a step",
        {
            "given": {"facts": {"unlocked": ["fix"]}},
            "push": [{"src/a.js": "done\n"}],
            "expect": {"verdict": "accepted", "done": ["fix"]},
        },
    ),
    (
        "staff accepted the head",
        {
            "given": {"facts": {"accept_head": True}},
            "push": [{"tests/t.js": "weak\n"}],
            "expect": {
                "verdict": "accepted",
                "violations": [{"path": "tests/t.js", "code": "PROTECTED_PATH", "level": "warn", "missing": []}],
            },
        },
    ),
]


@pytest.fixture(name="judged", scope="module")
def _judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The results of all TREES by name, from one run."""
    fixtures = [{"name": what} | fixture for what, fixture in TREES]
    folder = a_lab(tmp_path_factory.mktemp("labs") / "lab", *fixtures, files={".forgea/tests/answers/a.js": "done\n"})
    return {result["name"]: result for result in json.loads(run(str(folder), "--json").stdout)["tests"]}


@pytest.mark.parametrize("what", [what for what, _ in TREES])
def test_a_session_is_judged_as_it_is_given(judged: dict[str, dict[str, Any]], what: str) -> None:
    """Given files, steps and facts, pushes and expectations mean what the help text says."""
    assert judged[what]["passed"], judged[what]


def test_a_force_push_leaves_the_accepted_head_out_of_the_history(tmp_path: Path) -> None:
    """With "force" the policy `reopen: rewrite` looks at what was taken away; without it nothing is."""
    steps = STEPS | {"policy": {"reopen": "rewrite"}}
    folder = a_lab(tmp_path / "lab", files={".forgea/steps.json": json.dumps(steps)})
    fixture = {"given": {"done": ["describe"], "files": BUG}, "push": [{"bug.md": "?"}, {"bug.md": "!"}]}

    forced = outcome(folder, **fixture, force=True, expect=[{"reopened": ["describe"]}, {"done": [], "reopened": []}])
    plain = outcome(folder, **fixture, expect=[{"reopened": []}, {"done": ["describe"]}])

    assert (forced["mismatches"], plain["mismatches"]) == ([], [])


PUSH: dict[str, Any] = {"push": [{}], "expect": {"done": []}}
PLAIN: dict[str, Any] = {"name": "a"} | PUSH


def pushed(*pushes: Any, **expect: Any) -> dict[str, Any]:
    """A test of these pushes."""
    return {"name": "a", "push": list(pushes), "expect": expect or {"done": []}}


# A test, what stands at the place that is named, and what is said of it.
FAULTY: list[tuple[dict[str, Any] | str, str, str]] = [
    ("{", "", ""),
    ('{"name": "a", "name": "b"}', '"name": "b"', "name"),
    ({"name": "a", "push": [{}]}, "{", 'The key "expect" is missing.'),
    (PLAIN | {"name": ""}, '""', "at least 1 character"),
    ({"nmae": "a"} | PLAIN, '"nmae"', '"nmae" is not a key that is known here. Did you mean "name"?'),
    (PLAIN | {"push": []}, "[]", "at least 1 item"),
    (pushed([]), "[]", "at least 1 item"),
    (pushed(7), "7", "Here must be an object: {...}."),
    (pushed({"x": 7}), "7", "A content is a text, null"),
    (pushed({"x": {}}), "{}", 'give either "text" or "file"'),
    (pushed({"x": {"text": "", "mode": "rwx"}}), '"rwx"', "'executable'"),
    (PLAIN | {"expect": {}}, "{}", "nothing is expected: give one of verdict, "),
    (pushed({}, verdict="green"), '"green"', "'accepted', 'blocked' or 'closed'"),
    (pushed({}, complete="yes"), '"yes"', "valid boolean"),
    (pushed({}, {}) | {"expect": [{"done": []}]}, '"expect"', "There are 2 pushes and 1 expectations"),
    (pushed({}, done=["describ"]), '"describ"', 'no step "describ". Did you mean "describe"?'),
    (pushed({}, done=["report"]), '"report"', 'no step "report".'),
    (PLAIN | {"given": {"done": ["fix"]}}, '"done"', '"fix" is done, but not "describe"'),
    (PLAIN | {"given": {"facts": {"approved": ["nobody"]}}}, '"nobody"', 'no step "nobody".'),
    (pushed({}, violations=[{"path": "x", "code": "REWORK", "step": "q"}]), '"step"', 'no step "q".'),
    (pushed({}, violations=[{"path": "x", "code": "REWORK", "missing": ["w"]}]), '"w"', 'no step "w".'),
    (pushed({"gone.md": None}), '"gone.md"', '"gone.md" cannot be deleted'),
    (pushed({"../x": ""}), '"../x"', '"../x" is no path that git can have.'),
    (pushed({"a/.GIT/x": ""}), '"a/.GIT/x"', "no path that git can have"),
    (pushed({"src": ""}), '"src"', '"src" would be a file and a folder.'),
    (pushed([{"run.sh/x": ""}]), '"run.sh/x"', '"run.sh" would be a file and a folder'),
    (PLAIN | {"given": {"files": {"x": {"file": "no.js"}}}}, '"x"', 'no file "no.js" below .forgea/tests'),
    (pushed({"x": {"file": "../steps.json"}}), '"x"', 'no file "../steps.json" below'),
]


@pytest.fixture(name="faulty", scope="module")
def _faulty(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is said of each of FAULTY, from one run: the lines below its own."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each, _, _ in FAULTY]
    folder = make_repository(tmp_path_factory.mktemp("labs") / "lab", FILES)
    write(folder, {f".forgea/tests/{number:02}.json": text for number, text in enumerate(texts)})
    done = run(str(folder))
    assert done.exit_code == 1
    assert done.stdout.endswith(f"{len(FAULTY)} tests: {len(FAULTY)} failed, 0 passed.\n")
    return re.findall(r"^FAIL .*\n((?:  .*\n)*)", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(FAULTY)))
def test_a_test_that_is_wrong_itself_says_where(faulty: list[str], number: int) -> None:
    """A test that cannot be meant so fails with line, column and a sentence, and is never taken for a failing lab."""
    fixture, there, message = FAULTY[number]
    said = re.fullmatch(rf"  \.forgea/tests/{number:02}\.json:1:(\d+): (.*)\n", faulty[number])

    assert said is not None, faulty[number]
    assert message in said[2]
    text = fixture if isinstance(fixture, str) else json.dumps(fixture)
    assert text[int(said[1]) - 1 :].startswith(there), said


def test_all_that_is_wrong_with_a_test_is_told_at_once(folder: Path) -> None:
    """Several mistakes in one file are all told, in the order of the file."""
    write(
        folder, {".forgea/tests/0.json": '{"name": 1,\n "push": [{"x": 2}],\n "expect": {"open": "fix"},\n "more": 0}'}
    )

    (result,) = json.loads(run(str(folder), "--json").stdout)["tests"]

    assert [problem["line"] for problem in result["problems"]] == [1, 2, 3, 4]
    assert result["mismatches"] == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "The file is not UTF-8: byte 0xff"),
        (b"\xef\xbb\xbf{}", "1:1"),
        (b"[" * 100_000, "deep"),
        (b'"' + b"x" * (4 << 20), "bytes, more than"),
        (b'{"name": "\\ud800"}', "1:1"),
    ],
)
def test_a_hostile_file_is_one_clear_fault(folder: Path, data: bytes, message: str) -> None:
    """Bytes that are no JSON text, nested without end or far too many are told as one fault of the file."""
    write(folder, {".forgea/tests/0.json": data})

    done = run(str(folder))

    assert done.exit_code == 1
    assert message in done.stdout.splitlines()[1], done.stdout


def test_a_test_that_is_no_regular_file_is_a_fault_of_it(tmp_path: Path) -> None:
    """A link in the place of a test is not followed."""
    folder = a_lab(tmp_path / "lab", files={"secret.json": "{}"})
    (folder / ".forgea/tests").mkdir()
    (folder / ".forgea/tests/0.json").symlink_to(folder / "secret.json")

    done = run(str(folder))

    assert (done.exit_code, "no regular file" in done.stdout) == (1, True)


def test_what_git_ignores_is_not_part_of_the_lab(tmp_path: Path) -> None:
    """An ignored file is not in any learner's tree, so that deleting it in a test is a mistake."""
    fixture = {"name": "a", "push": [{"built.js": None}], "expect": {"done": []}}
    folder = a_lab(tmp_path / "lab", fixture, files={"built.js": "", ".gitignore": "built.js\n"})

    assert '"built.js" cannot be deleted' in run(str(folder)).stdout


def test_wrong_use_is_exit_status_2(tmp_path: Path) -> None:
    """No folder, no repository, no lab and no tests are told in one line, with status 2; a broken lab file is 1."""
    bare = make_repository(tmp_path / "bare", {"README.md": "x"})
    untested = make_repository(tmp_path / "untested", FILES)
    loose = tmp_path / "loose"
    write(loose, FILES)
    broken = a_lab(tmp_path / "broken", PUSH, files={".forgea/steps.json": '{"version": 1}'})

    said = {place.name: run(str(place)) for place in (tmp_path / "nowhere", bare, untested, loose, broken)}

    codes = {name: (result.exit_code, result.stdout) for name, result in said.items()}
    assert codes == {"nowhere": (2, ""), "bare": (2, ""), "untested": (2, ""), "loose": (2, ""), "broken": (1, "")}
    assert "is not a folder" in said["nowhere"].stderr
    assert "there is no .forgea/steps.json" in said["bare"].stderr
    assert "there is no .forgea/tests/*.json" in said["untested"].stderr
    assert "not in a git repository" in said["loose"].stderr
    assert re.search(r"steps\.json:1:1: \S+ The key \"title\" is missing", said["broken"].stderr)


def test_patterns_that_are_too_much_for_re2_are_the_authors_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When RE2 gives up on the patterns with these files, one line says so, with status 1."""

    def too_much(*_: object) -> None:
        raise PatternError("The patterns of the lab together are too large for RE2.")

    monkeypatch.setattr("cli.labtests_play.play_fixture", too_much)
    write(folder, {".forgea/tests/0.json": json.dumps(PLAIN)})
    done = run(str(folder))

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == ".forgea/steps.json: The patterns of the lab together are too large for RE2.\n"
