"""`app.py lab init`: what is proposed for repositories of many shapes, and that nothing is ever overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import Result

from cli.lab_proposal import propose
from rules.lint import TemplateFile, lint
from tests.support.authoring import git, make_repository, write
from tests.support.commands import invoke
from tests.support.effort import examples

SHAPES: dict[str, tuple[dict[str, str], list[tuple[str, list[str]]], list[str], list[str]]] = {
    "numbered folders": (
        {
            "README.md": "# My course\n",
            "exercises/02_loops/README.md": "Words\n\n## Loops, at *last* ##\n",
            "exercises/02_loops/loops.py": "x",
            "exercises/02_loops/test_loops.py": "x",
            "exercises/1-intro/intro.py": "x",
            "exercises/10_end/end.py": "x",
            "docs/x.md": "x",
        },
        [
            ("Intro", ["exercises/1-intro/**"]),
            ("Loops, at *last*", ["exercises/02_loops/**"]),
            ("End", ["exercises/10_end/**"]),
        ],
        ["test_*.py"],
        ["/README.md", "/docs/"],
    ),
    "numbered files": (
        {"step-1.md": "# Begin\n", "step-2.md": "no heading", "step-2.js": "x", "tests/a.js": "x", "LICENSE": "x"},
        [("Begin", ["/step-1.md"]), ("Step 2", ["/step-2.js", "/step-2.md"])],
        ["tests/**"],
        ["/LICENSE"],
    ),
    "chapters of many exercises": (
        {f"labs/0{chapter}/{number}.c": "x" for chapter in (1, 2, 3) for number in range(9)},
        [(f"0{chapter}", [f"labs/0{chapter}/**"]) for chapter in (1, 2, 3)],
        [],
        [],
    ),
    "chapters with a word": (
        {"Chapter 1 Start/a.txt": "x", "chapter2/b.txt": "x"},
        [("Start", ["Chapter 1 Start/**"]), ("Chapter2", ["chapter2/**"])],
        [],
        [],
    ),
    "a few sources": (
        {"src/use_timer.ts": "x", "src/deep/app.ts": "x", "src/__tests__/app.ts": "x", "package.json": "{}"},
        [("App", ["src/deep/app.ts"]), ("Use timer", ["src/use_timer.ts"])],
        ["**/__tests__/**"],
        [],
    ),
    "many sources": (
        {f"lib/{folder}/{n}.rb": "x" for folder in "ab" for n in "tuvwxyz"} | {"lib/main.rb": "x"},
        [("A", ["lib/a/**"]), ("B", ["lib/b/**"]), ("Main", ["lib/main.rb"])],
        [],
        [],
    ),
    "code at the top": (
        {"main.go": "x", "main_test.go": "x", "go.mod": "x"},
        [("Main", ["/main.go"])],
        ["*_test.*"],
        [],
    ),
    "numbers that are no steps": (
        {
            "images/1.md": "x",
            "images/2.md": "x",
            "0001.png": "x",
            "0002.png": "x",
            "db/migrations/1.sql": "",
            "a.py": "x",
        },
        [("A", ["/a.py"]), ("1", ["db/migrations/1.sql"])],
        [],
        [],
    ),
    "names with signs": (
        {"src/[a]*.py": "x", "src/!b .py": "x", "#c.py": "x"},
        [("!b", ["src/!b .py"]), ("[a]*", ["src/\\[a]\\*.py"])],
        [],
        [],
    ),
    "nothing": ({}, [("The first step", ["/ANSWER.md"])], [], []),
    "only words": (
        {"README.md": "no heading", "ANSWER.md": "x"},
        [("The first step", ["/ANSWER2.md"])],
        [],
        ["/README.md"],
    ),
}


def init(*words: str | Path) -> Result:
    """Run `python app.py lab init WORDS`."""
    return invoke(["lab", "init", *words])


def proposed(files: Mapping[str, str], title: str = "the-lab") -> dict[str, Any]:
    """The document that is proposed for these files."""
    return propose(files, lambda path: files.get(path, ""), title).document


@pytest.mark.parametrize("shape", SHAPES)
def test_repositories_of_many_shapes_get_their_steps(shape: str) -> None:
    """Numbers, source folders and headings become steps in order; tests are protected, words for readers shared."""
    files, steps, protected, shared = SHAPES[shape]

    found = proposed(files)

    assert [(step["title"], step["files"]) for step in found["steps"]] == steps
    assert (found["protected"], found["shared"]) == (protected, shared)


def test_titles_come_from_headings_and_names() -> None:
    """The lab's title is the README's heading, else the folder's name made readable."""
    assert proposed({"README.md": "# My *lab*\n"})["title"] == "My *lab*"
    assert proposed({}, "react_stale-closure")["title"] == "React stale closure"
    assert proposed({"README.md": "#\n"}, "\x1b\n")["title"] == "A lab"


