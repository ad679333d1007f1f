"""What learners are told: whole documents, limits, and what must never be said.

Golden documents stand in `golden/`; `UPDATE_GOLDEN=1` writes them anew. Read them aloud before you commit them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.binding import blocks_report
from rules.model import (
    BindingCode,
    CannotVerify,
    ChangeKind,
    Lab,
    Level,
    Loss,
    PathOutcome,
    PathVerdict,
    Policy,
    Report,
    SessionStatus,
    StepState,
    Verdict,
    Violation,
    ViolationCode,
)
from rules.report import (
    MAX_ANNOTATIONS,
    MAX_DESCRIPTION,
    MAX_SUMMARY,
    ReportContext,
    render,
    render_closed,
    render_preview,
    render_rejection,
)
from rules.report_buttons import CHECK_AGAIN, MAX_BUTTONS, MAX_IDENTIFIER, MAX_LABEL, NEED_HELP
from rules.report_buttons import MAX_DESCRIPTION as MAX_BUTTON_DESCRIPTION
from rules.report_text import current, listed
from tests.support.reports import (
    ACCEPTED,
    CONTEXT,
    HEAD,
    LAB,
    NOTICE,
    SESSION,
    TEMPLATE,
    URL,
    out_of_order,
    path,
    step,
    verdict,
    violation,
    with_lab,
)

GOLDEN = Path(__file__).parent / "golden"
DEADLINE = datetime(2031, 5, 2, 0, 30, tzinfo=timezone(timedelta(hours=2)))
ALL = ("report", "fix", "command", "release")
PROTECTED = ViolationCode.PROTECTED_PATH
UNMAPPED = ViolationCode.UNMAPPED_PATH
REWORK = ViolationCode.REWORK

SITUATIONS: dict[str, Callable[[], Report]] = {
    "welcome": lambda: render(verdict(accepted=None, untouched=True), replace(CONTEXT, deadline=DEADLINE)),
    "welcome-waiting": lambda: render(
        verdict(untouched=True, waiting={"report": ["approval by staff"]}), replace(CONTEXT, deadline=DEADLINE)
    ),
    "step-complete": lambda: render(
        verdict(done=["report"], paths=[path("report/bug.md", PathOutcome.OPEN, "report")], accepted=None), CONTEXT
    ),
    "two-steps-complete": lambda: render(verdict(before=["report"], done=["report", "fix", "command"]), CONTEXT),
    "accepted-not-complete": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            paths=[
                path("README.md", PathOutcome.SHARED, change=ChangeKind.MODIFIED),
                path("notes.txt", PathOutcome.UNMAPPED),
                path("src/wordcount.js", PathOutcome.OPEN, "fix", change=ChangeKind.MODIFIED),
            ],
        ),
        CONTEXT,
    ),
    "out-of-order": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[out_of_order("src/cli.js")],
            paths=[path("README.md", PathOutcome.SHARED)],
        ),
        replace(CONTEXT, hints_due=1),
    ),
    "out-of-order-many": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[
                *(out_of_order(f"src/cli.js/{number:04}") for number in range(4_999)),
                out_of_order("CHANGELOG.md", owner="release", missing=("fix", "command"), change=ChangeKind.MODIFIED),
            ],
        ),
        replace(CONTEXT, hints_due=2),
    ),
    "out-of-order-first-push-generated": lambda: render(
        verdict(
            accepted=None,
            violations=[out_of_order("src/wordcount.js", owner="fix", missing=("report",), change=ChangeKind.MODIFIED)],
        ),
        replace(CONTEXT, template_in_history=False),
    ),
    "out-of-order-waiting": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[out_of_order("src/cli.js")],
            waiting={"fix": ["workflow .github/workflows/test.yml"]},
        ),
        CONTEXT,
    ),
    "protected": lambda: render(
        verdict(
            before=["report"],
            done=["report", "fix"],
            violations=[
                violation(PROTECTED, ".forgea/steps.json", ChangeKind.MODIFIED),
                violation(PROTECTED, "tests/old test.js", ChangeKind.REMOVED),
                violation(PROTECTED, "tests/slipped.js", None),
            ],
        ),
        replace(CONTEXT, protected_sha="9c" * 20),
    ),
    "everything-wrong": lambda: render(
        verdict(
            before=["report", "fix"],
            done=["report"],
            violations=[
                violation(UNMAPPED, "Changelog.md", suggestion="CHANGELOG.md"),
                violation(UNMAPPED, "Src/cli.js", suggestion="src/cli.js"),
                violation(UNMAPPED, "moved.md"),
                violation(UNMAPPED, "not utf-8 \ufffd"),
                violation(REWORK, "report/bug.md", ChangeKind.MODE, owners=("report",)),
                violation(PROTECTED, "tests/a|b.js", ChangeKind.MODIFIED),
                out_of_order("src/cli.js", missing=("fix",)),
                violation(UNMAPPED, "warned.md", level="warn"),
            ],
            paths=[
                PathVerdict("moved.md", ChangeKind.ADDED, PathOutcome.UNMAPPED, renamed_from="README.md"),
                path("Changelog.md", PathOutcome.UNMAPPED, suggestion="CHANGELOG.md"),
                path("Src/cli.js", PathOutcome.UNMAPPED, suggestion="src/cli.js"),
            ],
            losses=[Loss("fix", "TAKEN_AWAY"), Loss("command", "NEEDS", ("fix",))],
            rewrite=True,
        ),
        replace(CONTEXT, hints_due=9),
    ),
    "hostile-names": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[
                out_of_order(name)
                for name in (
                    "@octo-course/staff",
                    "[x](javascript:alert(1))",
                    "<script>alert(1)<!--",
                    "`touch owned`",
                    "a|b",
                    "line\nbreak",
                    "\u202egnp.exe",
                    "-rf *",
                )
            ],
        ),
        CONTEXT,
    ),
    "reopened": lambda: render(
        verdict(
            before=["report", "fix", "command"],
            done=["report"],
            losses=[Loss("fix", "TAKEN_AWAY"), Loss("command", "NEEDS", ("fix",))],
            rewrite=True,
        ),
        CONTEXT,
    ),
    "parked-accepted": lambda: render(
        verdict(
            before=["report"],
            done=["report", "fix", "command"],
            paths=[
                path("src/cli.js", PathOutcome.OPEN, "command"),
                path("src/wordcount.js", PathOutcome.OPEN, "fix", change=ChangeKind.MODIFIED),
            ],
        ),
        CONTEXT,
    ),
    "unmapped-and-rework": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[
                violation(UNMAPPED, "notes.txt"),
                violation(REWORK, "report/bug.md", ChangeKind.MODIFIED, owners=("report",)),
            ],
        ),
        CONTEXT,
    ),
    "waiting-for-workflow": lambda: render(
        verdict(before=["report"], done=["report"], waiting={"fix": ["workflow .github/workflows/test.yml"]}), CONTEXT
    ),
    "waiting-for-failed-workflow": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            waiting={"fix": ["workflow .github/workflows/test.yml, which ended with failure"]},
        ),
        CONTEXT,
    ),
    "waiting-for-unreadable-workflow": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            waiting={
                "fix": ["workflow .github/workflows/test.yml, which this App is not allowed to read yet"],
            },
        ),
        CONTEXT,
    ),
    "waiting-for-approval": lambda: render(
        verdict(before=["report"], done=["report"], waiting={"fix": ["approval by staff"]}), CONTEXT
    ),
    "warnings": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            violations=[
                violation(UNMAPPED, "notes.txt", level="warn"),
                violation(REWORK, "report/bug.md", ChangeKind.MODIFIED, level="warn", owners=("report",)),
            ],
        ),
        CONTEXT,
    ),
    "near-miss-allowed": lambda: render(
        verdict(
            before=["report"],
            done=["report"],
            paths=[path("src/wordcuont.js", PathOutcome.UNMAPPED, suggestion="src/wordcount.js")],
        ),
        CONTEXT,
    ),
    "asked-for-help": lambda: render(
        verdict(before=["report"], done=["report"], violations=[out_of_order("src/cli.js")]),
        replace(CONTEXT, asked_for_help=True),
    ),
    "complete": lambda: render(verdict(before=ALL[:3], done=ALL), CONTEXT),
    "complete-but-blocked": lambda: render(
        verdict(before=ALL, done=ALL, violations=[violation(PROTECTED, "tests/a.js", ChangeKind.MODIFIED)]), CONTEXT
    ),
    "preview-blocked": lambda: render_preview(
        verdict(before=["report"], done=["report"], violations=[out_of_order("src/cli.js")]),
        replace(CONTEXT, branch="try|this"),
    ),
    "preview-fine": lambda: render_preview(
        verdict(before=["report"], done=["report", "fix"]), replace(CONTEXT, branch="try")
    ),
    "cannot-verify-lab-file": lambda: render(
        CannotVerify(HEAD, "LAB_FILE", "steps/2/files: the patterns do not fit into RE2 <@octo-course>"), CONTEXT
    ),
    "cannot-verify-github": lambda: render(CannotVerify(HEAD, "GITHUB", "502"), CONTEXT),
    "cannot-verify-too-large": lambda: render(CannotVerify(HEAD, "TOO_LARGE"), CONTEXT),
    "rejected-ambiguous": lambda: render_rejection(BindingCode.AMBIGUOUS, NOTICE),
    "rejected-enrolment-closed": lambda: render_rejection(BindingCode.ENROLMENT_CLOSED, NOTICE),
    "rejected-lab-has-no-version": lambda: render_rejection(BindingCode.LAB_HAS_NO_VERSION, NOTICE),
    "rejected-learner-mismatch": lambda: render_rejection(BindingCode.LEARNER_MISMATCH, NOTICE),
    "rejected-mapping-conflict": lambda: render_rejection(BindingCode.MAPPING_CONFLICT, NOTICE),
    "rejected-no-session": lambda: render_rejection(BindingCode.NO_SESSION, NOTICE),
    "rejected-owner-changed": lambda: render_rejection(BindingCode.OWNER_CHANGED, NOTICE),
    "closed-complete": lambda: render_closed(SessionStatus.VERIFIED_PASS, None, NOTICE),
    "closed-expired": lambda: render_closed(SessionStatus.EXPIRED, None, NOTICE),
    "closed-paused": lambda: render_closed(SessionStatus.DEFERRED, "staff", NOTICE),
}


def document(report: Report) -> str:
    """A report as one text to read."""
    run, status = report.check_run, report.status
    lines = [
        f"check run: {run.conclusion}: {run.title}",
        f"status: {status.state}: {status.description}" if status else "status: none",
        *(f"note: {note.level}: {note.path!a}: {note.title}: {note.message}" for note in run.annotations[:3]),
        *([f"... {len(run.annotations)} notes"] if len(run.annotations) > 3 else []),
        "",
        run.summary,
        "buttons: " + (", ".join(f"[{button.label}]" for button in run.buttons) or "none"),
        "",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_whole_document_is_the_golden_one(situation: str) -> None:
    """Every word of a report is as it was read aloud."""
    file = GOLDEN / f"{situation}.md"
    found = document(SITUATIONS[situation]())
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(found)

    assert file.read_text() == found


def test_every_golden_document_is_of_a_situation() -> None:
    """No golden document is left over."""
    assert {file.stem for file in GOLDEN.glob("*.md")} == SITUATIONS.keys()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_reports_speak_of_one_head_and_one_page(situation: str) -> None:
    """Check run and status are of the judged head, lead to the same page, and share a name."""
    report = SITUATIONS[situation]()

    assert (report.check_run.name, report.check_run.head_sha) == ("forgea/steps", HEAD)
    assert report.check_run.details_url in (URL, None)
    if report.status is not None:
        assert (report.status.context, report.status.head_sha) == ("forgea/steps", HEAD)
        assert report.status.target_url == report.check_run.details_url


# -------------------------------------------------------------------------------------------------------- conclusions

BLOCKED = verdict(violations=[out_of_order("src/cli.js")])
FINE = verdict(done=["report"])
UNREAD = CannotVerify(HEAD, "TOO_LARGE")


@pytest.mark.parametrize(
    ("judged", "conclusion", "state"),
    [
        (FINE, "success", "success"),
        (verdict(violations=[out_of_order("a", level="warn")]), "success", "success"),
        (BLOCKED, "failure", "failure"),
        (UNREAD, "action_required", "error"),
    ],
)
def test_verdicts_have_their_conclusions(judged: Verdict | CannotVerify, conclusion: str, state: str) -> None:
    """The table at the end of steps.md section 7, for the lab's branch and for previews."""
    for report in (render(judged, CONTEXT), render_preview(judged, replace(CONTEXT, branch="try"))):
        assert report.check_run.conclusion == conclusion
        assert report.status is not None
        assert report.status.state == state


