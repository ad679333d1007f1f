"""What authors are told about a commit of their template: whole documents, limits, and hostile words.

Golden documents stand in `golden_lab/`; `UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from rules.lint import LintResult, TemplateFile, lint
from rules.model import Problem, Report
from rules.report import MAX_SUMMARY
from rules.report_lab import MAX_NOTES, LabContext, render_lab

GOLDEN = Path(__file__).parent / "golden_lab"
HEAD = "c" * 40

FILE = {
    "version": 1,
    "title": "Closures",
    "protected": ["tests/**"],
    "shared": ["README.md"],
    "steps": [
        {"id": "report", "title": "Report the bug", "files": ["report.md"]},
        {"id": "fix", "title": "Fix `useTimer`", "files": ["src/**"]},
        {"id": "polish", "title": "Polish | it", "files": ["src/timer.js", "CHANGELOG.md"]},
    ],
}
PATHS = (".forgea/steps.json", "README.md", "src/timer.js", "src/a|b.js", "tests/timer.test.js", "x.txt")
CONTEXT = LabContext(
    slug="closures",
    lab_id=7,
    head_sha=HEAD,
    branch="main",
    lab_branch="main",
    outcome="published",
    number=4,
    staying={2: 1, 3: 12},
    details_url="https://stepgate.example.com/join/closures",
)


def linted(**changes: object) -> LintResult:
    """The file with these changes, linted with a template of PATHS."""
    template = [TemplateFile(path, "100644", f"{at:040x}") for at, path in enumerate(PATHS)]
    return lint(orjson.dumps(FILE | changes, option=orjson.OPT_INDENT_2), template=template)


def plainly(*problems: Problem) -> LintResult:
    """A result with made-up problems. The lab is there unless one is an error."""
    lab = None if any(problem.severity == "error" for problem in problems) else linted().lab
    return LintResult(lab, problems, None)


ERROR = Problem("STEPS021", 'There is no step "fixx".', 'Did you mean "fix"?', "/steps/2/needs/0", 17, 23)
WARNING = Problem("STEPS060", 'Nothing in the template matches "scr/**".', "", "/steps/1/files/0", 12, 9, "warning")

SITUATIONS: dict[str, tuple[LintResult | None, LabContext]] = {
    "published": (replace(linted(), problems=()), CONTEXT),
    "published-with-warning": (plainly(WARNING), replace(CONTEXT, staying={})),
    "unchanged": (plainly(), replace(CONTEXT, outcome="unchanged", staying={3: 1})),
    "older": (plainly(), replace(CONTEXT, outcome="older")),
    "broken": (plainly(WARNING, ERROR), replace(CONTEXT, outcome="broken")),
    "broken-never-published": (plainly(ERROR), replace(CONTEXT, outcome="broken", number=None)),
    "side-branch": (plainly(), replace(CONTEXT, outcome="side", branch="try/new|idea")),
    "no-file": (None, replace(CONTEXT, outcome="broken")),
    "fault": (None, replace(CONTEXT, outcome="broken", fault="octo-course/closures has no branch 'lab': push it")),
}


def document(report: Report) -> str:
    """All that GitHub shows of a report, as one text."""
    run = report.check_run
    notes = [f"- {note.level} {note.path}:{note.line} {note.title}: {note.message}" for note in run.annotations]
    return "\n".join([f"conclusion: {run.conclusion}", f"title: {run.title}", "", run.summary, *notes]) + "\n"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_whole_document_is_the_golden_one(situation: str) -> None:
    """Each situation is told in exactly these words, with no commit status."""
    report = render_lab(*SITUATIONS[situation])
    file = GOLDEN / f"{situation}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(document(report))
    assert document(report) == file.read_text()
    assert report.status is None
    assert report.check_run.name == "forgea/lab"


def test_every_golden_document_is_of_a_situation() -> None:
    """No golden document is left over."""
    assert {file.stem for file in GOLDEN.glob("*.md")} == SITUATIONS.keys()


def test_sessions_that_stay_are_no_reason_for_another_run() -> None:
    """Equal reports but for the number of sessions have one digest and one external id; another version has others."""
    first = render_lab(plainly(), CONTEXT)
    later = render_lab(plainly(), replace(CONTEXT, staying={3: 40}))
    assert later.check_run.summary != first.check_run.summary
    assert (later.digest, later.check_run.external_id) == (first.digest, first.check_run.external_id)
    assert render_lab(plainly(), replace(CONTEXT, number=5)).digest != first.digest


@pytest.mark.heavy
def test_thousands_of_problems_fit() -> None:
    """However many there are, errors come first, at most MAX_NOTES are on their lines, and the summary fits."""
    many = [replace(ERROR, message="x" * 400, suggestion="é" * 400, line=at) for at in range(1, 1_101)]
    report = render_lab(plainly(WARNING, *many), replace(CONTEXT, outcome="broken"))
    assert len(report.check_run.annotations) == MAX_NOTES
    assert {note.level for note in report.check_run.annotations} == {"failure"}
    assert len(report.check_run.summary) <= MAX_SUMMARY
    assert "1,100 errors and 1 warning" in report.check_run.summary
    assert f"On their lines are the first {MAX_NOTES}." in report.check_run.summary


def test_a_large_template_fits() -> None:
    """100 steps with long titles and thousands of files are counted where they cannot be named."""
    steps = [{"id": f"s{at}", "title": "`" * 190, "files": [f"{at}/**", "both/**"]} for at in range(100)]
    template = [TemplateFile(f"{at}/{'n' * 200}{n}.txt", "100644", "0" * 40) for at in range(110) for n in range(20)]
    template += [TemplateFile(f"both/{n}.txt", "100644", "0" * 40) for n in range(50)]
    result = lint(orjson.dumps({"version": 1, "title": "Large", "steps": steps}), template=template)
    assert result.lab is not None, result.problems[:3]
    report = render_lab(replace(result, problems=()), CONTEXT)
    assert len(report.check_run.summary) <= MAX_SUMMARY
    assert "more steps" in report.check_run.summary
    assert "Owned by several steps (50 files)" in report.check_run.summary


@pytest.mark.parametrize(
    "hostile", ["@octo-staff", "<img src=x>", "a|b", "[x](http://y)", "`code`", "a\nb", "\u202eevil"]
)
def test_hostile_words_stay_words(hostile: str) -> None:
    """Whatever stands in a file reaches the summary as text: no mention, markup, table cell or hidden character."""
    problem = replace(ERROR, message=hostile, suggestion=hostile)
    for report in (
        render_lab(plainly(problem), replace(CONTEXT, outcome="broken")),
        render_lab(None, replace(CONTEXT, outcome="broken", fault=hostile)),
        render_lab(plainly(), replace(CONTEXT, outcome="side", branch=hostile)),
    ):
        summary = re.sub(r"`[^`\n]*`", "", report.check_run.summary)  # in code everything is text
        assert "@octo-staff" not in summary
        assert "<img" not in summary
        assert "\u202e" not in summary + "".join(note.message for note in report.check_run.annotations)
        assert "[x](" not in summary
        rows = [line for line in summary.splitlines() if line.startswith("| 17:23")]
        assert all(row.count("|") == 5 for row in rows)
