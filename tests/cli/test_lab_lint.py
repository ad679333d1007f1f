"""`app.py lab lint` and `lab check` as an author runs them: lines, JSON, map, exit status, wrong use of every kind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import app as entry
from tests.support.authoring import commit, git, make_repository, write
from tests.support.commands import invoke
from tests.support.learners import lab_file

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "lab-template"
LINE = re.compile(r"(?P<file>.+):(?P<line>\d+):(?P<column>\d+): (?P<code>STEPS\d{3}) (?P<sentence>.+)")

GOOD = lab_file(
    {"files": ["src/a.py"]}, {"files": ["src/b.py", "new.py"]}, shared=["README.md"], protected=["tests/**"]
)
# No error, and a warning with any template: nothing is called so.
DOUBTFUL = lab_file({"files": ["src/a.py"]}, {"files": ["src/b.py", "nowhere/**/*.md"]})
FILES = {"src/a.py": "a\n", "src/b.py": "b\n", "tests/t.py": "t\n", "README.md": "# Lab\n", "other.txt": "x\n"}


def lab(*words: str | Path) -> Result:
    """Run `python app.py lab WORDS`."""
    return invoke(["lab", *words])


def template(folder: Path, steps: bytes = GOOD, files: Mapping[str, str] | None = None) -> Path:
    """A template's checkout with one commit: FILES, these files and the steps file."""
    return make_repository(folder, {**FILES, **(files or {}), ".forgea/steps.json": steps})


def problems(done: Result) -> list[re.Match[str]]:
    """The lines that tell a problem."""
    return [found for line in done.stdout.splitlines() if (found := LINE.fullmatch(line))]


def test_a_good_lab_has_no_problems() -> None:
    """The example lab is fine, also when warnings count, and says how much was looked at."""
    done = lab("lint", EXAMPLE, "--strict")

    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(
        r".*/lab-template/\.forgea/steps\.json: no problems \(5 steps, looked at with \d+ files\)\.\n", done.stdout
    )


def test_all_problems_are_told_as_lines_with_their_places(tmp_path: Path) -> None:
    """Each problem is `file:line:column: CODE sentence`, at its place, then a summary; the status is 1."""
    step = '{"id": "A b", "title": "t", "files": []}'
    text = f'{{\n  "version": 1,\n  "titel": "x",\n  "title": "A lab",\n  "steps": [\n    {step}\n  ]\n}}\n'
    path = tmp_path / "steps.json"
    path.write_text(text)

    done = lab("lint", path)

    found = problems(done)
    assert done.exit_code == 1
    assert {each["file"] for each in found} == {str(path)}
    assert {(int(each["line"]), int(each["column"])) for each in found} >= {(3, 3), (6, 12)}
    assert 'Did you mean "title"?)' in next(each["sentence"] for each in found if each["line"] == "3")
    assert done.stdout.splitlines()[-1] == f"{path}: {len(found)} errors, 0 warnings."


def test_warnings_fail_only_if_wanted(tmp_path: Path) -> None:
    """A doubtful file passes, and says which lines are warnings; with --strict it fails."""
    folder = template(tmp_path / "lab", DOUBTFUL)

    fine, strict = lab("lint", folder), lab("lint", folder, "--strict")

    assert (fine.exit_code, strict.exit_code) == (0, 1)
    assert fine.stdout == strict.stdout
    assert [each["sentence"].startswith("warning: ") for each in problems(fine)] == [True] * len(problems(fine)) != []
    assert re.search(r": 0 errors, \d+ warnings?\.$", fine.stdout)


def test_the_templates_files_are_looked_at(tmp_path: Path) -> None:
    """In a checkout, a pattern that matches nothing there is told; of the same file alone only the file is told."""
    folder = template(tmp_path / "lab", DOUBTFUL)
    alone = tmp_path / "steps.json"
    alone.write_bytes(DOUBTFUL)

    within, without = lab("lint", folder / ".forgea" / "steps.json"), lab("lint", alone)

    assert "nowhere/**/*.md" in within.stdout
    assert "nowhere/**/*.md" not in without.stdout
    assert "Only the file was looked at" in without.stderr


