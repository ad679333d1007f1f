"""`app.py labs invite` and `labs uninvite`: a teacher's class list."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.connect import github_of, pool_on, shared_governor
from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.lab_options import AsJson, Slug
from cli.output import clean, print_json
from cli.serve import database, run, say

if TYPE_CHECKING:
    from bot.classlist import ClassList, Row
    from bot.invitations import Line
    from github.client import GitHubApp
    from rules.model import LabRecord
    from storage.database import Pool

# A shorter list is answered before anybody looks for a bar.
BAR_FROM = 20

Result = TypeVar("Result")
Work = Callable[["Pool", "GitHubApp", "LabRecord"], Awaitable[Result]]

Logins = Annotated[list[str] | None, typer.Argument(metavar="LOGIN...", help="GitHub logins, one by one.")]
Csv = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help="A class list; - reads standard input. See docs/classes.md."),
]


def invite(  # noqa: PLR0917 (the options of one command)
    slug: Slug,
    logins: Logins = None,
    csv: Csv = None,
    keep_unknown: Annotated[
        bool,
        typer.Option(
            "--keep-unknown",
            help="Keep logins that GitHub does not know: the first account that signs in or installs the App under "
            "such a login takes the invitation.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Invite people to a lab: by login, or by a CSV file with a column login or id, and perhaps repository.

    The first line of the file names the columns: login (GitHub login) or id (GitHub account id), and for classes whose
    repositories an organisation owns repository (OWNER/NAME, or its id). Other columns are left aside. A file without
    such a line holds a login on each line. Commas, semicolons and tabs will do; empty lines and lines that begin with
    # are skipped.

    People are invited by their account id, so that a learner who takes another login stays invited. Inviting the same
    people again changes nothing. Learners who pushed before they were invited need not push again.

    Each line that has something to it is reported by its number. Exit status: 0 when all is well, 1 when some lines
    had a problem (the others are stored all the same), 2 when the command or the file cannot be understood.

    Examples:

      python app.py labs invite closures learner-one learner-two

      python app.py labs invite closures --csv class.csv --dry-run
    """
    with one_line():
        from bot import invitations

        people = _people(logins, csv)

        async def work(pool: Pool, app: GitHubApp, lab: LabRecord) -> list[Line]:
            with _bar(len(people.rows)) as progress:
                return await invitations.invite(
                    pool, app, lab, people.rows, keep_unknown=keep_unknown, dry_run=dry_run, progress=progress
                )

        lines = _with_lab("labs invite", slug, work)
        _report(lines, people, dry_run=dry_run, as_json=as_json)
    if any(line.outcome == "problem" for line in lines):
        raise typer.Exit(FAILED)


def uninvite(slug: Slug, logins: Logins = None, csv: Csv = None, as_json: AsJson = False) -> None:
    """Take back invitations to a lab, as far as the learner has not begun.

    A session that has begun goes on: to end it, see `sessions defer`. Exit status: 1 when somebody was not on the class
    list, or has begun.
    """
    with one_line():
        from bot import invitations

        people = _people(logins, csv)

        async def work(pool: Pool, app: GitHubApp, lab: LabRecord) -> list[tuple[Row, str]]:
            return [(row, str(removal)) for row, removal in await invitations.uninvite(pool, app, lab, people.rows)]

        done = _with_lab("labs uninvite", slug, work)
        if as_json:
            print_json([{"line": row.line, "asked": row.asked, "outcome": removal} for row, removal in done])
        else:
            for row, removal in done:
                where = f"line {row.line}: " if row.line is not None else ""
                _print(f"{where}{row.asked}: {_REMOVALS[removal]}")
    if any(removal != "removed" for _, removal in done):
        raise typer.Exit(FAILED)


_REMOVALS = {
    "removed": "not invited any more",
    "used": "has begun: the session goes on (to end it: python app.py sessions defer)",
    "none": "was not invited",
    "problem": "is no GitHub login",
}


def _people(logins: list[str] | None, csv: str | None) -> ClassList:
    """The class list that the command line names: logins, or a file, not both."""
    from bot.classlist import ClassListError, parse, rows_of_logins

    if bool(logins) == (csv is not None):
        raise CommandError("name the people: either LOGIN... or --csv FILE", status=WRONG_USE)
    if logins:
        return rows_of_logins(logins)
    assert csv is not None  # noqa: S101 (told by the test above)
    try:
        return parse(sys.stdin.buffer.read() if csv == "-" else Path(csv).read_bytes())
    except OSError as error:
        raise CommandError(f"--csv: {csv} cannot be read: {error.strerror}", status=WRONG_USE) from error
    except ClassListError as error:
        raise CommandError(f"--csv: {csv}: {error}", status=WRONG_USE) from error


def _with_lab(command: str, slug: str, work: Work[Result]) -> Result:
    """Do the work with the database, GitHub and the lab of this name; CommandError when there is none."""
    from settings import load
    from storage import labs

    settings = load(command)

    async def main(dsn: str) -> Result:
        async with pool_on(dsn) as pool, github_of(settings, shared_governor(settings, pool, patient=True)) as app:
            lab = await labs.by_slug(pool, slug)
            if lab is None:
                raise CommandError(f"there is no lab {slug!r}; see: python app.py labs list", status=WRONG_USE)
            return await work(pool, app, lab)

    with database(settings) as dsn:
        return run(lambda: main(dsn))


@contextmanager
def _bar(rows: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a long list at a terminal; elsewhere nothing moves."""
    if rows <= BAR_FROM or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Asking GitHub", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# How a whole list is summed up: the words of each outcome, done and pretended.
_SUMS = {
    "invited": ("invited", "would be invited"),
    "already": ("already invited", "already invited"),
    "pending": ("kept as a login", "would be kept as a login"),
    "duplicate": ("named twice", "named twice"),
    "problem": ("with a problem", "with a problem"),
}


def _report(lines: Sequence[Line], people: ClassList, *, dry_run: bool, as_json: bool) -> None:
    from bot.invitations import count

    counts = count(lines)
    if as_json:
        found = [_json(line) for line in lines]
        print_json({"dry_run": dry_run, "counts": counts, "notes": people.notes, "lines": found})
        return
    for note in people.notes:
        _print(note)
    for line in lines:
        if line.outcome != "invited" or line.notes:
            _print(line.words())
    words = [f"{number} {_SUMS[outcome][dry_run]}" for outcome, number in counts.items()]
    say(", ".join(words) + ("; nothing was stored" if dry_run else ""))


def _json(line: Line) -> dict[str, Any]:
    return {
        "line": line.row.line,
        "asked": line.row.asked,
        "outcome": line.outcome,
        "account_id": line.account.account_id if line.account else None,
        "login": line.account.login if line.account else None,
        "repo_id": line.repo_id,
        "message": line.message,
        "notes": line.notes,
    }


def _print(text: str) -> None:
    """A line of the answer; what comes from a file must not move the cursor."""
    print(clean(text))  # noqa: T201 (a command's answer)
