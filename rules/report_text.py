"""What a verdict says in Markdown: the sections of a check run's summary, and the words they share.

Each section is a list of lines, within a room of its own in bytes, so that the whole stays within GitHub's limit.
Lab authors' texts and file names come in through `rules.escape` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeVar
from uuid import UUID

from rules.conditions import CHECK, WORKFLOW
from rules.escape import clip, code, escape, plain, words
from rules.model import (
    ChangeKind,
    Lab,
    Loss,
    PathOutcome,
    PathVerdict,
    StepState,
    StepStatus,
    Verdict,
    Violation,
    ViolationCode,
)

Item = TypeVar("Item")

ReportStatus = Literal["always", "failures", "never"]

# Bytes for the parts of a summary that can grow; together with all fixed sentences below GitHub's 65,535 characters.
# (`report_advice` has rooms of its own: 24,000 bytes.)
_ROOM_VIOLATIONS = 11_000
_ROOM_WARNINGS = 5_000
_ROOM_STEPS = 12_000
_ROOM_CHANGES = 3_000
_ROOM_LIST = 2_000  # of gains, of losses

_MAX_ROWS = 100  # of a table: more is no help to a reader
_MAX_CHANGES = 20  # rows of the table of what is fine
_MAX_TITLE = 200  # characters, as in the lab file


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report needs beyond the verdict.

    `branch`: the pushed one. `template_sha`: the pinned version's commit. `protected_sha`: the template commit whose
    protected files the head comes nearest to (None: the pinned one). `template_url`: where that can be fetched from;
    `template_in_history`: it is an ancestor of the head (a fork; not so in a repository generated from a template).
    `hints_due`: distinct blocked heads in a row, this one included. `clears_failure`: this head carries a status that
    is not success. `clone_url`: where the repository is cloned from. `asked_for_help`: the learner waits for an answer.
    Addresses are ours and complete.
    """

    lab: Lab
    check_name: str
    session_id: UUID
    lab_version_id: int
    session_url: str
    repo_full_name: str
    branch: str
    template_sha: str
    report_status: ReportStatus = "always"
    hints_due: int = 0
    deadline: datetime | None = None
    protected_sha: str | None = None
    template_url: str | None = None
    template_in_history: bool = False
    clears_failure: bool = False
    clone_url: str | None = None
    asked_for_help: bool = False

    @property
    def is_preview(self) -> bool:
        """Whether the push was to a branch other than the lab's."""
        return self.lab.branch is not None and self.branch != self.lab.branch


# ---------------------------------------------------------------------------------------------------------- words


def plural(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 file`, `4,980 files`."""
    return f"{number:,} {one if number == 1 else many}"


def listed(names: Sequence[str], last: str = "and", most: int = 6) -> str:
    """Names as people list them: `1, 2 and 3`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def number_of(lab: Lab, step_id: str) -> int:
    """The position of a step in the lab's list, from 1."""
    return next(number for number, step in enumerate(lab.steps, 1) if step.id == step_id)


def steps_named(lab: Lab, step_ids: Sequence[str]) -> str:
    """`step 2`, `steps 2 and 3`."""
    numbers = [str(number_of(lab, step_id)) for step_id in step_ids]
    return f"step{'' if len(numbers) == 1 else 's'} {listed(numbers)}"


def step_title(lab: Lab, step_id: str) -> str:
    """`step 2, **Fix the counter**`, as Markdown."""
    return f"step {number_of(lab, step_id)}, **{words(clip(lab.step(step_id).title, _MAX_TITLE))}**"


def _label(lab: Lab, step_id: str) -> str:
    step = lab.step(step_id)
    optional = " (optional)" if step.optional else ""
    return f"{number_of(lab, step_id)}. {words(clip(step.title, _MAX_TITLE))}{optional}"


def utc(moment: datetime) -> str:
    """A time as people can convert it: `2031-05-01 22:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def fit(items: Sequence[Item], row: Callable[[Item], str], room: int, most: int = _MAX_ROWS) -> tuple[list[str], int]:
    """The rows of the first items that fit, whole, into `room` bytes, and how many items do not."""
    shown: list[str] = []
    for item in items[:most]:
        line = row(item)
        room -= len(line.encode()) + 1
        if room < 0:
            break
        shown.append(line)
    return shown, len(items) - len(shown)


def _not_shown(hidden: int) -> list[str]:
    return ["", f"… and {hidden:,} more {'is' if hidden == 1 else 'are'} not shown."] if hidden else []


def _table(
    head: Sequence[str], items: Sequence[Item], row: Callable[[Item], str], room: int, most: int = _MAX_ROWS
) -> list[str]:
    shown, hidden = fit(items, row, room, most)
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *shown, *_not_shown(hidden), ""]


