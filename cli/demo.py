"""`app.py demo`: one learner's story with real pushes, on this machine only, each line compared with what must be."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from cli.demo_git import with_login
from cli.demo_story import SCENES
from cli.demo_world import LEARNER, World, world
from cli.serve import run_until_stopped
from cli.story_screen import as_expected, play_scenes, show_outcome, show_table
from storage import embedded


def run(*, keep: bool) -> bool:
    """Play the story; True if every line is as expected. `keep`: stay up afterwards until Ctrl-C."""
    outcomes: list[bool] = []

    async def main(dsn: str, home: Path, stop: asyncio.Event) -> None:
        story = asyncio.create_task(_story(dsn, home, outcomes, keep=keep))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        story.cancel()  # nothing to do for a story that is over; one that is not stops its processes
        with suppress(asyncio.CancelledError):
            await story

    with _home() as home, embedded.running(home / "database") as server:
        run_until_stopped(lambda stop: main(server.dsn, home, stop), fast=False)
    return outcomes == [True]


@contextmanager
def _home() -> Iterator[Path]:
    """A folder for everything, gone at the end. Others may enter it, so that root's PostgreSQL can live in it."""
    home = Path(tempfile.mkdtemp(prefix="stepgate-demo-"))
    try:
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _story(dsn: str, home: Path, outcomes: list[bool], *, keep: bool) -> None:
    """Play everything and put into `outcomes` whether it was as expected; with `keep` until cancelled."""
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    console.print("Starting PostgreSQL, a GitHub on this machine, and the App (web and worker) ...")
    async with world(home, dsn) as here:
        console.print(f"    {await here.open_lab()}", f"    {await here.enrol()}", sep="\n", markup=False)
        played = await play_scenes(console, here, SCENES)
        fine = as_expected(played, SCENES)
        show_table(console, played)
        note = "" if keep else " (gone now; make demo KEEP=1 keeps it up)"
        console.print(f"Session page: {here.session_url}{note}", markup=False)
        show_outcome(console, played, fine=fine, seconds=time.monotonic() - began)
        if not fine:
            console.print(here.app.log_tail(), markup=False)
        outcomes.append(fine)
        if keep:
            _say_how_to_go_on(console, here)
            await asyncio.Event().wait()


def _say_how_to_go_on(console: Console, here: World) -> None:
    address = with_login(f"{here.sandbox.url}/{here.fork}.git", LEARNER.login)
    console.print(
        "All of it stays up until Ctrl-C. Be the learner:",
        f"    git clone {address}",
        f"    push, then look at {here.session_url}",
        "Be staff, in one browser (the link works once):",
        f"    {here.app.pages_link()}",
        sep="\n",
        markup=False,
    )
