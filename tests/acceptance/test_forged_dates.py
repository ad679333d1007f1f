"""Dates of commits are whatever their author writes: they move no deadline and no verdict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.schedules import expire_overdue
from cli.demo_story import COMMAND, FIXED, REPORT
from tests.support.learners import Learner, enrol
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

Files = dict[str, str | bytes | None]
#: The first second there is, and a day of the year 2099 in an odd zone: before and after every deadline.
LONG_AGO, FAR_AHEAD = "1 +0000", "4086000000 -1130"


async def forged(learner: Learner, files: Files, author: str, committer: str) -> str:
    """Commit files at dates of the learner's own making; the commit's sha."""
    await learner.clone.commit(files)
    honest = await learner.clone.git("cat-file", "commit", "HEAD")
    text = re.sub(r"^(author .*>) .*$", rf"\1 {author}", honest, count=1, flags=re.MULTILINE)
    text = re.sub(r"^(committer .*>) .*$", rf"\1 {committer}", text, count=1, flags=re.MULTILINE)
    sha = await learner.clone.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=f"{text}\n".encode())
    await learner.clone.git("reset", "--quiet", "--hard", sha)
    assert await learner.clone.git("log", "-1", "--format=%ad %cd", "--date=raw") == f"{author} {committer}"
    return sha


async def _expires(line: Line, learner: Learner, when: str) -> None:
    await line.pool.execute(
        "UPDATE lab_session SET expires_at = now() + $2::text::interval WHERE session_id = $1",
        learner.session_id,
        when,
    )


@pytest.mark.parametrize(
    ("author", "committer", "closed"),
    [(LONG_AGO, LONG_AGO, True), (LONG_AGO, LONG_AGO, False), (FAR_AHEAD, LONG_AGO, False)],
)
async def test_a_late_push_of_commits_with_early_dates_is_late(
    line: Line, learner: Learner, author: str, committer: str, closed: bool
) -> None:
    """After the deadline, whether the session was closed already or is closed by this push, nothing that a commit says
    of its dates makes it count; the answer names the deadline."""
    before = await learner.attempts()
    await _expires(line, learner, "-1 minute")
    if closed:
        assert await expire_overdue(line.services) == 1
    head = await forged(learner, {"report/bug.md": REPORT}, author, committer)
    await learner.send()

    session = await learner.session()
    assert (session["status"], session["accepted_sha"] == head) == ("EXPIRED", False)
    assert await learner.attempts() == before
    assert learner.run(head)["conclusion"] == "neutral"
    assert "deadline" in learner.text(head).lower()


async def test_forged_dates_change_no_verdict(line: Line, tmp_path: Path) -> None:
    """With dates that are honest, run backwards, or lie behind the deadline, the same pushes have the same verdicts."""
    assert await _story(line, tmp_path / "a", []) == await _story(line, tmp_path / "b", [LONG_AGO, FAR_AHEAD])
    assert await _story(line, tmp_path / "c", [FAR_AHEAD, LONG_AGO]) == [
        ("blocked", {"src/cli.js": "OUT_OF_ORDER"}, set()),
        ("accepted", {}, {"report"}),
        ("accepted", {}, {"report", "fix", "command"}),
    ]


async def _story(line: Line, folder: Path, dates: list[str]) -> list[tuple[str, dict[str, str], set[str]]]:
    """A later step first, taken back and the right step, and two steps in one push, the later one first; what
    is told of each. `dates`: author's and committer's, of the second commit of each push the other way round.
    """
    folder.mkdir()
    learner = await enrol(line, "word-counter", folder)
    await _expires(line, learner, "1 hour")
    told = []
    pushes: list[list[Files]] = [
        [{"src/cli.js": COMMAND}],
        [{"src/cli.js": None}, {"report/bug.md": REPORT}],
        [{"src/cli.js": COMMAND}, {"src/wordcount.js": FIXED}],
    ]
    for commits in pushes:
        for number, files in enumerate(commits):
            order = dates if number == 0 else dates[::-1]
            await (forged(learner, files, *order) if dates else learner.clone.commit(files))
        await learner.send()
        told.append((await learner.verdict(), await learner.violations(), await learner.done()))
    return told
