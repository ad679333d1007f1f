"""`app.py lab explain` as an author runs it: whose a file is, by which pattern, and what a push would meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.authoring import make_repository
from tests.support.commands import invoke
from tests.support.learners import lab_file

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "lab-template"

STEPS = lab_file(
    {"files": ["src/**", "!src/b.py"], "aliases": ["s-one"]},
    {"files": ["src/b.py", "PROFILE.md"]},
    {"files": ["src/*.py", "last/"]},
    protected=["src/tests/**"],
    shared=["README.md", "notes/"],
    policy={"unmapped": "block", "rework": "warn"},
)
FILES: dict[str, str | bytes] = {
    "src/a.py": "a",
    "src/b.py": "b",
    "src/tests/t.py": "t",
    "README.md": "r",
    ".forgea/steps.json": STEPS,
}


def explain(*words: str | Path) -> Result:
    """Run `python app.py lab explain WORDS`."""
    return invoke(["lab", "explain", *words])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "lab", FILES)


def answers(folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    """What --json says, by path."""
    done = explain(*words, "--lab", folder, "--json")
    assert done.exit_code == 0, done.output
    return {answer["path"]: answer for answer in json.loads(done.stdout)}


def test_owners_are_told_with_the_winning_pattern_and_its_line() -> None:
    """Each owner is named with the pattern that won, and where it stands in the file."""
    line = next(
        number
        for number, text in enumerate((EXAMPLE / ".forgea" / "steps.json").read_text().splitlines(), 1)
        if '"src/cli.js", "bin/**"' in text
    )

    done = explain("bin/deep/x.js", "--lab", EXAMPLE)

    assert done.exit_code == 0
    assert f"command (Count the words of a file), by bin/** ({EXAMPLE}/.forgea/steps.json:{line})" in done.stdout
    assert "is blocked, OUT_OF_ORDER: complete step 2 (fix) first" in done.stdout
    assert "(not in the template)" in done.stdout


def test_what_a_push_meets_depends_on_what_is_done(folder: Path) -> None:
    """The same file is locked, open or finished, as the steps that are done say; an old id of a step counts."""
    before, open_now, finished = (
        answers(folder, "src/b.py", "--done", done)["src/b.py"] for done in ("", "s-one", "s1,s2,s3")
    )

    assert (before["verdict"], before["code"], before["missing"]) == ("block", "OUT_OF_ORDER", ["s1"])
    assert (open_now["verdict"], open_now["step"], open_now["outcome"]) == ("fine", "s2", "open")
    assert (finished["verdict"], finished["code"]) == ("warn", "REWORK")


def test_a_change_is_put_down_to_the_closest_owner(folder: Path) -> None:
    """Of several owners at work the one whose pattern is closest gets the change; the text says which."""
    found = answers(folder, "src/a.py")["src/a.py"]

    assert [owner["step"] for owner in found["owners"]] == ["s1", "s3"]
    assert [owner["pattern"] for owner in found["owners"]] == ["src/**", "src/*.py"]
    assert found["step"] == "s1"  # s3 is not open yet
    shown = explain("src/a.py", "--lab", folder, "--done", "s1,s2").stdout
    assert "s3 (Part 3), by src/*.py" in shown
    assert shown.count("a change is put down to it") == 1
    assert "counts for step s3" in shown


def test_protected_shared_and_unmapped_files_are_told(folder: Path) -> None:
    """Protected and shared paths come with their pattern; what is always protected with none; unmapped by policy."""
    found = answers(folder, "src/tests/t.py", "src/tests", "notes/x.md", ".forgea/steps.json", "other.txt")

    assert found["src/tests/t.py"]["protected"]["pattern"] == "src/tests/**"
    assert found["src/tests/t.py"]["code"] == "PROTECTED_PATH"
    assert found["src/tests"]["protected"]["pattern"] == "src/tests/**"
    assert found["notes/x.md"]["shared"]["pattern"] == "notes/"
    assert found["notes/x.md"]["verdict"] == "fine"
    assert found[".forgea/steps.json"]["protected"] == {"pattern": ".forgea/**", "place": ""}
    assert (found["other.txt"]["code"], found["other.txt"]["owners"]) == ("UNMAPPED_PATH", [])


def test_near_misses_are_suggested(folder: Path) -> None:
    """A name that differs by case from one that a step wants is told what was probably meant."""
    found = answers(folder, "profile.md", "--done", "s1")["profile.md"]

    assert found["suggestion"] == "PROFILE.md"
    assert "did you mean PROFILE.md?" in explain("profile.md", "--lab", folder).stdout


def test_paths_are_understood_as_a_shell_gives_them(folder: Path) -> None:
    """./ and absolute paths inside the checkout mean the file in the repository."""
    found = answers(folder, "./src/../src/a.py", str(folder / "src" / "b.py"))

    assert list(found) == ["src/a.py", "src/b.py"]


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    """Without a checkout the patterns and the order are explained all the same."""
    path = tmp_path / "my.json"
    path.write_bytes(STEPS)

    done = explain("src/b.py", "--lab", path)

    assert done.exit_code == 0
    assert f"by src/b.py ({path}:1)" in done.stdout
    assert "complete step 1 (s1) first" in done.stdout


def test_a_commit_is_explained(folder: Path) -> None:
    """--rev takes the steps file of a commit, whatever lies in the working tree."""
    (folder / ".forgea" / "steps.json").write_text("{")

    assert explain("src/a.py", "--lab", folder).exit_code == 1
    done = explain("src/a.py", "--lab", folder, "--rev", "HEAD")
    assert done.exit_code == 0
    assert "HEAD:.forgea/steps.json:1" in done.stdout


def test_hostile_names_are_spelled_out(folder: Path) -> None:
    """A name with control characters is shown with escapes, in text and in JSON."""
    done = explain("src/\x1b[2J\n\udcff", "--lab", folder)

    assert done.stdout.startswith('"src/\\x1b[2J\\n\\udcff"')
    assert "\x1b" not in done.stdout
    assert list(answers(folder, "src/\x1b[2J\n\udcff")) == ["src/\x1b[2J\n\udcff"]


def test_wrong_use_is_told(folder: Path, tmp_path: Path) -> None:
    """Paths outside the repository, folders and unknown steps are wrong use (2); a broken file is a problem (1)."""
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("../x", "--lab", folder), "../x is no file of the repository"),
        (("/etc/passwd", "--lab", folder), "is no file of the repository"),
        (("", "--lab", folder), "an empty text is no file"),
        ((".", "--lab", folder), ". is no file of the repository"),
        (("src/", "--lab", folder), "src/ is a folder: name a file, such as src/x"),
        (("a", "--lab", folder, "--done", "s1,S2"), 'the lab has no step S2. Did you mean "s2"?'),
        (("a", "--lab", folder, "--done", "\x1b[2J"), "Known are s1, s2, s3"),
        (("a", "--lab", tmp_path / "nowhere"), "there is no file"),
        (("--lab", folder), "Missing argument"),
    ]
    for words, said in cases:
        done = explain(*words)
        assert (done.exit_code, done.stdout) == (2, ""), words
        assert said in done.stderr
        assert "\x1b" not in done.stderr

    (folder / ".forgea" / "steps.json").write_text('{"version": 1}')
    broken = explain("a", "--lab", folder)
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "STEPS011" in broken.stderr


def test_done_steps_that_cannot_be_done_yet_are_noted(folder: Path) -> None:
    """A step that needs one which --done does not name is noted, and believed."""
    done = explain("src/a.py", "--lab", folder, "--done", "s2")

    assert done.exit_code == 0
    assert "s2 can be complete only after s1" in done.stderr
