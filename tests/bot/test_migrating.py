"""Sessions that move to another version of their lab, on a running line: what is told, kept, judged, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from bot import migrating
from bot.migrating import Migration
from rules.migration import Rename
from rules.model import LabVersion, Session, SessionStatus
from storage import labs, progress, sessions, versions
from storage.actions import Decision, add_fact, defer, unbind
from storage.errors import StaleSession
from storage.versions import LiveSession
from tests.support.direct import DirectCopy, begin
from tests.support.learners import COURSE, TEACHER, Learner, lab_file, open_course, open_lab
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = ".forgea/steps.json"
S1, S2, S3 = ({"id": name, "files": [f"{name}.txt"]} for name in ("s1", "s2", "s3"))
WHY = Decision(None, "the lab has changed")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    async with running_line(module_database) as line:
        await open_course(line)
        yield line


class Class:
    """A lab of the steps s1, s2 and s3 with one learner, and its author's copy of the template."""

    def __init__(self, line: Line, name: str, learner: Learner, author: DirectCopy) -> None:
        self.line, self.name, self.learner, self.author = line, name, learner, author

    @classmethod
    async def open(cls, line: Line, name: str) -> Class:
        """Publish version 1, and let a learner begin."""
        await open_lab(line, name, {STEPS: lab_file(S1, S2, S3), "s1.txt": "template\n", "tests/t.txt": "weak\n"})
        author = await DirectCopy.of(line, f"{COURSE}/{name}", TEACHER)
        return cls(line, name, await begin(line, name), author)

    async def publish(self, *steps: Mapping[str, Any], **fields: Any) -> LabVersion:
        """Push these rules to the template; the version that comes of it."""
        sha = await self.author.commit({STEPS: lab_file(*steps, **fields)})
        await self.author.push()
        await self.line.settle()
        lab = await labs.by_slug(self.line.pool, self.name)
        assert lab is not None
        found = await labs.latest_version(self.line.pool, lab.lab_id)
        assert found is not None
        assert found.commit_sha == sha
        return found

    async def live(self, target: LabVersion) -> LiveSession:
        """The learner's session, which has another version than the target."""
        (found,) = await versions.to_migrate(self.line.pool, target.lab_id, target)
        assert found.session_id == self.learner.session_id
        return found

    async def session(self) -> Session:
        """The learner's session as it is now."""
        found = await sessions.get(self.line.pool, self.learner.session_id)
        assert found is not None
        return found

    async def look(self, target: LabVersion) -> Migration:
        """What a move would do; nothing is written by that."""
        before = await self.learner.session()
        found = await migrating.look(self.line.services, await self.live(target), target)
        assert await self.learner.session() == before
        return found

    async def move(self, target: LabVersion) -> int:
        """Move the session and wait until its head is judged; the number of the run."""
        run_id = await versions.new_run(self.line.pool)
        done = await migrating.move(self.line.services, await self.live(target), target, run_id, WHY)
        assert done.moved, done.why
        await self.line.settle()
        assert (await self.learner.session())["lab_version_id"] == target.lab_version_id
        return run_id

    async def undo(self, run_id: int) -> str:
        """Take a run back; why that is not possible, if so."""
        (moved,) = await versions.moves_of(self.line.pool, run_id)
        fault = await migrating.undo(self.line.services, moved, run_id, WHY)
        await self.line.settle()
        return fault

    async def words(self, target: LabVersion) -> tuple[str, ...]:
        """In a word or two, what a move would do."""
        found = await self.look(target)
        assert found.effects is not None, found.why
        return found.effects.words