def test_previews_say_so() -> None:
    """Nobody takes a preview for the real thing."""
    for judged in (FINE, BLOCKED, UNREAD):
        report = render_preview(judged, replace(CONTEXT, branch="try"))

        assert report.check_run.title.startswith("Preview: ")
        assert report.status is not None
        assert report.status.description.startswith("Preview: ")


def test_a_finished_lab_on_another_branch_is_not_celebrated_yet() -> None:
    """A preview of the last step says what would be."""
    summary = render_preview(verdict(done=ALL), replace(CONTEXT, branch="try")).check_run.summary

    assert "would be complete" in summary
    assert "Well done" not in summary


def test_a_branch_that_no_command_can_name_gets_no_command() -> None:
    """The name of a branch may not be UTF-8 either."""
    summary = render_preview(FINE, replace(CONTEXT, branch="\ufffd")).check_run.summary

    assert "git merge" not in summary


@pytest.mark.parametrize("code", BindingCode)
def test_each_code_is_reported_as_the_binding_says(code: BindingCode) -> None:
    """action_required with an error status, neutral without status, or nothing at all."""
    kind = blocks_report(code)
    if kind == "none":
        with pytest.raises(ValueError, match=code.value):
            render_rejection(code, NOTICE)
        return
    report = render_rejection(code, NOTICE)

    assert report.check_run.conclusion == kind
    assert (report.status.state if report.status else None) == ("error" if kind == "action_required" else None)