def bullets(items: Sequence[Item], row: Callable[[Item], str], most: int = 20) -> list[str]:
    """A list with a note of how many of its items are not shown."""
    shown, hidden = fit(items, lambda item: f"- {row(item)}", _ROOM_LIST, most)
    return [*shown, *_not_shown(hidden), ""]


def block(lines: Sequence[str]) -> list[str]:
    """Commands to paste. No line of theirs can start with a fence: each starts with `git`."""
    return ["```sh", *lines, "```", ""]


def capital(sentence: str) -> str:
    """The sentence with a capital letter first."""
    return sentence[:1].upper() + sentence[1:]


# ----------------------------------------------------------------------------------------------- where the learner is


def current(lab: Lab, verdict: Verdict) -> StepStatus | None:
    """The step to work on now; None when the lab is complete.

    What blocks the head comes first: the missing step. Then required steps before optional ones, open before waiting.
    """
    if verdict.complete:
        return None
    missing = {step_id for violation in verdict.violations for step_id in violation.missing}
    startable = [status for status in verdict.steps if status.state in (StepState.OPEN, StepState.WAITING)]
    ranked = sorted(
        startable,
        key=lambda status: (
            status.step_id not in missing,
            lab.step(status.step_id).optional,
            status.state is StepState.WAITING,
        ),
    )
    return ranked[0] if ranked else None


def waiting_words(status: StepStatus) -> str:
    """What a waiting step waits for, as plain words."""
    return clip(plain(listed(status.waiting_for)), 300)


def awaits_result(status: StepStatus) -> bool:
    """Whether a waiting step waits for a workflow or a check, which depends on the learner's work, not on staff."""
    return any(word in reason for reason in status.waiting_for for word in (WORKFLOW, CHECK))


# ------------------------------------------------------------------------------------------------------- sections


def gained(lab: Lab, verdict: Verdict) -> list[str]:
    """The steps that this head completed."""
    if not verdict.gains:
        return []
    return ["### Newly complete", "", *bullets(verdict.gains, lambda gain: capital(step_title(lab, gain.step_id)))]


def reopened(lab: Lab, verdict: Verdict) -> list[str]:
    """The steps that are not complete any more, each with the reason."""
    if not verdict.losses:
        return []
    rows = bullets(
        verdict.losses, lambda loss: f"{capital(step_title(lab, loss.step_id))}: {_reason(lab, loss, verdict)}"
    )
    return ["### Open again", "", *rows]


def _reason(lab: Lab, loss: Loss, verdict: Verdict) -> str:
    if loss.reason == "STAFF":
        return "staff opened it again."
    if loss.reason == "NEEDS":
        return f"it needs {steps_named(lab, loss.because_of)}, which {_are(loss.because_of)} open again."
    if verdict.rewrite:
        return "the force-push took away what had completed it. Push that work again and it is complete again."
    return "what had completed it is gone. Put it back and it is complete again."


def violation_table(lab: Lab, verdict: Verdict) -> list[str]:
    """File, step, why: the paths that block the head."""
    found = [violation for violation in verdict.violations if violation.level == "block"]
    return _violations(lab, verdict, found, _ROOM_VIOLATIONS)


def warning_table(lab: Lab, verdict: Verdict) -> list[str]:
    """File, step, why: the paths that are out of order and let pass."""
    found = [violation for violation in verdict.violations if violation.level == "warn"]
    if not found:
        return []
    note = (
        "This push is accepted with these changes. They are unusual for the lab, so have a look whether you meant them."
    )
    if verdict.blocked:
        note = "These changes do not block, but they are unusual for the lab: have a look whether you meant them."
    return ["### Warnings", "", note, "", *_violations(lab, verdict, found, _ROOM_WARNINGS)]


