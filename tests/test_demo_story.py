"""The demo's story is the end-to-end test: real pushes, the App as real processes, verdicts read back over the API."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cli.demo_story import SCENES, Redeliver
from cli.demo_world import LAB, Observed, World, world
from tests.support.commands import invoke

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(name="home")
def _home() -> Iterator[Path]:
    """A folder with a short path: git and sockets dislike the test runner's long ones."""
    home = Path(tempfile.mkdtemp(prefix="stepgate-story-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


def test_scenes_refer_to_scenes_before_them() -> None:
    """The story is consistent: whatever a scene refers to was pushed before."""
    seen: set[str] = set()
    for scene in SCENES:
        referred = {action.scene for action in scene.actions if hasattr(action, "scene") and action.scene}
        assert referred <= seen, scene.name
        if not any(isinstance(action, Redeliver) for action in scene.actions):
            seen.add(scene.name)

    assert len({scene.name for scene in SCENES}) == len(SCENES)


@pytest.mark.timeout(180)
async def test_every_scene_is_as_expected(fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each push of the story gets the verdict, check-run, status, progress and session state that it must get."""
    async with world(home, fresh_database) as here:
        await here.open_lab()
        await here.enrol()
        for scene in SCENES:
            observed, wrong = await here.play(scene)
            assert wrong == [], f"{scene.what}\n{here.app.log_tail()}"
            if scene.name == "early":
                _the_picture_is_true(observed)
        monkeypatch.chdir(home)
        monkeypatch.setenv("DATABASE_URL", fresh_database)
        await _the_ledger_is_complete(here)
        _nothing_was_refused(here)


def _the_picture_is_true(observed: Observed) -> None:
    """Every text of the README's picture stands in the real check-run of the blocked push."""
    picture = ElementTree.parse(ROOT / "docs" / "images" / "blocked-check-run.svg")
    said = [" ".join("".join(node.itertext()).split()) for node in picture.iter() if node.get("class") == "said"]
    text = " ".join(re.sub(r"[*`|]", "", observed.text).split())

    assert len(said) > 20
    assert [words for words in said if words.strip(", ") not in text] == []


async def told(*words: str) -> Any:
    """What a command tells programs, of the database that is set."""
    done = await asyncio.to_thread(invoke, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def _the_ledger_is_complete(here: World) -> None:
    """What the commands tell afterwards: one session, verified, one attempt a push, no dead letter."""
    sessions, dead, labs = [await told(kind, "list") for kind in ("sessions", "deadletters", "labs")]
    (session,) = sessions
    assert (session["status"], session["repository"]) == ("VERIFIED_PASS", here.fork)
    assert here.session_url.endswith(session["session_id"])
    assert dead == []
    (lab,) = labs
    assert (lab["slug"], lab["version"]) == (LAB, 1), "the learner's own steps.json must publish nothing"

    shown = await told("sessions", "show", session["session_id"])
    states = {step["id"]: step["state"] for step in shown["steps"]}
    assert states == {"report": "done", "fix": "done", "command": "done", "frequent": "open", "release": "done"}
    lost = [attempt["lost"] for attempt in shown["attempts"] if attempt["lost"]]
    assert [set(steps) for steps in lost] == [{"fix", "command"}]


def _nothing_was_refused(here: World) -> None:
    """Every delivery was acknowledged, and GitHub refused no request of the App."""
    for delivery in here.sandbox.deliveries:
        assert delivery.attempts, delivery.event
        assert all(attempt.status_code == 202 for attempt in delivery.attempts), delivery.event
    refused = [
        (exchange.method, exchange.path, exchange.status)
        for exchange in here.sandbox.exchanges
        if exchange.status >= 400 and not exchange.path.endswith("/installation")
    ]
    assert refused == []