def test_who_is_not_in_the_session_is_not_led_to_it() -> None:
    """A repository that changed hands links no session page, for it shows another person's work."""
    for code in (BindingCode.OWNER_CHANGED, BindingCode.LEARNER_MISMATCH):
        assert str(SESSION) not in render_rejection(code, NOTICE).check_run.summary
    assert URL in render_rejection(BindingCode.MAPPING_CONFLICT, NOTICE).check_run.summary


def test_a_rejection_without_a_known_lab_still_says_what_to_do() -> None:
    """Lab, page and session are named where they are known."""
    bare = replace(NOTICE, lab_title="", join_url=None, session_id=None, session_url=None, deadline=None)
    report = render_rejection(BindingCode.NO_SESSION, bare)

    assert "What to do next" in report.check_run.summary
    assert report.check_run.external_id.startswith(f"{UUID(int=0)}:{HEAD}:0:")
    assert (
        "**The word counter"
        in render_rejection(BindingCode.NO_SESSION, replace(NOTICE, join_url=None)).check_run.summary
    )


@pytest.mark.parametrize(
    ("status", "by", "word"),
    [
        (SessionStatus.VERIFIED_PASS, None, "complete"),
        (SessionStatus.DEFERRED, "staff", "paused"),
        (SessionStatus.DEFERRED, "installation", "The App was removed"),
        (SessionStatus.EXPIRED, None, "deadline"),
    ],
)
def test_closed_sessions_are_neutral(status: SessionStatus, by: object, word: str) -> None:
    """A push after the end is no failure: neutral, and no commit status."""
    report = render_closed(status, by, NOTICE)  # type: ignore[arg-type]

    assert report.check_run.conclusion == "neutral"
    assert report.status is None
    assert word in report.check_run.title + report.check_run.summary


