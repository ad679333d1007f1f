"""`make live`: the demo's story on the real GitHub, with the operator's own App and account. See docs/live.md."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.faults import one_line
from cli.serve import leave_on_sigterm, run_until_stopped, say

if TYPE_CHECKING:
    from cli.demo_story import Scene
    from settings import Settings

# The scenes take some 15 s each, most of it GitHub's and the poller's time.
ABOUT_MINUTES = 10


def live(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is made.")] = False,
) -> None:
    """Play the demo's story on GitHub with your own App and account, and delete what was made.

    Needs GITHUB_APP_ID, the App's key and LIVE_TOKEN; LIVE_ORGANIZATION is optional. Exit status: 0 every line is as
    expected and everything is deleted, 1 not, 2 a setting is wrong or missing.
    """
    with one_line():
        from settings import load

        settings = load("make live")
        if not yes and not _agreed(settings):
            say("Nothing was made.")
            raise SystemExit(1)
        if not play(settings):
            raise SystemExit(1)


def _agreed(settings: Settings) -> bool:
    """Ask. Without a terminal the answer is no: this never runs by accident."""
    where = settings.live_organization or "your account"
    say(
        f"At {settings.web_url} this makes two PUBLIC repositories, stepgate-live-...-template in {where} and\n"
        f"stepgate-live-...-learner in your account, pushes to the second one some 15 times in about {ABOUT_MINUTES} "
        "minutes,\nand deletes both."
    )
    if not sys.stdin.isatty():
        say("There is no terminal to ask; --yes answers.")
        return False
    return typer.confirm("Go on?", default=False, err=True)


def play(settings: Settings, scenes: Sequence[Scene] | None = None) -> bool:
    """Play the story; True if every line is as expected and nothing is left behind. `scenes`: all if None.

    Ctrl-C ends it early; what was made is deleted all the same.
    """
    from storage import embedded

    outcomes: list[bool] = []

    async def main(dsn: str, home: Path, stop: asyncio.Event) -> None:
        story = asyncio.create_task(_story(settings, dsn, home, outcomes, scenes))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        story.cancel()  # nothing to do for a story that is over; one that is not cleans up
        with suppress(asyncio.CancelledError):
            await story

    with _home() as home, embedded.running(home / "database") as server:
        run_until_stopped(lambda stop: main(server.dsn, home, stop), fast=False)
    return outcomes == [True, True]


@contextmanager
def _home() -> Iterator[Path]:
    """A folder for everything, gone at the end. Others may enter it, so that root's PostgreSQL can live in it."""
    home = Path(tempfile.mkdtemp(prefix="stepgate-live-"))
    try:
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _story(
    settings: Settings, dsn: str, home: Path, outcomes: list[bool], scenes: Sequence[Scene] | None
) -> None:
    """Play everything; `outcomes` gets whether it was as expected, then whether everything is deleted."""
    from rich.console import Console

    from cli.demo_story import SCENES
    from cli.live_world import live_world
    from cli.story_screen import as_expected, play_scenes, show_outcome, show_table

    wanted = SCENES if scenes is None else tuple(scenes)
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    async with live_world(settings, home, dsn, tell=say) as here:
        account = await here.check()
        console.print(f"Playing at {settings.web_url} as {account.login}", markup=False)
        try:
            console.print(f"    {await here.start_app()}", markup=False)
            console.print(f"    {await here.installed(account)}", markup=False)
            console.print(f"    {await here.open_lab()}", markup=False)
            console.print(f"    {await here.enrol()}", markup=False)
            played = await play_scenes(console, here, wanted)
            fine = as_expected(played, wanted)
            show_table(console, played)
            show_outcome(console, played, fine=fine, seconds=time.monotonic() - began)
            if not fine:
                console.print(here.app.log_tail(), markup=False)
            outcomes.append(fine)
        finally:
            left = await here.clean_up()
            outcomes.append(not left)
            for line in left:
                say(f"NOT DELETED, do it by hand: {line}")
            if not left:
                say("Everything that was made is deleted. The App stays installed on your account.")


def main() -> None:
    """Run as a program."""
    leave_on_sigterm()
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    cli.command()(live)
    cli(prog_name="make live")


if __name__ == "__main__":
    main()
