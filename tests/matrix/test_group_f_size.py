"""Group F: size and truncation. What GitHub leaves out, or does not show yet, is no success and no failure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from rules.model import Annotation, CheckRunReport, Report
from sandbox import Fault
from sandbox.effects import Answer, Effect, Lag, Limits, Lose, Truncate
from sandbox.pushes import COMMITS_MAX
from storage import outbox, wakeups
from storage.outbox import WantedReport
from tests.support.deliveries import Hook
from tests.support.learners import Edit, Learner, enrol, lab_file, open_course, open_lab
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOAK = os.environ.get("SOAK") == "1"
LAB = "sizes"
GREEN, RED, DOUBT = ("success", "success"), ("failure", "failure"), ("action_required", "error")
#: Entries of a tree that GitHub lists: its own figure in `make soak`, else one that makes small tests.
LISTED = 100_000 if SOAK else 60


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App whose retries come at once, with a lab of three steps in order."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("worker", "publish"):
            patch.setattr(f"bot.{module}.delay_before_retry", lambda *_: 0.0)  # at once: then the lane's release tells
        patch.setattr("bot.worker.pause", lambda: 0.0)
        patch.setattr("bot.worker.POLL", 0.1)  # for reports that are sent again; more often is only work
        async with running_line(module_database) as line:
            await open_course(line)
            steps = [{"files": [f"{name}/**"]} for name in ("first", "second", "third")]
            rules = lab_file(*steps, protected=["zz/**"])
            await open_lab(line, LAB, {".forgea/steps.json": rules, "README.md": "A lab\n", "zz/check.js": "old\n"})
            yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, tmp_path: Path) -> AsyncIterator[Learner]:
    """A learner who has just started the lab; at the end GitHub behaves again."""
    yield await enrol(line, LAB, tmp_path)
    line.sandbox.faults.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="idle")
async def _idle(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A learner who has started the lab, for tests that push nothing."""
    return await enrol(line, LAB, tmp_path_factory.mktemp("idle"))


def script(learner: Learner, effect: Effect, **match: Any) -> Any:
    """Let something happen to the requests about the learner's repository."""
    return learner.line.sandbox.faults.add(Fault(effect, repository=learner.repo_id, **match))


def asked(learner: Learner, what: str) -> list[str]:
    """The paths of the requests about the learner's repository that hold a word."""
    return [each.path for each in learner.line.sandbox.exchanges if learner.fork in each.path and what in each.path]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)


async def a_line_of(learner: Learner, count: int, first: Mapping[str, Edit], last: Mapping[str, Edit]) -> str:
    """That many commits on the clone's HEAD, not pushed: `first` in the first, `last` in the last; the last one."""
    base = await learner.clone.git("rev-parse", "HEAD")
    stream = []
    for number in range(count):
        edits = {**(first if number == 0 else {}), **(last if number == count - 1 else {})}
        stream.append(
            b"commit refs/heads/long\ncommitter L <l@example.org> %d +0000\ndata 1\nx\n" % (1_700_000_000 + number)
        )
        stream.append(f"from {base}\n".encode() if number == 0 else b"")
        for path, edit in edits.items():
            assert isinstance(edit, bytes)
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(edit), edit))
        stream.append(b"\n")
    await learner.clone.git("fast-import", "--quiet", "--force", stdin=b"".join(stream))
    return await learner.clone.git("rev-parse", "refs/heads/long")


# --------------------------------------------------------------------------------------------------- F1 to F4: pushes


async def test_pushes_of_any_number_of_commits(learner: Learner) -> None:
    """1, 2047, 2048 and 2049 commits: the payload lists at most 2,048, the verdict comes from the trees all the same.

    What the first of 2,049 commits did to a protected file, and no listing shows, is seen. (2,047 in `make soak`.)
    """
    for count in (1, COMMITS_MAX - 1, COMMITS_MAX) if SOAK else (1, COMMITS_MAX):
        work: dict[str, Edit] = {f"first/{count}.txt": b"x\n"}
        head = await a_line_of(learner, count, work, {f"notes/{count}.txt": b"x\n"})
        await learner.send(f"{head}:refs/heads/main")
        assert learner.told(head) == GREEN
        assert await learner.done() == {"s1"}
        await learner.clone.git("reset", "--quiet", "--hard", head)

    bad = await a_line_of(learner, COMMITS_MAX + 1, {"zz/check.js": b"weaker\n"}, {"first/last.txt": b"x\n"})
    await learner.send(f"{bad}:refs/heads/main")
    assert learner.told(bad) == RED
    assert await learner.violations() == {"zz/check.js": "PROTECTED_PATH"}