@pytest.mark.parametrize("status", [SessionStatus.IN_PROGRESS, SessionStatus.STUCK])
def test_an_open_session_is_not_reported_as_closed(status: SessionStatus) -> None:
    """Asking for it is our mistake."""
    with pytest.raises(ValueError, match="not closed"):
        render_closed(status, None, NOTICE)


@pytest.mark.parametrize("reason", ["TRUNCATED", "TOO_LARGE", "HEAD_GONE", "LAB_FILE", "GITHUB"])
def test_what_cannot_be_verified_is_nobodys_failure(reason: str) -> None:
    """The learner is told what it is, and never that the work is wrong."""
    report = render(CannotVerify(HEAD, reason), CONTEXT)  # type: ignore[arg-type]
    words = report.check_run.title + report.check_run.summary

    assert report.check_run.conclusion == "action_required"
    assert not any(blame in words.lower() for blame in ("wrong", "invalid", "failed", "your fault", "error"))


# ------------------------------------------------------------------------------------------------------------ statuses


@pytest.mark.parametrize(
    ("setting", "fine", "blocked"), [("always", True, True), ("failures", False, True), ("never", False, False)]
)
def test_the_setting_chooses_which_statuses_are_sent(setting: str, fine: bool, blocked: bool) -> None:
    """REPORT_STATUS: all, only what is not success, or none."""
    context = replace(CONTEXT, report_status=setting)  # type: ignore[arg-type]

    assert (render(FINE, context).status is not None) is fine
    assert (render(BLOCKED, context).status is not None) is blocked
    assert (render(UNREAD, context).status is not None) is blocked


