"""`app.py sessions ...` as staff run it at the shell: what is said, with which exit status, and what is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli.sessions import STATUSES
from rules.model import SessionStatus
from tests.support.commands import invoke
from tests.support.course import Course, Learner, running_course
from tests.support.keys import private_key


@dataclass(frozen=True)
class Shell:
    """A shell at an App with one learner, whom nobody judges meanwhile."""

    course: Course
    learner: Learner

    async def run(self, *words: str) -> Result:
        """Run `python app.py sessions WORDS`."""
        return await asyncio.to_thread(invoke, ["sessions", *words])

    async def decide(self, command: str, *words: str) -> Result:
        """A command about the learner's session, with a reason."""
        return await self.run(command, str(self.learner.session_id), *words, "--reason", "seen in class")

    async def session(self) -> dict[str, Any]:
        """The session's row."""
        (row,) = await self.course.fetch("SELECT * FROM lab_session WHERE session_id = $1", self.learner.session_id)
        return row


@pytest.fixture(name="shell")
async def _shell(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    async with running_course(fresh_database) as course:
        for name, value in {
            "DATABASE_URL": fresh_database,
            "GITHUB_API_URL": course.sandbox.api_url,
            "GITHUB_WEB_URL": course.sandbox.url,
            "GITHUB_APP_ID": str(course.sandbox.app_id),
            "GITHUB_PRIVATE_KEY": private_key(),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield Shell(course, await course.learner("learner-one"))


async def test_decisions_are_saved_with_reason_and_actor(shell: Shell) -> None:
    """Each command does what it says, says so in a line, and is in the audit: by an account, or by the shell."""
    for command, words, said in (
        ("approve", ["release", "--by", "900"], "Approved step release."),
        ("judge", [], "Asked for."),
        ("defer", [], "Paused the session."),
        ("resume", [], "Resumed the session."),
        ("extend", ["--deadline", "2999-12-20"], "The deadline is 2999-12-20 23:59 UTC."),
        ("extend", ["--deadline", "none"], "There is no deadline any more."),
    ):
        done = await shell.decide(command, *words)
        assert (done.exit_code, done.stdout) == (0, ""), done.output
        assert done.stderr.startswith(said)
        assert ("judges the newest commit" in done.stderr) == (command in ("approve", "judge", "resume"))
    events = await shell.course.fetch(
        "SELECT kind, actor_id, detail->>'reason' AS reason FROM audit_event WHERE kind LIKE 'staff%' ORDER BY event_id"
    )
    kinds = ["approve", "judge", "defer", "resume", "extend", "extend"]
    assert [event["kind"] for event in events] == [f"staff_{kind}" for kind in kinds]
    assert [event["actor_id"] for event in events] == [900, None, None, None, None, None]
    assert {event["reason"] for event in events} == {"seen in class"}


async def test_a_complete_session_is_reopened(shell: Shell) -> None:
    """A complete session is opened again as a whole, or through one of its steps."""
    for words, said in (([], "Reopened the session."), (["--step", "fix"], "Reopened step fix.")):
        await shell.course.pool.execute("UPDATE lab_session SET status = 'VERIFIED_PASS'")
        done = await shell.decide("reopen", *words)
        assert done.exit_code == 0, done.output
        assert done.stderr.startswith(said)
        assert (await shell.session())["status"] == "IN_PROGRESS"
    assert len(await shell.course.fetch("SELECT FROM staff_fact WHERE kind = 'reopen' AND step_id = 'fix'")) == 1


async def test_another_repository_is_connected(shell: Shell) -> None:
    """`relink` asks GitHub for the repository, and says what is wrong with one that it cannot take."""
    unseen = await shell.decide("relink", "learner-one/second")
    assert (unseen.exit_code, unseen.stderr.count("\n")) == (1, 1)
    assert "install the App on it" in unseen.stderr
    same = await shell.decide("relink", shell.learner.repository.full_name)
    assert "already" in same.stderr
    lab = await shell.decide("relink", shell.course.template.full_name)
    assert lab.exit_code == 1

    other = await shell.course.learner("learner-two")
    taken = await shell.decide("relink", other.repository.full_name)
    assert "bound to a session already" in taken.stderr
    await shell.course.pool.execute(
        "UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = 'x' WHERE session_id = $1",
        other.session_id,
    )
    done = await shell.decide("relink", other.repository.full_name)

    assert done.exit_code == 0, done.output
    (bound,) = await shell.course.fetch(
        "SELECT provider_repo_id FROM repo_mapping WHERE session_id = $1 AND state = 'active'",
        shell.learner.session_id,
    )
    assert bound["provider_repo_id"] == other.repository.id


async def test_a_strangers_repository_is_connected(shell: Shell) -> None:
    """Of an installation that was nobody's nothing is kept: GitHub is asked whether it covers the repository."""
    github = shell.course.sandbox
    github.add_account("octo-stranger")
    fork = await github.fork(shell.course.template.full_name, "octo-stranger")
    installed = await github.install("octo-stranger", [fork.full_name])
    await shell.course.pool.execute(
        "INSERT INTO installation (installation_id, repository_selection, state) VALUES ($1, 'all', 'active')",
        installed.id,
    )

    done = await shell.decide("relink", fork.full_name)

    assert done.exit_code == 0, done.output
    (bound,) = await shell.course.fetch("SELECT * FROM repo_mapping WHERE provider_repo_id = $1", fork.id)
    assert (bound["installation_id"], bound["state"]) == (installed.id, "active")
    await github.suspend(installed.id)
    away = await shell.decide("relink", fork.full_name)
    assert (away.exit_code, "install the App on it" in away.stderr) == (1, False)


CANNOT_BE: list[tuple[list[str], int, str]] = [
    (["defer", "SESSION"], 2, "--reason"),
    (["defer", "SESSION", "--reason", "x"], 2, "3 to 500"),
    (["defer", "00000000-0000-4000-8000-000000000000", "--reason", "because"], 2, "there is no session"),
    (["approve", "SESSION", "nothing", "--reason", "because"], 2, "no step 'nothing'"),
    (["extend", "SESSION", "--reason", "because"], 2, "--deadline"),
    (["extend", "SESSION", "--deadline", "soon", "--reason", "because"], 2, "must be a date"),
    (["extend", "SESSION", "--deadline", "2001-01-01", "--reason", "because"], 2, "has passed"),
    (["resume", "SESSION", "--reason", "because"], 1, "does not allow"),
    (["reopen", "SESSION", "--reason", "because"], 1, "does not allow"),
    (["approve", "SESSION", "fix", "--reason", "because", "--by", "octo-staff"], 2, "--by"),
    (["list", "--status", "asleep"], 2, "must be one of"),
    (["list", "--status", "EXPIRED", "--stuck"], 2, "different"),
]


async def test_what_cannot_be_is_explained(shell: Shell) -> None:
    """Wrong use ends with status 2, what the session does not allow with 1; nothing is written, no traceback."""
    before = await shell.session()
    for words, status, said in CANNOT_BE:
        done = await shell.run(*(str(shell.learner.session_id) if word == "SESSION" else word for word in words))

        assert done.exit_code == status, (words, done.output)
        assert said in " ".join(done.stderr.replace("│", " ").split()), words
        assert done.stdout == "", words
        assert "Traceback" not in done.stderr, words
        assert await shell.session() == before, words


async def test_the_list_is_filtered(shell: Shell) -> None:
    """`--status` takes a status in any case; `--stuck` shows who is stuck, and since when they ask for help."""
    nobody = await shell.run("list", "--stuck")
    assert nobody.stdout.strip() == "There is no such session."
    await shell.course.pool.execute("UPDATE lab_session SET status = 'STUCK', help_at = now(), help_words = 'where?'")

    stuck = json.loads((await shell.run("list", "--stuck", "--json")).stdout)
    named = json.loads((await shell.run("list", "--status", "stuck", "--json")).stdout)
    other = json.loads((await shell.run("list", "--status", "in-progress", "--json")).stdout)

    assert [row["session_id"] for row in stuck] == [str(shell.learner.session_id)]
    assert stuck[0]["help_at"]
    assert (named, other) == (stuck, [])
    shown = await shell.run("show", str(shell.learner.session_id))
    assert "where?" in shown.stdout
    assert json.loads((await shell.run("show", str(shell.learner.session_id), "--json")).stdout)["help_words"]


def test_the_statuses_are_all_there() -> None:
    """The help text names every status that a session can have."""
    assert STATUSES.split(", ") == [status.value for status in SessionStatus]


async def test_all_heads_can_be_asked_for(shell: Shell) -> None:
    """`judge --all` lets every installation be compared now; a session and --all, or neither, is wrong use."""
    await shell.course.pool.execute("UPDATE recovery_state SET installations_due_at = now() + interval '20 minutes'")
    done = await shell.run("judge", "--all")

    assert done.exit_code == 0, done.output
    assert "within a minute" in done.stderr
    plan = await shell.course.fetch("SELECT installation_id, due_at <= now() AS due FROM installation_look")
    assert {"installation_id": shell.learner.installation_id, "due": True} in plan
    (state,) = await shell.course.fetch("SELECT installations_due_at <= now() AS due FROM recovery_state")
    assert state["due"]
    assert (await shell.run("judge")).exit_code == 2
    assert (await shell.run("judge", str(shell.learner.session_id), "--all")).exit_code == 2
