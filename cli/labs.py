"""`app.py labs ...`: what an operator does with labs."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from cli.connect import github_of, pool_on
from cli.faults import WRONG_USE, CommandError, one_line
from cli.output import print_json, print_rows
from cli.serve import database, run, say

if TYPE_CHECKING:
    from rules.model import LabRecord, LabVersion
    from settings import Settings

commands = typer.Typer(help="Labs: template repositories with rules.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FULL_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


def _enrolment(value: str) -> str:
    if value not in ("open", "invited", "closed"):
        raise typer.BadParameter("must be open, invited or closed")
    return value


@commands.command("add")
def add(
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The template repository.")],
    slug: Annotated[str | None, typer.Option(help="Short name of the lab; else the repository's name.")] = None,
    enrolment: Annotated[
        str, typer.Option(callback=_enrolment, help="Who may start: open, invited or closed.")
    ] = "open",
) -> None:
    """Register a template repository, on which the App is installed, as a lab."""
    with one_line():
        from settings import load

        if slug is not None and not SLUG.fullmatch(slug):
            raise CommandError("--slug: small letters, digits and hyphens, at most 64", status=WRONG_USE)
        if not FULL_NAME.fullmatch(repository):
            raise CommandError(f"{repository!r} is no repository: write OWNER/NAME", status=WRONG_USE)
        settings = load("labs add")
        with database(settings) as dsn:
            lab = run(lambda: _add(settings, dsn, repository, slug, enrolment))
        say(f"{lab.base_repo_full_name} is lab {lab.slug}. Next: python app.py labs publish {lab.slug}")


async def _add(settings: Settings, dsn: str, repository: str, slug: str | None, enrolment: str) -> LabRecord:
    from bot.registry import add_lab
    from rules.model import Enrolment

    async with pool_on(dsn) as pool, github_of(settings) as github:
        return await add_lab(pool, github, repository, slug=slug, enrolment=Enrolment(enrolment))


@commands.command("publish")
def publish(slug: Annotated[str, typer.Argument(help="Short name of the lab.")]) -> None:
    """Make the rules at the head of the template's branch the lab's newest version."""
    with one_line():
        from settings import load

        settings = load("labs publish")
        with database(settings) as dsn:
            version = run(lambda: _publish(settings, dsn, slug))
        say(f"{slug}: version {version.number} at {version.commit_sha[:7]}, {len(version.lab.steps)} steps")


async def _publish(settings: Settings, dsn: str, slug: str) -> LabVersion:
    from bot.registry import publish_lab
    from storage import labs

    async with pool_on(dsn) as pool, github_of(settings) as github:
        lab = await labs.by_slug(pool, slug)
        if lab is None:
            raise CommandError(f"there is no lab {slug!r}; see: python app.py labs list", status=WRONG_USE)
        return await publish_lab(pool, github, lab)


@commands.command("list")
def list_labs(as_json: AsJson = False) -> None:
    """List the labs and their newest versions."""
    with one_line():
        from settings import load

        with database(load("labs list")) as dsn:
            rows = run(lambda: _rows(dsn))
        if as_json:
            print_json(rows)
            return
        columns = {"slug": "lab", "title": "title", "repository": "template", "enrolment": "enrolment"}
        print_rows(rows, {**columns, "version": "version"}, empty="There is no lab yet: python app.py labs add")


async def _rows(dsn: str) -> list[dict[str, object]]:
    from storage import labs

    async with pool_on(dsn) as pool:
        records = await labs.list_labs(pool)
        versions = await asyncio.gather(*(labs.latest_version(pool, record.lab_id) for record in records))
    return [
        {
            "slug": record.slug,
            "title": record.title,
            "repository": record.base_repo_full_name,
            "enrolment": record.enrolment.value,
            "version": version.number if version else None,
            "commit": version.commit_sha if version else None,
        }
        for record, version in zip(records, versions, strict=True)
    ]