def test_a_failure_that_was_told_is_also_ended() -> None:
    """With `failures`, a head that turned green does not keep its red status."""
    context = replace(CONTEXT, report_status="failures", clears_failure=True)
    status = render(FINE, context).status

    assert status is not None
    assert status.state == "success"


# ------------------------------------------------------------------------------------------------------------- buttons


@pytest.mark.parametrize("situation", SITUATIONS)
def test_buttons_are_within_the_limits(situation: str) -> None:
    """GitHub takes three buttons, and cuts no text: it refuses what is too long."""
    buttons = SITUATIONS[situation]().check_run.buttons

    assert len(buttons) <= MAX_BUTTONS
    assert len({button.identifier for button in buttons}) == len(buttons)
    for button in buttons:
        assert 0 < len(button.label) <= MAX_LABEL
        assert 0 < len(button.description) <= MAX_BUTTON_DESCRIPTION
        assert 0 < len(button.identifier) <= MAX_IDENTIFIER


def test_buttons_are_offered_where_they_do_something() -> None:
    """Open sessions have both; a refusal can be looked at again; what is over, or just ended, has none."""
    preview = replace(CONTEXT, branch="try")

    assert render(BLOCKED, CONTEXT).check_run.buttons == (CHECK_AGAIN, NEED_HELP)
    assert render(UNREAD, CONTEXT).check_run.buttons == (CHECK_AGAIN, NEED_HELP)
    assert render_preview(verdict(before=ALL[:3], done=ALL), preview).check_run.buttons == (CHECK_AGAIN, NEED_HELP)
    assert SITUATIONS["welcome"]().check_run.buttons == (CHECK_AGAIN, NEED_HELP)
    assert SITUATIONS["rejected-no-session"]().check_run.buttons == (CHECK_AGAIN,)
    assert render(verdict(before=ALL[:3], done=ALL), CONTEXT).check_run.buttons == ()
    assert SITUATIONS["complete-but-blocked"]().check_run.buttons == ()
    assert SITUATIONS["closed-paused"]().check_run.buttons == ()


def test_a_call_for_help_stands_first_and_changes_no_verdict() -> None:
    """Whoever pressed the button sees that it was heard, on every report until somebody answers."""
    asked, plain = render(BLOCKED, replace(CONTEXT, asked_for_help=True)), render(BLOCKED, CONTEXT)

    assert asked.check_run.summary.startswith("**You asked for help.** The people who run the lab see it.")
    assert asked.check_run.summary.endswith(plain.check_run.summary)
    assert (asked.check_run.title, asked.status, asked.check_run.conclusion) == (
        plain.check_run.title,
        plain.status,
        plain.check_run.conclusion,
    )
    assert asked.digest != plain.digest


# ------------------------------------------------------------------------------------------------------------- digests


def test_the_same_report_has_the_same_digest() -> None:
    """Nothing in a report is volatile: no time, no order of sets."""
    assert render(BLOCKED, CONTEXT) == render(BLOCKED, CONTEXT)


def test_whatever_is_sent_is_in_the_digest() -> None:
    """Another conclusion, word, note, page or status is another digest."""
    variants = [
        render(FINE, CONTEXT),
        render(BLOCKED, CONTEXT),
        render(BLOCKED, replace(CONTEXT, session_url=URL + "/")),
        render(BLOCKED, replace(CONTEXT, report_status="never")),
        render(BLOCKED, replace(CONTEXT, check_name="other")),
        render(BLOCKED, replace(CONTEXT, asked_for_help=True)),
        render(verdict(violations=[out_of_order("src/cli.js", change=ChangeKind.MODIFIED)]), CONTEXT),
    ]

    assert len({report.digest for report in variants}) == len(variants)


def test_the_external_id_names_session_head_version_and_content() -> None:
    """A lost answer is found by it, and a changed verdict on the same head is another run."""
    fine, blocked = render(FINE, CONTEXT), render(BLOCKED, CONTEXT)

    assert fine.check_run.external_id == f"{SESSION}:{HEAD}:12:{fine.digest[:16]}"
    assert fine.check_run.external_id != blocked.check_run.external_id


