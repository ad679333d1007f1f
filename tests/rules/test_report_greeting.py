"""The greeting of a fork that nobody has worked on: when it is given, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rules.model import Approval, Facts, Nothing, Policy, Report, Step
from rules.report import ReportContext, render, render_preview
from tests.support.labs import Files, chain, lab, snapshot, step, verdict_of
from tests.support.reports import CONTEXT, LAB, verdict, with_lab

STARTER: Files = {"a.txt": "starter", "README.md": "read me", ".forgea/steps.json": "{}"}
NEWER: Files = {**STARTER, "README.md": "read me again"}


def greeting(context: ReportContext = CONTEXT) -> Report:
    """The greeting of an untouched fork of the context's lab."""
    return render(verdict(untouched=True, accepted=None, lab=context.lab), context)


@pytest.mark.parametrize(
    ("head", "more"),
    [
        pytest.param(STARTER, {}, id="fork"),
        pytest.param(STARTER, {"accepted": STARTER}, id="judged before"),
        pytest.param(NEWER, {"later": [NEWER]}, id="fork of a later version"),
        pytest.param(NEWER, {"accepted": STARTER, "later": [{**NEWER, "b.txt": "b"}, NEWER]}, id="synced"),
        pytest.param(STARTER, {"accepted": {**STARTER, "a.txt": "mine"}, "rewrite": True}, id="reset to the starter"),
    ],
)
def test_what_the_template_handed_out_is_untouched(head: Files, more: dict[str, Any]) -> None:
    """A head that is, file by file, some version of the template is untouched, whatever was there before."""
    assert verdict_of(chain("a", "b"), snapshot(head, template=STARTER, **more)).untouched


@pytest.mark.parametrize(
    "head",
    [
        pytest.param({**STARTER, "a.txt": "mine"}, id="a step's file"),
        pytest.param({**STARTER, "notes.txt": "mine"}, id="a file of no step"),
        pytest.param({**STARTER, ".forgea/steps.json": "{ }"}, id="a protected file"),
        pytest.param({path: text for path, text in STARTER.items() if path != "a.txt"}, id="a file less"),
        pytest.param({**NEWER, "a.txt": "mine"}, id="work on top of a sync"),
        pytest.param({**STARTER, "b.txt": "b"}, id="too early"),
    ],
)
def test_any_change_is_work(head: Files) -> None:
    """A head with a single file that no version of the template has as a whole is judged as always."""
    assert not verdict_of(chain("a", "b"), snapshot(head, template=STARTER, later=[NEWER])).untouched


def test_somebody_with_progress_is_not_greeted() -> None:
    """The starter again, after a step was completed, is told its verdict: progress comes first."""
    rules = replace(chain("a", "b"), policy=Policy(reopen="never"))
    again = snapshot(STARTER, template=STARTER, accepted={**STARTER, "a.txt": "mine"})

    assert not verdict_of(rules, again, done=["a"]).untouched


def test_a_lab_of_optional_steps_only_has_nothing_to_begin_with() -> None:
    """Where no step is required the lab is complete, and that is told instead."""
    rules = lab(step("extra", "/extra.txt", optional=True))
    told = render(verdict_of(rules, snapshot(STARTER, template=STARTER)), with_lab(rules))
    assert told.check_run.conclusion == "success"
    assert told.check_run.title.startswith("Lab complete")


def test_the_greeting_is_neutral_and_never_red() -> None:
    """Nothing was judged, so the check run is neutral; the status stays green, so that no starter looks broken."""
    told = greeting()
    assert told.check_run.conclusion == "neutral"
    assert told.status is not None
    assert told.status.state == "success"
    assert told.status.description == told.check_run.title == "Welcome: begin with step 1, Describe the bug"


def test_with_failures_only_the_greeting_has_no_status_of_its_own() -> None:
    """`REPORT_STATUS=failures` tells a green status only where a red one has to go."""
    quiet = replace(CONTEXT, report_status="failures")
    assert greeting(quiet).status is None
    assert greeting(replace(quiet, clears_failure=True)).status is not None


def test_on_another_branch_nobody_is_greeted() -> None:
    """The starter on another branch is a preview like any other."""
    told = render_preview(verdict(untouched=True), replace(CONTEXT, branch="idea"))
    assert told.check_run.title == "Preview: Step 1 of 5: accepted, not complete yet"
    assert told.check_run.conclusion == "success"


def test_a_first_step_that_waits_asks_for_nothing() -> None:
    """A lab that begins with an approval does not ask for a push."""
    rules = lab(Step("meet", "Meet us", (), (), Approval()), step("next", "/next.txt", needs=["meet"]))
    told = render(verdict_of(rules, snapshot(STARTER, template=STARTER)), with_lab(rules)).check_run
    assert told.title.startswith("Welcome: step 1 waits for ")
    assert "git push" not in told.summary


@pytest.mark.parametrize("facts", [Facts(), Facts(completed=frozenset({"read"}))], ids=["the lab", "staff"])
def test_what_needs_no_work_is_told_with_the_greeting(facts: Facts) -> None:
    """A first step that only asks to be read, or that staff completed, is done at once; one begins with the next."""
    rules = lab(Step("read", "Read this", (), (), Nothing()), step("next", "/next.txt", needs=["read"]))
    told = render(verdict_of(rules, snapshot(STARTER, template=STARTER), facts=facts), with_lab(rules)).check_run
    assert told.title == "Welcome: begin with step 2, next"
    assert "### Newly complete\n\n- Step 1, **Read this**" in told.summary


def test_hostile_names_cannot_be_pasted() -> None:
    """Branch and address are quoted for the shell; a branch that no command can spell gets no commands."""
    rude = replace(LAB, branch="main;touch x")
    assert "git push origin 'main;touch x'" in greeting(with_lab(rude)).check_run.summary
    assert "git push" not in greeting(with_lab(replace(LAB, branch="ma\ufffdin"))).check_run.summary
    assert "git clone" not in greeting(replace(CONTEXT, clone_url=None)).check_run.summary


def test_texts_of_the_author_stay_texts() -> None:
    """A title or a pattern with Markdown, mentions or line breaks neither notifies anybody nor breaks the page."""
    first = replace(LAB.steps[0], title="@octo-staff **now**", files=("a`b\n| c", "!*.md"), description="")
    told = greeting(with_lab(replace(LAB, steps=(first, *LAB.steps[1:])))).check_run
    assert "@octo-staff" not in told.summary
    assert "\n| c" not in told.summary
    assert "leaves files out" in told.summary


def test_a_first_step_without_files_names_none() -> None:
    """Not every step has files of its own."""
    first = replace(LAB.steps[0], files=())
    summary = greeting(with_lab(replace(LAB, steps=(first, *LAB.steps[1:])))).check_run.summary
    assert "about these files" not in summary
    assert "git push" in summary


def test_many_patterns_are_counted() -> None:
    """A step with more patterns than anybody reads names the first and counts the rest."""
    first = replace(LAB.steps[0], files=tuple(f"src/{number}.js" for number in range(25)))
    summary = greeting(with_lab(replace(LAB, steps=(first, *LAB.steps[1:])))).check_run.summary
    assert "src/9.js" in summary
    assert "src/10.js" not in summary
    assert "and 15 patterns more" in summary
