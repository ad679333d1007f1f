"""Steps that lack nothing but a result of GitHub: what is awaited of a judged head, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.conditions import awaited, awaits_staff
from rules.model import AllOf, AnyOf, Approval, Changed, Check, Facts, Lab, StepState, Verdict, Workflow
from rules.report_advice import next_step
from rules.report_greeting import greeting
from rules.verdict import facts_digest
from tests.support.labs import Files, lab, sha, snapshot, step, verdict_of
from tests.support.reports import CONTEXT

TESTS = ".github/workflows/test.yml"
HEAD = sha("head")
NOBODY = Facts()


def judged(a_lab: Lab, head: Files, facts: Facts = NOBODY, template: Files | None = None) -> Verdict:
    """The verdict on a head of which nothing was accepted before."""
    return verdict_of(a_lab, snapshot(head, template=template or {}), facts=facts)


def told(facts: Facts, *conditions: Workflow | Check) -> tuple[str, ...]:
    """What a step that asks for these waits for, with these facts."""
    return judged(lab(step("s", "*", complete=AllOf(conditions))), {}, facts).steps[0].waiting_for


def test_what_waiting_steps_lack_on_the_head_is_awaited() -> None:
    """Results that waiting steps lack, wherever they stand in the condition; not those of locked or unworked steps."""
    a_lab = lab(
        step("a", "a", complete=AnyOf((Approval(), AllOf((Workflow(TESTS), Check("lint", 7)))))),
        step("b", "b", complete=AllOf((Changed(), Workflow("other.yml"))), needs=()),
        step("c", "c", complete=Check("late", 8), needs=("a",)),
    )
    assert awaited(a_lab, judged(a_lab, {}), NOBODY) == {(TESTS, 0), ("lint", 7)}
    assert awaited(a_lab, judged(a_lab, {"b": "work"}), NOBODY) == {(TESTS, 0), ("lint", 7), ("other.yml", 0)}


def test_what_is_known_of_the_head_is_not_awaited() -> None:
    """A success on the head is not asked for again; one on another head, and a failure, are."""
    a_lab = lab(step("a", "a", complete=AllOf((Workflow(TESTS), Check("lint", 7), Approval()))))
    known = Facts(workflows=frozenset({(TESTS, HEAD)}), checks=frozenset({("lint", 7, HEAD)}))
    assert awaited(a_lab, judged(a_lab, {}, known), known) == set()
    other = Facts(workflows=frozenset({(TESTS, sha("x"))}), checks=frozenset({("lint", 8, HEAD)}))
    assert awaited(a_lab, judged(a_lab, {}, other), other) == {(TESTS, 0), ("lint", 7)}
    failed = Facts(unsuccessful=frozenset({(TESTS, 0, HEAD, "failure")}))
    assert (TESTS, 0) in awaited(a_lab, judged(a_lab, {}, failed), failed)


def test_who_waits_for_staff() -> None:
    """A step that an approval would complete, also as one of several ways, or that staff reopened; no other."""
    for complete, expected in (
        (Approval(), True),
        (AnyOf((Workflow(TESTS), Approval())), True),
        (AllOf((Changed(), Approval())), False),
        (Workflow(".github/workflows/staff.yml"), False),
    ):
        assert awaits_staff(judged(lab(step("a", "a", complete=complete)), {})) is expected
    done = lab(step("a", "a", complete=Changed()))
    assert awaits_staff(judged(done, {"a": "work"}, Facts(reopened=frozenset({"a"}))))
    assert not awaits_staff(judged(done, {"a": "work"}))


def test_no_run_is_awaited_while_protected_files_are_not_the_templates() -> None:
    """No run counts then, so GitHub is not asked; checks are awaited all the same."""
    a_lab = lab(step("a", "a", complete=AllOf((Workflow(TESTS), Check("lint", 7)))), protected=["t"])
    assert awaited(a_lab, judged(a_lab, {"t": "mine"}, template={"t": "theirs"}), NOBODY) == {("lint", 7)}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (NOBODY, (f"workflow {TESTS}", "check lint")),
        (
            Facts(unsuccessful=frozenset({(TESTS, 0, HEAD, "failure"), ("lint", 7, HEAD, "neutral")})),
            (f"workflow {TESTS}, which ended with failure", "check lint, which ended with neutral"),
        ),
        (
            Facts(unsuccessful=frozenset({(TESTS, 0, sha("x"), "failure"), ("lint", 8, HEAD, "failure")})),
            (f"workflow {TESTS}", "check lint"),
        ),
        (
            Facts(unreadable=frozenset({"workflow"}), unsuccessful=frozenset({(TESTS, 0, HEAD, "failure")})),
            (f"workflow {TESTS}, which this App is not allowed to read yet", "check lint"),
        ),
    ],
)
def test_a_result_that_is_missing_is_told_with_what_is_known_of_it(facts: Facts, expected: tuple[str, ...]) -> None:
    """That a run on this head failed, or may not be read, is said; what ended elsewhere is not."""
    assert told(facts, Workflow(TESTS), Check("lint", 7)) == expected


def test_unsuccessful_results_decide_nothing_and_are_news() -> None:
    """A failure changes no state of a step, only its words and the digest, so that it is reported once."""
    failed = Facts(unsuccessful=frozenset({(TESTS, 0, HEAD, "failure")}))
    a_lab = lab(step("a", "a", complete=Workflow(TESTS)))
    assert [status.state for status in judged(a_lab, {}, failed).steps] == [StepState.WAITING]
    digests = {facts_digest(each) for each in (NOBODY, failed, Facts(unreadable=frozenset({"workflow"})))}
    assert len(digests) == 3


def advice(facts: Facts, complete: Workflow | Check | Approval) -> str:
    """What the check-run says about the step to work on."""
    a_lab = lab(replace(step("s", "*", complete=complete), description="Make it right."))
    return "\n".join(next_step(replace(CONTEXT, lab=a_lab), judged(a_lab, {"a": "1"}, facts)))


def test_the_advice_is_whose_turn_it_is() -> None:
    """Staff: nothing to do. A run to come: how to switch Actions on. A failed one: correct it. No permission: the
    operator's remedy, and no word of pushing.
    """
    assert "Your part is done" in advice(NOBODY, Approval())
    coming = advice(NOBODY, Workflow(TESTS))
    assert "Make it right." in coming
    assert "switch workflows on" in coming
    failed = advice(Facts(unsuccessful=frozenset({(TESTS, 0, HEAD, "failure")})), Workflow(TESTS))
    assert "Open its log" in failed
    assert "switch workflows on" not in failed
    unreadable = advice(Facts(unreadable=frozenset({"workflow"})), Workflow(TESTS))
    assert "This is not your fault" in unreadable
    assert "**Actions: read**" in unreadable
    assert "git push" not in unreadable
    check = advice(NOBODY, Check("lint", 7))
    assert "check lint" in check
    assert "Actions" not in check


def test_a_greeting_sends_nobody_away_to_wait_for_their_own_work() -> None:
    """A first step that waits for a workflow is one to begin with: its work decides how the workflow ends."""
    a_lab = lab(replace(step("s", "a", complete=Workflow(TESTS)), description="Make it right."))
    verdict = judged(a_lab, {})
    title, lines = greeting(verdict.steps[0], verdict, replace(CONTEXT, lab=a_lab))
    assert title.startswith("Welcome: begin with step 1")
    assert "Make it right." in "\n".join(lines)
    assert TESTS in "\n".join(lines)