# --------------------------------------------------------------------------------------------------------- annotations


def test_notes_stand_on_files_that_the_head_has() -> None:
    """Removed files, files that no request can name, and those not in the push get no note; blocking ones go first."""
    found = [
        out_of_order("removed", change=ChangeKind.REMOVED),
        violation(PROTECTED, "slipped", None),
        out_of_order("not utf-8 \ufffd"),
        violation(UNMAPPED, "warned", level="warn"),
        out_of_order("added"),
        out_of_order("mode", change=ChangeKind.MODE, suggestion="Mode\u202e"),
    ]
    notes = render(verdict(violations=found), CONTEXT).check_run.annotations

    assert [(note.path, note.line, note.level) for note in notes] == [
        ("added", 1, "failure"),
        ("mode", 1, "failure"),
        ("warned", 1, "warning"),
    ]
    assert 'Did you mean "Mode\\u202e"?' in notes[1].message


def test_one_request_takes_fifty_notes() -> None:
    """More files than GitHub takes notes for: the first fifty have one."""
    notes = render(verdict(violations=[out_of_order(f"f{n:03}") for n in range(60)]), CONTEXT).check_run.annotations

    assert [note.path for note in notes] == [f"f{n:03}" for n in range(MAX_ANNOTATIONS)]


# --------------------------------------------------------------------------------------------------------- what to do


def summary(judged: Verdict, context: ReportContext = CONTEXT) -> str:
    """The summary of a report."""
    return render(judged, context).check_run.summary


def test_files_are_restored_from_the_accepted_head() -> None:
    """What is out of order becomes as in the head that was accepted last; new files go."""
    text = summary(verdict(violations=[out_of_order("new"), out_of_order("old", change=ChangeKind.MODIFIED)]))

    assert "git rm -- new\n" in text
    assert f"git restore --source={ACCEPTED} --staged --worktree -- old\n" in text
    assert "git fetch" not in text


def test_a_rewritten_history_fetches_the_accepted_head() -> None:
    """After a force-push a new clone does not have the accepted head any more."""
    text = summary(verdict(violations=[out_of_order("old", change=ChangeKind.MODIFIED)], rewrite=True))

    assert f"git fetch origin {ACCEPTED}\ngit restore --source={ACCEPTED} " in text


@pytest.mark.parametrize(
    ("in_history", "url", "fetch"),
    [(True, "https://x/lab.git", False), (False, "https://x/lab.git", True), (False, None, False)],
)
def test_before_the_first_accepted_head_the_template_is_the_source(in_history: bool, url: str, fetch: bool) -> None:
    """A fork has the template's commit in its history; a generated repository has to fetch it."""
    context = replace(CONTEXT, template_in_history=in_history, template_url=url)
    text = summary(verdict(accepted=None, violations=[out_of_order("old", change=ChangeKind.MODIFIED)]), context)

    assert f"git restore --source={TEMPLATE} " in text
    assert (f"git fetch 'https://x/lab.git' {TEMPLATE}\n" in text) is fetch


def test_protected_files_come_from_the_version_that_the_head_is_nearest_to() -> None:
    """In a fork that was synced with its template, old tests are no remedy: they are fetched as they are now."""
    later = "9c" * 20
    judged = verdict(violations=[violation(PROTECTED, "tests/a", ChangeKind.MODIFIED)])

    assert f"git restore --source={TEMPLATE} " in summary(judged)
    assert f" {later}\ngit restore --source={later} " in summary(judged, replace(CONTEXT, protected_sha=later))


def test_a_move_is_taken_back_at_both_ends() -> None:
    """The file goes back to where it came from, unless that end is a violation with a remedy of its own."""
    moved = [PathVerdict("new", ChangeKind.ADDED, PathOutcome.LOCKED, ("command",), "command", renamed_from="old")]
    one_end = [out_of_order("new")]
    both_ends = [*one_end, violation(PROTECTED, "old", ChangeKind.REMOVED)]

    assert f"git rm -- new\ngit restore --source={ACCEPTED} --staged --worktree -- old\n" in summary(
        verdict(violations=one_end, paths=moved)
    )
    assert f"--source={ACCEPTED}" not in summary(verdict(violations=both_ends, paths=moved))