async def test_commits_of_any_number_of_files(learner: Learner) -> None:
    """2,999 (in soak), 3,000 and 3,001 files in a commit: GitHub lists 3,000 of them; the last of all is seen."""
    for count in (2_999, 3_000, 3_001) if SOAK else (3_000, 3_001):
        files: dict[str, Edit] = {f"first/{count}": await learner.folder([f"{at:04}" for at in range(count - 1)])}
        head = await learner.build({**files, "zz/new.js": b"x\n"}, "HEAD")
        await learner.send("--force", f"{head}:refs/heads/main")

        assert learner.told(head) == RED
        assert await learner.violations() == {"zz/new.js": "PROTECTED_PATH"}
        assert await learner.done() == {"s1"}


@pytest.mark.parametrize("lists", ["empty", "absent", "lying"])
async def test_what_a_payload_says_of_files_decides_nothing(line: Line, learner: Learner, lists: str) -> None:
    """The lists of a huge commit may be empty although there are files; absent or wrong ones are no better."""
    line.sandbox.faults.add(Fault(Lose(), event="push", times=1))
    head = await learner.build({"first/a.txt": b"a\n", "zz/check.js": b"weaker\n"}, "HEAD")
    await learner.clone.push(f"{head}:refs/heads/main")
    await line.sandbox.idle()
    bodies = [orjson.loads(each.payload) for each in line.sandbox.deliveries if each.event == "push"]
    (body,) = (each for each in bodies if each["after"] == head)
    for commit in [*body["commits"], body["head_commit"]]:
        for name in ("added", "modified", "removed"):
            if lists == "absent":
                del commit[name]
            else:
                commit[name] = [] if lists == "empty" else ["first/other.txt"]
    assert await Hook(line.http, line.hook).post("push", orjson.dumps(body)) == 202
    await line.settle()

    assert learner.told(head) == RED
    assert await learner.violations() == {"zz/check.js": "PROTECTED_PATH"}


@pytest.mark.parametrize("files", [299, 300, 301])
async def test_comparisons_of_any_number_of_files(learner: Learner, files: int) -> None:
    """A comparison lists at most 300 files and does not say so: the verdict does not lean on that list."""
    middle = await learner.build({"first/a": await learner.folder([f"{at:03}" for at in range(files - 1)])}, "HEAD")
    head = await learner.build({"zz/new.js": b"x\n"}, middle)
    await learner.send(f"{head}:refs/heads/main")

    assert asked(learner, "/compare/"), "two commits were pushed"
    assert learner.told(head) == RED
    assert await learner.violations() == {"zz/new.js": "PROTECTED_PATH"}
    assert await learner.done() == {"s1"}


@pytest.mark.parametrize("count", [249, 250, 251])
async def test_a_merge_of_more_commits_than_a_comparison_lists(learner: Learner, count: int) -> None:
    """The commits of the pushed line earn their steps, however many the merge of another line brings with it."""
    base = await learner.clone.git("rev-parse", "HEAD")
    side = await a_line_of(learner, count - 3, {"notes.txt": b"x\n"}, {"other.txt": b"x\n"})
    earned = await learner.build({"first/a.txt": b"a\n"}, base)
    undone = await learner.build({"first/a.txt": None, "second/b.txt": b"b\n"}, earned)
    head = await learner.build({"notes.txt": b"x\n", "other.txt": b"x\n"}, undone, merge=[side])
    await learner.send(f"{head}:refs/heads/main")

    assert learner.told(head) == GREEN
    gains = {gain["step_id"]: gain["commit_sha"] for gain in (await learner.attempt())["detail"]["gains"]}
    assert gains == {"s1": earned, "s2": undone}
    assert bool(asked(learner, "/git/commits/")) == (count > 250)


# ------------------------------------------------------------------------------------------------------- F5: the tree


