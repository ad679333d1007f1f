"""The greeting: what a fork is told on which nobody has worked yet. The first step, and how to begin; no verdict.

Untouched is the starter itself, and the starter after a sync with the template. Never red: nobody did anything wrong.
"""

from __future__ import annotations

from rules.escape import clip, code, escape, plain, shell_quote, words
from rules.model import Lab, StepState, StepStatus, Verdict
from rules.report_advice import description_of, waits
from rules.report_commands import can_name
from rules.report_notices import footer
from rules.report_text import (
    ReportContext,
    awaits_result,
    block,
    capital,
    current,
    fit,
    gained,
    number_of,
    plural,
    step_table,
    step_title,
    waiting_words,
)

_MAX_TITLE = 80  # characters of the step's title in the greeting's own: the whole is a line of a page
_MAX_PATTERNS = 10
_ROOM_PATTERNS = 2_000  # bytes


def first_step(lab: Lab, verdict: Verdict) -> StepStatus | None:
    """The step to begin with, if a head is to be greeted; None: it is told its verdict as any other."""
    return current(lab, verdict) if verdict.untouched and not verdict.blocked else None


def greeting(status: StepStatus, verdict: Verdict, context: ReportContext) -> tuple[str, list[str]]:
    """Title and lines of the greeting that leads to the step of `status`."""
    lab, number = context.lab, number_of(context.lab, status.step_id)
    size = plural(len(lab.steps), "step", "steps")
    lines = [
        f"Welcome to **{words(clip(lab.title, 200))}**, a lab with {size}. This repository is connected: each push to "
        f"{code(_branch(context))} is answered here. Nothing of yours is pushed yet, so there is nothing to judge.",
        "",
    ]
    if status.state is StepState.WAITING and not awaits_result(status):
        title = f"Welcome: step {number} waits for {waiting_words(status)}"
        lines += [
            f"{capital(step_title(lab, status.step_id))}, comes first. It needs no push of yours: it waits for "
            f"{escape(waiting_words(status))}.",
            "",
        ]
    else:
        step = lab.step(status.step_id)
        name = plain(clip(step.title, _MAX_TITLE))
        asked = waits(context, status) if status.state is StepState.WAITING else description_of(step)
        title = f"Welcome: begin with step {number}, {name}"
        lines += [
            f"### Begin with {step_title(lab, status.step_id)}",
            "",
            *asked,
            *_files(lab, status.step_id),
            *_how_to_push(context, number),
        ]
    return title, [*lines, *gained(lab, verdict), *_where_to_look(context), *step_table(lab, verdict), *footer(context)]


def _branch(context: ReportContext) -> str:
    return context.lab.branch or context.branch


def _files(lab: Lab, step_id: str) -> list[str]:
    """The patterns that a step names, as its author wrote them."""
    patterns = lab.step(step_id).files
    if not patterns:
        return []
    shown, hidden = fit(patterns, lambda pattern: f"- {code(pattern)}", _ROOM_PATTERNS, _MAX_PATTERNS)
    more = [f"- … and {plural(hidden, 'pattern', 'patterns')} more"] if hidden else []
    note = " (a `!` in front leaves files out)" if any(pattern.startswith("!") for pattern in patterns) else ""
    return [f"It is about these files{note}:", "", *shown, *more, ""]


def _how_to_push(context: ReportContext, number: int) -> list[str]:
    """Commands from nothing to a first push. None that a shell could read in another way."""
    branch = _branch(context)
    if context.clone_url is None or not can_name(branch):
        return []
    commit = ["git add --all", f'git commit -m "Work on step {number}"', f"git push origin {shell_quote(branch)}"]
    return [
        "Get the repository, and change the files in its folder:",
        "",
        *block([f"git clone --branch {shell_quote(branch)} {shell_quote(context.clone_url)}"]),
        "Then, in that folder, push what you have. Half of a step is fine, and nothing can break:",
        "",
        *block(commit),
    ]


def _where_to_look(context: ReportContext) -> list[str]:
    return [
        f"After a push, look at the check {code(context.check_name)} on your newest commit: it says what counts, what "
        "does not, and what to do next. The session page has everything in one place.",
        "",
    ]
