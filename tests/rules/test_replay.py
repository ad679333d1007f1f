"""The fold that carries a session from push to push, without GitHub and database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rules.model import Approval, CommitTree, Contains, Facts, Lab, Policy, Progress, SessionStatus, Verdict
from rules.replay import MAX_COMMITS, Pushed, Setting, State, looked_at, play
from rules.session import IllegalTransition
from tests.support.labs import Files, blobs, chain, gained, lab, lost, sha, step, tree, violating

CONTENTS = blobs({"a.txt": "fixed"}, {"a.txt": "wrong"}, {"a.txt": "bad"})


def contents(shas: frozenset[str]) -> dict[str, bytes]:
    """The contents of blobs by sha, from those that the tests write."""
    return {each: CONTENTS[each] for each in shas}


def commit(name: str, files: Files) -> CommitTree:
    """A commit of these files."""
    return CommitTree(sha(name), tree(files))


def played(
    a_lab: Lab, *pushes: Files, template: Files | None = None, state: State | None = None, facts: Facts | None = None
) -> tuple[list[Verdict], State]:
    """Pushes of one commit each, called h1, h2 and so on: the verdicts, and the session after them."""
    state = state or State()
    setting = Setting(a_lab, tree(template or {}))
    verdicts: list[Verdict] = []
    for number, files in enumerate(pushes, start=1):
        push = Pushed(commit(f"h{number}", files))
        verdict, state = play(setting, state, push, facts or Facts(), contents)
        verdicts.append(verdict)
    return verdicts, state


def test_an_accepted_push_moves_the_accepted_head_on() -> None:
    """After an accepted push its head is what the next one is compared with, and its steps are done."""
    (first, second), state = played(chain("a", "b", "c"), {"a.txt": "1"}, {"a.txt": "1", "b.txt": "1"})

    assert (gained(first), gained(second)) == (["a"], ["b"])
    assert second.accepted_before == sha("h1")
    assert [path.path for path in second.paths] == ["b.txt"]
    assert state.accepted == commit("h2", {"a.txt": "1", "b.txt": "1"})
    assert state.progress == Progress(frozenset({"a", "b"}))


def test_a_blocked_push_leaves_the_accepted_head_and_keeps_what_it_earned_in_mind() -> None:
    """What a blocked head earned is done, and known to be still in the diff; its violation stays in sight."""
    early = {"a.txt": "1", "c.txt": "1"}
    (first, second), state = played(chain("a", "b", "c"), early, early | {"a/2": "2"})

    assert violating(first) == violating(second) == {"c.txt": "OUT_OF_ORDER"}
    assert (gained(first), gained(second)) == (["a"], [])
    assert state.accepted is None
    assert state.progress == Progress(frozenset({"a"}), frozenset({"a"}))
    assert state.blocked_heads == {sha("h1"), sha("h2")}


def test_work_that_was_parked_is_accepted_once_its_turn_has_come() -> None:
    """The push that completes the missing step accepts the held file, and nothing of the blocked heads is left."""
    (_, second), state = played(chain("a", "b"), {"b.txt": "1"}, {"b.txt": "1", "a.txt": "1"})

    assert gained(second) == ["a", "b"]
    assert state.blocked_heads == frozenset()
    assert state.progress.since_accepted == frozenset()
    assert state.status is SessionStatus.VERIFIED_PASS


def test_a_step_that_is_lost_at_a_blocked_head_is_no_longer_kept_in_mind() -> None:
    """What a blocked head earned and a later one took away is neither done nor still in the diff."""
    a_lab = lab(step("a", "/a.txt"), step("b", "/b.txt", needs=["a"]), step("c", "/c.txt"), protected=["t/**"])
    ((first,), state) = played(a_lab, {"a.txt": "fixed", "t/1": "x"})
    assert state.progress == Progress(frozenset({"a"}), frozenset({"a"}))

    ((second,), after) = played(a_lab, {"c.txt": "1", "t/1": "x"}, state=state, facts=Facts(reopened=frozenset({"a"})))

    assert (gained(first), lost(second)) == (["a"], {"a": "STAFF"})
    assert after.progress == Progress(frozenset({"c"}), frozenset({"c"}))


def test_blocked_heads_make_a_session_stuck_and_an_accepted_one_frees_it() -> None:
    """Three distinct blocked heads in a row are STUCK, one head twice counts once, and an accepted push ends it."""
    pushes = [{"b.txt": str(number)} for number in range(3)]
    verdicts, state = played(chain("a", "b", "c"), *pushes)
    assert [verdict.blocked for verdict in verdicts] == [True, True, True]
    assert state.status is SessionStatus.STUCK

    setting = Setting(chain("a", "b", "c"), {})
    twice = State()
    for _ in range(3):
        _, twice = play(setting, twice, Pushed(commit("same", {"b.txt": "1"})), Facts(), contents)
    assert (twice.status, len(twice.blocked_heads)) == (SessionStatus.IN_PROGRESS, 1)

    _, freed = played(chain("a", "b", "c"), {"a.txt": "1"}, state=state)
    assert freed.status is SessionStatus.IN_PROGRESS


def test_a_session_is_stuck_after_as_many_heads_as_the_operator_says() -> None:
    """STUCK_AFTER decides after how many blocked heads a session is stuck."""
    setting = Setting(chain("a", "b"), {}, stuck_after=1)

    _, state = play(setting, State(), Pushed(commit("h", {"b.txt": "1"})), Facts(), contents)

    assert state.status is SessionStatus.STUCK


def test_a_complete_lab_takes_no_push() -> None:
    """Pushes to a session that is complete are the caller's mistake: such a session is closed."""
    _, state = played(chain("a"), {"a.txt": "1"})

    with pytest.raises(IllegalTransition):
        played(chain("a"), {"a.txt": "2"}, state=state)