async def test_an_alias_keeps_progress_and_is_taken_back(line: Line) -> None:
    """A renamed step stays complete in a fork that was never synced; what is done under the new names since then counts
    under the old ones when the move is taken back."""
    course = await Class.open(line, "renamed")
    learner = course.learner
    first = await learner.push({"s1.txt": "mine\n"})
    second = await course.publish({"id": "one", "aliases": ["s1"], "files": ["s1.txt"]}, {"id": "two"} | S2, S3)
    target = await course.publish(
        {"id": "one", "aliases": ["s1"], "files": ["s1.txt"]},
        {"id": "two", "aliases": ["s2"], "files": ["s2.txt"]},
        S3,
    )
    assert second.number + 1 == target.number
    found = await course.look(target)
    assert found.effects is not None
    assert found.effects.renamed == (Rename("s1", "one"),)
    assert found.effects.words == ("renamed",)

    run_id = await course.move(target)
    assert (await learner.attempt())["trigger"] == "staff"
    assert (await learner.attempt())["lab_version_id"] == target.lab_version_id
    assert learner.told(first) == ("success", "success")
    assert "Step 2 of 3" in learner.text(first)
    head = await learner.push({"s2.txt": "mine\n"})
    assert await learner.done() == {"s1", "two"}

    assert await course.undo(run_id) == ""
    assert await learner.done() == {"s1", "s2"}
    assert "next is step 3" in learner.text(head)
    kinds = await line.fetch(
        "SELECT kind, detail FROM audit_event WHERE session_id = $1 AND kind LIKE 'migrat%' ORDER BY event_id",
        learner.session_id,
    )
    assert [(each["kind"], each["detail"]["from"], each["detail"]["to"]) for each in kinds] == [
        ("migrated", 1, target.number),
        ("migration_undone", target.number, 1),
    ]
    assert await versions.moves_of(line.pool, run_id) == ()


async def test_a_new_step_reopens_nothing(line: Line) -> None:
    """A step that is put before a completed one is open; what was complete stays complete."""
    course = await Class.open(line, "more")
    await course.learner.push({"s1.txt": "mine\n"})
    await course.learner.push({"s2.txt": "mine\n"})
    target = await course.publish(S1, {"id": "new", "files": ["new.txt"]}, S2, S3)
    assert await course.words(target) == ("unchanged",)

    await course.move(target)
    assert await course.learner.done() == {"s1", "s2"}
    head = await course.learner.push({"new.txt": "mine\n"})
    assert await course.learner.done() == {"s1", "s2", "new"}
    assert course.learner.told(head)[0] == "success"


async def test_a_removed_step_finishes_the_lab_until_it_is_taken_back(line: Line) -> None:
    """Without the last steps the lab is finished by the move, and open again by taking it back."""
    course = await Class.open(line, "fewer")
    await course.learner.push({"s1.txt": "mine\n"})
    await course.learner.push({"s2.txt": "mine\n"})
    target = await course.publish(S1)
    found = await course.look(target)
    assert found.effects is not None
    assert (found.effects.dropped, found.effects.finishes) == (("s2",), True)

    run_id = await course.move(target)
    assert (await course.learner.session())["status"] == SessionStatus.VERIFIED_PASS
    assert await course.undo(run_id) == ""
    session = await course.learner.session()
    assert (session["status"], session["base_commit_sha"]) == (SessionStatus.IN_PROGRESS, None)
    assert await course.learner.done() == {"s1", "s2"}


async def test_rules_that_block_are_told_first(line: Line) -> None:
    """A path that is protected from now on is told before anything is written; moved all the same, the head is red, and
    green again once the move is taken back."""
    course = await Class.open(line, "stricter")
    head = await course.learner.push({"s1.txt": "mine\n", "notes.txt": "mine\n"})
    target = await course.publish(S1, S2, S3, protected=["notes.txt"])
    found = await course.look(target)
    assert found.effects is not None
    assert found.effects.blocks == ("notes.txt",)
    assert found.effects.words[0] == "block"

    run_id = await course.move(target)
    assert course.learner.told(head) == ("failure", "failure")
    assert await course.undo(run_id) == ""
    assert course.learner.told(head) == ("success", "success")


async def test_easier_rules_complete_at_the_same_head(line: Line) -> None:
    """Work that was parked counts as soon as the new rules let it; undone, it is parked again."""
    course = await Class.open(line, "easier")
    await course.learner.push({"s2.txt": "early\n"})
    assert await course.learner.verdict() == "blocked"
    target = await course.publish(S1, S2 | {"needs": []}, S3)
    assert await course.words(target) == ("complete", "unblock")

    run_id = await course.move(target)
    assert await course.learner.done() == {"s2"}
    assert await course.learner.verdict() == "accepted"
    assert await course.undo(run_id) == ""
    assert await course.learner.done() == set()
    assert await course.learner.verdict() == "blocked"