def test_different_missing_steps_are_not_named_as_one() -> None:
    """Parked files may wait for different steps; the table says for which."""
    text = summary(verdict(violations=[out_of_order("a"), out_of_order("b", owner="release", missing=("command",))]))

    assert "once what is missing is complete, they are accepted without another push" in text
    assert "complete step 2 first" in text
    assert "complete step 3 first" in text


def test_a_locked_file_without_a_named_step_is_still_explained() -> None:
    """Nothing is missing, yet the step is not open (staff opened another again): no empty list of steps."""
    text = summary(verdict(violations=[out_of_order("a", missing=())]))

    assert "| not open yet |" in text
    assert "once what is missing is complete" in text


def test_the_step_to_work_on_is_the_one_that_blocks() -> None:
    """Of several open steps the missing one comes first, then required before optional, open before waiting."""
    lab = replace(
        LAB,
        steps=(
            step("extra", "Extra", "e", optional=True),
            step("asked", "Asked", "a"),
            step("open", "Open", "o"),
            step("missing", "Missing", "m"),
            step("last", "Last", "l", "missing"),
        ),
    )
    waiting = {"asked": ["approval by staff"]}
    plain = verdict(lab=lab, waiting=waiting)
    blocked = verdict(lab=lab, waiting=waiting, violations=[out_of_order("l", owner="last", missing=("missing",))])
    rest = verdict(lab=lab, done=["asked", "open", "missing", "last"])

    assert [status.step_id if status else None for status in (current(lab, v) for v in (plain, blocked, rest))] == [
        "open",
        "missing",
        None,
    ]
    assert "Step 4 of 5: blocked" in render(blocked, with_lab(lab)).check_run.title


def test_without_an_open_step_nothing_is_proposed() -> None:
    """A verdict in which every step is locked (which rules do not make) is reported without a step."""
    locked = tuple(replace(status, state=StepState.LOCKED) for status in verdict().steps)

    assert current(LAB, replace(verdict(), steps=locked)) is None


def test_a_step_without_a_description_has_none() -> None:
    """The heading alone is enough."""
    text = summary(verdict(before=["report", "fix", "command"], done=["report", "fix", "command"]))

    assert "### Next: step 5, **Write the release notes**\n\n### Steps" in text


def test_a_description_that_grows_too_long_is_cut() -> None:
    """Escapes may make a short text long."""
    wide = step("wide", "Wide", "w", description="\n".join([*["```"] * 100, "`" * 700]))
    lab = replace(LAB, steps=(wide,))

    assert "\n> …\n" in summary(verdict(lab=lab), with_lab(lab))


def test_staff_reopening_and_plain_losses_are_told_apart() -> None:
    """Each reopened step says why, without blame."""
    losses = [Loss("report", "STAFF"), Loss("fix", "TAKEN_AWAY")]
    text = summary(verdict(before=["report", "fix"], losses=losses))

    assert "staff opened it again" in text
    assert "what had completed it is gone" in text
    assert "| 1. Describe the bug | **open** again |" in text


def test_a_need_that_reopened_several_steps_is_one_sentence() -> None:
    """The reason agrees in number with the steps that it names."""
    losses = [Loss("release", "NEEDS", ("fix", "command"))]

    assert "it needs steps 2 and 3, which are open again" in summary(verdict(before=["release"], losses=losses))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1"], "1"),
        (["1", "2"], "1 and 2"),
        (["1", "2", "3"], "1, 2 and 3"),
        (list("12345678"), "1, 2, 3, 4, 5, 6 and 2 more"),
    ],
)
def test_lists_read_as_people_write_them(names: list[str], expected: str) -> None:
    """Commas, one `and`, and an end."""
    assert expected == listed(names)


# -------------------------------------------------------------------------------------------------------------- limits

NASTY = st.text(st.sampled_from("|`&<@#\\_a1\u202e\ufffd👩\n/"), min_size=1, max_size=60)
HUGE = "&`|@a" * 800  # 4,000 characters that each need many


def check_limits(report: Report) -> None:
    """GitHub's limits, counted in bytes where it is not told what a character is."""
    run = report.check_run

    assert len(run.summary.encode()) <= MAX_SUMMARY
    assert len(run.annotations) <= MAX_ANNOTATIONS
    assert all(len(note.title) <= 255 and len(note.message.encode()) < 64_000 for note in run.annotations)
    assert "\n" not in run.title
    assert report.status is None or 0 < len(report.status.description) <= MAX_DESCRIPTION


