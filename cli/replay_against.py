"""Two steps files on one history: at which pushes they say something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.replay_run import Turn
from cli.replay_show import violation_words
from cli.terminal import out, words
from rules.model import Lab


@dataclass(frozen=True, slots=True)
class Flip:
    """A push about which the two files differ: in the verdict's word, or in the steps that it completes or reopens.

    `before` and `after`: "accepted", "blocked +fix", ...; `why`: sentences.
    """

    turn: Turn
    before: str
    after: str
    why: tuple[str, ...]


def flips(old: Sequence[Turn], new: Sequence[Turn], changed: Lab) -> tuple[Flip, ...]:
    """The pushes that differ. Steps that the changed file renamed (`aliases`) are the same step."""
    renamed = {alias: step.id for step in changed.steps for alias in step.aliases}
    found: list[Flip] = []
    for one, other in zip(old, new, strict=True):
        before, after = _moves(one, renamed), _moves(other, {})
        if (one.word, before) != (other.word, after):
            why = tuple(_why(one, other, before, after))
            found.append(Flip(other, _said(one, before), _said(other, after), why))
    return tuple(found)


def _moves(turn: Turn, renamed: dict[str, str]) -> frozenset[str]:
    """The steps that a push completed (+) and reopened (-)."""
    if turn.verdict is None:
        return frozenset()
    gained = {f"+{renamed.get(gain.step_id, gain.step_id)}" for gain in turn.verdict.gains}
    return frozenset(gained | {f"-{renamed.get(loss.step_id, loss.step_id)}" for loss in turn.verdict.losses})


def _said(turn: Turn, moves: frozenset[str]) -> str:
    return " ".join([turn.word, *sorted(moves)])


def _why(one: Turn, other: Turn, before: frozenset[str], after: frozenset[str]) -> Iterator[str]:
    had, has = one.blocking, other.blocking
    if one.word != other.word:
        yield from (f"now out of order: {violation_words(has[path])}" for path in sorted(has.keys() - had.keys()))
        yield from (f"no longer out of order: {violation_words(had[path])}" for path in sorted(had.keys() - has.keys()))
        if "closed" in (one.word, other.word):
            which = "the changed file" if other.word == "closed" else "the file as it was"
            yield f"with {which} the lab was complete before"
    for sign, word in (("+", "completes"), ("-", "reopens")):
        more = sorted(move[1:] for move in after - before if move[0] == sign)
        less = sorted(move[1:] for move in before - after if move[0] == sign)
        if more:
            yield f"now {word} {', '.join(more)}"
        if less:
            yield f"no longer {word} {', '.join(less)}"


def counted(found: Sequence[Flip]) -> dict[str, int]:
    """How many pushes flip from which word to which; "same verdict": only the steps differ."""
    pairs = Counter(
        f"{flip.before.split()[0]} -> {flip.after.split()[0]}"
        if flip.before.split()[0] != flip.after.split()[0]
        else "same verdict, other steps"
        for flip in found
    )
    return dict(sorted(pairs.items()))


def document(found: Sequence[Flip], pushes: int) -> dict[str, object]:
    """The comparison for programs."""
    return {
        "pushes": pushes,
        "flips": [
            {
                "push": flip.turn.number,
                "commit": flip.turn.commit.sha,
                "subject": flip.turn.commit.subject,
                "before": flip.before,
                "after": flip.after,
                "why": list(flip.why),
            }
            for flip in found
        ],
        "totals": counted(found),
    }


def print_flips(found: Sequence[Flip], pushes: int) -> None:
    """The comparison for people."""
    for flip in found:
        out(f"{flip.turn.commit.sha[:7]}  {flip.before}  =>  {flip.after}  {words(flip.turn.commit.subject)}")
        for reason in flip.why:
            out(f"         {reason}")
    if not found:
        out(f"{pushes} pushes: no verdict flips.")
        return
    totals = ", ".join(f"{number} {what}" for what, number in counted(found).items())
    out(f"{len(found)} of {pushes} pushes flip: {totals}.")