@pytest.mark.timeout(900)
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_trees_of_as_many_entries_as_github_lists(
    learner: Learner, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry less than GitHub lists, as many, and one more: the verdict is the same; only the last costs more calls.

    (100,000 entries in `make soak`, where the sandbox's limit is GitHub's; the one of 7 MB has a test of its own.)
    """
    monkeypatch.setattr("sandbox.rest_git.TREE_BYTES_MAX", 1 << 30)
    if not SOAK:
        script(learner, Limits(tree_entries=LISTED), path="*/git/trees/*")
    half = (LISTED + more) // 2
    # with the files and folders of the template and the two folders of work, the tree has LISTED + more entries
    own = len((await learner.clone.git("ls-tree", "-r", "-t", "--name-only", "HEAD")).splitlines())
    folders: dict[str, Edit] = {
        "first/a": await learner.folder([f"{at:06}" for at in range(half)]),
        "first/b": await learner.folder([f"{at:06}" for at in range(LISTED + more - half - own - 3)]),
    }
    head = await learner.build(folders, "HEAD")
    await learner.clone.push(f"{head}:refs/heads/main")
    await learner.line.settle(300 if SOAK else 30)
    listed = await learner.clone.git("ls-tree", "-r", "-t", "--name-only", head)
    assert len(listed.splitlines()) == LISTED + more

    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1"}
    of_head = [path for path in asked(learner, "/git/trees/") if head in path]
    assert len(of_head) == (2 if more > 0 else 1), "as a whole, and if that is cut, its own level"

    bad = await learner.build({"zz/check.js": b"weaker\n"}, head)
    await learner.clone.push(f"{bad}:refs/heads/main")
    await learner.line.settle(300 if SOAK else 30)
    assert learner.told(bad) == RED
    assert await learner.violations() == {"zz/check.js": "PROTECTED_PATH"}


async def test_a_tree_of_more_than_seven_megabytes(learner: Learner) -> None:
    """Long names fill GitHub's 7 MB long before 100,000 entries: that tree is read folder by folder, too."""
    deep = "/".join(["d" * 250] * 15)
    names = await learner.folder([f"{at:04}" + "n" * 200 for at in range(1_000)])
    edits: dict[str, Edit] = {f"first/{deep}/a": names, f"first/{deep}/b": names, "zz/new.js": b"x\n"}
    head = await learner.build(edits, "HEAD")
    await learner.send(f"{head}:refs/heads/main")

    cut = [each for each in learner.line.sandbox.exchanges if head in each.path and "/git/trees/" in each.path]
    assert any(b'"truncated":true' in each.response_body[:1_000] for each in cut)
    assert learner.told(head) == RED
    assert await learner.violations() == {"zz/new.js": "PROTECTED_PATH"}
    assert await learner.done() == {"s1"}


BROKEN: dict[str, Effect] = {
    "missing": Answer(404, body={"message": "Not Found"}),
    "failing": Answer(like="bad-gateway"),
    "cut": Truncate(),
    "no such commit": Answer(422, body={"message": "No commit found for SHA"}),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_sub_tree_that_is_not_to_be_had(learner: Learner, how: str) -> None:
    """The second folder of a walk is missing or breaks off: no verdict from what was read, and the right one later."""
    script(learner, Limits(tree_entries=20), path="*/git/trees/*")
    folders: dict[str, tuple[str, bytes]] = {
        f"first/{name}": await learner.folder([f"{how}-{name}{at:02}" for at in range(15)]) for name in "abc"
    }
    edits: dict[str, Edit] = {**folders, "zz/check.js": b"weaker\n"}
    head = await learner.build(edits, "HEAD")
    folder = await learner.clone.git("rev-parse", f"{head}:first/b")
    broken = script(learner, BROKEN[how], path=f"*/git/trees/{folder}", times=2)
    await learner.clone.push(f"{head}:refs/heads/main")
    await learner.line.settle()

    assert broken.fired == 2
    assert [run["conclusion"] for run in learner.runs(head)] == ["failure"], "one report, and that is the verdict"
    assert await learner.violations() == {"zz/check.js": "PROTECTED_PATH"}
    assert await learner.done() == {"s1"}


# ---------------------------------------------------------------------------------- F7, F8: shapes that were missing


async def test_a_revert_a_squash_and_a_cherry_pick(learner: Learner) -> None:
    """However a commit was made, its tree is what counts: undone work does not undo a step, squashed work completes."""
    base = await learner.clone.git("rev-parse", "HEAD")
    await learner.push({"first/a.txt": "a\n"})
    await learner.clone.git("revert", "--no-edit", "HEAD")
    await learner.send("HEAD")
    reverted = await learner.clone.git("rev-parse", "HEAD")
    assert learner.told(reverted) == GREEN
    assert await learner.done() == {"s1"}, "a commit that goes on from there takes no step away"

    await learner.clone.git("switch", "--quiet", "-c", "side", base)
    picked = await learner.clone.commit({"second/b.txt": "b\n"})
    await learner.clone.commit({"notes.txt": "n\n"})
    await learner.clone.git("switch", "--quiet", "main")
    await learner.clone.git("merge", "--quiet", "--squash", "side")
    await learner.clone.git("commit", "--quiet", "-m", "Squashed")
    await learner.send("HEAD")
    assert learner.told(await learner.clone.git("rev-parse", "HEAD")) == GREEN
    assert await learner.done() == {"s1", "s2"}

    await learner.clone.git("reset", "--quiet", "--hard", reverted)
    await learner.clone.git("cherry-pick", picked)
    await learner.send("--force", "HEAD")
    assert learner.told(await learner.clone.git("rev-parse", "HEAD")) == GREEN
    assert await learner.done() == {"s1", "s2"}


async def test_a_merge_queue_gets_its_answer(learner: Learner) -> None:
    """The branch that GitHub's merge queue makes is answered like any other branch, and its end is nobody's push."""
    head = await learner.build({"first/a.txt": b"a\n"}, "HEAD")
    branch = f"gh-readonly-queue/main/pr-7-{head}"
    await learner.send(f"{head}:refs/heads/{branch}")
    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    assert (await learner.attempt())["verdict"] == "preview"
    await learner.send("--delete", branch)
    assert await learner.done() == set()
    assert await learner.notices() == ["BRANCH_DELETED"]


# --------------------------------------------------------------------------------------------- F9: the report's limits


@pytest.mark.parametrize(("notes", "letter"), [(0, "a"), (1, "\u20ac"), (50, "\U0001f469"), (51, "a"), (105, "a")])
async def test_reports_as_long_as_github_takes_them(idle: Learner, notes: int, letter: str) -> None:
    """65,535 characters of one, three or four bytes, a title of 255, and notes that need one, two or three requests:
    all of it arrives, each note once.
    """
    idle.line.invariants.waive("I2", "reports of this test's own making stand beside the head's")
    head = await idle.clone.git("rev-parse", "HEAD")
    told = tuple(Annotation("README.md", 1, "notice", f"note {number}", "t" * 255) for number in range(notes))
    run = CheckRunReport("limits", head, "failure", "t" * 255, letter * 65_535, told, external_id=f"limits:{notes}")
    (row,) = await idle.line.fetch("SELECT installation_id FROM repo_mapping WHERE provider_repo_id = $1", idle.repo_id)
    report = Report(run, None, f"{notes}{letter}")
    wanted = WantedReport(idle.repo_id, row["installation_id"], idle.fork, idle.session_id, report)
    assert await outbox.want(idle.line.pool, wanted)
    await idle.line.settle()

    (shown,) = [each for each in idle.runs(head) if each["external_id"] == run.external_id]
    assert (len(shown["output"]["title"]), shown["output"]["summary"]) == (255, letter * 65_535)
    assert sorted(each["message"] for each in shown["annotations"]) == sorted(note.message for note in told)


# ----------------------------------------------------------------------------------------- F10: doubt, and its report


async def test_a_doubt_that_lasts_is_told_kindly_and_replaced_by_the_verdict(learner: Learner) -> None:
    """GitHub fails again and again: the head says that it could not be looked at, nobody is blamed, and the delivery is
    tried again by itself; the verdict takes the place of that report.
    """
    line = learner.line
    failing = script(learner, Answer(like="bad-gateway"), path="*/git/trees/*")
    head = await learner.build({"first/a.txt": b"a\n"}, "HEAD")
    before = await learner.session()
    await learner.clone.push(f"{head}:refs/heads/main")
    await until(lambda: _has_run(learner, head))

    assert {run["conclusion"] for run in learner.runs(head)} == {"action_required"}
    assert "tried again by itself" in learner.text(head)
    assert await learner.session() == before
    assert [each["trigger"] for each in await learner.attempts()] == ["reconcile"], "of the fork; no push was judged"

    failing.remove()
    await line.pool.execute(
        "UPDATE delivery SET state = 'waiting', attempts = 1, next_attempt_at = now() "
        "WHERE repo_id = $1 AND event = 'push'",
        learner.repo_id,
    )
    await line.pool.execute("UPDATE lane SET due_at = now() WHERE lane_id = $1", f"repo:{learner.repo_id}")
    await line.settle()
    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1"}


async def _has_run(learner: Learner, head: str) -> bool:
    return bool(learner.runs(head))


async def test_a_doubt_takes_no_verdict_away(learner: Learner) -> None:
    """A head that has its verdict keeps it while GitHub fails at looking again."""
    head = await learner.push({"first/a.txt": "a\n"})
    script(learner, Answer(like="bad-gateway"), path="*/git/ref/*")
    assert await wakeups.wake(learner.line.pool, learner.session_id, "rerun")
    await learner.line.settle()

    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    dead = await learner.line.fetch(
        "SELECT last_error FROM delivery WHERE repo_id = $1 AND state = 'dead'", learner.repo_id
    )
    assert len(dead) == 1, "after all its attempts it is a dead letter, and whoever looks for missed heads goes on"


async def test_a_template_that_cannot_be_read_is_waited_for(line: Line, tmp_path: Path) -> None:
    """The lab's template is away for a while: no learner is blamed, and each is judged when it is back."""
    rules = lab_file({"files": ["first/**"]})
    await open_lab(line, "away", {".forgea/steps.json": rules, "README.md": "A lab\n"})
    learner = await enrol(line, "away", tmp_path)
    line.services.trees._kept.clear()
    away = line.sandbox.faults.add(
        Fault(Answer(404, body={"message": "Not Found"}), path="/repos/octo-course/away/git/trees/*", times=5)
    )
    head = await learner.push({"first/a.txt": "a\n"})

    assert away.fired == 5
    assert [run["conclusion"] for run in learner.runs(head)][-1] == "success"
    assert await learner.done() == {"s1"}
    line.sandbox.faults.clear()


async def test_what_github_does_not_list_is_judged_when_it_does(learner: Learner) -> None:
    """A folder that GitHub cuts is no verdict, and is not asked for again and again; looked at again, it is judged."""
    script(learner, Limits(tree_entries=10), path="*/git/trees/*")
    head = await learner.build({"first": await learner.folder([f"{at:02}" for at in range(9)])}, "HEAD")
    folder = await learner.clone.git("rev-parse", f"{head}:first")
    answer = {"sha": folder, "url": "http://x", "truncated": True, "tree": []}
    script(learner, Answer(200, body=answer), path=f"*/git/trees/{folder}")
    await learner.send(f"{head}:refs/heads/main")

    assert learner.told(head) == DOUBT
    assert (await learner.attempt())["detail"]["reason"] == "TRUNCATED"
    assert len(asked(learner, folder)) == 2, "as a whole, and its own level: each once"

    learner.line.sandbox.faults.clear()
    assert await wakeups.wake(learner.line.pool, learner.session_id, "rerun")
    await learner.line.settle()
    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1"}


# ------------------------------------------------------------------------------- the API is older than the webhook, and
# ------------------------------------------------------------------------------- heads that went away meanwhile


@pytest.mark.parametrize("hides", ["objects", "refs"])
async def test_an_api_that_is_older_than_the_webhook(learner: Learner, hides: Any) -> None:
    """404 for the new commit, or the branch at its old head, for a while: waited for, never judged as something else.

    (Ten seconds of it in injected time: twelve questions.)
    """
    if hides == "refs":  # the chain is broken, so that the ref is asked
        await _lose_a_push(learner)
    session = await learner.session()
    lag = script(learner, Lag(hides=(hides,)), times=12)
    head = await learner.push({"first/a.txt": "a\n"})

    assert lag.fired == 12
    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    (attempt,) = [each for each in await learner.attempts() if each["delivery_id"] is not None]
    assert (attempt["after_sha"], attempt["verdict"]) == (head, "accepted")
    assert (await learner.session())["accepted_sha"] == head != session["accepted_sha"]
    assert await _attempts_of_push(learner) == 1, "waiting is no failed attempt"


async def _lose_a_push(learner: Learner) -> None:
    """One commit of which no delivery arrives, not even that of its check suite."""
    for event in ("push", "check_suite"):
        learner.line.sandbox.faults.add(Fault(Lose(log="nothing"), event=event, times=1))
    await learner.push({"notes.txt": "x\n"})


async def _attempts_of_push(learner: Learner) -> int:
    """How often the newest push was tried."""
    query = "SELECT attempts FROM delivery WHERE repo_id = $1 AND event = 'push' ORDER BY inbox_id DESC LIMIT 1"
    return int(await learner.line.pool.fetchval(query, learner.repo_id))


async def test_an_old_head_seen_by_a_result_takes_nothing_away(learner: Learner) -> None:
    """Woken just after a push by something else, we are shown the old head of the branch: no step is lost by that."""
    await learner.push({"notes.txt": "x\n"})
    old = script(learner, Lag(hides=("refs",)))
    head = await learner.push({"first/a.txt": "a\n"})
    assert await learner.done() == {"s1"}
    before = len(await learner.attempts())

    assert await wakeups.wake(learner.line.pool, learner.session_id, "rerun")
    await until(lambda: _waits(learner, "may be an older head"))
    old.remove()
    await learner.line.settle()
    assert await learner.done() == {"s1"}
    assert (await learner.session())["accepted_sha"] == head
    assert {each["after_sha"] for each in (await learner.attempts())[before:]} <= {head}


async def _waits(learner: Learner, why: str) -> bool:
    query = "SELECT EXISTS (SELECT FROM delivery WHERE repo_id = $1 AND state = 'waiting' AND last_error LIKE $2)"
    return bool(await learner.line.pool.fetchval(query, learner.repo_id, f"%{why}%"))


async def test_a_comparison_that_does_not_know_the_head_yet(learner: Learner) -> None:
    """Two commits, of which the second undoes the first: not judged as one while they cannot be compared."""
    script(learner, Answer(404, body={"message": "Not Found"}), path="*/compare/*", times=3)
    earned = await learner.build({"first/a.txt": b"a\n"}, "HEAD")
    head = await learner.build({"first/a.txt": None, "second/b.txt": b"b\n"}, earned)
    await learner.send(f"{head}:refs/heads/main")

    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    assert await learner.done() == {"s1", "s2"}


@pytest.mark.parametrize("then", ["force-push", "delete"])
async def test_a_head_that_is_gone_before_it_was_read(learner: Learner, then: str) -> None:
    """The pushed commit is not there any more when it is asked for: the branch's new head is judged, or none is."""
    line = learner.line
    branch = "main" if then == "force-push" else "idea"
    gone = await learner.build({"zz/check.js": b"weaker\n"}, "HEAD")
    script(learner, Answer(404, body={"message": "Not Found"}), path=f"*/git/trees/{gone}")
    script(learner, Answer(404, body={"message": "Not Found"}), path=f"*/git/commits/{gone}")
    lost = line.sandbox.faults.add(Fault(Lose(log="nothing"), event="push", after=1))
    await learner.clone.push(f"{gone}:refs/heads/{branch}")
    await until(lambda: _waits(learner, gone))
    head = await learner.build({"first/a.txt": b"a\n"}, "HEAD")
    if then == "force-push":
        await learner.clone.push("--force", f"{head}:refs/heads/main")
    else:
        await learner.clone.push("--delete", branch)
    await line.pool.execute("UPDATE delivery SET received_at = received_at - interval '11 s' WHERE state = 'waiting'")
    await line.settle()

    assert lost.fired == 1
    assert learner.runs(gone) == []
    if then == "force-push":
        assert learner.told(head) == GREEN
        assert await learner.done() == {"s1"}
    else:
        assert await learner.notices() == ["BRANCH_DELETED"]


async def test_a_branch_that_is_not_visible_yet_is_not_believed_to_be_deleted(learner: Learner) -> None:
    """A new branch is unknown to the API for a while: its head gets its preview, however often that was asked."""
    hidden = script(learner, Answer(404, body={"message": "Not Found"}), path="*/git/ref/heads/idea", times=12)
    await learner.clone.git("switch", "--quiet", "-c", "idea")
    head = await learner.push({"first/a.txt": "a\n"})

    assert hidden.fired == 12
    assert [run["conclusion"] for run in learner.runs(head)] == ["success"]
    assert await learner.notices() == []
