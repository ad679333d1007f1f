"""`app.py sessions migrate`: what another version of a lab would do to its live sessions, and moving them there."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.connect import github_of, pool_on, shared_governor
from cli.faults import FAILED, WRONG_USE, CommandError, one_line
from cli.output import print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bot.migrating import Migration
    from bot.services import Services
    from rules.migration import Effects
    from rules.model import LabVersion
    from settings import Settings
    from storage.actions import Decision
    from storage.database import Pool
    from storage.versions import Moved

# Trees of forks are nearly alike: kept while one after the other is looked at, in bytes.
TREE_CACHE_BYTES = 64 * 1024 * 1024

# From so many sessions on, a bar shows how far it is.
BAR_FROM = 5


def add_to(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command("migrate")(migrate)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command was asked for. `undo`: a run to take back, instead of `lab` and `to`."""

    lab: str | None
    to: int | None
    undo: int | None
    only: tuple[UUID, ...]
    apply: bool
    reason: str
    by: int | None


def migrate(  # noqa: PLR0917 (the options of one command)
    lab: Annotated[str | None, typer.Option(metavar="LAB", help="Short name of the lab.")] = None,
    to: Annotated[int | None, typer.Option(min=1, metavar="VERSION", help="Its number; else the newest.")] = None,
    session: Annotated[list[UUID] | None, typer.Option(metavar="SESSION", help="Only this one (or these).")] = None,
    undo: Annotated[int | None, typer.Option(min=1, metavar="RUN", help="Take back what this run has moved.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write it. Without, it is only shown.")] = False,
    reason: Annotated[str, typer.Option(help="Why, in 3 to 500 characters, for the audit.")] = "the lab has changed",
    by: Annotated[
        int | None, typer.Option(min=1, metavar="ACCOUNT_ID", help="Who decides. Without: this shell.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what another version of a lab would do to each live session, or move them there with --apply.

    Learners keep the version that they began with until somebody moves them. What a move does to a session:

      renamed: completed steps have another id now, and stay complete (`aliases`)

      complete: the newest commit completes further steps by the new rules

      finish: all required steps would be done

      reopen: steps that are complete now would not be any more

      block: the newest commit would be blocked, which it is not now

      unblock: it is blocked now, and would not be any more

      unchanged: none of these

    A moved session is judged again at once. Files of the template that learners have not taken over yet are not held
    against them. Each run can be taken back: then every session is as if it had not been moved, and what was pushed
    since is judged by the rules of before. What was broken off is finished by running it again.

    Examples:

      python app.py sessions migrate --lab closures

      python app.py sessions migrate --lab closures --to 4 --apply

      python app.py sessions migrate --undo 12 --apply
    """
    asked = _Asked(lab, to, undo, tuple(session or ()), apply, reason, by)
    with one_line():
        from settings import load

        if (lab is None) == (undo is None) or (undo is not None and to is not None):
            raise CommandError("name --lab (and --to, if you like), or --undo", status=WRONG_USE)
        settings = load("sessions migrate")
        with database(settings) as dsn:
            worked = run(lambda: (_undo if undo is not None else _migrate)(settings, dsn, asked, as_json))
    if not worked:
        raise typer.Exit(FAILED)


# ------------------------------------------------------------------------------------------------------------ moving


async def _migrate(settings: Settings, dsn: str, asked: _Asked, as_json: bool) -> bool:
    """Look at the sessions, or move them; whether that could be done with all of them."""
    from bot import migrating
    from storage import versions

    async with _services(settings, dsn) as services:
        target = await _target(services.pool, asked)
        found = await versions.to_migrate(services.pool, target.lab_id, target, asked.only)
        decision = _decision(asked)
        run_id = await versions.new_run(services.pool) if asked.apply and found else None
        done: list[Migration] = []
        with _bar(len(found)) as step:
            for each in found:
                if run_id is None:
                    done.append(await migrating.look(services, each, target))
                else:
                    done.append(await migrating.move(services, each, target, run_id, decision))
                step()
    if as_json:
        print_json({"to": target.number, "run": run_id, "sessions": [_document(each) for each in done]})
    else:
        _print(done, target, run_id)
    return all(each.effects is not None for each in done)


async def _target(pool: Pool, asked: _Asked) -> LabVersion:
    from storage import labs, versions

    lab = await labs.by_slug(pool, asked.lab or "")
    if lab is None:
        raise CommandError(f"there is no lab {asked.lab!r}; see: python app.py labs list", status=WRONG_USE)
    if asked.to is None:
        found = await labs.latest_version(pool, lab.lab_id)
    else:
        found = await versions.by_number(pool, lab.lab_id, asked.to)
    if found is None:
        raise CommandError(
            f"lab {lab.slug} has no such version; see: python app.py labs show {lab.slug}", status=WRONG_USE
        )
    return found


def _decision(asked: _Asked) -> Decision:
    from storage.actions import Decision
    from storage.errors import ActionRefused

    try:
        return Decision.by_staff(asked.by, asked.reason)
    except ActionRefused as refused:
        raise CommandError(str(refused), status=WRONG_USE) from refused


def _document(done: Migration) -> dict[str, object]:
    effects = None
    if done.effects is not None:
        effects = {"words": done.effects.words, **asdict(done.effects)}
    return {**asdict(done.session), "effects": effects, "why": done.why, "moved": done.moved, "woken": done.woken}


def _print(done: Sequence[Migration], target: LabVersion, run_id: int | None) -> None:
    rows = [
        {
            "session": each.session.session_id,
            "learner": each.session.learner,
            "from": each.session.number,
            "does": ", ".join(each.effects.words) if each.effects else "not told",
            "steps": f"{each.effects.done} of {each.effects.steps}" if each.effects else "",
            "what": _details(each.effects) if each.effects else each.why,
        }
        for each in done
    ]
    columns = {"session": "session", "learner": "learner", "from": "version", "does": f"to version {target.number}"}
    columns |= {"steps": "steps then", "what": "what"}
    print_rows(rows, columns, empty=f"No live session has another version than {target.number}.")
    if not done:
        return
    counts = Counter(word for each in done for word in (each.effects.words if each.effects else ("not told",)))
    say(f"{len(done)} sessions: {', '.join(f'{number} {word}' for word, number in counts.most_common())}.")
    if run_id is None:
        say("Nothing was written: add --apply to move them.")
        return
    moved = sum(each.moved for each in done)
    say(f"Moved {moved} of {len(done)} sessions to version {target.number}.")
    if moved:
        say(f"To take it back: python app.py sessions migrate --undo {run_id} --apply")


def _details(effects: Effects) -> str:
    """What changes, in words; names of files are cut after three."""
    parts = [
        *(f"{rename.old} is {rename.new} now" for rename in effects.renamed),
        *_named("completes", effects.completes),
        *_named("reopens", effects.reopens),
        *_named("loses", effects.dropped),
        *_named("blocked by", effects.blocks),
    ]
    return "; ".join(parts)


def _named(verb: str, names: Sequence[str]) -> list[str]:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{verb} {', '.join(names[:3])}{more}"] if names else []


# ------------------------------------------------------------------------------------------------------------ undoing


async def _undo(settings: Settings, dsn: str, asked: _Asked, as_json: bool) -> bool:
    """Take a run back, or show what would be; whether that could be done with all of its sessions."""
    from bot import migrating
    from storage import labs, versions

    run_id = asked.undo or 0
    async with _services(settings, dsn) as services:
        found = await versions.moves_of(services.pool, run_id, asked.only)
        decision = _decision(asked)
        rows: list[dict[str, object]] = []
        with _bar(len(found)) as step:
            for each in found:
                fault = await migrating.undo(services, each, run_id, decision) if asked.apply else ""
                back_to = await labs.version(services.pool, each.from_version_id)
                rows.append(_undone(each, back_to.number, fault, applied=asked.apply))
                step()
    if as_json:
        print_json({"run": run_id, "sessions": rows})
        return not any(row["fault"] for row in rows)
    columns = {"session_id": "session", "learner": "learner", "to": "back to version", "fault": "what"}
    print_rows(rows, columns, empty=f"Run {run_id} has moved no session that is not moved back yet.")
    if rows and not asked.apply:
        say("Nothing was written: add --apply to move them back.")
    elif rows:
        say(f"Moved {sum(not row['fault'] for row in rows)} of {len(rows)} sessions back.")
    return not any(row["fault"] for row in rows)


def _undone(moved: Moved, number: int, fault: str, *, applied: bool) -> dict[str, object]:
    return {
        "session_id": moved.session_id,
        "learner": moved.learner,
        "to": number,
        "fault": fault,
        "moved": applied and not fault,
    }


# ------------------------------------------------------------------------------------------------------------ the rest


@asynccontextmanager
async def _services(settings: Settings, dsn: str) -> AsyncIterator[Services]:
    """What looking at repositories needs."""
    from bot.services import Judging, Services
    from github.trees import Trees
    from storage.cache import CachedMappings
    from storage.mappings import Mappings

    judging = Judging(
        settings.check_name, settings.base_url, settings.web_url, settings.report_status, settings.stuck_after
    )
    async with pool_on(dsn) as pool, github_of(settings, shared_governor(settings, pool, patient=True)) as github:
        yield Services(pool, github, Trees(TREE_CACHE_BYTES), CachedMappings(Mappings(pool)), judging)


@contextmanager
def _bar(sessions: int) -> Iterator[Callable[[], None]]:
    """A progress bar for many sessions at a terminal; elsewhere nothing moves."""
    if sessions <= BAR_FROM or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Looking at sessions", total=sessions)
        yield lambda: bar.advance(task)