def test_more_parts_than_a_lab_may_have_are_left_out() -> None:
    """Of 150 numbered folders the first hundred become steps, and the author is told."""
    files = {f"{number}/a.md": "" for number in range(150)}

    found = propose(files, lambda _: "", "x")

    assert len(found.document["steps"]) == 100
    assert "enough for 150 steps" in found.advice[0]


_names = st.one_of(
    st.sampled_from(
        ["src", "tests", "test", "docs", "a.py", "b.ts", "01-x", "2_y", "step3.md", "README.md", "x_test.d", ".github"]
    ),
    st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=8).filter(
        lambda name: name not in (".", "..", ".git")
    ),
    st.integers(0, 300).map(lambda number: f"{number}{'*' * number}.py"),
)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.lists(_names, min_size=1, max_size=4).map("/".join), max_size=12, unique=True), st.text(max_size=30))
def test_every_proposal_lints_without_an_error(paths: list[str], text: str) -> None:
    """Whatever files a repository has and whatever stands in them, the proposal has no error."""
    files = dict.fromkeys(paths, f"# {text}")

    data = json.dumps(proposed(files, text), ensure_ascii=False).encode("utf-8")
    template = [TemplateFile(path, "100644", "1" * 40) for path in files]

    found = lint(data, template=template)
    assert [problem for problem in found.problems if problem.severity == "error"] == []


def test_the_file_is_written_once(tmp_path: Path) -> None:
    """The first run writes a file that lints; the second leaves it alone, changed or not, with status 2."""
    folder = make_repository(tmp_path / "lab", {"src/a.py": "x", "src/b.py": "x", "tests/a.py": "x"})

    first = init(folder)

    path = folder / ".forgea" / "steps.json"
    assert (first.exit_code, first.stdout) == (0, "")
    assert f"Wrote {path}: 2 steps, from the files of src/." in first.stderr
    assert invoke(["lab", "lint", folder]).exit_code == 0
    path.write_text("mine")
    again = init(folder)
    assert again.exit_code == 2
    assert "it stays as it is" in again.stderr
    assert path.read_text() == "mine"


def test_print_writes_nothing(tmp_path: Path) -> None:
    """--print shows the same text as would be written, also where there is a file already."""
    folder = make_repository(tmp_path / "lab", {"src/a.py": "x"})

    printed = init(folder, "--print")

    assert printed.exit_code == 0
    assert git(folder, "status", "--porcelain") == ""
    init(folder)
    assert (folder / ".forgea" / "steps.json").read_text() == printed.stdout
    assert json.loads(init(folder, "--print").stdout) == json.loads(printed.stdout)


def test_untracked_files_count_and_ignored_ones_do_not(tmp_path: Path) -> None:
    """What lies in the working tree is proposed for, without what git ignores."""
    folder = make_repository(tmp_path / "lab")
    write(folder, {".gitignore": "built/\n", "built/b.py": "x", "src/a.py": "x"})

    assert [step["files"] for step in json.loads(init(folder, "--print").stdout)["steps"]] == [["src/a.py"]]


def test_bare_and_empty_repositories(tmp_path: Path) -> None:
    """A bare repository's newest commit is proposed for, on standard output only; an empty one gets a skeleton."""
    folder = make_repository(tmp_path / "lab", {"src/a.py": "x"})
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "full.git")
    git(tmp_path, "init", "--quiet", "--bare", "empty.git")

    full, empty = init(tmp_path / "full.git", "--print"), init(tmp_path / "empty.git", "--print")

    assert [step["id"] for step in json.loads(full.stdout)["steps"]] == ["a"]
    assert [step["id"] for step in json.loads(empty.stdout)["steps"]] == ["first"]
    refused = init(tmp_path / "full.git")
    assert refused.exit_code == 2
    assert "use --print" in refused.stderr
    assert init(make_repository(tmp_path / "new")).exit_code == 0


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """A plain folder, a missing one, a file, and a .forgea that is something else: status 2, nothing written."""
    plain = tmp_path / "plain"
    plain.mkdir()
    taken = make_repository(tmp_path / "taken", {".forgea": "a file"})
    linked = make_repository(tmp_path / "linked", {"a": "x"})
    (linked / ".forgea").symlink_to(plain)
    cases = [
        (plain, "run `git init` in it first"),
        (tmp_path / "nowhere", "is not a folder"),
        (taken / ".forgea", "is not a folder"),
        (taken, "is not a folder: nothing was written"),
        (linked, "is not a folder: nothing was written"),
    ]
    for folder, said in cases:
        done = init(folder)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
    assert list(plain.iterdir()) == []
