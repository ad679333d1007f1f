"""rules.lint_codes: every code has an entry in the manual whose examples are true."""

from __future__ import annotations

import pytest

from rules.labfile_problems import MAX_PROBLEMS, WARNINGS, ProblemCode
from rules.lint import LintResult, TemplateFile, lint
from rules.lint_code import CodeEntry
from rules.lint_codes import CODES
from tests.support.labs import blob_sha


def linted(text: str, entry: CodeEntry, encoding: str = "utf-8") -> LintResult:
    """What the linter says of an example, beside the template of the entry."""
    contents = {path: content.encode() for path, content in entry.template.items()}
    template = [TemplateFile(path, "100644", blob_sha(content)) for path, content in contents.items()]
    return lint(text.encode(encoding), template=template or None, contents=contents)


def test_every_code_has_an_entry() -> None:
    """No code is without a paragraph in the manual, and no paragraph without its code; they are in order."""
    assert list(CODES) == sorted(ProblemCode)


#: The example of a set that RE2 cannot hold is as large as it must be.
BAD = [
    pytest.param(entry, marks=[pytest.mark.heavy] if code is ProblemCode.PATTERNS_TOO_LARGE else [], id=code)
    for code, entry in CODES.items()
]


@pytest.mark.parametrize("entry", BAD)
def test_the_bad_file_has_the_problem(entry: CodeEntry) -> None:
    """The bad example has this problem, of this severity, and no other."""
    result = linted(entry.bad, entry, entry.encoding)

    listed = [problem for problem in result.problems if problem.code == entry.code]
    assert listed
    assert {problem.severity for problem in listed} == {entry.severity}
    if entry.code is not ProblemCode.MORE:
        assert listed == list(result.problems)
        assert len(result.problems) <= MAX_PROBLEMS
    assert (result.lab is not None) == (entry.severity == "warning")


@pytest.mark.parametrize("entry", CODES.values(), ids=lambda entry: entry.code)
def test_the_good_file_has_none(entry: CodeEntry) -> None:
    """The good example has no problem at all, not even a warning."""
    result = linted(entry.good, entry)

    assert result.problems == ()
    assert result.lab is not None


def test_what_stops_publishing_is_what_cannot_work() -> None:
    """All that keeps a file from being read is an error; of the rest only a step that can never complete is."""
    meaning = {code for code in ProblemCode if "STEPS044" <= code < "STEPS099"}

    assert meaning - WARNINGS == {ProblemCode.NEVER_COMPLETES}
    assert meaning >= WARNINGS


@pytest.mark.parametrize("entry", CODES.values(), ids=lambda entry: entry.code)
def test_entries_read_as_sentences(entry: CodeEntry) -> None:
    """Titles are short and without a full stop; explanations are one paragraph of sentences."""
    assert len(entry.title) <= 80
    assert not entry.title.endswith(".")
    assert entry.explanation.endswith(".")
    assert "\n" not in entry.explanation
    assert entry.anchor == entry.code.lower()
