"""`app.py lab replay`: what a lab would have said to a git history, commit by commit."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.terminal import name, out_json

if TYPE_CHECKING:
    from cli.gitread import Repository
    from cli.replay_run import History, Turn
    from rules.model import Lab

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Approved = Annotated[
    list[str] | None, typer.Option(metavar="STEP", help="Take this step as approved by staff; may be repeated.")
]


def replay(  # noqa: PLR0917 (the options of one command)
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="A git repository on this machine, bare or not.")],
    span: Annotated[
        str, typer.Argument(metavar="[RANGE]", help='Which commits: "A..B" those after A up to B, "B" all up to B.')
    ] = "HEAD",
    lab_file: Annotated[
        Path | None, typer.Option("--lab", metavar="FILE", help="The steps file; else the template's own.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="REV", help="Where learners start; else A of A..B, or the first commit.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Push so many commits at a time.")] = 1,
    approve: Approved = None,
    checks_pass: Annotated[
        bool, typer.Option("--checks-pass", help="Take every workflow and check that the lab asks for as passed.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER.json", help="Show only what this steps file would change.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play a git history as pushes against a steps file, and show the verdict on each.

    The commits along first parents are pushed one after another, as if a learner had made them; nothing is written. The
    lab is read from .forgea/steps.json of the template commit, or from --lab. Steps that wait for staff, workflows or
    checks stay open unless --approve or --checks-pass say otherwise. Each line of the timeline has the commit, the
    verdict (closed: the lab was complete before), how many steps are done, what this push completed (+) or reopened
    (-), and the commit's subject; below it stand the files that are out of order, with the steps that own them.

    With --against, the history is played with both files, and only the pushes are shown at which OTHER.json says
    something else: another verdict, or other steps completed or reopened. Steps may be renamed with "aliases".

    Exit status: 0 it was played (with --against: the two files agree), 1 the two files differ (or a file has problems),
    2 wrong use.

    \b
    Examples:
      python app.py lab replay ../reference-solution
      python app.py lab replay ../reference-solution v1.0..main --lab .forgea/steps.json
      python app.py lab replay ../fork origin/main..HEAD --every 5
      python app.py lab replay ../fork --against .forgea/steps.json --json
    """
    with one_line():
        from cli.gitread import Repository
        from cli.replay_run import Assumed, history_of, turns

        with closing(Repository.open(repository)) as opened, _uncollected():
            history = history_of(opened, span, template)
            lab = _lab(opened, history, lab_file)
            other = _read(against) if against is not None else None
            _check_ids(approve or (), [lab] if other is None else [lab, other])

            def play(with_lab: Lab) -> Iterator[Turn]:
                assumed = Assumed(with_lab, frozenset(approve or ()), checks_pass)
                played = turns(opened, history, with_lab, every=every, assumed=assumed)
                return _with_progress(played, len(history.heads(every)))

            if other is None:
                _show(history, lab, play(lab), as_json=as_json)
            elif _compare(list(play(lab)), list(play(other)), other, as_json=as_json):
                raise typer.Exit(FAILED)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do not look for cycles of garbage: that goes through all trees again and again, and there are few to be found
    (measured: a third of the time, and no memory)."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _lab(repository: Repository, history: History, lab_file: Path | None) -> Lab:
    from cli.lab_lint import valid_lab
    from cli.lab_source import LAB_FILE, LabSource

    if lab_file is not None:
        return _read(lab_file)
    data = repository.show_file(history.template.sha, LAB_FILE)
    if data is None:
        message = f"the template, commit {history.template.sha[:7]}, has no {LAB_FILE}: name a steps file with --lab"
        raise CommandError(message, status=WRONG_USE)
    return valid_lab(LabSource(f"{history.template.sha[:7]}:{LAB_FILE}", data, None))


def _read(path: Path) -> Lab:
    from cli.lab_lint import valid_lab
    from cli.lab_source import lab_source

    with lab_source(path) as source:
        return valid_lab(source)


def _check_ids(ids: Iterable[str], labs: Iterable[Lab]) -> None:
    """Each id must be a step of one of the labs."""
    known = {name for lab in labs for step in lab.steps for name in (step.id, *step.aliases)}
    for step_id in ids:
        if step_id not in known:
            raise CommandError(f"--approve: the lab has no step {name(step_id)!r}", status=WRONG_USE)


def _with_progress(played: Iterator[Turn], pushes: int) -> Iterator[Turn]:
    """The turns; a progress bar is shown on a terminal, where it is not in the way of the timeline."""
    if not sys.stderr.isatty() or pushes < 2:
        yield from played
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(played, description="Replaying", total=pushes, console=console, transient=True)


def _show(history: History, lab: Lab, played: Iterator[Turn], *, as_json: bool) -> None:
    from cli.replay_show import document, print_end, print_turn

    turns = list(played)
    if as_json:
        out_json(document(history, lab, turns))
        return
    for turn in turns:
        print_turn(turn, len(lab.steps))
    print_end(lab, turns)


def _compare(old: list[Turn], new: list[Turn], changed: Lab, *, as_json: bool) -> bool:
    """Show what the changed file says otherwise; whether there is anything."""
    from cli.replay_against import document, flips, print_flips

    found = flips(old, new, changed)
    if as_json:
        out_json(document(found, len(new)))
    else:
        print_flips(found, len(new))
    return bool(found)
