"""`app.py demo`: one learner's story with real pushes, on this machine only, each line compared with what must be."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.demo_git import with_login
from cli.demo_story import SCENES, Scene
from cli.demo_world import LEARNER, Observed, World, world
from cli.serve import run_until_stopped
from storage import embedded

# What the summary needs; a narrower terminal wraps its lines, but nothing is cut.
TABLE_WIDTH = 120


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
        played = await _play(console, here)
        fine = len(played) == len(SCENES) and not played[-1][2]
        Console(width=max(console.width, TABLE_WIDTH), highlight=False).print(_table(played))
        note = "" if keep else " (gone now; make demo KEEP=1 keeps it up)"
        console.print(f"Session page: {here.session_url}{note}", markup=False)
        console.print(_verdict(fine=fine, seconds=time.monotonic() - began))
        if not fine:
            console.print(here.app.log_tail(), markup=False)
        outcomes.append(fine)
        if keep:
            _say_how_to_go_on(console, here)
            await asyncio.Event().wait()


async def _play(console: Console, here: World) -> list[tuple[Scene, Observed, list[str]]]:
    """Play the scenes, a line each, up to the first that is not as expected: the later ones build on it."""
    played = []
    for number, scene in enumerate(SCENES, start=1):
        observed, wrong = await here.play(scene)
        played.append((scene, observed, wrong))
        console.print(_line(number, scene, observed, wrong))
        if wrong:
            break
    return played


def _line(number: int, scene: Scene, observed: Observed, wrong: list[str]) -> Text:
    verdict = scene.expect.verdict or "nothing new"
    found = observed.attempts[0].verdict if scene.expect.verdict and observed.attempts else verdict
    line = Text(f"{number:>2}  {scene.what:<47} ")
    line.append(f"{found:<12}", style="red" if found == "blocked" else "green")
    line.append(f"check-run {observed.conclusion}: {observed.title} | status {observed.status}")
    for difference in wrong:
        line.append(f"\n    UNEXPECTED  {difference}", style="bold red")
    return line


def _table(played: list[tuple[Scene, Observed, list[str]]]) -> Table:
    table = Table(title="One learner, one lab", box=SIMPLE_HEAD)
    for heading in ("", "push", "verdict", "check-run", "status", "steps complete", "session", "as expected"):
        table.add_column(heading, no_wrap=True)
    for number, (scene, observed, wrong) in enumerate(played, start=1):
        table.add_row(
            str(number),
            scene.name,
            scene.expect.verdict or "nothing new",
            observed.conclusion,
            observed.status,
            ", ".join(_ordered(observed.done)),
            observed.session,
            "NO" if wrong else "yes",
        )
    return table


def _ordered(done: frozenset[str]) -> list[str]:
    """Step ids in the lab's order."""
    order = ("report", "fix", "command", "frequent", "release")
    return sorted(done, key=order.index)


def _verdict(*, fine: bool, seconds: float) -> Text:
    if fine:
        return Text(f"Every line is as expected ({len(SCENES)} in {seconds:.0f} s).", style="bold green")
    return Text(f"Not every line is as expected ({seconds:.0f} s).", style="bold red")


def _say_how_to_go_on(console: Console, here: World) -> None:
    address = with_login(f"{here.sandbox.url}/{here.fork}.git", LEARNER.login)
    console.print(
        "All of it stays up until Ctrl-C. Be the learner:",
        f"    git clone {address}",
        f"    push, then look at {here.session_url}",
        sep="\n",
        markup=False,
    )