def huge_lab(text: str = HUGE) -> Lab:
    """A hundred steps, each text as long as can be and longer."""
    steps = tuple(
        step(f"s{n}", text, text, *([f"s{n - 1}"] if n % 10 else []), description=text * 5, hints=(text,) * 40)
        for n in range(100)
    )
    return Lab(text, "main", (text,), (text,), Policy(), steps)


HEAVY_FALSE = pytest.param(False, marks=pytest.mark.heavy)  # one of the eight runs with coverage


@pytest.mark.parametrize("rewrite", [True, HEAVY_FALSE])
@pytest.mark.parametrize("waits", [True, HEAVY_FALSE])
@pytest.mark.parametrize("blocked", [True, HEAVY_FALSE])
def test_the_largest_report_is_within_the_limits(blocked: bool, waits: bool, rewrite: bool) -> None:
    """Everything at once, as long as can be: whole rows are cut, and it is told how many."""
    lab = huge_lab()
    level: Level = "block" if blocked else "warn"
    owners = tuple(each.id for each in lab.steps)
    found: list[Violation] = []
    paths: list[PathVerdict] = []
    for number in range(400):
        name = f"{number:04}{HUGE}"
        code = list(ViolationCode)[number % 4]
        change = list(ChangeKind)[number // 4 % 4]
        missing = owners[:50] if code is ViolationCode.OUT_OF_ORDER else ()
        found.append(Violation(code, level, name, change, owners, missing, suggestion=HUGE))
        paths.append(PathVerdict(name, change, PathOutcome.LOCKED, owners, "s0", HUGE, f"{number:04}{HUGE}!"))
    done = [f"s{n}" for n in range(100) if n % 10 < 3]
    judged = verdict(
        lab=lab,
        done=done,
        violations=found,
        paths=paths,
        losses=[Loss(each.id, "NEEDS", owners) for each in lab.steps],
        waiting={each.id: [f"workflow {HUGE}"] * 9 for each in lab.steps} if waits else {},
        rewrite=rewrite,
    )
    context = replace(
        with_lab(lab), hints_due=99, branch=HUGE, template_url=None, deadline=DEADLINE, asked_for_help=True
    )

    for report in (render(judged, context), render_preview(judged, context)):
        check_limits(report)
        assert "more are not shown" in report.check_run.summary


def test_many_harmless_changes_are_within_the_limits() -> None:
    """A push of many good files is cut as well."""
    paths = [path(f"{number:04}{HUGE}", PathOutcome.SHARED) for number in range(400)]
    report = render(verdict(paths=paths), CONTEXT)

    check_limits(report)
    assert "more are not shown" in report.check_run.summary


@pytest.mark.heavy
@settings(max_examples=60)
@given(NASTY, NASTY, st.sampled_from(ChangeKind), st.sampled_from(ViolationCode), st.booleans())
def test_no_name_breaks_a_report(name: str, title: str, change: ChangeKind, code: ViolationCode, blocked: bool) -> None:
    """Whatever files, steps and branches are called: limits hold, one row is one line, and nobody is called."""
    lab = replace(
        LAB, title=title, steps=(step("report", title, "a", description=title, hints=(title,)), *LAB.steps[1:])
    )
    found = [
        Violation(code, "block" if blocked else "warn", name, change, ("report",), ("report",), suggestion=name[::-1])
    ]
    context = replace(with_lab(lab), branch=name, repo_full_name=name, hints_due=1)

    for report in (render(verdict(lab=lab, violations=found), context), render_preview(verdict(lab=lab), context)):
        check_limits(report)
        rows = [line for line in report.check_run.summary.splitlines() if line.startswith("|")]
        assert all(row.endswith("|") and row.count("|") in (3, 4) for row in rows)


def test_a_long_title_is_cut_for_the_status() -> None:
    """The status takes 140 characters; the check run's title may be longer."""
    found = [
        violation(code, f"{code}{number}", owners=("report",), missing=("report",))
        for code in ViolationCode
        for number in range(1_000)
    ]
    report = render(verdict(violations=found), CONTEXT)

    assert len(report.check_run.title) > MAX_DESCRIPTION
    assert report.status is not None
    assert report.status.description.endswith("…")
    check_limits(report)
