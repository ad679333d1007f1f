"""What a learner can do next, in Markdown: the step to work on, its hints, and the commands that resolve violations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rules.conditions import ENDED_WITH, NOT_READABLE, WORKFLOW
from rules.escape import clip, code, escape, markdown, words
from rules.model import ChangeKind, PathVerdict, Step, StepState, StepStatus, Verdict, Violation, ViolationCode
from rules.report_commands import Commands, Source, Undo, can_name, commit, rename, undo
from rules.report_text import (
    ReportContext,
    awaits_result,
    block,
    bullets,
    capital,
    current,
    fit,
    plural,
    step_title,
    steps_named,
    waiting_words,
)

# Bytes; see `report_text`.
_ROOM_DESCRIPTION = 8_000
_ROOM_HINTS = 4_000
_ROOM_COMMANDS = 4_000  # for file names, twice
_ROOM_RENAMES = 1_500

_MAX_HINT = 600  # characters
_MAX_RENAMES = 5


def next_step(context: ReportContext, verdict: Verdict) -> list[str]:
    """The step to work on, with its description; or what it waits for."""
    lab = context.lab
    status = current(lab, verdict)
    if status is None:
        left = [step.id for step in lab.steps if step.id not in verdict.done_after]
        return (
            [f"Left for those who want more, and not needed to finish: {steps_named(lab, left)}.", ""] if left else []
        )
    lines = [f"### Next: {step_title(lab, status.step_id)}", ""]
    if status.state is StepState.WAITING:
        return [*lines, *waits(context, status)]
    return [*lines, *description_of(lab.step(status.step_id))]


def description_of(step: Step) -> list[str]:
    """What a step asks for in its author's words, quoted; nothing if its author said nothing."""
    source = markdown(step.description).splitlines()
    description, hidden = fit(source, str, _ROOM_DESCRIPTION, len(source))
    return [*description, *(["> …"] if hidden else []), ""] if description else []


def waits(context: ReportContext, status: StepStatus) -> list[str]:
    """What a step waits for, and what can be done about it."""
    name, awaited = capital(steps_named(context.lab, [status.step_id])), escape(waiting_words(status))
    if not awaits_result(status):
        return [
            f"Your part is done. {name} waits for {awaited}. As soon as that is there, "
            "this commit is looked at again by itself: you need not push.",
            "",
        ]
    lines = description_of(context.lab.step(status.step_id))
    if any(ENDED_WITH in reason for reason in status.waiting_for):
        return [
            *lines,
            f"{name} waits for {awaited} on this commit. Open its log to see what is missing, correct it, and push "
            "again. If you run it again and it succeeds, that counts too, without a push.",
            "",
        ]
    lines += [
        f"{name} waits for {awaited}. As soon as it has succeeded on this commit, "
        "the commit is looked at again by itself: you need not push again.",
        "",
    ]
    return [*lines, *_why_not_there(context, status)]


def _why_not_there(context: ReportContext, status: StepStatus) -> list[str]:
    """Why a result may be long in coming, with the remedy of whoever has it."""
    if any(NOT_READABLE in reason for reason in status.waiting_for):
        return [
            "This is not your fault: the App lacks a permission. Whoever runs it gives it **Actions: read**; then the "
            f"owner of {code(context.repo_full_name)} accepts that where the App is installed (Settings, Applications, "
            "**Review request**).",
            "",
        ]
    if any(WORKFLOW in reason for reason in status.waiting_for):
        return [
            "If no workflow runs: in a fork they are off at first. Open the tab **Actions** of your repository, switch "
            "workflows on, and push once more. A commit without changes will do:",
            "",
            *block(['git commit --allow-empty -m "Run the workflow"', "git push"]),
        ]
    return []


def hints(context: ReportContext, verdict: Verdict) -> list[str]:
    """The hints that are due for the step to work on, the newest first: one for each blocked head in a row."""
    status = current(context.lab, verdict)
    due = context.lab.step(status.step_id).hints[: context.hints_due] if status is not None else ()
    if not due:
        return []
    shown, _ = fit(due[::-1], lambda hint: f"- {words(clip(hint, _MAX_HINT))}", _ROOM_HINTS)
    return [f"### {'Hint' if len(due) == 1 else 'Hints, the newest first'}", "", *shown, ""]


def near_misses(verdict: Verdict) -> list[str]:
    """Files whose name is nearly one that the lab wants, with the commands that rename them."""
    missed = [path for path in verdict.paths if path.suggestion]
    if not missed:
        return []
    asks = bullets(missed, lambda path: f"{code(path.path)}: did you mean {code(path.suggestion)}?", _MAX_RENAMES)
    renames, _ = fit(_renamable(verdict), lambda path: rename(path.path, path.suggestion), _ROOM_RENAMES)
    commands = block([*renames, *commit("Rename files")]) if renames else []
    return ["### Did you mean another name?", "", *asks, *commands]


def _renamable(verdict: Verdict) -> list[PathVerdict]:
    """The near misses that come with a command."""
    missed = [path for path in verdict.paths if path.suggestion]
    return [path for path in missed[:_MAX_RENAMES] if _can_rename(path)]


def _can_rename(path: PathVerdict) -> bool:
    """Whether one command does it: the new name is in the folder of the old one, and both can be typed."""
    folders = {name.rpartition("/")[0] for name in (path.path, path.suggestion)}
    return len(folders) == 1 and can_name(path.path) and can_name(path.suggestion)


