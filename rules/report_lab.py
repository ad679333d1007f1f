"""What the author of a lab is told about a commit of the template: problems on their lines, the map of the files, and
what was published.

As in `rules.report` all text from outside comes in through `rules.escape` only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from rules.escape import clip, code, escape, plain, words
from rules.lint import Coverage, LintResult
from rules.model import Annotation, CheckRunReport, Conclusion, Lab, Problem, Report
from rules.report_text import fit, listed, plural

#: The name of the check run on templates. (That on learners' work is a setting.)
LAB_CHECK = "forgea/lab"
LAB_FILE = ".forgea/steps.json"

#: Problems that are told on their lines, 50 a request. The file can have thousands, and no author reads them.
MAX_NOTES = 300

# Characters of an annotation's title, GitHub's limit (REST docs, "Create a check run"), and of its message, ours.
_MAX_NOTE_TITLE = 255
_MAX_NOTE = 2_000

# Bytes for the parts of the summary that can grow, together below GitHub's 65,535 characters.
_ROOM_PROBLEMS = 24_000
_ROOM_STEPS = 16_000
_ROOM_FILES = 8_000
_FILES = 5  # of a step, named; the others are counted

Outcome = Literal["published", "unchanged", "older", "broken", "side"]


@dataclass(frozen=True, slots=True)
class LabContext:
    """What became of a template's commit.

    `branch`: where it was pushed, `lab_branch`: the lab's. `outcome`: "published" (its rules are version `number`),
    "unchanged" (the rules are those of version `number`), "older" (version `number` was published after it), "broken",
    or "side" (another branch than the lab's). `number` None: nothing is published. `staying`: live sessions by the
    number of their version, if that is not `number`. `fault`: why there is nothing to look at, a sentence.
    """

    slug: str
    lab_id: int
    head_sha: str
    branch: str
    lab_branch: str
    outcome: Outcome
    number: int | None = None
    staying: Mapping[int, int] = field(default_factory=dict)
    fault: str = ""
    details_url: str | None = None


def render_lab(result: LintResult | None, context: LabContext) -> Report:
    """The check run on a template's commit; `result` None: it has no steps file, or none that could be read.

    Failure for errors, neutral for warnings, else success; there is no commit status. The number of sessions is not in
    the digest: it changes from minute to minute, and is no reason for another run.
    """
    problems = result.problems if result is not None else ()
    check_run = CheckRunReport(
        name=LAB_CHECK,
        head_sha=context.head_sha,
        conclusion=_conclusion(result),
        title=clip(plain(_title(result, context)), 200),
        summary=_document(result, replace(context, staying={})),
        annotations=tuple(_note(problem) for problem in _ordered(problems)[:MAX_NOTES]),
        details_url=context.details_url,
    )
    digest = hashlib.sha256(json.dumps(asdict(check_run), sort_keys=True).encode()).hexdigest()
    external_id = f"lab:{context.lab_id}:{context.head_sha}:{digest[:16]}"
    return Report(
        replace(check_run, external_id=external_id, summary=_document(result, context)), status=None, digest=digest
    )


def _conclusion(result: LintResult | None) -> Conclusion:
    if result is None or result.lab is None:
        return "failure"
    return "neutral" if result.problems else "success"


def _ordered(problems: Sequence[Problem]) -> list[Problem]:
    """Errors first: they are what keeps the file from being published."""
    return sorted(problems, key=lambda problem: problem.severity != "error")


def _counted(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    counts = [(errors, "error", "errors"), (len(problems) - errors, "warning", "warnings")]
    return listed([plural(number, one, many) for number, one, many in counts if number] or [""])


def _title(result: LintResult | None, context: LabContext) -> str:
    if result is None:
        return "Nothing is published" if context.fault else "There is no steps file: nothing is published"
    told = _counted(result.problems)
    if result.lab is None:
        return f"{told}: nothing is published"
    with_ = f", {told}" if told else ""
    match context.outcome:
        case "published":
            return f"Version {context.number} is published{with_}"
        case "unchanged":
            return f"No change of the rules since version {context.number}{with_}"
        case "older":
            return f"Version {context.number} is newer than this commit{with_}"
        case _:
            return f"The steps file is valid{with_}"


def _document(result: LintResult | None, context: LabContext) -> str:
    lines = [*_publication(result, context), *_staying(context)]
    if result is not None:
        lines += _problems(result.problems)
        if result.lab is not None and result.coverage is not None:
            lines += _coverage(result.lab, result.coverage)
    return "\n".join(lines).strip() + "\n"


def _publication(result: LintResult | None, context: LabContext) -> list[str]:
    """What became of the commit, and what that means for learners."""
    if result is None and context.fault:
        return [f"**Nothing is published.** {escape(clip(context.fault, 1_000))}", "", *_going_on(context)]
    if result is None:
        why = f"A lab needs the file `{LAB_FILE}` at the head of its branch, and there is none here."
        return [f"**Nothing is published.** {why}", "", *_going_on(context)]
    if result.lab is None:
        why = "Correct the errors below and push again."
        return [f"**Nothing is published from this commit.** {why}", "", *_going_on(context)]
    match context.outcome:
        case "published":
            text = f"**Version {context.number} is published.** Whoever begins the lab from now on gets these rules."
        case "unchanged":
            text = (
                f"**The rules are those of version {context.number}.** So there is no new version; the commit is "
                "recorded, and learners who take over its files are not blamed for them."
            )
        case "older":
            text = (
                f"**Version {context.number} was published after this commit.** To publish these rules again, push a "
                "new commit that has them."
            )
        case _:
            branch, lab_branch = code(context.branch), code(context.lab_branch)
            text = f"This is branch {branch}. The lab is published from {lab_branch}: nothing changes for learners."
    return [text, ""]


def _going_on(context: LabContext) -> list[str]:
    if context.number is None or context.outcome == "side":
        return []
    return [f"Learners go on with version {context.number}, and whoever begins gets that.", ""]


def _staying(context: LabContext) -> list[str]:
    """The sessions that keep older rules, and how to move them."""
    if context.outcome not in ("published", "unchanged") or not context.staying:
        return []
    parts = [
        f"{plural(sessions, 'session stays', 'sessions stay')} on version {number}"
        for number, sessions in context.staying.items()
    ]
    return [
        f"{listed(parts)}: learners keep the rules that they began with. Whoever runs the App can look at what a move "
        "to the newest version would do to each of them:",
        "",
        "```sh",
        f"python app.py sessions migrate --lab {context.slug}",
        "```",
        "",
    ]


def _problems(problems: Sequence[Problem]) -> list[str]:
    if not problems:
        return []
    ordered = _ordered(problems)
    rows, hidden = fit(ordered, _problem_row, _ROOM_PROBLEMS)
    return [
        f"### {_counted(problems)}",
        "",
        "| line | code | what | what to do |",
        "| --- | --- | --- | --- |",
        *rows,
        *([f"\n… and {hidden:,} more."] if hidden else []),
        *([f"\nOn their lines are the first {MAX_NOTES}."] if len(problems) > MAX_NOTES else []),
        "",
    ]


def _problem_row(problem: Problem) -> str:
    where = f"{problem.line}:{problem.column}"
    what, todo = escape(clip(problem.message, 1_000)), escape(clip(problem.suggestion, 1_000))
    sign = "" if problem.severity == "error" else " (warning)"
    return f"| {where} | `{plain(problem.code)}`{sign} | {what} | {todo} |"


def _coverage(lab: Lab, coverage: Coverage) -> list[str]:
    """The map of the template's files: which step they belong to."""
    owned = {step.id: coverage.of_step(step.id) for step in lab.steps}
    rows, hidden = fit(
        lab.steps, lambda step: f"| {words(clip(step.title, 200))} | {_files(owned[step.id])} |", _ROOM_STEPS
    )
    several = coverage.several
    return [
        "### Where the template's files belong",
        "",
        "| step | files |",
        "| --- | --- |",
        *rows,
        *([f"\n… and {hidden:,} more steps."] if hidden else []),
        "",
        *_kind("Owned by several steps", several, lambda path: f"{code(path)} ({_owners(coverage, path)})"),
        *_kind("Owned by no step", coverage.none, code),
        *_kind("Protected", coverage.protected, code),
        *_kind("Shared", coverage.shared, code),
    ]


def _files(paths: Sequence[str]) -> str:
    if not paths:
        return "none: learners create them"
    more = f" and {len(paths) - _FILES:,} more" if len(paths) > _FILES else ""
    return f"{len(paths):,}: {', '.join(map(code, paths[:_FILES]))}{more}"


def _owners(coverage: Coverage, path: str) -> str:
    return listed([code(owner) for owner in coverage.owners[path]])


def _kind(name: str, paths: Sequence[str], word: Callable[[str], str]) -> list[str]:
    if not paths:
        return []
    shown, hidden = fit(paths, lambda path: f"- {word(path)}", _ROOM_FILES // 4, 20)
    more = [f"- … and {hidden:,} more"] if hidden else []
    return [f"{name} ({plural(len(paths), 'file', 'files')}):", "", *shown, *more, ""]


def _note(problem: Problem) -> Annotation:
    """A problem on its line. Annotations are plain text."""
    message = f"{problem.message} {problem.suggestion}".strip()
    return Annotation(
        path=LAB_FILE,
        line=problem.line,
        level="failure" if problem.severity == "error" else "warning",
        message=clip(plain(message), _MAX_NOTE),
        title=clip(plain(problem.code), _MAX_NOTE_TITLE),
    )
