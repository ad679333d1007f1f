"""The acceptance checklist, line by line, on the running App: real pushes in, check-run, status, ledger and page out.

docs/acceptance.md names the test of each line; `test_every_line_names_a_test_that_exists` keeps it true.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.demo_story import COMMAND, FIXED, REPORT
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, TEACHER, Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
GREEN, RED = ("success", "success"), ("failure", "failure")
OLD_TESTS, NEW_TESTS = "assert(true)\n", "assert(countWords('a  b') === 2)\n"


async def pushes_of(line: Line, learner: Learner, sha: str) -> list[str]:
    """The GUIDs of the deliveries that told of a push of this head to main, oldest first."""
    rows = await line.fetch(
        "SELECT delivery_id FROM push_attempt WHERE session_id = $1 AND after_sha = $2 AND ref = 'refs/heads/main' "
        "ORDER BY attempt_id",
        learner.session_id,
        sha,
    )
    return [str(row["delivery_id"]) for row in rows]


async def test_the_right_step_in_order_passes(learner: Learner) -> None:
    """The first step's work is accepted: green check-run and status, one row in the ledger, told on the page."""
    head = await learner.push({"report/bug.md": REPORT})

    assert learner.told(head) == GREEN
    assert await learner.verdict() == "accepted"
    assert await learner.done() == {"report"}
    assert (await learner.session())["accepted_sha"] == head
    assert 'data-step="report" data-state="done"' in await learner.page()


async def test_out_of_order_names_the_file_the_owner_and_the_missing_step(learner: Learner) -> None:
    """A later step's file is blocked, and the check-run says which file, whose it is, and what to finish first."""
    head = await learner.push({"src/cli.js": COMMAND})

    assert learner.told(head) == RED
    assert await learner.violations() == {"src/cli.js": "OUT_OF_ORDER"}
    assert await learner.done() == set()
    (row,) = [line for line in learner.text(head).splitlines() if line.startswith("|") and "src/cli.js" in line]
    assert "3. Count the words of a file" in row
    assert "complete step 2 first" in row
    assert "| 2. Fix the counter |" in learner.text(head)
    (note,) = learner.run(head)["annotations"]
    assert (note["path"], note["annotation_level"]) == ("src/cli.js", "failure")
    page = await learner.page()
    assert 'data-verdict="blocked" data-codes="OUT_OF_ORDER"' in page
    assert "complete step 2 first" in page


async def test_the_same_push_redelivered_does_nothing_new(line: Line, learner: Learner) -> None:
    """A redelivery adds no attempt, no check-run, no status, and asks GitHub nothing."""
    head = await learner.push({"report/bug.md": REPORT})
    (guid,) = await pushes_of(line, learner, head)
    before = await learner.attempts()
    asked = len(line.sandbox.exchanges)

    await line.sandbox.redeliver(guid)
    await line.settle()

    assert await learner.attempts() == before
    assert len(learner.runs(head)) == 1
    assert len(line.sandbox.statuses(learner.fork, head)) == 1
    assert len(line.sandbox.exchanges) == asked


async def test_state_survives_a_restart(line: Line, learner: Learner) -> None:
    """A new process with empty caches goes on where the old one was: progress, accepted head, parked file."""
    first = await learner.push({"report/bug.md": REPORT})
    await learner.push({"src/cli.js": COMMAND})
    known = await learner.session()

    await line.restart()

    assert await learner.session() == known
    assert await learner.done() == {"report"}
    head = await learner.push({"src/wordcount.js": FIXED})
    assert learner.told(head) == GREEN
    assert (await learner.attempt())["accepted_before"] == first
    assert await learner.done() == {"report", "fix", "command"}
    assert await learner.pages_verdicts() == ["accepted", "accepted", "blocked", "accepted"]


async def test_a_step_marked_twice_is_one_row(line: Line, learner: Learner) -> None:
    """Work on a finished step completes it no second time: one row, with the first commit and time."""
    first = await learner.push({"report/bug.md": REPORT})
    query = "SELECT * FROM step_progress WHERE session_id = $1"
    (row,) = await line.fetch(query, learner.session_id)

    head = await learner.push({"report/bug.md": REPORT + "More.\n"})

    assert await line.fetch(query, learner.session_id) == [row]
    assert row["commit_sha"] == first
    assert learner.told(head) == GREEN
    assert (await learner.attempt())["detail"].get("gains", []) == []


