"""Verdict -> what GitHub is told: a check run and a commit status as values, within GitHub's limits.

The only place that chooses words for the repository. Never a blame for what is not the learner's doing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Literal
from uuid import UUID

from rules.escape import clip, plain, shell_quote, visible
from rules.escape import code as code_span
from rules.model import (
    Annotation,
    BindingCode,
    Button,
    CannotVerify,
    ChangeKind,
    CheckRunReport,
    Conclusion,
    Report,
    SessionStatus,
    StatusReport,
    StatusState,
    StepState,
    Verdict,
    Violation,
    ViolationCode,
)
from rules.report_advice import hints, near_misses, next_step, what_to_do
from rules.report_buttons import OF_REJECTION, OF_SESSION, asked_for_help
from rules.report_commands import can_name
from rules.report_greeting import first_step, greeting
from rules.report_notices import CLOSED_CODES, NoticeContext, cannot_verify, closed, footer, rejected
from rules.report_text import (
    ReportContext,
    block,
    capital,
    changes,
    current,
    gained,
    listed,
    number_of,
    plural,
    reopened,
    step_table,
    steps_named,
    violation_table,
    waiting_words,
    warning_table,
)
from rules.session import DeferredBy

__all__ = ["NoticeContext", "ReportContext", "render", "render_closed", "render_preview", "render_rejection"]

# GitHub's limits: OpenAPI description of checks (summary, annotations) and the API's own refusal (status description).
MAX_SUMMARY = 65_535
MAX_ANNOTATIONS = 50
MAX_DESCRIPTION = 140

_MAX_CHECK_TITLE = 200  # GitHub names no limit; longer titles are cut on the page


# --------------------------------------------------------------------------------------------------------- judged heads


def render(verdict: Verdict | CannotVerify, context: ReportContext) -> Report:
    """The report on a head of the lab's branch: success, failure, or action_required when it cannot be verified.

    Where nothing of the learner's is yet, a greeting: neutral, because nothing was judged. Its commit status is success
    all the same: a starter is never red, and whatever stood on this head before is replaced.
    """
    if isinstance(verdict, CannotVerify):
        return _cannot_verify(verdict, context)
    if (status := first_step(context.lab, verdict)) is not None:
        title, lines = greeting(status, verdict, context)
        return _report(
            context,
            head_sha=verdict.head_sha,
            conclusion="neutral",
            state="success",
            title=title,
            lines=lines,
            buttons=OF_SESSION,
        )
    return _verdict(verdict, context, _title(verdict, context), [])


def render_preview(verdict: Verdict | CannotVerify, context: ReportContext) -> Report:
    """The report on a head of another branch: the same verdict, as what would happen. Nothing of it is saved."""
    if isinstance(verdict, CannotVerify):
        return _cannot_verify(verdict, context, "Preview: ")
    target = context.lab.branch or "main"
    note = [
        f"This is a preview: the lab counts on branch {code_span(target)}, and this is {code_span(context.branch)}. "
        "Nothing here is saved.",
        "",
    ]
    if not verdict.blocked and can_name(context.branch) and can_name(target):
        lines = [f"git switch {shell_quote(target)}", f"git merge {shell_quote(context.branch)}", "git push"]
        note += [f"To make it count, bring it to {code_span(target)}:", "", *block(lines)]
    return _verdict(verdict, context, f"Preview: {_title(verdict, context)}", note)


def _verdict(verdict: Verdict, context: ReportContext, title: str, note: list[str]) -> Report:
    return _report(
        context,
        head_sha=verdict.head_sha,
        conclusion="failure" if verdict.blocked else "success",
        title=title,
        lines=[*note, *_summary(verdict, context)],
        annotations=_annotations(verdict, context),
        buttons=() if _is_over(verdict, context) else OF_SESSION,
    )


def _is_over(verdict: Verdict, context: ReportContext) -> bool:
    """Whether this verdict ends its session: then there is nothing to ask for."""
    return verdict.complete and not context.is_preview


def _title(verdict: Verdict, context: ReportContext) -> str:
    """One line: where the learner is, and what happened."""
    lab, total = context.lab, len(context.lab.steps)
    status = current(lab, verdict)
    here = f"Step {number_of(lab, status.step_id)} of {total}" if status else "All required steps done"
    if verdict.blocked:
        return f"{here}: blocked, {_blocked_words(verdict)}"
    warned = plural(len(verdict.violations), "warning", "warnings")
    end = f", {warned}" if verdict.violations else ""
    if status is None:
        return f"Lab complete: all required steps are done{end}"
    if verdict.losses:
        losses = steps_named(lab, [loss.step_id for loss in verdict.losses])
        return f"{here}: {losses} open again{end}"
    if verdict.gains:
        gains = steps_named(lab, [gain.step_id for gain in verdict.gains])
        then = "waiting for" if status.state is StepState.WAITING else "next is"
        return f"{capital(gains)} of {total} complete, {then} step {number_of(lab, status.step_id)}{end}"
    if status.state is StepState.WAITING:
        return f"{here}: waiting for {waiting_words(status)}{end}"
    return f"{here}: accepted, not complete yet{end}"


_BLOCKED_WORDS: dict[ViolationCode, tuple[str, str]] = {
    ViolationCode.OUT_OF_ORDER: ("file belongs to a later step", "files belong to later steps"),
    ViolationCode.PROTECTED_PATH: ("protected file changed", "protected files changed"),
    ViolationCode.UNMAPPED_PATH: ("file belongs to no step", "files belong to no step"),
    ViolationCode.REWORK: ("file belongs to a finished step", "files belong to finished steps"),
}


def _blocked_words(verdict: Verdict) -> str:
    counts = Counter(violation.code for violation in verdict.violations if violation.level == "block")
    return listed([plural(counts[code_], *text) for code_, text in _BLOCKED_WORDS.items() if counts[code_]])


def _summary(verdict: Verdict, context: ReportContext) -> list[str]:
    """The document below the title, the most urgent first."""
    lab = context.lab
    if verdict.blocked:
        body = [
            *_blocked_intro(verdict),
            *violation_table(lab, verdict),
            *what_to_do(context, verdict),
            *near_misses(verdict),
            *gained(lab, verdict),
            *reopened(lab, verdict),
            *next_step(context, verdict),
            *hints(context, verdict),
        ]
    else:
        body = [
            *_accepted_intro(verdict, context),
            *gained(lab, verdict),
            *reopened(lab, verdict),
            *near_misses(verdict),
            *next_step(context, verdict),
            *([] if verdict.gains else changes(lab, verdict)),
        ]
    return [*body, *warning_table(lab, verdict), *step_table(lab, verdict), *footer(context)]


def _blocked_intro(verdict: Verdict) -> list[str]:
    blocking = {violation.path for violation in verdict.violations if violation.level == "block"}
    many = len(blocking) > 1
    parked = all(each.code is ViolationCode.OUT_OF_ORDER for each in verdict.violations if each.level == "block")
    count = f"{'They do' if many else 'It does'} not count{' yet' if parked else ''}"
    rest = "; the rest of your push does" if any(path.path not in blocking for path in verdict.paths) else ""
    return [f"**{capital(_blocked_words(verdict))}.** {count}{rest}. A red check costs you nothing.", ""]


def _accepted_intro(verdict: Verdict, context: ReportContext) -> list[str]:
    if context.is_preview:
        end = ", and the lab would be complete" if verdict.complete else ""
        return [f"This would be accepted{end}.", ""]
    if verdict.complete:
        return ["**The lab is complete.** All required steps are done. Well done!", ""]
    return ["This push is accepted.", ""]


def _annotations(verdict: Verdict, context: ReportContext) -> tuple[Annotation, ...]:
    """A note on each violating file that the head has: what blocks first, as many as one request takes."""
    there = (ChangeKind.ADDED, ChangeKind.MODIFIED, ChangeKind.MODE)
    ordered = sorted(verdict.violations, key=lambda violation: violation.level != "block")
    found = (each for each in ordered if each.change in there and can_name(each.path))
    return tuple(_annotation(violation, context) for violation in islice(found, MAX_ANNOTATIONS))


def _annotation(violation: Violation, context: ReportContext) -> Annotation:
    title, message = _NOTES[violation.code]
    if violation.missing:
        message = f"Complete {steps_named(context.lab, violation.missing)} first. {message}"
    if violation.suggestion:
        message += f" Did you mean {visible(violation.suggestion)}?"
    level: Literal["failure", "warning"] = "failure" if violation.level == "block" else "warning"
    return Annotation(path=violation.path, line=1, level=level, message=message, title=title)


_NOTES: dict[ViolationCode, tuple[str, str]] = {
    ViolationCode.OUT_OF_ORDER: ("This file belongs to a later step", "Keep it: it is accepted by itself then."),
    ViolationCode.PROTECTED_PATH: ("This file is protected", "Only the lab changes it. Put it back as the lab has it."),
    ViolationCode.UNMAPPED_PATH: ("No step uses this file", "It does not count for any step."),
    ViolationCode.REWORK: ("This file belongs to a finished step", "The step is complete: leave the file as it was."),
}


# --------------------------------------------------------------------------------------------- heads without a verdict


def _cannot_verify(verdict: CannotVerify, context: ReportContext, prefix: str = "") -> Report:
    title, lines = cannot_verify(verdict, context)
    return _report(
        context,
        head_sha=verdict.head_sha,
        conclusion="action_required",
        title=prefix + title,
        lines=lines,
        buttons=OF_SESSION,
    )


def render_rejection(code: BindingCode, context: NoticeContext) -> Report:
    """The report on a head whose repository could not be bound, or whose session is closed.

    ValueError for a code of which the repository sees nothing (`binding.blocks_report`).
    """
    if code in CLOSED_CODES:
        return render_closed(*CLOSED_CODES[code], context)
    title, lines = rejected(code, context)
    return _report(
        context,
        head_sha=context.head_sha,
        conclusion="action_required",
        title=title,
        lines=lines,
        buttons=OF_REJECTION,
    )


def render_closed(status: SessionStatus, deferred_by: DeferredBy | None, context: NoticeContext) -> Report:
    """The report on a head whose session takes no push: neutral, and no commit status. ValueError for an open one."""
    title, lines = closed(status, deferred_by, context)
    return _report(context, head_sha=context.head_sha, conclusion="neutral", title=title, lines=lines)


# ------------------------------------------------------------------------------------------------------------ the value

_STATES: dict[Conclusion, StatusState] = {"success": "success", "failure": "failure", "action_required": "error"}


def _report(
    context: ReportContext | NoticeContext,
    *,
    head_sha: str,
    conclusion: Conclusion,
    title: str,
    lines: Sequence[str],
    annotations: tuple[Annotation, ...] = (),
    buttons: tuple[Button, ...] = (),
    state: StatusState | None = None,
) -> Report:
    """Check run, status, and a digest over all that is sent but the `external_id`, which holds it.

    `state`: the status's, None: what goes with the conclusion.
    """
    if isinstance(context, ReportContext) and context.asked_for_help:
        lines = [*asked_for_help(context.session_url), *lines]
    check_run = CheckRunReport(
        name=context.check_name,
        head_sha=head_sha,
        conclusion=conclusion,
        title=clip(plain(title), _MAX_CHECK_TITLE),
        summary="\n".join(lines).strip() + "\n",
        annotations=annotations,
        details_url=context.session_url,
        buttons=buttons,
    )
    status = _status(context, check_run, state or _STATES.get(conclusion))
    sent = json.dumps([asdict(check_run), asdict(status) if status else None], sort_keys=True)
    digest = hashlib.sha256(sent.encode()).hexdigest()
    return Report(replace(check_run, external_id=_external_id(context, head_sha, digest)), status, digest)


def _status(
    context: ReportContext | NoticeContext, check_run: CheckRunReport, state: StatusState | None
) -> StatusReport | None:
    """The mirror of the check run. With `failures` a success is told only to end a failure of the same head."""
    if state is None or context.report_status == "never":
        return None
    if context.report_status == "failures" and state == "success" and not context.clears_failure:
        return None
    return StatusReport(
        context=check_run.name,
        head_sha=check_run.head_sha,
        state=state,
        description=clip(check_run.title, MAX_DESCRIPTION),
        target_url=check_run.details_url,
    )


def _external_id(context: ReportContext | NoticeContext, head_sha: str, digest: str) -> str:
    """Names session, head, lab version and content: a changed verdict on a head is another run, and only its own lost
    answer may be found by it."""
    version = context.lab_version_id if isinstance(context, ReportContext) else 0
    return f"{context.session_id or UUID(int=0)}:{head_sha}:{version}:{digest[:16]}"
