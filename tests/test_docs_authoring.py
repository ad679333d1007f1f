"""docs/authoring.md cannot drift: its commands are run, its JSON is checked and played, its tables are made anew."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import app
from cli.authoring_document import LIMITS, authoring_document
from cli.lab_init import propose_for
from rules.conditions import needed
from rules.lint import TemplateFile, lint
from rules.lint_codes import CODES
from rules.model import Facts, Lab, Progress, Snapshot, Tree, TreeEntry, Verdict
from rules.patterns import PatternSet
from rules.verdict import judge
from tests.support.authoring import make_repository
from tests.support.commands import commands_of
from tests.support.labs import blob_sha

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "authoring.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([^\n]+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
HEAD = "f" * 40
WORKFLOW = ".github/workflows/test.yml"


# ------------------------------------------------------------------------------------------- tables, links, limits


def test_the_generated_tables_are_up_to_date() -> None:
    """The tables of keys, conditions, limits and codes are what the code says."""
    assert authoring_document(TEXT) == TEXT, "run: make schema"


def test_every_code_has_an_anchor() -> None:
    """What the linter prints a code of can be looked up: each has its anchor, once."""
    assert re.findall(r'<a id="(\w+)"></a>', TEXT) == [entry.anchor for entry in CODES.values()]


def test_links_within_the_page_lead_somewhere() -> None:
    """Each `#anchor` is a heading's, as GitHub makes anchors of headings."""
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", TEXT)

    assert links
    assert set(links) <= anchors


def test_the_limits_are_the_decided_ones() -> None:
    """The limits that the format promises: 256 KiB, 100 steps, 50 patterns a step, 2,000 in all, 256 characters."""
    assert [most for _, most, _ in LIMITS[:5]] == [256 * 1024, 100, 50, 2_000, 256]


def test_codes_in_the_text_exist() -> None:
    """Whatever code the manual names is one that the linter can say."""
    assert set(re.findall(r"STEPS\d{3}", TEXT)) == set(CODES)


# -------------------------------------------------------------------------------------------------------- commands


def test_the_tutorial_runs_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    """Whoever copies the commands in order has a lab that is checked, tested and replayed, with what is promised."""
    script = "set -eu\n" + "".join(block for language, block in BLOCKS if language == "sh")
    (tmp_path / "stepgate").mkdir()
    (tmp_path / "stepgate" / "app.py").write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / 'app.py')!r}, run_name='__main__')\n",
        encoding="utf-8",
    )
    python = tmp_path / "stepgate" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    out = done.stdout + done.stderr

    assert done.returncode == 0, out
    assert "2 steps" in out
    assert "OUT_OF_ORDER: complete step 1 (hello) first" in out
    assert "1 test: all passed." in out
    assert re.search(r"blocked.*exercises/02-count\.md", out, re.DOTALL)
    assert (tmp_path / "first-lab" / ".forgea" / "tests" / "too-early.json").exists()


def test_the_first_proposal_is_what_the_tutorial_says(tmp_path: Path) -> None:
    """`lab init` finds both exercises and protects the tests, as the text says of it."""
    names = ("README.md", "exercises/01-hello.md", "exercises/02-count.md", "tests/count.sh")
    document = propose_for(make_repository(tmp_path / "lab", dict.fromkeys(names, "# Title\n"))).proposal.document

    assert [step["files"] for step in document["steps"]] == [["exercises/01-hello.md"], ["exercises/02-count.md"]]
    assert document["protected"] == ["tests/**"]


@pytest.mark.parametrize(
    "line", [line for language, block in BLOCKS if language == "sh github" for line in block.splitlines()]
)
def test_commands_for_the_real_github_are_commands(line: str) -> None:
    """What cannot be run here, for want of an App, is at least a command line that is understood."""
    python, script, *words = line.split()
    command: Any = commands_of(app.cli)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    assert (python, script) == (".venv/bin/python", "app.py")
    command.make_context(command.name, words)  # raises on a word or option that is not known


# ------------------------------------------------------------------------------------------------------- examples


@dataclass(frozen=True, slots=True)
class Play:
    """An example at work: the template's files, and pushes (path -> content, None deletes), each with its gains."""

    template: Mapping[str, str]
    pushes: tuple[tuple[Mapping[str, str | None], str], ...]
    blocked: tuple[int, ...] = ()  # numbers of the pushes that are
    complete: bool = True