async def test_parked_work_is_accepted_later_without_a_push_of_its_own(learner: Learner) -> None:
    """A file that came too early counts as soon as what it waited for is complete; nobody pushes it again."""
    parked = await learner.push({"src/cli.js": COMMAND})
    assert learner.told(parked) == RED

    head = await learner.push({"src/wordcount.js": FIXED})

    assert learner.told(head) == GREEN
    assert await learner.done() == {"fix", "command"}
    assert learner.told(parked) == RED, "the old head stays what it was"


async def test_a_revert_by_force_push_reopens(learner: Learner) -> None:
    """A rewrite that takes a step's result away reopens the step, and every step that needs it."""
    first = await learner.push({"report/bug.md": REPORT})
    await learner.push({"src/wordcount.js": FIXED, "src/cli.js": COMMAND})
    assert await learner.done() == {"report", "fix", "command"}

    head = await learner.push_built({"src/cli.js": COMMAND.encode()}, first)

    assert await learner.done() == {"report"}
    attempt = await learner.attempt()
    assert (attempt["verdict"], attempt["forced"], attempt["after_sha"]) == ("accepted", True, head)
    assert {loss["step_id"]: loss["reason"] for loss in attempt["detail"]["losses"]} == {
        "fix": "TAKEN_AWAY",
        "command": "NEEDS",
    }
    page = await learner.page()
    assert 'data-step="fix" data-state="open"' in page
    assert "open (was complete before)" in page


async def test_an_amend_and_force_push_costs_nothing(learner: Learner) -> None:
    """`commit --amend` and a force-push keep every finished step, and the new head is green."""
    await learner.push({"report/bug.md": REPORT, "src/wordcount.js": FIXED})
    await learner.clone.git("commit", "--quiet", "--amend", "-m", "Better words")
    await learner.send("--force", "HEAD")

    head = await learner.clone.git("rev-parse", "HEAD")
    assert learner.told(head) == GREEN
    assert await learner.done() == {"report", "fix"}
    attempt = await learner.attempt()
    assert (attempt["after_sha"], attempt["verdict"]) == (head, "accepted")
    assert attempt["detail"].get("losses", []) == []


async def test_force_pushes_a_b_a_are_three_attempts(line: Line, learner: Learner) -> None:
    """Back to an earlier head is a push of its own: three rows in the ledger, and the state of the last."""
    a = await learner.push({"report/bug.md": REPORT})
    await learner.clone.git("reset", "--quiet", "--hard", "HEAD~1")
    b = await learner.push({"src/wordcount.js": FIXED}, "Other work", "--force")
    await learner.send("--force", f"{a}:refs/heads/main")

    attempts = (await learner.attempts())[-3:]
    assert [attempt["after_sha"] for attempt in attempts] == [a, b, a]
    assert [attempt["verdict"] for attempt in attempts] == ["accepted"] * 3
    assert len({attempt["delivery_id"] for attempt in attempts}) == 3
    assert await learner.done() == {"report"}
    assert (await learner.session())["accepted_sha"] == a
    assert len(await pushes_of(line, learner, a)) == 2


async def test_a_push_of_several_commits_gains_at_each(line: Line, learner: Learner) -> None:
    """Work that a later commit of the same push removes still counts, at the commit that had it."""
    first = await learner.clone.commit({"report/bug.md": REPORT})
    second = await learner.clone.commit({"report/bug.md": None, "src/wordcount.js": FIXED})
    head = await learner.push({"src/cli.js": COMMAND})

    assert learner.told(head) == GREEN
    rows = await line.fetch("SELECT step_id, commit_sha FROM step_progress WHERE session_id = $1", learner.session_id)
    assert {row["step_id"]: row["commit_sha"] for row in rows} == {"report": first, "fix": second, "command": head}
    assert len([each for each in await learner.attempts() if each["trigger"] == "push"]) == 1


async def test_a_merge_commit_is_judged_by_what_it_brings(learner: Learner) -> None:
    """Work of two branches, merged and pushed once, counts for both steps."""
    await learner.clone.git("switch", "--quiet", "-c", "side")
    await learner.clone.commit({"report/bug.md": REPORT}, "On the side")
    await learner.clone.git("switch", "--quiet", "main")
    await learner.clone.commit({"src/wordcount.js": FIXED}, "On main")
    await learner.clone.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    await learner.send("main")

    head = await learner.clone.git("rev-parse", "HEAD")
    assert learner.told(head) == GREEN
    assert await learner.done() == {"report", "fix"}