def what_to_do(context: ReportContext, verdict: Verdict) -> list[str]:
    """For a blocked head: what has to be taken back, then what may stay parked."""
    found = [violation for violation in verdict.violations if violation.level == "block"]
    parked = [violation for violation in found if violation.code is ViolationCode.OUT_OF_ORDER]
    astray = [violation for violation in found if violation.code is not ViolationCode.OUT_OF_ORDER]
    lines = ["### What to do next", ""]
    if astray:
        lines += _take_back(context, verdict, astray)
    if parked:
        lines += _park(context, verdict, parked)
    return lines


def _take_back(context: ReportContext, verdict: Verdict, astray: Sequence[Violation]) -> list[str]:
    """What cannot stay: protected files, files of finished steps, files of no step."""
    codes = {violation.code for violation in astray}
    asks = {
        ViolationCode.PROTECTED_PATH: "Put the protected files back as the lab has them.",
        ViolationCode.REWORK: "Put the files of finished steps back as they were.",
        ViolationCode.UNMAPPED_PATH: "Take back the files that no step uses, or give them the name that a step wants.",
    }
    ask = " ".join(sentence for code_, sentence in asks.items() if code_ in codes)
    protected = [violation for violation in astray if violation.code is ViolationCode.PROTECTED_PATH]
    renamed = {path.path for path in _renamable(verdict)}
    others = [
        violation
        for violation in astray
        if violation.code is not ViolationCode.PROTECTED_PATH
        and not (violation.code is ViolationCode.UNMAPPED_PATH and violation.path in renamed)
    ]
    changes = (_undo(context, verdict, others), _undo_protected(context, protected))
    commands = undo(changes, "Take back changes that have no place here", _ROOM_COMMANDS)
    return [ask, "", *_commands(context, commands), *_kept(verdict, others)]


def _park(context: ReportContext, verdict: Verdict, parked: Sequence[Violation]) -> list[str]:
    """What came too early can stay where it is."""
    lab = context.lab
    many = len(parked) > 1
    it, files, are = ("them", "files", "they are") if many else ("it", "file", "it is")
    missing = {violation.missing for violation in parked}
    first = steps_named(lab, next(iter(missing))) if len(missing) == 1 and any(missing) else "what is missing"
    lines = []
    status = current(lab, verdict)
    if status is not None and status.state is StepState.OPEN:
        lines += [f"Work on {step_title(lab, status.step_id)}, and push.", ""]
    elif status is not None and missing == {(status.step_id,)}:
        too_early = f"The {files} that came too early only {'wait' if many else 'waits'} for {first}"
        lines += [f"{too_early}, which itself waits for {escape(waiting_words(status))}: more on that below.", ""]
    if context.is_preview:
        lines += [f"The {files} that came too early can wait on this branch until {first} is complete.", ""]
    else:
        lines += [
            f"Keep the {files} that came too early: once {first} is complete, {are} accepted without another push.",
            "",
        ]
    commands = undo([_undo(context, verdict, parked)], "Take back work that came too early", _ROOM_COMMANDS)
    lead = f"You need not take {it} back. If you would rather do so for now, run"
    return [*lines, *_commands(context, commands, lead), *_kept(verdict, parked)]


def _undo(context: ReportContext, verdict: Verdict, found: Sequence[Violation]) -> Undo:
    """How files become as they were in the accepted head (in the template, if none is accepted yet).

    A file that was moved goes back to where it came from, unless that is another violation with its own remedy.
    """
    if verdict.accepted_before is None:
        source = _template(context, context.template_sha)
    else:
        source = Source(verdict.accepted_before, "origin" if verdict.rewrite else None)
    violating = {violation.path for violation in verdict.violations}
    added = {violation.path for violation in found if violation.change is ChangeKind.ADDED}
    origins = [
        path.renamed_from
        for path in verdict.paths
        if path.path in added and path.renamed_from is not None and path.renamed_from not in violating
    ]
    changed = [violation.path for violation in found if violation.path not in added]
    return Undo(
        source,
        remove=tuple(violation.path for violation in found if violation.path in added),
        restore=(*changed, *origins),
    )


def _undo_protected(context: ReportContext, found: Iterable[Violation]) -> Undo:
    """How protected files become the template's again, all of one version: files that it lacks go."""
    source = _template(context, context.protected_sha or context.template_sha)
    return Undo(source, restore=tuple(violation.path for violation in found))


def _template(context: ReportContext, sha: str) -> Source:
    """A commit of the template. Later ones than the pinned are in the history of forks that were synced, not of all."""
    known = context.template_in_history and sha == context.template_sha
    return Source(sha, None if known else context.template_url)


def _commands(context: ReportContext, commands: Commands, lead: str = "Run") -> list[str]:
    lines: list[str] = []
    if commands.lines:
        where = f"{lead} this in the top folder of your clone of {code(context.repo_full_name)}, on branch"
        lines += [f"{where} {code(context.branch)}:", "", *block(commands.lines)]
    if commands.hidden:
        are, them = ("is", "it") if commands.hidden == 1 else ("are", "them")
        lines += [f"… and {commands.hidden:,} more {are} not shown. Take {them} back in the same way.", ""]
    if commands.unnamed:
        names = plural(commands.unnamed, "file has a name", "files have names")
        them = "it" if commands.unnamed == 1 else "them"
        lines += [f"{names} that no command can spell (not UTF-8). Take {them} back by hand.", ""]
    return lines


def _kept(verdict: Verdict, found: Iterable[Violation]) -> list[str]:
    """Where the work is that the commands take off the branch."""
    if not any(violation.change in (ChangeKind.ADDED, ChangeKind.MODIFIED) for violation in found):
        return []
    return [f"What you take back is not lost: it stays in commit {code(verdict.head_sha)}.", ""]
