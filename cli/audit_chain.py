"""`app.py audit verify` and `audit archive`: whether the audit is as it was sealed, and how old events leave."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.audit_options import AsJson, moment
from cli.connect import pool_on
from cli.faults import FAILED, CommandError, one_line
from cli.output import clean, print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from storage.audit_archive import Archived
    from storage.audit_check import Verification
    from storage.sealing import ChainState

_ROOT = re.compile(r"[0-9a-f]{64}")


def add_to(commands: typer.Typer) -> None:
    """Add the commands to `app.py audit`."""
    commands.command("verify")(verify)
    commands.command("archive")(archive)


def _root(value: str | None) -> str | None:
    known = value.strip().lower() if value is not None else None
    if known is not None and not _ROOT.fullmatch(known):
        raise typer.BadParameter("must be the 64 hexadecimal digits that `audit verify` prints")
    return known


def _past_day(value: str) -> datetime:
    known = moment(value)
    if known > datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0):
        raise typer.BadParameter("must be a day that has begun: what happens today is still counted")
    return known


def verify(
    root: Annotated[
        str | None,
        typer.Option(callback=_root, metavar="HASH", help="A root that was noted elsewhere: it must be in the chain."),
    ] = None,
    archives: Annotated[
        list[Path] | None, typer.Option("--archive", metavar="FILE", help="Check this archive too; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at every sealed event: was one changed, removed or put in later? Prints the newest root.

    Who can write to the database can also write the whole chain anew. That is found only by a root that is kept
    elsewhere (the worker's log has each as `audit_sealed`; note one now and then): give it with --root.

    Exit status: 0 intact, 1 broken, 2 wrong use.
    """
    with one_line():
        from settings import load

        with database(load("audit verify")) as dsn:
            found, state = run(lambda: _verify(dsn, root, archives or []))
        unknown_root = root is not None and found.noted is None
        if as_json:
            print_json({**asdict(found), "intact": not found.faulty and not unknown_root, "sealed_at": state.sealed_at})
        else:
            _tell(found, state, root)
        if found.faulty or unknown_root:
            raise typer.Exit(FAILED)


async def _verify(dsn: str, root: str | None, archives: list[Path]) -> tuple[Verification, ChainState]:
    from storage.audit_archive import read_archive
    from storage.audit_check import verify as look
    from storage.sealing import chain_state

    async with pool_on(dsn) as pool:
        filed: dict[int, bytes] = {}
        in_files = []
        for file in archives:
            for seal, faults in read_archive(file):
                in_files += faults
                if filed.setdefault(seal.batch, seal.root) != seal.root:
                    raise CommandError(f"{file}: another file holds another batch {seal.batch}")
        state = await chain_state(pool)
        with _bar("Checking batches", state.batches) as progress:
            found = await look(pool, noted_root=root, filed=filed, progress=progress)
        found.add(in_files)
        return found, state


def _tell(found: Verification, state: ChainState, root: str | None) -> None:
    for fault in found.faults:
        where = f"event {fault.event_id}, batch {fault.batch}" if fault.event_id is not None else f"batch {fault.batch}"
        print(f"{fault.what}: {where}: {fault.words}")  # noqa: T201 (a command's answer)
    facts: dict[str, object] = {
        "chain": "intact" if not found.faulty else f"broken: {found.faulty} faults",
        "sealed": f"{found.rows} events here; {found.batches} batches, {found.archived} of them in archives",
        "newest root": found.root or "none yet",
        "sealed at": state.sealed_at,
        "not sealed yet": f"{found.unsealed} events",
        "without names": f"{found.forgotten} events, for people who were forgotten",
    }
    if root is not None:
        known = f"is that of batch {found.noted}" if found.noted is not None else "is NOT in this chain"
        facts["noted root"] = known
    for name, batches in found.unchecked.items():
        facts[f"not checked: {name}"] = f"{batches} batches; give this file with --archive"
    print_rows([{"what": what, "is": is_} for what, is_ in facts.items()], {"what": "audit", "is": ""}, empty="")


def archive(
    before: Annotated[
        str, typer.Option(metavar="DATE", help="Events from before this day (UTC), as far as whole batches go.")
    ],
    to: Annotated[Path, typer.Option(metavar="FILE", help="A new file; its name should end with .jsonl.gz.")],
    with_names: Annotated[
        bool,
        typer.Option(
            "--with-names",
            help="Also names of repositories and branches, and reasons. `learner forget` does not reach files.",
        ),
    ] = False,
) -> None:
    """Move old events from the database to a file that can be checked; the chain stays whole.

    The file is complete and checked before anything is removed; the seals stay in the database. Pages, `audit list` and
    "Undo" do not know archived events any more, and a repository that was turned away then has to push again.
    """
    with one_line():
        from settings import load

        first_kept = _past_day(before)
        with database(load("audit archive")) as dsn:
            done = run(lambda: _archive(dsn, to, first_kept, with_names=with_names))
        if done is None:
            say(f"Nothing was archived: no whole batch is from before {before}.")
        else:
            say(f"{done.rows} events in {done.batches} batches are in {clean(str(to))}. The last root is {done.root}.")


async def _archive(dsn: str, to: Path, before: datetime, *, with_names: bool) -> Archived | None:
    from storage.audit_archive import archive as move

    async with pool_on(dsn) as pool:
        with _bar("Writing batches", None) as progress:
            return await move(pool, to, before, with_names=with_names, progress=progress)


@contextmanager
def _bar(words: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar at a terminal; elsewhere nothing moves."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)
