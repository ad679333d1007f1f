"""`app.py learner forget`: erase a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.connect import pool_on
from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.output import clean, print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from storage.forgetting import Forgotten, Person

commands = typer.Typer(help="People who learn here.", no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def _learner() -> None:
    """People who learn here."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """A person, what would be erased, and whether the App is still installed on their account."""

    person: Person
    found: Forgotten
    installed: bool


@commands.command("forget")
def forget(
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="A GitHub account's number, or its login as it was last seen.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased, erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: Annotated[
        int | None, typer.Option(min=1, metavar="ACCOUNT_ID", help="Who decides, for the audit. Without: this shell.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Erase a person, for good: account, invitations, sessions and all that was judged in them.

    It cannot be undone. What stays is in docs/privacy.md: numbers in the audit, and what GitHub has itself (check-runs,
    repositories). The totals of a class become smaller; the audit says by how much. A learner who pushes again starts
    anew: to end it, the App has to be taken off their account first.

    Exit status: 0 done, or nothing to do; 1 not confirmed; 2 the account is not known, or ambiguous.
    """
    with one_line():
        from settings import load

        with database(load("learner forget")) as dsn:
            looked = run(lambda: _look(dsn, account))
            if not as_json:
                _show(looked)
            if not dry_run and not looked.found.nothing:
                _confirm(looked.person, yes=yes)
                looked = run(lambda: _forget(dsn, looked, by))
        if as_json:
            print_json({"account_id": looked.person.account_id, "dry_run": dry_run, **asdict(looked.found)})
        elif looked.found.nothing:
            say("Nothing is stored of this person.")
        else:
            say("Nothing was erased." if dry_run else "Erased.")


async def _look(dsn: str, account: str) -> _Looked:
    from storage import forgetting

    async with pool_on(dsn) as pool:
        people = await forgetting.find(pool, account)
        if not people:
            raise CommandError(f"nobody called {clean(account)} was ever seen or invited here", status=WRONG_USE)
        if len(people) > 1:
            numbers = ", ".join(str(person.account_id) for person in people)
            raise CommandError(
                f"several accounts were called {clean(account)}: give one by its number ({numbers})", status=WRONG_USE
            )
        found = await forgetting.survey(pool, people[0])
        return _Looked(people[0], found, await forgetting.installed(pool, people[0]))


async def _forget(dsn: str, looked: _Looked, by: int | None) -> _Looked:
    from storage import forgetting

    async with pool_on(dsn) as pool:
        return _Looked(looked.person, await forgetting.forget(pool, looked.person, by=by), looked.installed)


_WORDS = {
    "accounts": "account, with its login",
    "invitations": "invitations",
    "sessions": "sessions, with progress and decisions",
    "attempts": "judged pushes",
    "repositories": "repositories whose names and results go",
    "reports": "texts of check-runs",
    "installations": "installations that lose their account",
    "deliveries": "deliveries that lose their repository and body",
    "bodies": "bodies of processed deliveries that name the number",
}


def _show(looked: _Looked) -> None:
    """What would be erased, and what the operator should know before."""
    person, counts = looked.person, asdict(looked.found)
    named = [str(part) for part in (person.login, person.account_id and f"number {person.account_id}") if part]
    rows = [{"what": words, "rows": counts[name]} for name, words in _WORDS.items()]
    print_rows(rows, {"what": clean(", ".join(named)), "rows": "rows"}, empty="")
    if looked.installed:
        say(
            "The App is still installed on this account. GitHub goes on telling us of it, as of a stranger's, and the "
            "next push makes its owner known again, as a new learner. To end it, take the App off the account first."
        )


def _confirm(person: Person, *, yes: bool) -> None:
    if yes:
        return
    name = clean(person.login or str(person.account_id))
    try:
        if typer.confirm(f"Erase {name} for good?", err=True):
            return
    except typer.Abort:
        say("")
    raise CommandError("nothing was erased: not confirmed", status=FAILED)