PLAYS = {
    "Edit a file": Play(
        {"src/timer.js": "setInterval(tick)\n"},
        (({"src/timer.js": "setInterval(tock)\n"}, ""), ({"src/timer.js": "setTimeout(tick)\n"}, "fix")),
    ),
    "Create files": Play(
        {"README.md": "Hello\n"}, (({"ANSWER.md": "42\n"}, ""), ({"images/proof.png": "PNG\n"}, "answer"))
    ),
    "Delete files": Play({"src/legacy/old.js": "old\n"}, (({"src/legacy/old.js": None}, "clean-up"),)),
    "Several files": Play(
        {f"pages/{name}.md": f"{name}\n" for name in ("one", "two", "three")},
        (({"pages/one.md": "eins\n", "pages/two.md": "zwei\n"}, ""), ({"pages/three.md": "drei\n"}, "translate")),
    ),
    "A workflow passes": Play(
        {"src/a.js": "a\n", WORKFLOW: "on: push\n"},
        (({"src/a.js": "b\n", WORKFLOW: "on: never\n"}, ""), ({WORKFLOW: "on: push\n"}, "tests-pass")),
        blocked=(0,),
    ),
    "Staff approves": Play({"README.md": "Hello\n"}, (({"notes.md": "a\n"}, ""), ({"ESSAY.md": "I did\n"}, "essay"))),
    "Free order": Play(
        {"README.md": "Hello\n"},
        (({"right.md": "r\n"}, "right"), ({"whole.md": "w\n"}, ""), ({"left.md": "l\n"}, "left both")),
        blocked=(1,),
    ),
    "Optional": Play(
        {"src/main.py": "pass\n"}, (({"src/main.py": "print(1)\n"}, "main"), ({"NOTES.md": "much\n"}, "notes"))
    ),
    "One file for all steps": Play(
        {"main.py": "# begin here\n"},
        (
            ({"main.py": "def area(a):\n    return a\n"}, "function"),
            ({"main.py": "def area(a):\n    return a\n\n\nprint(area(2))\n"}, "call"),
        ),
    ),
    "Refactor a file of an earlier step": Play(
        {"src/report.py": "# begin here\n"},
        (
            ({"src/report.py": "def report(): ...\n"}, "write"),
            ({"src/report.py": "from format import text\n", "src/format.py": "text = 1\n"}, "refactor"),
        ),
    ),
    "Something to read": Play({"docs/story.md": "Once\n"}, (({"RETOLD.md": "Again\n"}, "read retell"),)),
}
EXAMPLES = re.findall(r"^### ([^\n]+)\n(?:(?!^#).)*?^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def lab_file(example: str) -> bytes:
    """A whole lab file around a step or a list of steps."""
    steps = json.loads(example)
    document = {"version": 1, "title": "Example", "steps": steps if isinstance(steps, list) else [steps]}
    return json.dumps(document, indent=2).encode()


def tree_of(files: Mapping[str, str]) -> Tree:
    """These files as git has them."""
    return {path: TreeEntry(path, "100644", blob_sha(text.encode()), len(text)) for path, text in files.items()}


def pushed(lab: Lab, progress: Progress, template: Tree, accepted: Tree, files: Mapping[str, str]) -> Verdict:
    """The verdict on a head with these files, on which the workflow passed and staff approved every step."""
    head = tree_of(files)
    wanted = needed(lab, progress.done, template, accepted, head)
    blobs = {blob_sha(text.encode()): text.encode() for text in files.values()}
    blobs = {sha: blobs.get(sha, b"") for sha in wanted}
    facts = Facts(approved=frozenset({"essay"}), workflows=frozenset({(WORKFLOW, HEAD)}))
    return judge(lab, progress, Snapshot(template, accepted, head, HEAD, blobs=blobs), facts)


def test_every_example_is_played() -> None:
    """No JSON block of the manual is without a test, and the common types of steps are all there."""
    assert [heading for heading, _ in EXAMPLES] == list(PLAYS)
    assert len([language for language, _ in BLOCKS if language == "json"]) == len(EXAMPLES)
    assert {language for language, _ in BLOCKS} == {"sh", "sh github", "json"}


@pytest.mark.parametrize(("heading", "example"), EXAMPLES, ids=[heading for heading, _ in EXAMPLES])
def test_examples_have_no_problem(heading: str, example: str) -> None:
    """The linter finds nothing in an example beside a fitting template: nothing wrong, and nothing doubtful."""
    contents = {path: text.encode() for path, text in PLAYS[heading].template.items()}
    template = [TemplateFile(path, "100644", blob_sha(content)) for path, content in contents.items()]
    result = lint(lab_file(example), template=template, contents=contents)

    assert result.problems == ()
    assert result.lab is not None


@pytest.mark.parametrize(("heading", "example"), EXAMPLES, ids=[heading for heading, _ in EXAMPLES])
def test_examples_do_what_is_said_of_them(heading: str, example: str) -> None:
    """Each push of the play completes the steps that it should, and is blocked only where it should be."""
    play, lab = PLAYS[heading], lint(lab_file(example)).lab
    assert lab is not None
    template = accepted = tree_of(play.template)
    files, progress, verdict = dict(play.template), Progress(), None
    for number, (changes, gained) in enumerate(play.pushes):
        for path, content in changes.items():
            files.pop(path, None)
            if content is not None:
                files[path] = content
        verdict = pushed(lab, progress, template, accepted, files)
        assert verdict.blocked == (number in play.blocked), (number, verdict.violations)
        assert [gain.step_id for gain in verdict.gains] == gained.split(), number
        accepted = accepted if verdict.blocked else tree_of(files)
        progress = Progress(verdict.done_after)

    assert verdict is not None
    assert verdict.complete == play.complete


MATCHING = {
    "notes.md": ("a/b/notes.md", "notes.txt"),
    "/notes.md": ("notes.md", "a/notes.md"),
    "src/*.js": ("src/a.js", "src/lib/a.js"),
    "src/**": ("src/lib/a.js", "other/src/a.js"),
    "**/test/": ("a/test/b.js", "test"),
    "docs/": ("a/docs/b.md", "a/docs"),
    "file?.py": ("file1.py", "file/.py"),
    "[a-c].py": ("b.py", "d.py"),
    "[!a].py": ("b.py", "a.py"),
}


@pytest.mark.parametrize(("pattern", "paths"), MATCHING.items())
def test_the_table_of_patterns_is_true(pattern: str, paths: tuple[str, str]) -> None:
    """Each pattern of the table takes what is said of it, and not its neighbour."""
    taken, left = paths

    assert f"`{pattern}`" in TEXT
    assert PatternSet([[pattern]]).match(taken).groups == (0,)
    assert PatternSet([[pattern]]).match(left).groups == ()


def test_what_a_pattern_gives_back() -> None:
    """`!src/generated/**` gives back what the pattern before it took, though git would not look into that folder."""
    patterns = PatternSet([["src/", "!src/generated/**"]])

    assert patterns.match("src/a.js").groups == (0,)
    assert patterns.match("src/generated/a.js").groups == ()
