"""The story on the screen: a line for each push, a table at the end, and whether all was as expected."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.demo_story import Scene
from cli.story_world import Observed, StoryWorld

# What the summary needs; a narrower terminal wraps its lines, but nothing is cut.
TABLE_WIDTH = 120

Played = list[tuple[Scene, Observed, list[str]]]


async def play_scenes(console: Console, here: StoryWorld, scenes: Sequence[Scene]) -> Played:
    """Play the scenes, a line each, up to the first that is not as expected: the later ones build on it."""
    played: Played = []
    for number, scene in enumerate(scenes, start=1):
        observed, wrong = await here.play(scene)
        played.append((scene, observed, wrong))
        console.print(_line(number, scene, observed, wrong))
        if wrong:
            break
    return played


def as_expected(played: Played, scenes: Sequence[Scene]) -> bool:
    """Whether every scene was played, and none differs from what it must be."""
    return len(played) == len(scenes) and not any(wrong for _, _, wrong in played)


def show_table(console: Console, played: Played) -> None:
    """All scenes, and what came of each."""
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
    Console(width=max(console.width, TABLE_WIDTH), highlight=False).print(table)


def show_outcome(console: Console, played: Played, *, fine: bool, seconds: float) -> None:
    """The last line."""
    if fine:
        console.print(Text(f"Every line is as expected ({len(played)} in {seconds:.0f} s).", style="bold green"))
    else:
        console.print(Text(f"Not every line is as expected ({seconds:.0f} s).", style="bold red"))


def _line(number: int, scene: Scene, observed: Observed, wrong: list[str]) -> Text:
    verdict = scene.expect.verdict or "nothing new"
    found = observed.attempts[0].verdict if scene.expect.verdict and observed.attempts else verdict
    line = Text(f"{number:>2}  {scene.what:<47} ")
    line.append(f"{found:<12}", style="red" if found == "blocked" else "green")
    line.append(f"check-run {observed.conclusion}: {observed.title} | status {observed.status}")
    for difference in wrong:
        line.append(f"\n    UNEXPECTED  {difference}", style="bold red")
    return line


def _ordered(done: frozenset[str]) -> list[str]:
    """Step ids in the lab's order."""
    order = ("report", "fix", "command", "frequent", "release")
    return sorted(done, key=order.index)
