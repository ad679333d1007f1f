"""Learners' pushes, and what sessions, ledger and reports must be after them whatever the order of arrival."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from storage.inbox import NewDelivery
from tests.support.course import Course, Files, Learner, work_of
from tests.support.oracle import Expected, Objects


@dataclass
class History:
    """A learner's pushes in the order of events; `heads[i]` is what push i left the branch at."""

    learner: Learner
    pushes: list[NewDelivery] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def add(self, before: str, after: str, *, forced: bool = False) -> None:
        """One more push of one commit."""
        self.pushes.append(self.learner.push(before, after, forced=forced))
        self.heads.append(after)


def story(kind: int, number: int, pushes: int) -> list[Files]:
    """Commits of a learner who works in order, out of order, on protected files, or on all of these."""
    notes: list[Files] = [{f"notes/{turn}.md": f"{number} {turn}\n"} for turn in range(pushes)]
    steps = work_of(number)
    early: Files = {"src/frequent.js": "export const mostFrequent = (text) => text;\n"}
    cheat: Files = {"tests/count.js": f"// nothing is tested any more {number}\n"}
    by_kind: list[dict[int, Files]] = [  # in 40ths of all pushes
        {5: steps[0], 11: steps[1], 29: steps[2]},
        {2: steps[2], 13: steps[1], 22: early, 31: steps[0]},  # the third step before the second
        {4: steps[1], 9: early, 33: cheat},  # the end is blocked
        {1: steps[0], 7: cheat, 26: steps[1]},  # most of it is blocked
    ]
    told = {turn * pushes // 40: files for turn, files in by_kind[kind].items()}
    return [told.get(turn, note) for turn, note in enumerate(notes)]


async def history(learner: Learner, number: int, pushes: int) -> History:
    """Pushes of one commit each; every fifth learner throws half of them away with a forced push."""
    told = History(learner)
    commits = story(number % 4, number, pushes)
    line = await learner.commit(*commits)
    keep = pushes // 2 if number % 5 == 0 else pushes
    for before, after in zip([learner.start, *line], line[:keep], strict=False):
        told.add(before, after)
    if keep < pushes:
        await learner.reset(line[keep // 2])
        other = await learner.commit(*story((number + 1) % 4, number + 100, pushes)[keep:])
        told.add(line[keep - 1], other[0], forced=True)
        for before, after in itertools.pairwise(other):
            told.add(before, after)
    assert len(told.pushes) == pushes
    return told


def move_branch(told: History, count: int) -> None:
    """Git's side of the first `count` pushes: the branch is where the last of them left it."""
    path = told.learner.repository.path / "refs" / "heads" / "main"
    fresh = path.with_name("main.new")
    fresh.write_text(told.heads[count - 1] + "\n")
    fresh.replace(path)


async def compare(course: Course, told: History) -> list[str]:
    """How a session, its ledger and its head's reports differ from what git implies."""
    learner = told.learner
    expected = Expected(course.version.lab, course.version.commit_sha, await Objects.of(learner.repository.path))
    attempts = await course.fetch(
        "SELECT delivery_id, verdict, after_sha, steps_after FROM push_attempt WHERE session_id = $1 "
        "ORDER BY attempt_id",
        learner.session_id,
    )
    found: list[tuple[str, object, object]] = []
    for attempt in attempts:
        if attempt["verdict"] == "superseded":
            continue
        verdict = expected.judge_head(attempt["after_sha"])
        word = "blocked" if verdict.blocked else "accepted"
        found.append(("verdict", (attempt["verdict"], attempt["steps_after"]), (word, sorted(verdict.done_after))))
    (session,) = await course.fetch(
        "SELECT accepted_sha, head_sha, branch_head_seen, status, ARRAY(SELECT step_id FROM step_progress AS p "
        "WHERE p.session_id = s.session_id AND state = 'completed' ORDER BY step_id) AS done "
        "FROM lab_session AS s WHERE session_id = $1",
        learner.session_id,
    )
    last = told.heads[-1]
    runs = course.sandbox.check_runs(learner.repository.full_name, last)
    word = "failure" if last in expected.state.blocked_heads else "success"
    found += [
        ("one attempt for each delivery", sorted(str(row["delivery_id"]) for row in attempts),
         sorted(str(push.guid) for push in told.pushes)),
        ("head", (session["head_sha"], session["branch_head_seen"], expected.head), (last, last, last)),
        ("accepted head", session["accepted_sha"], expected.accepted),
        ("status", session["status"], expected.state.status.value),
        ("done", session["done"], sorted(expected.state.progress.done)),
        ("last report", max(runs, key=lambda run: int(run["id"]))["conclusion"], word),
    ]  # fmt: skip
    return [f"{learner.lane_id} {what}: {is_} instead of {ought}" for what, is_, ought in found if is_ != ought]
