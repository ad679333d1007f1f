"""Names that a learner probably meant."""

from __future__ import annotations

import pytest

from rules.model import Absent, AllOf, AnyOf, Contains, Exists, Lacks, Not
from rules.nearmiss import MAX_PATHS, near_misses
from tests.support.labs import Files, lab, step, tree


def meant(
    path: str, *files: str, template: Files | None = None, head: Files | None = None, unfinished: bool = True
) -> str | None:
    """What is suggested for a path when one unfinished step names these files."""
    at_head = {path: "1", **(head if head is not None else template or {})}
    done_or_not = {"s"} if unfinished else set()
    return near_misses([path], lab(step("s", *files)), done_or_not, tree(template or {}), tree(at_head)).get(path)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("profile.md", "PROFILE.md", "PROFILE.md"),
        ("docs/profile.md", "PROFILE.md", "docs/PROFILE.md"),
        ("Src/App.py", "src/app.py", "src/app.py"),
        ("Src/app.py", "/src", "src/app.py"),
        ("src/Hooks/a.ts", "src/hooks/", "src/hooks/a.ts"),
        ("GRU\u0308SSE.md", "grüße.md", "grüße.md"),
        ("ANSWR.md", "ANSWER.md", "ANSWER.md"),
        ("ANSWERS.md", "/ANSWER.md", "ANSWER.md"),
        ("docs/answre.md", "docs/ANSWER.md", "docs/ANSWER.md"),
        ("welcomes.yml", "welcome.yml", "welcome.yml"),
        ("0-welcome.yml", "welcome.yml", "welcome.yml"),
    ],
)
def test_slips_are_recognised(path: str, pattern: str, expected: str) -> None:
    """Case, Unicode spelling, and one or two slips of the pen, in the folder where the name is wanted."""
    assert meant(path, pattern) == expected


@pytest.mark.parametrize("beside", ["README.md", "gr\u00fc\u00dfe.md"])
def test_a_file_of_the_template_is_found_by_its_name_in_another_spelling(beside: str) -> None:
    """A name that equals one of the template's but for its case is meant for it, whatever else the template has."""
    template: Files = {"lib/Helper.js": "1", beside: "1"}

    assert meant("LIB/helper.js", "/ANSWER.md", template=template) == "lib/Helper.js"


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("ANSWER.md", "ANSWER.md"),
        ("ANSWER.md", "PROFILE.md"),
        ("docs/ANSWR.md", "/ANSWER.md"),
        ("step1.md", "step2.md"),
        ("a.md", "b.md"),
        ("notes", "notess/"),
        ("answers-all.md", "answer.md"),
        ("profile.md", "PROFILE*.md"),
        ("profile.md", "!PROFILE.md"),
    ],
    ids=["right", "another", "elsewhere", "digits", "short", "folder", "far", "wildcard", "given back"],
)
def test_what_is_another_name_is_not_suggested(path: str, pattern: str) -> None:
    """A suggestion that is wrong is worse than none."""
    assert meant(path, pattern) is None


def test_names_of_finished_steps_are_not_suggested() -> None:
    """Nobody is sent back to what is done."""
    assert meant("profile.md", "PROFILE.md", unfinished=False) is None


def test_names_of_conditions_are_suggested_from_the_root() -> None:
    """What `exists`, `contains` and `lacks` name is wanted; what `absent` and `not` name is not."""
    wants = AllOf((Exists(("/ANSWER.md",)), AnyOf((Contains("docs/Notes.md", "x"), Lacks("src/main.c", "y")))))
    avoids = AllOf((Absent(("README.txt",)), Not(Exists(("SECRET.md",)))))
    a_lab = lab(step("s", "*.none", complete=AllOf((wants, avoids))))
    paths = ["answer.md", "docs/notes.md", "src/mian.c", "readme.txt", "secret.md", "x/answer.md"]

    assert near_misses(paths, a_lab, {"s"}, tree({}), tree(dict.fromkeys(paths, "1"))) == {
        "answer.md": "ANSWER.md",
        "docs/notes.md": "docs/Notes.md",
        "src/mian.c": "src/main.c",
    }


def test_a_name_that_was_worked_on_is_not_meant_any_more() -> None:
    """Whoever changed the wanted file has found it; an untouched one may still be what was meant."""
    template: Files = {"welcome.yml": "1"}

    assert meant("0-welcome.yml", "welcome.yml", template=template) == "welcome.yml"
    assert meant("0-welcome.yml", "welcome.yml", template=template, head={"welcome.yml": "2"}) is None


def test_a_twin_of_a_template_file_is_suggested() -> None:
    """A new file that differs from a template's by case only was meant to be that file."""
    template: Files = {"src/Main.java": "1", "src/a.java": "1", "src/A.java": "1"}

    assert meant("src/main.java", template=template) == "src/Main.java"
    assert meant("src/a.java", template=template) is None  # the template has both


def test_a_slip_of_a_template_file_counts_only_if_that_file_is_gone() -> None:
    """A file beside its neighbour of a similar name is another file; a misspelt rename is a slip."""
    template: Files = {"src/server.py": "1"}

    assert meant("src/servers.py", template=template) is None
    assert meant("src/servers.py", template=template, head={}) == "src/server.py"


def test_at_most_fifty_paths_are_looked_at() -> None:
    """The fifty-first of many stray files gets no suggestion."""
    paths = [f"{number:02}/profile.md" for number in range(MAX_PATHS + 1)]
    found = near_misses(paths, lab(step("s", "PROFILE.md")), {"s"}, tree({}), tree(dict.fromkeys(paths, "1")))

    assert list(found) == paths[:MAX_PATHS]


def test_no_path_needs_no_look() -> None:
    """Nothing doubtful, nothing suggested."""
    assert near_misses([], lab(), set(), tree({}), tree({})) == {}
