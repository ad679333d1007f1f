"""`app.py labs ...`: what an operator does with labs. (Their class lists: `cli.classes`.)"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.classes import invite, uninvite
from cli.connect import github_of, pool_on, shared_governor
from cli.faults import FAILED, WRONG_USE, CommandError, explain, one_line
from cli.lab_options import AsJson, Deadline, Enrolled, Slug, moment
from cli.lab_view import document, facts_of, join_url, print_lab
from cli.output import print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from bot.registry import Template
    from github.client import GitHubApp
    from rules.model import LabRecord
    from settings import Settings
    from storage.database import Pool
    from storage.labs import LabChange, LabCounts, PublishedVersion
    from storage.versions import TemplateLook

commands = typer.Typer(
    help="Labs: template repositories with rules, and the people who are invited to them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Result = TypeVar("Result")

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FULL_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


@commands.command("add")
def add(
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The template repository.")],
    slug: Annotated[str | None, typer.Option(help="Short name of the lab; else the repository's name.")] = None,
    enrolment: Enrolled = "open",
    deadline: Deadline = None,
) -> None:
    """Register a template repository as a lab.

    The repository must exist, have a valid .forgea/steps.json, and be one that the App can read: a public one (once the
    App is installed anywhere), or a private one on which the App is installed. Everything that is wrong is told, each
    problem of the steps file with line and column; nothing is stored then.

    Example:

      python app.py labs add octo-course/closures --enrolment invited --deadline 2026-12-20
    """
    with one_line():
        from settings import load

        if slug is not None and not SLUG.fullmatch(slug):
            raise CommandError("--slug: small letters, digits and hyphens, at most 64", status=WRONG_USE)
        if not FULL_NAME.fullmatch(repository):
            raise CommandError(f"{repository!r} is no repository: write OWNER/NAME", status=WRONG_USE)
        settings = load("labs add")
        until = None if deadline in (None, "none") else moment(deadline)
        with database(settings) as dsn:
            lab, template = run(lambda: _add(settings, dsn, repository, slug, enrolment or "open", until))
        _tell_added(settings, lab, template)


async def _add(  # noqa: PLR0917 (the options of one command)
    settings: Settings, dsn: str, repository: str, slug: str | None, enrolment: str, deadline: datetime | None
) -> tuple[LabRecord, Template]:
    from bot.registry import examine, register
    from rules.model import Enrolment

    async with pool_on(dsn) as pool, github_of(settings, shared_governor(settings, pool, patient=True)) as github:
        template = await examine(pool, github, repository)
        lab = await register(pool, template, slug=slug, enrolment=Enrolment(enrolment), deadline=deadline)
        return lab, template


def _tell_added(settings: Settings, lab: LabRecord, template: Template) -> None:
    for note in template.notes:
        say(note)
    steps = "1 step" if len(template.rules.steps) == 1 else f"{len(template.rules.steps)} steps"
    say(f"{lab.base_repo_full_name} is lab {lab.slug}: {lab.title!r}, {steps}, enrolment {lab.enrolment.value}")
    if lab.deadline is not None:
        say(f"Deadline: {lab.deadline:%Y-%m-%d %H:%M:%S} UTC")
    say("Next:")
    say(f"  python app.py labs publish {lab.slug}")
    if lab.enrolment.value == "invited":
        say(f"  python app.py labs invite {lab.slug} --csv class.csv")
    say(f"  give your learners this address: {join_url(settings, lab.slug)}")


@commands.command("publish")
def publish(
    slug: Annotated[str | None, typer.Argument(metavar="LAB", help="Short name of the lab.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Publish every lab.")] = False,
) -> None:
    """Make the rules at the head of the template's branch the lab's newest version.

    Learners who have begun keep the version that they began with. Rules that are as before make no new version.
    """
    with one_line():
        from settings import load

        if (slug is None) != everything:
            raise CommandError("name one lab, or say --all", status=WRONG_USE)
        settings = load("labs publish")
        with database(settings) as dsn:
            worked = run(lambda: _publish(settings, dsn, slug))
    if not worked:
        raise typer.Exit(FAILED)


async def _publish(settings: Settings, dsn: str, slug: str | None) -> bool:
    """Publish one lab (its faults are raised), or all (each one's fault is a line); whether everything worked."""
    from storage import labs

    async with pool_on(dsn) as pool, github_of(settings, shared_governor(settings, pool, patient=True)) as github:
        if slug is not None:
            await _publish_one(pool, github, await _lab(pool, slug))
            return True
        worked = True
        for lab in await labs.list_labs(pool):
            try:
                await _publish_one(pool, github, lab)
            except Exception as error:
                if (known := explain(error)) is None:
                    raise
                say(f"{lab.slug}: {known[0]}")
                worked = False
        return worked


async def _publish_one(pool: Pool, github: GitHubApp, lab: LabRecord) -> None:
    from bot.registry import publish_lab

    version = await publish_lab(pool, github, lab)
    say(f"{lab.slug}: version {version.number} at {version.commit_sha[:7]}, {len(version.lab.steps)} steps")


async def _lab(pool: Pool, slug: str) -> LabRecord:
    """The lab of this name; CommandError when there is none."""
    from storage import labs

    lab = await labs.by_slug(pool, slug)
    if lab is None:
        raise CommandError(f"there is no lab {slug!r}; see: python app.py labs list", status=WRONG_USE)
    return lab


def _with_pool(command: str, work: Callable[[Pool], Awaitable[Result]]) -> tuple[Settings, Result]:
    """Do work that needs the database only; with the settings that it was done under."""
    from settings import load

    settings = load(command)

    async def main(dsn: str) -> Result:
        async with pool_on(dsn) as pool:
            return await work(pool)

    with database(settings) as dsn:
        return settings, run(lambda: main(dsn))


@commands.command("list")
def list_labs(as_json: AsJson = False) -> None:
    """List the labs and their newest versions."""
    with one_line():
        _, rows = _with_pool("labs list", _rows)
        if as_json:
            print_json(rows)
            return
        columns = {"slug": "lab", "title": "title", "repository": "template", "enrolment": "enrolment"}
        columns |= {"deadline": "deadline", "version": "version"}
        print_rows(rows, columns, empty="There is no lab yet: python app.py labs add")


async def _rows(pool: Pool) -> list[dict[str, object]]:
    from storage import labs

    records = await labs.list_labs(pool)
    versions = await asyncio.gather(*(labs.latest_version(pool, record.lab_id) for record in records))
    return [
        facts_of(record)
        | {"version": version.number if version else None, "commit": version.commit_sha if version else None}
        for record, version in zip(records, versions, strict=True)
    ]


@commands.command("show")
def show(slug: Slug, as_json: AsJson = False) -> None:
    """Show one lab: its people in figures, its versions, and the steps of the newest one."""
    with one_line():
        settings, (lab, versions, counts, look) = _with_pool("labs show", lambda pool: _view(pool, slug))
        if as_json:
            print_json(document(settings, lab, versions, counts, look))
        else:
            print_lab(settings, lab, versions, counts, look)


async def _view(
    pool: Pool, slug: str
) -> tuple[LabRecord, tuple[PublishedVersion, ...], LabCounts, TemplateLook | None]:
    from storage import labs
    from storage.versions import last_look

    lab = await _lab(pool, slug)
    counts = await labs.counts(pool, lab.lab_id)
    return lab, await labs.versions(pool, lab.lab_id), counts, await last_look(pool, lab.lab_id)


@commands.command("edit")
def edit(
    slug: Slug,
    enrolment: Enrolled = None,
    deadline: Deadline = None,
    also_running: Annotated[
        bool, typer.Option("--also-running", help="Move the deadlines of the sessions that are open now, too.")
    ] = False,
) -> None:
    """Change who may start a lab, or until when it can be worked on.

    A deadline applies to sessions that begin from now on; with --also-running to those that are open now, too. A
    session that has expired stays so: see `sessions extend`. When more people may start than before, those who were
    turned away are looked at again, and need not push again. Every change is in the audit.

    Examples:

      python app.py labs edit closures --enrolment closed

      python app.py labs edit closures --deadline 2026-12-20T18:00+01:00 --also-running
    """
    with one_line():
        if enrolment is None and deadline is None:
            raise CommandError("say what to change: --enrolment or --deadline", status=WRONG_USE)
        if also_running and deadline is None:
            raise CommandError("--also-running is about a deadline: name --deadline too", status=WRONG_USE)
        change = _change(enrolment, deadline)
        _, (lab, moved) = _with_pool("labs edit", lambda pool: _edit(pool, slug, change, also_running=also_running))
        until = f"{lab.deadline:%Y-%m-%d %H:%M:%S} UTC" if lab.deadline is not None else "none"
        say(f"{lab.slug}: enrolment {lab.enrolment.value}, deadline {until}")
        if also_running:
            say(f"{moved} running sessions moved to the new deadline")


def _change(enrolment: str | None, deadline: str | None) -> LabChange:
    from rules.model import Enrolment
    from storage.labs import LabChange

    return LabChange(
        enrolment=Enrolment(enrolment) if enrolment is not None else None,
        sets_deadline=deadline is not None,
        deadline=None if deadline in (None, "none") else moment(deadline),
    )


async def _edit(pool: Pool, slug: str, change: LabChange, *, also_running: bool) -> tuple[LabRecord, int]:
    """Change a lab; the lab as it is now, and how many running sessions moved."""
    from bot.invitations import look_again
    from rules.model import Enrolment
    from storage import labs

    before = await _lab(pool, slug)
    moved = await labs.edit(pool, before.lab_id, change, also_running=also_running)
    after = await _lab(pool, slug)
    changed = (before.enrolment, before.deadline) != (after.enrolment, after.deadline)
    if changed and after.enrolment is not Enrolment.CLOSED:
        await look_again(pool, after)
    return after, moved


commands.command("invite")(invite)
commands.command("uninvite")(uninvite)