async def _lab_with_two_tests(line: Line, name: str, tmp_path: Path) -> tuple[WorkingCopy, Learner]:
    """A lab whose template gets stronger tests after a learner has started."""
    rules = lab_file({"files": ["work.txt"]}, {"files": ["more.txt"]}, protected=["tests/**"])
    tests = {"tests/one.js": OLD_TESTS, "tests/two.js": OLD_TESTS}
    await open_lab(line, name, {".forgea/steps.json": rules, "README.md": "A lab\n", **tests})
    learner = await enrol(line, name, tmp_path)
    template = await WorkingCopy.clone(line.sandbox, f"{COURSE}/{name}", TEACHER, tmp_path / "template")
    await template.commit({"tests/one.js": NEW_TESTS, "tests/two.js": NEW_TESTS, "README.md": "A better lab\n"})
    await template.push()
    await line.settle()
    await learner.clone.git("fetch", "--quiet", f"{line.sandbox.url}/{COURSE}/{name}.git", "main")
    return template, learner


async def test_a_sync_with_the_template_is_fine_also_of_protected_files(line: Line, tmp_path: Path) -> None:
    """What the template's branch brought later is its own work: it neither violates nor counts for a step."""
    _, learner = await _lab_with_two_tests(line, "sync", tmp_path)
    own = await learner.push({"work.txt": "mine\n"})
    await learner.clone.git("merge", "--quiet", "-m", "Sync", "FETCH_HEAD")
    await learner.send("main")

    head = await learner.clone.git("rev-parse", "HEAD")
    assert head != own
    assert learner.told(head) == GREEN
    assert await learner.done() == {"s1"}
    assert await learner.violations() == {}


async def test_restored_old_tests_are_a_violation(line: Line, tmp_path: Path) -> None:
    """After a sync an older, weaker test cannot be put back by itself; all of one version can."""
    _, learner = await _lab_with_two_tests(line, "old-tests", tmp_path)
    await learner.clone.git("merge", "--quiet", "FETCH_HEAD")
    await learner.send("main")
    assert await learner.verdict() == "accepted"

    head = await learner.push({"tests/one.js": OLD_TESTS})
    assert learner.told(head) == RED
    assert await learner.violations() == {"tests/one.js": "PROTECTED_PATH"}

    whole = await learner.push({"tests/two.js": OLD_TESTS})
    assert learner.told(whole) == GREEN


async def test_a_rename_is_judged_at_both_ends(learner: Learner) -> None:
    """A draft that moves to its place counts; a protected file that moves away is a violation, at both its names."""
    await learner.push({"notes/draft.md": REPORT})
    await learner.clone.commit({"report/.keep": ""})
    await learner.clone.git("mv", "notes/draft.md", "report/bug.md")
    head = await learner.push({})
    assert learner.told(head) == GREEN
    assert await learner.done() == {"report"}

    await learner.clone.git("mv", "tests/count.js", "tests/counted.js")
    moved = await learner.push({})
    assert learner.told(moved) == RED
    assert await learner.violations() == {"tests/count.js": "PROTECTED_PATH", "tests/counted.js": "PROTECTED_PATH"}


async def test_a_deletion_is_no_work_and_no_escape(learner: Learner) -> None:
    """Deleting a step's file completes nothing; deleting a protected file is a violation."""
    head = await learner.push({"src/wordcount.js": None})
    assert learner.told(head) == GREEN
    assert await learner.done() == set()

    without = await learner.push({"tests/count.js": None})
    assert learner.told(without) == RED
    assert await learner.violations() == {"tests/count.js": "PROTECTED_PATH"}
    assert learner.run(without)["annotations"] == [], "there is no file to put a note on"


async def test_an_empty_commit_gets_an_answer(learner: Learner) -> None:
    """A commit without changes is answered like any other head, and changes nothing."""
    await learner.push({"report/bug.md": REPORT})
    head = await learner.push({}, "Nothing")

    assert learner.told(head) == GREEN
    assert await learner.done() == {"report"}
    assert (await learner.session())["accepted_sha"] == head


async def test_a_branch_created_is_a_preview_and_deleted_is_only_noted(learner: Learner) -> None:
    """Another branch is answered without effect; its deletion stands in the ledger's notices and on the page."""
    await learner.clone.git("switch", "--quiet", "-c", "idea")
    head = await learner.push({"report/bug.md": REPORT})
    assert learner.told(head) == GREEN
    assert learner.run(head)["output"]["title"].startswith("Preview: ")
    assert await learner.verdict() == "preview"
    assert await learner.done() == set()

    attempts = len(await learner.attempts())
    await learner.send("--delete", "idea")
    assert len(await learner.attempts()) == attempts
    assert await learner.notices() == ["BRANCH_DELETED"]
    assert learner.told(head) == GREEN