def test_contents_of_the_template_are_read(tmp_path: Path) -> None:
    """A step whose `contains` condition the untouched template satisfies is told, from the tree and from a commit."""
    steps = lab_file({"files": ["src/a.py"], "complete": {"type": "contains", "path": "src/a.py", "pattern": "^DONE"}})
    folder = template(tmp_path / "lab", steps)
    before = lab("lint", folder, "--json")
    write(folder, {"src/a.py": "DONE\n"})
    dirty, committed = lab("lint", folder, "--json"), lab("lint", folder, "--rev", "HEAD", "--json")
    commit(folder, "Done")
    after = lab("lint", folder, "--rev", "HEAD", "--json")

    def codes(done: Result) -> set[str]:
        return {problem["code"] for problem in json.loads(done.stdout)["problems"]}

    assert codes(dirty) - codes(before) == codes(after) - codes(committed) != set()
    assert codes(committed) == codes(before)


def test_a_commit_is_looked_at_instead_of_the_working_tree(tmp_path: Path) -> None:
    """--rev reads the steps file and the files of a commit, of a bare repository too."""
    folder = template(tmp_path / "lab")
    write(folder, {".forgea/steps.json": "{"})
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")

    assert lab("lint", folder).exit_code == 1
    for place in (folder, tmp_path / "bare.git"):
        done = lab("lint", place, "--rev", "main", "--map")
        assert done.exit_code == 0, done.output
        assert done.stdout.endswith("main:.forgea/steps.json: no problems (2 steps, looked at with 6 files).\n")


def test_the_map_says_whose_each_file_is(tmp_path: Path) -> None:
    """--map lists the files that no step, one and several own, the protected and the shared ones; --json the same."""
    steps = lab_file({"files": ["src/**"]}, {"files": ["src/b.py"]}, shared=["README.md"], protected=["tests/**"])
    folder = template(tmp_path / "lab", steps)

    shown, told = lab("lint", folder, "--map"), lab("lint", folder, "--map", "--json")

    assert json.loads(told.stdout)["map"] == {
        "none": ["other.txt"],
        "one": {"src/a.py": "s1"},
        "several": {"src/b.py": ["s1", "s2"]},
        "protected": [".forgea/steps.json", "tests/t.py"],
        "shared": ["README.md"],
    }
    assert "Owned by several steps: 1 file\n  src/b.py  s1, s2\n" in shown.stdout
    assert "Owned by no step: 1 file\n  other.txt\n" in shown.stdout


def test_json_is_stable(tmp_path: Path) -> None:
    """--json holds the keys that are promised, and the counts agree with the problems."""
    path = tmp_path / "steps.json"
    path.write_text('{"version": 1, "title": "x", "stepps": []}')

    done = lab("lint", path, "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert set(found) == {"file", "errors", "warnings", "problems", "note"}
    assert found["errors"] == sum(problem["severity"] == "error" for problem in found["problems"]) > 0
    for problem in found["problems"]:
        assert set(problem) == {"code", "severity", "message", "suggestion", "pointer", "line", "column"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"a":1,"a":2}',
        b"NaN",
        b" " * 300_000,
    ],
)
def test_what_is_no_steps_file_is_a_problem(tmp_path: Path, content: bytes) -> None:
    """Whatever a file holds, it is a problem with a place, never a crash: status 1."""
    path = tmp_path / "steps.json"
    path.write_bytes(content)

    done = lab("lint", path)

    assert done.exit_code == 1
    assert problems(done)


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    """No file, a folder without one, an unknown revision, a map without files: status 2 and what to do."""
    (tmp_path / "empty").mkdir()
    folder = template(tmp_path / "lab")
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
    (tmp_path / "alone.json").write_bytes(GOOD)
    os.mkfifo(tmp_path / "pipe")
    old = make_repository(tmp_path / "old", FILES)
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("nowhere.json",), "there is no file nowhere.json"),
        ((tmp_path / "empty",), "lab init"),
        ((tmp_path / "pipe",), "is not a file"),
        ((folder, "--rev", "nowhere"), "no commit or range 'nowhere'"),
        ((folder, "--rev", "--help"), "no commit or range '--help'"),
        ((old, "--rev", "HEAD"), "the commit HEAD has no .forgea/steps.json"),
        ((tmp_path / "bare.git",), "name a commit with --rev"),
        ((tmp_path / "alone.json", "--map"), "a map needs the template's files"),
        ((tmp_path / "alone.json", "--rev", "HEAD"), "no --rev"),
        ((tmp_path / "a\x1b[2Jb",), "\\x1b[2Jb"),
        (("a\0b",), "null byte"),
        ((folder, "--mapp"), "No such option"),
        ((folder, "another"), "unexpected extra argument"),
    ]
    for words, said in cases:
        done = lab("lint", *words)
        assert (done.exit_code, done.stdout) == (2, ""), words
        assert said in done.stderr
        assert "\x1b" not in done.stderr