def _violations(lab: Lab, verdict: Verdict, found: Sequence[Violation], room: int) -> list[str]:
    renamed = {path.path: path.renamed_from for path in verdict.paths if path.renamed_from is not None}

    def row(violation: Violation) -> str:
        reason = why(violation, partial(steps_named, lab), code, renamed.get(violation.path))
        return f"| {code(violation.path)} | {_owner(lab, violation)} | {reason} |"

    return _table(("File", "Step", "Why"), found, row, room)


def _owner(lab: Lab, violation: Violation) -> str:
    if violation.code is ViolationCode.PROTECTED_PATH:
        return "the lab itself"
    if not violation.owners:
        return "none"
    return listed([_label(lab, step_id) for step_id in violation.owners], last="or", most=3)


def why(
    violation: Violation,
    steps: Callable[[Sequence[str]], str],
    path: Callable[[str], str],
    renamed_from: str | None = None,
) -> str:
    """Why a path violates, as one clause; `steps` and `path` put step ids and names of files into words.

    The check run says it as Markdown, the session's page as plain text, in the same words.
    """
    said = _WHY.get(violation.code, "not open yet")
    if violation.code is ViolationCode.REWORK:
        said = f"{steps(violation.owners)} {_are(violation.owners)} finished, and this file with it"
    elif violation.missing:
        said = f"complete {steps(violation.missing)} first"
    if renamed_from is not None:
        said += f" (renamed from {path(renamed_from)})"
    elif violation.change in _CHANGE_WORDS:
        said += f" ({_CHANGE_WORDS[violation.change]})"
    return f"{said}; did you mean {path(violation.suggestion)}?" if violation.suggestion else said


_WHY: dict[ViolationCode, str] = {
    ViolationCode.PROTECTED_PATH: "only the lab changes this file",
    ViolationCode.UNMAPPED_PATH: "no step uses this file",
}
_CHANGE_WORDS: dict[ChangeKind | None, str] = {
    ChangeKind.REMOVED: "you removed it",
    ChangeKind.MODE: "its mode changed",
}


def _are(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"


def step_table(lab: Lab, verdict: Verdict) -> list[str]:
    """All steps with their states, in words."""
    parked = {
        owner
        for violation in verdict.violations
        if violation.code is ViolationCode.OUT_OF_ORDER and violation.level == "block"
        for owner in violation.owners
    }
    gains = {gain.step_id for gain in verdict.gains}
    losses = {loss.step_id for loss in verdict.losses}

    def row(status: StepStatus) -> str:
        state = _state(lab, status, new=status.step_id in gains, again=status.step_id in losses)
        if status.step_id in parked and status.state is StepState.LOCKED:
            state += "; work is parked here"
        return f"| {_label(lab, status.step_id)} | {state} |"

    return ["### Steps", "", *_table(("Step", "State"), verdict.steps, row, _ROOM_STEPS)]


def _state(lab: Lab, status: StepStatus, *, new: bool, again: bool) -> str:
    if status.state is StepState.DONE:
        return "**done**, new" if new else "done"
    if status.state is StepState.OPEN:
        return "**open** again" if again else "**open**"
    if status.state is StepState.WAITING:
        return f"waiting for {escape(waiting_words(status))}"
    return f"locked: needs {steps_named(lab, status.missing)}"


_MEANS: dict[PathOutcome, str] = {
    PathOutcome.TEMPLATE_WORK: "comes from the lab",
    PathOutcome.SHARED: "may change at any time, and counts for no step",
    PathOutcome.UNMAPPED: "no step uses this file",
    PathOutcome.OPEN: "counts",
    PathOutcome.REWORK: "its step is finished already",
}


def changes(lab: Lab, verdict: Verdict) -> list[str]:
    """What a push without a new complete step changed, and what each file is to the lab."""
    paths = [path for path in verdict.paths if path.outcome in _MEANS]
    if not paths:
        return []

    def row(path: PathVerdict) -> str:
        owner = _label(lab, path.step) if path.step else "none"
        return f"| {code(path.path)} | {owner} | {_MEANS[path.outcome]} |"

    table = _table(("File", "Step", "What it is"), paths, row, _ROOM_CHANGES, _MAX_CHANGES)
    return ["### What is new since the last accepted push", "", *table]