async def test_a_tag_is_answered_on_the_page_only(learner: Learner) -> None:
    """A tag moves nothing and gets no check-run of its own, wherever it points."""
    head = await learner.push({"report/bug.md": REPORT})
    attempts = await learner.attempts()
    await learner.clone.git("tag", "v1")
    await learner.clone.git("tag", "-a", "v2", "-m", "Annotated")
    await learner.send("v1")
    await learner.send("v2")

    assert await learner.attempts() == attempts
    assert len(learner.runs(head)) == 1
    assert await learner.notices() == ["TAG"]


async def test_the_same_blocked_head_on_another_branch_stays_red(learner: Learner) -> None:
    """A head that is red on the lab's branch is not made green, or neutral, by another ref that points at it."""
    head = await learner.push({"tests/count.js": "nothing\n"})
    await learner.send("HEAD:refs/heads/elsewhere")
    await learner.clone.git("tag", "there")
    await learner.send("there")

    assert {run["conclusion"] for run in learner.runs(head)} == {"failure"}
    assert learner.told(head) == RED
    assert await learner.pages_verdicts() == ["accepted", "blocked", "preview"]


async def test_an_edit_of_the_steps_file_changes_no_rule(learner: Learner) -> None:
    """Rules that a learner writes have no effect but to be a violation themselves."""
    easy = lab_file({"files": ["**"], "complete": {"type": "none"}}, policy={"protected": "warn"})
    head = await learner.push({".forgea/steps.json": easy, "src/cli.js": COMMAND})

    assert learner.told(head) == RED
    assert await learner.violations() == {".forgea/steps.json": "PROTECTED_PATH", "src/cli.js": "OUT_OF_ORDER"}
    assert await learner.done() == set()
    gone = await learner.push({".forgea/steps.json": None})
    assert learner.told(gone) == RED
    assert (await learner.violations())[".forgea/steps.json"] == "PROTECTED_PATH"


async def test_five_thousand_changed_files(learner: Learner) -> None:
    """5,000 files of an open step in one push are accepted and count."""
    files = {f"report/part-{at:04}.md": b"%d\n" % at for at in range(5_000)}
    head = await learner.push_built(files | {"report/bug.md": REPORT.encode()})

    assert learner.told(head) == GREEN
    assert await learner.done() == {"report"}
    assert len(learner.text(head)) < 65_535


async def test_odd_file_names(learner: Learner) -> None:
    """Names that are legal in git and odd elsewhere are judged like all others."""
    odd = ["two  words", 'quo"te', "it's", "line\nbreak", "e\u0301", "\u00e9", "/".join(["d" * 250] * 16)]
    names = [f"bin/{name}".encode() for name in odd] + [b"bin/\xff\xfe"]
    head = await learner.push_built(dict.fromkeys(names, b"x\n"))

    assert learner.told(head) == RED
    expected = {f"bin/{name}": "OUT_OF_ORDER" for name in odd} | {"bin/\ufffd\ufffd": "OUT_OF_ORDER"}
    assert await learner.violations() == expected

    fixed = await learner.push_built({"src/wordcount.js": FIXED.encode()}, head)
    assert learner.told(fixed) == GREEN, "the parked files are accepted with their names as they are"


async def test_a_submodule_and_a_symlink(learner: Learner) -> None:
    """Neither stands for the file that a step wants to read, and neither hides what is protected."""
    head = await learner.push_built({"report/bug.md": ("120000", b"../src/wordcount.js")})
    assert learner.told(head) == GREEN
    assert await learner.done() == set(), "a link is no report"

    root = await learner.clone.git("rev-parse", "HEAD")
    sub = await learner.push_built({"report/bug.md": ("160000", root.encode())})
    assert learner.told(sub) == GREEN
    assert await learner.done() == set(), "a submodule is no report"

    hidden = await learner.push_built({"tests": ("120000", b"src")})
    assert learner.told(hidden) == RED
    assert (await learner.violations())["tests"] == "PROTECTED_PATH"


LINE = re.compile(r"^\| (?P<line>[^|]+) \| `(?P<test>test_\w+)` \|$", re.MULTILINE)


async def test_every_line_names_a_test_that_exists() -> None:
    """docs/acceptance.md names, for each line of the checklist, a test of this file, and leaves none out."""
    named = {match["test"]: match["line"] for match in LINE.finditer((ROOT / "docs/acceptance.md").read_text())}
    here = {name for name in globals() if name.startswith("test_")} - {"test_every_line_names_a_test_that_exists"}

    assert set(named) == here
    assert len(set(named.values())) == len(named), "two lines say the same"
