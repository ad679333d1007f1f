"""`app.py lab ...`: the author's tools. They need git and a lab file; no settings, no database, no GitHub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.labtests import TESTS, lab_test
from cli.output import clean
from cli.replay import replay
from cli.serve import say

commands = typer.Typer(
    help="For authors: check, explain and try out a lab's .forgea/steps.json.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
commands.command("test")(lab_test)
commands.command("replay")(replay)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Revision = Annotated[
    str | None, typer.Option("--rev", metavar="REV", help="Look at this commit, not at the working tree.")
]
Place = Annotated[
    Path, typer.Argument(metavar="FILE|DIR", help="A steps file, or the folder of a template that has one.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")]


@commands.command("lint")
def lint(
    place: Place = Path(),
    revision: Revision = None,
    as_json: AsJson = False,
    with_map: Annotated[
        bool, typer.Option("--map", help="Also list the files that no step, one step and several steps own.")
    ] = False,
    strict: Strict = False,
) -> None:
    """Check a lab's steps file and say everything that is wrong with it.

    In a template's checkout, or with the file of one, its files are looked at as well: patterns that match nothing,
    names that differ in case only, steps that are complete before anybody began.

    Each problem is one line, `file:line:column: CODE message (suggestion)`; docs/authoring.md explains the codes.
    --json prints one object: file, errors, warnings, note and problems, each with code, severity, message, suggestion,
    pointer, line and column; with --map also map, with none, one, several, protected and shared.
    Exit status: 0 fine (warnings are allowed), 1 problems, 2 wrong use.

    \b
    Examples:
      python app.py lab lint
      python app.py lab lint ../my-lab --map
      python app.py lab lint ../my-lab --rev origin/main --strict
      python app.py lab lint steps.json --json
    """
    with one_line():
        from cli.lab_lint import is_fine, linted, need_map, print_result, print_result_json
        from cli.lab_source import lab_source

        with lab_source(place, revision) as source:
            if with_map:
                need_map(source)
            result = linted(source)
        (print_result_json if as_json else print_result)(source, result, with_map=with_map)
        if not is_fine(result, strict=strict):
            raise typer.Exit(FAILED)


@commands.command("explain")
def explain(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files, by their path in the repository.")],
    place: Annotated[
        Path, typer.Option("--lab", metavar="FILE|DIR", help="The steps file, or the template's folder.")
    ] = Path(),
    revision: Revision = None,
    done: Annotated[
        str, typer.Option("--done", metavar="STEP,STEP", help="Steps that the learner has completed.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say of each file whose it is, by which pattern, and what a push that changes it would meet.

    A path need not be there: a learner may add it. --json prints a list of objects: path, in_template, protected,
    shared, owners, step, outcome, verdict (fine, warn or block), code, missing, said and suggestion.
    Exit status: 0, or 1 if the steps file has errors, 2 wrong use.

    \b
    Examples:
      python app.py lab explain src/timer.ts
      python app.py lab explain tests/a.js ANSWER.md --done reproduce,fix
      python app.py lab explain src/timer.ts --lab ../my-lab --rev v2
    """
    with one_line():
        from cli.lab_explain import Question, print_answers, print_answers_json
        from cli.lab_lint import valid_lab
        from cli.lab_source import lab_source

        with lab_source(place, revision) as source:
            question = Question.of(source, valid_lab(source), [word for word in done.split(",") if word.strip()])
            (print_answers_json if as_json else print_answers)(question, paths)


@commands.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the template.")] = Path(),
    to_stdout: Annotated[bool, typer.Option("--print", help="Print the proposal, and write nothing.")] = False,
) -> None:
    """Propose a steps file for a repository, from its folders, numbered files and headings.

    It is a beginning: read it, change it, and check it with `lab lint`. A file that is there is never overwritten.
    Exit status: 0 written (or printed), 2 wrong use.

    \b
    Examples:
      python app.py lab init ../my-lab
      python app.py lab init ../my-lab --print
    """
    with one_line():
        from cli.lab_init import propose_for, tell, write_proposal

        proposal = propose_for(folder)
        if to_stdout:
            typer.echo(proposal.text, nl=False)
            tell(proposal, folder)
        else:
            write_proposal(folder, proposal)


@commands.command("check")
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The template's folder.")] = Path(),
) -> None:
    """Everything that should hold before a push to the template: `lab lint --strict`, then `lab test`.

    Made for the template's own CI. A lab without tests in .forgea/tests passes with a note.
    Exit status: 0 all is well, 1 problems (warnings too) or a test that fails, 2 wrong use.

    \b
    Examples:
      python app.py lab check
      python app.py lab check ../my-lab
    """
    with one_line():
        from cli.lab_lint import is_fine, linted, print_result
        from cli.lab_source import lab_source

        if not folder.is_dir():
            raise CommandError(f"{clean(str(folder))} is not a folder", status=WRONG_USE)
        with lab_source(folder) as source:
            result = linted(source)
        print_result(source, result, with_map=False)
        if not is_fine(result, strict=True):
            raise typer.Exit(FAILED)
        if any(folder.glob(f"{TESTS}/*.json")):
            lab_test(folder)
        else:
            say(f"There are no tests: {TESTS} has no *.json. See `python app.py lab test --help`.")
