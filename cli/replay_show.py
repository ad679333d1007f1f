"""What `lab replay` says: a line for each push, what became of each step, totals; the same as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from cli.terminal import Colour, name, out, paint, words

if TYPE_CHECKING:
    from cli.replay_run import History, Turn
    from rules.model import Lab, Violation

SHOWN_VIOLATIONS = 5  # of one push, in the timeline; JSON has all
_COLOURS: dict[str, Colour] = {"accepted": "green", "blocked": "red", "closed": "cyan"}


def document(history: History, lab: Lab, played: Sequence[Turn]) -> dict[str, object]:
    """The whole replay for programs."""
    return {
        "template": history.template.sha,
        "pushes": [push_document(turn) for turn in played],
        "steps": [asdict(journey) for journey in journeys(lab, played)],
        "totals": asdict(totals(lab, played)),
    }


def push_document(turn: Turn) -> dict[str, object]:
    """One push for programs. Bytes of a path that are no UTF-8 are lone surrogates."""
    verdict = turn.verdict
    return {
        "push": turn.number,
        "commit": turn.commit.sha,
        "subject": turn.commit.subject,
        "verdict": turn.word,
        "status": turn.state.status.value,
        "done": sorted(turn.state.progress.done),
        "gained": [{"step": gain.step_id, "commit": gain.commit_sha} for gain in verdict.gains] if verdict else [],
        "reopened": [{"step": loss.step_id, "reason": loss.reason} for loss in verdict.losses] if verdict else [],
        "violations": [_violation_document(each) for each in turn.violations],
    }


def _violation_document(violation: Violation) -> dict[str, object]:
    return {
        "path": violation.path,
        "code": violation.code.value,
        "level": violation.level,
        "steps": list(violation.owners),
        "missing": list(violation.missing),
        "suggestion": violation.suggestion,
    }


# ----------------------------------------------------------------------------------------------------- what it means


@dataclass(frozen=True, slots=True)
class Journey:
    """What became of a step: the push and the commit that completed it for good (None: none did), and how often it was
    reopened."""

    id: str
    title: str
    completed_by_push: int | None = None
    completed_at: str | None = None
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over all pushes. `offending_pushes`: those that brought a path which blocks and which the push before had
    not among those that block. `violations`: how often each code blocked a path at a push."""

    pushes: int
    accepted: int
    accepted_with_warnings: int
    blocked: int
    offending_pushes: int
    closed: int
    longest_blocked_run: int
    violations: dict[str, int]
    steps_done: int
    steps: int
    complete: bool


def journeys(lab: Lab, played: Sequence[Turn]) -> tuple[Journey, ...]:
    """What became of each step of the lab, in its order."""
    found = {step.id: Journey(step.id, step.title) for step in lab.steps}
    for turn in played:
        for loss in turn.verdict.losses if turn.verdict else ():
            before = found[loss.step_id]
            found[loss.step_id] = Journey(before.id, before.title, reopened=before.reopened + 1)
        for gain in turn.verdict.gains if turn.verdict else ():
            found[gain.step_id] = replace(
                found[gain.step_id], completed_by_push=turn.number, completed_at=gain.commit_sha
            )
    return tuple(found.values())


def totals(lab: Lab, played: Sequence[Turn]) -> Totals:
    """The counts over all pushes; there is at least one."""
    said = Counter(turn.word for turn in played)
    runs = [len(list(run)) for word, run in groupby(turn.word for turn in played) if word == "blocked"]
    codes = Counter(violation.code.value for turn in played for violation in turn.blocking.values())
    before = [frozenset[str](), *(turn.blocking.keys() for turn in played)]
    return Totals(
        pushes=len(played),
        accepted=said["accepted"],
        accepted_with_warnings=sum(turn.word == "accepted" and bool(turn.violations) for turn in played),
        blocked=said["blocked"],
        offending_pushes=sum(bool(turn.blocking.keys() - had) for turn, had in zip(played, before, strict=False)),
        closed=said["closed"],
        longest_blocked_run=max(runs, default=0),
        violations=dict(sorted(codes.items())),
        steps_done=len(played[-1].state.progress.done),
        steps=len(lab.steps),
        complete=any(turn.verdict is not None and turn.verdict.complete for turn in played),
    )


# ------------------------------------------------------------------------------------------------------- for people


def print_turn(turn: Turn, steps: int) -> None:
    """One push of the timeline: commit, verdict, steps, subject; below it the files that are out of order."""
    verdict = turn.verdict
    moved: list[str] = []
    if verdict is not None:
        moved = [f"+{gain.step_id}" for gain in verdict.gains] + [f"-{loss.step_id}" for loss in verdict.losses]
    done = f"{len(turn.state.progress.done)}/{steps}"
    moves = paint(" ".join(moved), "bold") + "  " if moved else ""
    word = paint(f"{turn.word:8}", _COLOURS[turn.word])
    out(f"{turn.commit.sha[:7]}  {word}  {done:>7}  {moves}{words(turn.commit.subject)}")
    for violation in turn.violations[:SHOWN_VIOLATIONS]:
        out(f"         {violation_words(violation)}")
    if len(turn.violations) > SHOWN_VIOLATIONS:
        out(f"         and {len(turn.violations) - SHOWN_VIOLATIONS} more")


def violation_words(violation: Violation) -> str:
    """A violation in a line: file -> step, and why."""
    owners = f" -> {', '.join(violation.owners)}" if violation.owners else ""
    first = f", first: {', '.join(violation.missing)}" if violation.missing else ""
    meant = f", did you mean {name(violation.suggestion)}?" if violation.suggestion else ""
    warning = "warning, " if violation.level == "warn" else ""
    return f"{name(violation.path)}{owners} ({warning}{violation.code}{first}{meant})"


def print_end(lab: Lab, played: Sequence[Turn]) -> None:
    """What became of each step, and the totals."""
    out()
    for journey in journeys(lab, played):
        out(f"{journey.id}: {_journey_words(journey)}  {words(journey.title)}")
    out()
    for sentence in _sentences(totals(lab, played)):
        out(sentence)


def _journey_words(journey: Journey) -> str:
    said = "never completed"
    if journey.completed_at is not None:
        said = f"complete at {journey.completed_at[:7]} (push {journey.completed_by_push})"
    if journey.reopened:
        said += f", reopened {'once' if journey.reopened == 1 else f'{journey.reopened} times'}"
    return said


def _sentences(counted: Totals) -> Iterator[str]:
    yield (
        f"{counted.pushes} pushes: {counted.accepted} accepted ({counted.accepted_with_warnings} with warnings), "
        f"{counted.blocked} blocked, {counted.closed} after the lab was complete."
    )
    if counted.blocked:
        yield (
            f"Files that were out of order came with {counted.offending_pushes} of the blocked pushes; the longest run "
            f"of blocked pushes has {counted.longest_blocked_run}."
        )
    whole = "The lab is complete." if counted.complete else "The lab is not complete."
    yield f"{counted.steps_done} of {counted.steps} steps are complete. {whole}"
