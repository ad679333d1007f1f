"""`app.py deadletters ...`: deliveries that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.connect import pool_on
from cli.faults import WRONG_USE, CommandError, one_line
from cli.output import print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from storage.inbox import DeadLetter

dead_letters = typer.Typer(help="Deliveries that were given up.", no_args_is_help=True, rich_markup_mode=None)


@dead_letters.command("list")
def list_dead_letters(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 100,
) -> None:
    """List the deliveries that could not be processed, and why."""
    with one_line():
        from settings import load

        with database(load("deadletters list")) as dsn:
            rows = [_row(letter) for letter in run(lambda: _letters(dsn, limit))]
        if as_json:
            print_json(rows)
            return
        columns = {"id": "id", "event": "event", "repository_id": "repository", "received_at": "received"}
        print_rows(rows, {**columns, "attempts": "attempts", "error": "why"}, empty="There is no dead letter.")


async def _letters(dsn: str, limit: int) -> tuple[DeadLetter, ...]:
    from storage import inbox

    async with pool_on(dsn) as pool:
        return await inbox.dead_letters(pool, limit=limit)


def _row(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.inbox_id,
        "delivery": letter.guid,
        "event": letter.event,
        "action": letter.action,
        "repository_id": letter.repo_id,
        "received_at": letter.received_at,
        "attempts": letter.attempts,
        "error": letter.last_error,
    }


@dead_letters.command("retry")
def retry(inbox_id: Annotated[int, typer.Argument(metavar="ID", help="Id from `deadletters list`.")]) -> None:
    """Let a worker process the delivery again, with all its attempts."""
    with one_line():
        from settings import load

        with database(load("deadletters retry")) as dsn:
            again = run(lambda: _replay(dsn, inbox_id))
        if not again:
            raise CommandError(f"{inbox_id} is no dead letter, or its body is no longer kept", status=WRONG_USE)
        say(f"Delivery {inbox_id} is due again.")


async def _replay(dsn: str, inbox_id: int) -> bool:
    from storage import inbox

    async with pool_on(dsn) as pool:
        return await inbox.replay(pool, inbox_id)