def test_a_folder_outside_git_gives_the_file_alone(tmp_path: Path) -> None:
    """Before `git init` the file is checked, and a note says what was not looked at."""
    write(tmp_path, {".forgea/steps.json": DOUBTFUL})

    done = lab("lint", tmp_path)

    assert done.exit_code == 0
    assert "it is not in a git repository" in done.stderr


def test_hostile_names_are_spelled_out(tmp_path: Path) -> None:
    """File names with control characters and bytes that are no UTF-8 are shown, not obeyed; JSON can be read."""
    hostile = ("a\x1b[2Jb.py", "line\nfeed", "\udcff.txt", "\u202eevil")
    folder = template(tmp_path / "lab", lab_file({"files": ["src/**"]}), dict.fromkeys(hostile, "x"))

    shown, told = lab("lint", folder, "--map"), lab("lint", folder, "--map", "--json")

    assert shown.exit_code == told.exit_code == 0
    assert {char for char in shown.stdout if not char.isprintable()} == {"\n"}
    assert "a\\x1b[2Jb.py" in shown.stdout
    assert set(hostile) <= set(json.loads(told.stdout)["map"]["none"])


def test_the_authors_words_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What a problem quotes of the file holds no control characters."""
    path = tmp_path / "steps.json"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "title": "t",
                "steps": [{"id": "a\x1b[2J\u202e", "title": "\x07", "files": ["\x1b[/**", "x"]}],
            }
        )
    )

    done = lab("lint", path)

    assert done.exit_code == 1
    assert all(char.isprintable() or char == "\n" for char in done.stdout)


@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], *, coloured: bool
) -> None:
    """On a terminal problems are coloured, unless NO_COLOR is set or the terminal knows no colours."""
    path = tmp_path / "steps.json"
    path.write_text("{")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | settings).items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb") as screen:
        monkeypatch.setattr(sys, "stdout", terminal)

        with pytest.raises(SystemExit):
            entry.cli(["lab", "lint", str(path)])

        terminal.flush()
        shown = screen.raw.read(10_000).decode()
    assert "STEPS003" in shown
    assert ("\x1b[" in shown) is coloured


def test_the_program_ends_with_the_status(tmp_path: Path) -> None:
    """`python app.py lab lint` itself ends with 1, in plain text when it is not on a terminal, without any setting."""
    path = tmp_path / "steps.json"
    path.write_text("{")

    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "lab", "lint", str(path)],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "nonsense"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1  # the note that only the file was looked at
    assert done.stdout.startswith(f"{path}:1:2: STEPS003 ")


def test_check_runs_the_linter_and_the_labs_tests(tmp_path: Path) -> None:
    """`lab check` fails on a warning, on a test that fails, and passes a lab without tests with a note."""
    doubtful = lab("check", template(tmp_path / "doubtful", DOUBTFUL))
    untested = lab("check", template(tmp_path / "untested"))
    test: dict[str, Any] = {"name": "wrong", "push": [{"src/a.py": "changed"}], "expect": {"done": []}}
    failing = lab("check", template(tmp_path / "failing", files={".forgea/tests/a.json": json.dumps(test)}))
    test["expect"] = {"done": ["s1"]}
    passing = lab("check", template(tmp_path / "passing", files={".forgea/tests/a.json": json.dumps(test)}))

    assert [done.exit_code for done in (doubtful, untested, failing, passing)] == [1, 0, 1, 0]
    assert "warning: " in doubtful.stdout
    assert "There are no tests" in untested.stderr
    assert lab("check", tmp_path / "nowhere").exit_code == 2