async def test_what_the_template_had_is_no_work(line: Line) -> None:
    """A fork that was not synced is held to the template that it came from: the files of then are neither work nor a
    violation under rules of a later commit, and those of a later commit are not either."""
    course = await Class.open(line, "unsynced")
    await course.author.commit({"s1.txt": "template, improved\n", "tests/t.txt": "strict\n"})
    target = await course.publish(S1, S2, S3, protected=["tests/**"])
    assert await course.words(target) == ("unchanged",)
    await course.move(target)
    head = await course.learner.push({"other.txt": "x\n"})
    assert await course.learner.done() == set()
    assert course.learner.told(head)[0] == "success"

    synced = await course.learner.push({"s1.txt": "template, improved\n", "tests/t.txt": "strict\n"})
    assert course.learner.told(synced)[0] == "success"
    assert await course.learner.done() == set()


async def test_a_push_meanwhile_is_seen(line: Line) -> None:
    """A move that was decided before a push is refused with nothing written; it is decided anew and then done."""
    course = await Class.open(line, "busy")
    target = await course.publish(S1, S2)
    stale = await progress.judging_state(line.pool, course.learner.session_id)
    assert stale is not None
    await course.learner.push({"s1.txt": "mine\n"})
    before = await course.learner.session()

    with pytest.raises(StaleSession):
        await versions.migrate(line.pool, stale, target, await versions.new_run(line.pool), WHY)
    assert await course.learner.session() == before
    await course.move(target)
    assert await course.learner.done() == {"s1"}


async def test_moves_are_taken_back_newest_first(line: Line) -> None:
    """An older move is not taken back under a newer one; both can be, one after the other."""
    course = await Class.open(line, "twice")
    first = await course.move(await course.publish(S1, S2))
    second = await course.move(await course.publish(S1))

    assert "another version" in await course.undo(first)
    assert await course.undo(second) == ""
    assert await course.undo(first) == ""
    assert (await course.learner.session())["base_commit_sha"] is None


async def test_taking_back_without_the_repository_keeps_progress(line: Line) -> None:
    """When the session has lost its repository meanwhile, what it reached under new names is kept under the old ones,
    and so are the decisions of staff."""
    course = await Class.open(line, "unbound")
    renamed = [each | {"id": f"new-{each['id']}", "aliases": [each["id"]]} for each in (S1, S2, S3)]
    run_id = await course.move(await course.publish(*renamed))
    await course.learner.push({"s1.txt": "mine\n"})
    await add_fact(line.pool, await course.session(), WHY, "unlock", "new-s3")
    await unbind(line.pool, await course.session(), WHY)

    assert await course.undo(run_id) == ""
    assert await course.learner.done() == {"new-s1", "s1"}
    (fact,) = await line.fetch("SELECT step_id FROM staff_fact WHERE session_id = $1", course.learner.session_id)
    assert fact["step_id"] == "s3"


async def test_a_paused_session_moves_without_being_judged(line: Line) -> None:
    """Staff's pause stays: the session gets the rules, and its head is judged by them when it goes on."""
    course = await Class.open(line, "paused")
    await defer(line.pool, await course.session(), WHY)
    before = await course.learner.attempts()
    await course.move(await course.publish(S1, S2))
    assert await course.learner.attempts() == before
    assert (await course.learner.session())["status"] == SessionStatus.DEFERRED


async def test_what_cannot_be_looked_at_stays(line: Line) -> None:
    """A session whose repository is gone is told as such and keeps its version."""
    course = await Class.open(line, "gone")
    target = await course.publish(S1, S2)
    session = await course.live(target)
    line.sandbox.echo_events = False
    await line.sandbox.delete_repository(course.learner.fork)
    run_id = await versions.new_run(line.pool)
    done = await migrating.move(line.services, session, target, run_id, WHY)

    assert not done.moved
    assert done.why
    assert (await course.learner.session())["lab_version_id"] != target.lab_version_id