def test_a_rewrite_reopens_what_it_took_away() -> None:
    """A push that leaves the accepted head out of the history reopens the step whose result is gone; others do not."""
    a_lab = lab(step("a", "/a.txt", complete=Contains("a.txt", "fixed")), step("b", "/b.txt", needs=["a"]))
    _, state = played(a_lab, {"a.txt": "fixed"}, template={"a.txt": "bad"})
    setting = Setting(a_lab, tree({"a.txt": "bad"}))
    head = commit("h2", {"a.txt": "wrong"})

    forced, after = play(setting, state, Pushed(head, rewrite=True), Facts(), contents)
    plain, kept = play(setting, state, Pushed(head), Facts(), contents)

    assert (lost(forced), lost(plain)) == ({"a": "TAKEN_AWAY"}, {})
    assert (set(after.progress.done), set(kept.progress.done)) == (set(), {"a"})


def test_steps_are_earned_at_the_commits_of_a_push() -> None:
    """A step whose work a later commit of the push replaced is earned at its own commit."""
    a_lab = lab(step("a", "/a.txt", complete=Contains("a.txt", "fixed")), step("b", "/b.txt", needs=["a"]))
    push = Pushed(commit("h", {"a.txt": "wrong"}), (commit("c", {"a.txt": "fixed"}),))

    verdict, _ = play(Setting(a_lab, {}), State(), push, Facts(), contents)

    assert [(gain.step_id, gain.commit_sha) for gain in verdict.gains] == [("a", sha("c"))]


def test_facts_and_later_templates_are_looked_at() -> None:
    """An approval completes a step, and a sync with a later commit of the template is nobody's violation."""
    a_lab = lab(step("a", "/a.txt", complete=Approval()), step("b", "/b.txt"), protected=["t/**"], policy=Policy())
    synced = {"t/1": "new"}
    setting = Setting(a_lab, tree({"t/1": "old"}), later_templates=(tree(synced),))

    verdict, _ = play(setting, State(), Pushed(commit("h", synced)), Facts(approved=frozenset({"a"})), contents)

    assert (gained(verdict), verdict.violations, verdict.template_number) == (["a"], (), 1)


@pytest.mark.parametrize(("between", "looked"), [(0, 0), (MAX_COMMITS - 1, MAX_COMMITS - 1), (MAX_COMMITS, 0)])
def test_the_commits_of_a_long_push_are_not_looked_at(between: int, looked: int) -> None:
    """With its head a push may have 20 commits that are looked at one by one; of a longer one only the head is."""
    commits: Sequence[CommitTree] = [commit(str(number), {}) for number in range(between)]

    assert len(looked_at(commits)) == looked
