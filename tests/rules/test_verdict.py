"""judge(): each clause of sections 4 and 5 of the decision document, as a small story of lab, progress and push."""

from __future__ import annotations

import pytest

from rules.model import (
    Absent,
    AllOf,
    Approval,
    Change,
    ChangeKind,
    Condition,
    Contains,
    Exists,
    Facts,
    Gain,
    Lab,
    Level,
    LevelOrAllow,
    Loss,
    Nothing,
    PathOutcome,
    Policy,
    StepState,
    StepStatus,
    Violation,
    ViolationCode,
    Workflow,
)
from rules.verdict import facts_digest
from tests.support.labs import (
    Files,
    chain,
    executable,
    gained,
    lab,
    link,
    lost,
    sha,
    snapshot,
    states,
    step,
    verdict_of,
    violating,
)

ABC = chain("a", "b", "c")
A: Files = {"a.txt": "work"}
B: Files = {"b.txt": "work"}
C: Files = {"c.txt": "work"}
TESTS = lab(step("a", "/a.txt"), protected=["tests/**"])


def outcomes(head: Files, a_lab: Lab, **push: object) -> dict[str, str]:
    """Outcome of each changed path of a push."""
    done = push.pop("done", ())
    verdict = verdict_of(a_lab, snapshot(head, **push), done=done)  # type: ignore[arg-type]
    return {path.path: path.outcome.value for path in verdict.paths}


# ------------------------------------------------------------------------------------------------- the straight line


def test_work_on_the_open_step_completes_it() -> None:
    """The first step's file in the first push: accepted, complete, and the next step opens."""
    verdict = verdict_of(ABC, snapshot(A))

    assert not verdict.blocked
    assert verdict.gains == (Gain("a", sha("head")),)
    assert verdict.done_after == {"a"}
    assert verdict.accepted_before is None
    assert verdict.accepted_after == sha("head")
    assert not verdict.complete
    assert verdict.steps == (
        StepStatus("a", StepState.DONE),
        StepStatus("b", StepState.OPEN),
        StepStatus("c", StepState.LOCKED, missing=("b",)),
    )


def test_a_push_without_changes_is_accepted_and_earns_nothing() -> None:
    """An untouched fork, or an empty commit, is neither right nor wrong."""
    verdict = verdict_of(ABC, snapshot(A, template=A))

    assert (verdict.blocked, verdict.gains, verdict.losses, verdict.paths) == (False, (), (), ())


def test_files_of_a_locked_step_block_and_name_what_is_missing() -> None:
    """Step c before a and b: the verdict names the file, its owner and all that comes first."""
    verdict = verdict_of(ABC, snapshot(C))

    assert verdict.blocked
    assert verdict.violations == (
        Violation(ViolationCode.OUT_OF_ORDER, "block", "c.txt", ChangeKind.ADDED, ("c",), missing=("a", "b")),
    )
    assert verdict.done_after == frozenset()
    assert verdict.accepted_after is None


def test_several_steps_in_one_push_complete_in_order() -> None:
    """Each step that is completed opens the next one for the same push."""
    verdict = verdict_of(ABC, snapshot({**A, **B, **C}))

    assert not verdict.blocked
    assert gained(verdict) == ["a", "b", "c"]
    assert verdict.complete


def test_the_order_of_the_list_does_not_decide_what_a_push_completes() -> None:
    """A prerequisite that stands later in the file is found as well."""
    a_lab = lab(step("late", "/l", needs=["early"]), step("early", "/e"))

    assert verdict_of(a_lab, snapshot({"l": "1", "e": "1"})).done_after == {"late", "early"}


def test_a_violating_path_does_not_void_the_honest_rest() -> None:
    """Step a counts although the push holds a file of step c: red, but not in vain."""
    verdict = verdict_of(ABC, snapshot({**A, **C}))

    assert verdict.blocked
    assert gained(verdict) == ["a"]
    assert violating(verdict) == {"c.txt": "OUT_OF_ORDER"}
    assert verdict.accepted_after is None


def test_parked_work_is_accepted_once_its_prerequisite_is_done() -> None:
    """The held file of step c counts with the head that completes b: nobody pushes it twice."""
    verdict = verdict_of(ABC, snapshot({**A, **B, **C}), done={"a"})

    assert not verdict.blocked
    assert gained(verdict) == ["b", "c"]


def test_any_open_owner_permits_a_shared_file_of_steps() -> None:
    """A file that an open and a locked step own may change, and is attributed to the open one."""
    two = step("two", "src/main.py", needs=["one"])
    a_lab = lab(step("one", "src/**", complete=Approval()), two)
    verdict = verdict_of(a_lab, snapshot({"src/main.py": "1"}))

    (path,) = verdict.paths
    assert (path.outcome, path.owners, path.step) == (PathOutcome.OPEN, ("one", "two"), "one")
    approved = verdict_of(a_lab, snapshot({"src/main.py": "1"}), facts=Facts(approved=frozenset({"one"})))
    assert gained(approved) == ["one", "two"]
    assert approved.paths[0].step == "two"  # both were at work, and this one names the file


def test_attribution_prefers_the_closest_pattern_then_the_earliest_step() -> None:
    """Of several open owners the one that names the file most closely is at work on it."""
    a_lab = lab(
        step("wide", "src/**"), step("near", "src/app/*.py"), step("exact", "src/app/x.py"), step("again", "src/**")
    )

    def attributed(path: str) -> str | None:
        return verdict_of(a_lab, snapshot({path: "1"})).paths[0].step

    assert attributed("src/app/x.py") == "exact"
    assert attributed("src/app/y.py") == "near"
    assert attributed("src/z.py") == "wide"


def test_optional_steps_are_not_needed_to_finish() -> None:
    """The lab is complete without its optional step, and not without a required one."""
    a_lab = lab(step("a", "/a.txt"), step("extra", "/extra", optional=True))

    assert verdict_of(a_lab, snapshot(A)).complete
    assert not verdict_of(a_lab, snapshot({"extra": "1"})).complete


def test_progress_under_an_old_id_counts() -> None:
    """A renamed step keeps its progress by its alias; the verdict speaks of today's ids."""
    a_lab = lab(step("new", "/n", aliases=["old"]), step("b", "/b.txt", needs=["new"]))
    verdict = verdict_of(a_lab, snapshot(B), done={"old", "gone"})

    assert verdict.done_before == {"new"}
    assert gained(verdict) == ["b"]
    assert verdict_of(a_lab, snapshot({}), facts=Facts(completed=frozenset({"old"}))).done_after == {"new"}


def test_a_step_with_nothing_to_do_completes_as_soon_as_it_is_open() -> None:
    """`none` is complete at the next judged head, not before its prerequisite."""
    a_lab = lab(step("a", "/a.txt"), step("read", needs=["a"], complete=Nothing()))

    assert gained(verdict_of(a_lab, snapshot({}))) == []
    assert gained(verdict_of(a_lab, snapshot(A))) == ["a", "read"]


def test_a_rename_names_its_other_end_and_both_ends_are_judged() -> None:
    """Moving a file from an open step's folder into a locked step's is a violation of the new path only."""
    verdict = verdict_of(ABC, snapshot({"b/x": "text"}, accepted={"a/x": "text"}))

    assert [(path.path, path.renamed_from, path.outcome.value) for path in verdict.paths] == [
        ("a/x", None, "template"),  # gone, as in the template
        ("b/x", "a/x", "locked"),
    ]


# ------------------------------------------------------------------------------------------ template, protected, shared


@pytest.mark.parametrize(
    ("head", "accepted", "outcome"),
    [
        ({"b.txt": "1"}, {"b.txt": "mine"}, "template"),
        ({"b.txt": "2"}, {"b.txt": "1"}, "template"),
        ({"b.txt": executable("1")}, {"b.txt": "1"}, "template"),
        ({}, {"b.txt": "1"}, "template"),
        ({"b.txt": link("1")}, {"b.txt": "1"}, "locked"),
        ({"b.txt": "3"}, {"b.txt": "1"}, "locked"),
    ],
    ids=["restored", "synced", "chmod", "deleted by the template", "another type", "own work"],
)
def test_template_work_never_violates(head: Files, accepted: Files, outcome: str) -> None:
    """Content (or absence) that the pinned or a later template commit has is fine, also in a locked step's file."""
    later: list[Files] = [{"b.txt": "2"}, {}]

    assert outcomes(head, ABC, accepted=accepted, template={"b.txt": "1"}, later=later) == {"b.txt": outcome}


def test_deleting_what_the_template_never_had_is_fine() -> None:
    """A stray file of a locked step may always be taken back."""
    assert outcomes({}, ABC, accepted=C) == {"c.txt": "template"}


def test_a_sync_with_the_template_completes_no_changed_step() -> None:
    """Later template content in the open step's file is not the learner's work."""
    verdict = verdict_of(ABC, snapshot({"a.txt": "2"}, template={"a.txt": "1"}, later=[{"a.txt": "2"}]))

    assert (verdict.blocked, verdict.gains) == (False, ())


def test_an_edit_of_a_protected_file_blocks() -> None:
    """Only the template changes protected files: editing, adding, deleting and chmod are violations."""
    template: Files = {"tests/a": "1", "tests/b": "1", "tests/c": "1", "keep": "1"}
    head: Files = {"tests/a": "2", "tests/b": executable("1"), "tests/new": "1", "keep": "1"}
    verdict = verdict_of(TESTS, snapshot(head, template=template))

    assert verdict.blocked
    assert [(each.path, each.change) for each in verdict.violations] == [
        ("tests/a", ChangeKind.MODIFIED),
        ("tests/b", ChangeKind.MODE),
        ("tests/c", ChangeKind.REMOVED),
        ("tests/new", ChangeKind.ADDED),
    ]
    assert set(violating(verdict).values()) == {"PROTECTED_PATH"}


def test_the_rules_themselves_are_protected() -> None:
    """Editing `.forgea/steps.json` in the fork is a violation."""
    assert violating(verdict_of(ABC, snapshot({".forgea/steps.json": "{}"}))) == {
        ".forgea/steps.json": "PROTECTED_PATH"
    }


def test_a_file_put_at_the_root_of_a_protected_folder_is_protected() -> None:
    """`tests/**` also protects a file or link named `tests`."""
    template: Files = {"tests/a": "1"}

    verdict = verdict_of(TESTS, snapshot({"tests": link("elsewhere")}, template=template))

    assert violating(verdict) == {"tests": "PROTECTED_PATH", "tests/a": "PROTECTED_PATH"}


def test_protected_edits_that_slipped_through_are_seen_again() -> None:
    """Protected files are compared with the template, not with ACCEPTED: an unchanged old edit is red, too."""
    template: Files = {"tests/a": "1"}
    verdict = verdict_of(TESTS, snapshot({"tests/a": "2", **A}, template=template, accepted={"tests/a": "2"}))

    assert verdict.blocked
    assert verdict.violations == (Violation(ViolationCode.PROTECTED_PATH, "block", "tests/a", None),)
    assert [path.path for path in verdict.paths] == ["a.txt"]
    assert gained(verdict) == ["a"]


@pytest.mark.parametrize(
    ("head", "expected", "number"),
    [
        ({"tests/a": "1", "tests/b": "1"}, [], 0),
        ({"tests/a": "2", "tests/b": "2"}, [], 1),
        ({"tests/a": "3"}, [], 2),
        ({"tests/a": "2", "tests/b": "1"}, ["tests/b"], 1),
        ({"tests/a": "3", "tests/b": "1"}, ["tests/b"], 2),
        ({"tests/a": "2", "tests/b": "mine"}, ["tests/b"], 1),
    ],
    ids=["pinned", "synced", "synced to the last", "old test restored", "deleted test restored", "edit after a sync"],
)
def test_protected_files_must_equal_one_template_commit_as_a_whole(
    head: Files, expected: list[str], number: int
) -> None:
    """Any one version is fine; a mixture is a violation and names what differs from the nearest version, and which."""
    later: list[Files] = [{"tests/a": "2", "tests/b": "2"}, {"tests/a": "3"}]
    push = snapshot(
        head,
        template={"tests/a": "1", "tests/b": "1"},
        later=later,
        accepted={"tests/a": head["tests/a"], "tests/b": "2"},
    )

    verdict = verdict_of(TESTS, push)

    assert sorted(violating(verdict)) == expected
    assert verdict.template_number == number


def test_a_protected_file_never_helps_a_step() -> None:
    """Not the edit of this push, and not one that slipped through: conditions see the template's file."""
    a_lab = lab(step("s", "/s", complete=Contains("tests/a", "pass")), protected=["tests/**"])
    template: Files = {"tests/a": "strict"}
    weak: Files = {"tests/a": "pass"}

    assert gained(verdict_of(a_lab, snapshot(weak, template=template))) == []
    assert gained(verdict_of(a_lab, snapshot({**weak, "s": "1"}, template=template, accepted=weak))) == []
    assert gained(verdict_of(a_lab, snapshot(weak, template=template, later=[weak]))) == ["s"]


def test_protected_paths_may_be_made_a_warning() -> None:
    """`policy.protected: warn` tells and does not block."""
    a_lab = lab(step("a", "/a.txt"), protected=["tests/**"], policy=Policy(protected="warn"))
    verdict = verdict_of(a_lab, snapshot({"tests/a": "1"}))

    assert not verdict.blocked
    assert [violation.level for violation in verdict.violations] == ["warn"]


def test_protected_goes_before_shared_and_owners() -> None:
    """A protected file that is also shared or a step's own is still protected."""
    a_lab = lab(step("a", "**"), protected=["tests/**"], shared=["tests/**"])

    assert outcomes({"tests/a": "1"}, a_lab) == {"tests/a": "protected"}


def test_shared_files_may_change_at_any_time_and_never_count() -> None:
    """README is everybody's: never blocked, and no step completes by it."""
    a_lab = lab(step("a", "/a.txt"), step("b", "**", needs=["a"]), shared=["README.md"])
    verdict = verdict_of(a_lab, snapshot({"README.md": "1"}), done={"a"})

    assert (verdict.blocked, verdict.gains) == (False, ())
    assert outcomes({"README.md": "1"}, a_lab) == {"README.md": "shared"}


# ----------------------------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize(("level", "blocked", "count"), [("block", True, 1), ("warn", False, 1), ("allow", False, 0)])
def test_unmapped_files_follow_their_policy(level: LevelOrAllow, blocked: bool, count: int) -> None:
    """A file that no step names is allowed, warned about or refused."""
    verdict = verdict_of(chain("a", policy=Policy(unmapped=level)), snapshot({"stray": "1"}))

    assert verdict.blocked is blocked
    assert violating(verdict) == dict.fromkeys(["stray"][:count], "UNMAPPED_PATH")
    assert verdict.paths[0].outcome is PathOutcome.UNMAPPED
    assert verdict.paths[0].step is None


@pytest.mark.parametrize(("level", "blocked", "count"), [("block", True, 1), ("warn", False, 1), ("allow", False, 0)])
def test_rework_of_finished_files_follows_its_policy(level: LevelOrAllow, blocked: bool, count: int) -> None:
    """A file that only completed steps own is allowed, warned about or refused."""
    a_lab = chain("a", "b", policy=Policy(rework=level))
    verdict = verdict_of(a_lab, snapshot({"a.txt": "again"}, accepted=A), done={"a"})

    assert verdict.blocked is blocked
    assert violating(verdict) == dict.fromkeys(["a.txt"][:count], "REWORK")
    assert (verdict.paths[0].outcome, verdict.paths[0].step) == (PathOutcome.REWORK, "a")


def test_a_file_of_a_done_and_a_locked_step_is_no_rework() -> None:
    """Not all of its owners are done: it may be changed, as the done step's."""
    a_lab = lab(step("a", "x"), step("b", "/b"), step("c", "x", needs=["b"]), policy=Policy(rework="block"))
    verdict = verdict_of(a_lab, snapshot({"x": "2"}, accepted={"x": "1"}), done={"a"})

    assert not verdict.blocked
    assert (verdict.paths[0].outcome, verdict.paths[0].step) == (PathOutcome.OPEN, "a")


def test_rework_needs_all_owners_done() -> None:
    """A file that an open step owns as well is that step's work."""
    a_lab = lab(step("a", "*.txt"), step("b", "b.txt", needs=["a"]), policy=Policy(rework="block"))
    verdict = verdict_of(a_lab, snapshot({**A, **B}, accepted=A), done={"a"})

    assert not verdict.blocked
    assert (verdict.paths[0].outcome, verdict.paths[0].step) == (PathOutcome.OPEN, "b")


def test_work_that_completed_a_step_at_a_blocked_head_is_no_rework() -> None:
    """The step was earned beside a violation and ACCEPTED did not move: its own file must not be red from then on."""
    a_lab = chain("a", "b", "c", policy=Policy(rework="block"))
    first = verdict_of(a_lab, snapshot({**A, **C}))
    assert (first.blocked, gained(first)) == (True, ["a"])

    resolved = verdict_of(a_lab, snapshot(A), done={"a"}, since_accepted={"a"})

    assert not resolved.blocked
    assert resolved.done_after == {"a"}
    later = verdict_of(a_lab, snapshot({"a.txt": "again"}, accepted=A), done={"a"})
    assert violating(later) == {"a.txt": "REWORK"}


def test_refused_rework_takes_nothing_away() -> None:
    """With `rework: block` a rewrite that spoils a finished file is red, and the step stays complete."""
    a_lab = lab(step("a", "/a.txt", complete=Contains("a.txt", "right")), policy=Policy(rework="block"))
    push = snapshot({"a.txt": "wrong"}, accepted={"a.txt": "right"}, rewrite=True)
    verdict = verdict_of(a_lab, push, done={"a"})

    assert (verdict.blocked, verdict.losses) == (True, ())


def test_work_on_a_step_that_this_push_reopened_is_no_rework() -> None:
    """The rewrite took step a's result away, so a is open: doing it again in another of its files is its work."""
    a_lab = lab(step("a", "/x", "/y"), policy=Policy(rework="block"))
    verdict = verdict_of(a_lab, snapshot({"y": "1"}, accepted={"x": "1"}, rewrite=True), done={"a"})

    assert (verdict.blocked, verdict.losses) == (False, ())
    assert verdict.done_after == {"a"}


@pytest.mark.parametrize(("level", "blocked"), [("block", True), ("warn", False)])
def test_files_of_locked_steps_may_be_made_a_warning(level: Level, blocked: bool) -> None:
    """A warned head is accepted; the locked step still waits for its turn, and then needs no push."""
    a_lab = chain("a", "b", policy=Policy(out_of_order=level))
    verdict = verdict_of(a_lab, snapshot(B))

    assert (verdict.blocked, verdict.gains) == (blocked, ())
    assert violating(verdict) == {"b.txt": "OUT_OF_ORDER"}
    later = verdict_of(a_lab, snapshot({**A, **B}, accepted={} if blocked else B))
    assert gained(later) == ["a", "b"]


def test_a_warned_path_counts_at_once_since_it_is_accepted_with_the_head() -> None:
    """Otherwise judging the same head again, with nothing left in the diff, would complete the step."""
    policy = Policy(unmapped="warn")
    a_lab = lab(step("s", "/s", complete=Exists(("stray",))), policy=policy)

    assert gained(verdict_of(a_lab, snapshot({"stray": "1"}))) == ["s"]


def test_a_step_that_opens_is_asked_with_its_own_parked_files() -> None:
    """What was held until its turn came counts against it as well: the parked file must not be there."""
    a_lab = lab(step("a", "/a.txt"), step("clean", "/debug.log", needs=["a"], complete=Absent(("debug.log",))))

    assert gained(verdict_of(a_lab, snapshot({**A, "debug.log": "1"}))) == ["a"]
    assert gained(verdict_of(a_lab, snapshot(A))) == ["a", "clean"]


@pytest.mark.parametrize("condition", [Exists(("other",)), Absent(("kept",)), Contains("kept", "new")])
def test_a_held_path_helps_no_other_step(condition: Condition) -> None:
    """Conditions see held paths as they were in ACCEPTED, whatever step they belong to."""
    a_lab = lab(
        step("a", "/a.txt", complete=condition), step("locked", "/other", "/kept", needs=["a"]), policy=Policy()
    )
    accepted: Files = {"kept": "old"}
    head: Files = {"other": "1", **({} if isinstance(condition, Absent) else {"kept": "new"})}
    verdict = verdict_of(a_lab, snapshot({**head, **A}, template={"kept": "base"}, accepted=accepted))

    if isinstance(condition, Absent):
        assert "kept" in violating(verdict)
    assert verdict.blocked
    assert gained(verdict) == []


def test_missing_names_the_owner_that_lacks_the_least() -> None:
    """A file of two locked steps: the learner needs only one of them open."""
    a_lab = lab(
        step("a", "/a"), step("b", "/b", needs=["a"]), step("c", "/x", needs=["b"]), step("d", "/x", needs=["a"])
    )
    (violation,) = verdict_of(a_lab, snapshot({"x": "1"})).violations

    assert (violation.owners, violation.missing) == (("c", "d"), ("a",))


# ------------------------------------------------------------------------------------------------ several commits


def test_each_commit_of_a_push_earns_what_it_completes() -> None:
    """The gain names the first commit at which the condition held."""
    push = snapshot({**A, **B, **C}, commits=[A, {**A, **B}])

    assert verdict_of(ABC, push).gains == (Gain("a", sha("c1")), Gain("b", sha("c2")), Gain("c", sha("head")))


def test_work_that_a_later_commit_replaced_still_counts() -> None:
    """First the bug is reproduced, then fixed in the same file: both in one push."""
    a_lab = lab(
        step("reproduce", "/app", complete=Contains("app", "bug")),
        step("fix", "/app", needs=["reproduce"], complete=Contains("app", "fixed")),
    )

    assert gained(verdict_of(a_lab, snapshot({"app": "fixed"}, commits=[{"app": "bug"}]))) == ["reproduce", "fix"]
    assert gained(verdict_of(a_lab, snapshot({"app": "fixed"}))) == []


def test_what_was_earned_at_a_blocked_head_is_earned_again_at_its_place() -> None:
    """Judging the same push again earns no more than the first time: step two was locked at the first commit."""
    a_lab = lab(
        step("one", "/x", complete=Exists(("x",))), step("two", "/x", "/y", needs=["one"], complete=Exists(("y",)))
    )
    push = snapshot({"x": "1", ".forgea/x": "1"}, commits=[{"y": "1"}])
    first = verdict_of(a_lab, push)
    assert (first.blocked, gained(first)) == (True, ["one"])

    assert verdict_of(a_lab, push, done={"one"}, since_accepted={"one"}).gains == ()
    assert gained(verdict_of(a_lab, push, done={"one"})) == ["two"]  # one was done before this push


def test_an_offence_within_the_push_that_head_no_longer_has_is_no_violation() -> None:
    """Path verdicts look at diff(ACCEPTED, HEAD) only."""
    verdict = verdict_of(ABC, snapshot(A, commits=[{**C, **A}]))

    assert (verdict.blocked, verdict.violations) == (False, ())


@pytest.mark.parametrize("at_head", [True, False])
def test_a_violating_path_helps_at_no_commit(at_head: bool) -> None:
    """Neither a path that HEAD has held nor one that only an earlier commit had."""
    a_lab = lab(step("a", "/a.txt", complete=Exists(("stray",))), policy=Policy(unmapped="block"))
    stray: Files = {"stray": "1"}
    verdict = verdict_of(a_lab, snapshot({**A, **(stray if at_head else {})}, commits=[stray]))

    assert verdict.blocked is at_head
    assert verdict.gains == ()


# --------------------------------------------------------------------------------------------- rewrites, taken away


def test_an_amend_that_keeps_the_work_costs_nothing() -> None:
    """Another commit with the same tree: no loss, no violation."""
    verdict = verdict_of(ABC, snapshot({**A, **B}, accepted={**A, **B}, rewrite=True), done={"a", "b"})

    assert verdict.rewrite
    assert (verdict.blocked, verdict.losses, verdict.gains) == (False, (), ())


def test_a_rewrite_that_drops_a_result_reopens_its_step_and_what_needs_it() -> None:
    """Step a's file is gone: a is reopened, and b, which needs it, with the reason."""
    verdict = verdict_of(ABC, snapshot(B, accepted={**A, **B}, rewrite=True), done={"a", "b"})

    assert verdict.losses == (Loss("a", "TAKEN_AWAY"), Loss("b", "NEEDS", ("a",)))
    assert verdict.done_after == frozenset()
    assert not verdict.blocked
    assert states(verdict) == {"a": "open", "b": "locked", "c": "locked"}


def test_an_ordinary_push_that_drops_a_result_reopens_nothing() -> None:
    """Completed stays completed: a later step may replace what an earlier one asked for."""
    verdict = verdict_of(ABC, snapshot({}, accepted=A), done={"a"})

    assert verdict.losses == ()
    assert verdict.done_after == {"a"}


def test_a_step_whose_result_was_replaced_before_is_not_taken_away_by_a_rewrite() -> None:
    """Its condition did not hold at ACCEPTED any more: this rewrite took nothing from it."""
    a_lab = lab(
        step("reproduce", "/app", complete=Contains("app", "bug")),
        step("fix", "/app", needs=["reproduce"], complete=Contains("app", "fixed")),
    )
    push = snapshot({"app": "fixed better"}, accepted={"app": "fixed"}, rewrite=True)

    assert verdict_of(a_lab, push, done={"reproduce", "fix"}).losses == ()


@pytest.mark.parametrize(
    ("reopen", "rewrite", "expected"),
    [
        ("rewrite", True, {"a": "TAKEN_AWAY"}),
        ("rewrite", False, {}),
        ("always", True, {"a": "TAKEN_AWAY"}),
        ("always", False, {"a": "TAKEN_AWAY"}),
        ("never", True, {}),
        ("never", False, {}),
    ],
)
def test_policy_reopen_says_which_pushes_reopen(reopen: str, rewrite: bool, expected: dict[str, str]) -> None:
    """rewrite: only force-pushes; always: any push; never: none."""
    a_lab = chain("a", policy=Policy(reopen=reopen))  # type: ignore[arg-type]

    assert lost(verdict_of(a_lab, snapshot({}, accepted=A, rewrite=rewrite), done={"a"})) == expected


def test_without_an_accepted_head_there_is_nothing_to_rewrite() -> None:
    """Before the first accepted push a force-push replaces nothing."""
    verdict = verdict_of(ABC, snapshot({}, rewrite=True), done={"a"})

    assert not verdict.rewrite
    assert verdict.losses == ()


def test_a_rewritten_history_that_holds_the_work_at_a_commit_keeps_the_step() -> None:
    """Taken away at HEAD, earned again on the way: as if the commits had been pushed one by one."""
    verdict = verdict_of(ABC, snapshot({}, accepted=A, rewrite=True, commits=[A]), done={"a"})

    assert (verdict.losses, verdict.gains) == ((), ())
    assert verdict.done_after == {"a"}


def test_a_step_that_comes_back_brings_back_what_needs_it() -> None:
    """b's own result was not taken away: it does not have to hold again when a does."""
    a_lab = lab(step("a", "/a.txt"), step("b", "/b.txt", needs=["a"], complete=Contains("b.txt", "first")))
    push = snapshot(
        {"b.txt": "second"}, accepted={**A, "b.txt": "second"}, rewrite=True, commits=[{**A, "b.txt": "second"}]
    )

    assert verdict_of(a_lab, push, done={"a", "b"}).done_after == {"a", "b"}


def test_a_violating_path_takes_nothing_away() -> None:
    """A rewrite that adds a file which may not be there is red, and no step is lost by it."""
    a_lab = lab(step("clean", "/c", complete=Absent(("stray",))), policy=Policy(unmapped="block"))
    push = snapshot({"stray": "1"}, accepted={"c": "1"}, rewrite=True)
    verdict = verdict_of(a_lab, push, done={"clean"})

    assert (verdict.blocked, verdict.losses) == (True, ())


def test_losses_are_facts_also_of_a_blocked_head() -> None:
    """The head is red for one thing and took away another: both are said."""
    verdict = verdict_of(ABC, snapshot(C, accepted=A, rewrite=True), done={"a"})

    assert verdict.blocked
    assert lost(verdict) == {"a": "TAKEN_AWAY"}
    assert verdict.accepted_after == sha("accepted")


def test_a_new_head_without_a_workflow_run_loses_nothing() -> None:
    """The run counted for the head it ran on; an amended head has none yet, and its tree has all."""
    a_lab = lab(step("a", "/a.txt", complete=AllOf((Exists(("a.txt",)), Workflow("w")))))

    assert verdict_of(a_lab, snapshot(A, accepted=A, rewrite=True), done={"a"}).losses == ()
    assert lost(verdict_of(a_lab, snapshot({}, accepted=A, rewrite=True), done={"a"})) == {"a": "TAKEN_AWAY"}


# ------------------------------------------------------------------------------------------------------------- staff


def test_a_step_that_staff_completed_is_done_whatever_the_tree_has() -> None:
    """It is a gain of the judged head, opens what needs it, and no rewrite takes it away."""
    facts = Facts(completed=frozenset({"b"}))
    verdict = verdict_of(ABC, snapshot(C, commits=[{}]), facts=facts)

    assert verdict.gains == (Gain("b", sha("head")), Gain("c", sha("head")))
    rewritten = verdict_of(ABC, snapshot({}, accepted=B, rewrite=True), done={"b"}, facts=facts)
    assert rewritten.losses == ()


def test_a_step_that_staff_reopened_stays_open_while_they_say_so() -> None:
    """It is lost with the reason STAFF, and what needs it too; its condition does not complete it again."""
    facts = Facts(reopened=frozenset({"a"}))
    verdict = verdict_of(ABC, snapshot({**A, **B}, accepted={**A, **B}), done={"a", "b"}, facts=facts)

    assert verdict.losses == (Loss("a", "STAFF"), Loss("b", "NEEDS", ("a",)))
    assert verdict.steps[0] == StepStatus("a", StepState.WAITING, waiting_for=("staff, who reopened it",))
    again = verdict_of(ABC, snapshot({**A, **B}, accepted={**A, **B}), done=verdict.done_after, facts=facts)
    assert (again.losses, again.gains) == ((), ())
    over = verdict_of(ABC, snapshot({**A, **B}, accepted={**A, **B}), done=verdict.done_after)
    assert gained(over) == ["a", "b"]


def test_completed_by_staff_goes_before_reopened_by_staff() -> None:
    """Two contradicting overrides: the one in the learner's favour counts."""
    both = Facts(reopened=frozenset({"a"}), completed=frozenset({"a"}))

    assert verdict_of(ABC, snapshot({}), facts=both).done_after == {"a"}


def test_an_unlocked_step_is_open_without_its_prerequisites() -> None:
    """Its files are fine and it can be completed; the steps before it stay as they are."""
    verdict = verdict_of(ABC, snapshot(C), facts=Facts(unlocked=frozenset({"c"})))

    assert not verdict.blocked
    assert verdict.done_after == {"c"}
    assert states(verdict) == {"a": "open", "b": "locked", "c": "done"}


def test_an_unlocked_step_is_not_lost_with_its_prerequisite() -> None:
    """It needs nothing while it is unlocked."""
    push = snapshot(B, accepted={**A, **B}, rewrite=True)

    assert lost(verdict_of(ABC, push, done={"a", "b"}, facts=Facts(unlocked=frozenset({"b"})))) == {"a": "TAKEN_AWAY"}


def test_a_head_that_staff_accepted_is_not_blocked_whatever_it_contains() -> None:
    """Its violations become warnings and its files count; the next head is judged by the rules again."""
    facts = Facts(accepted_heads=frozenset({sha("head")}))
    head: Files = {".forgea/steps.json": "{}", **C}
    verdict = verdict_of(ABC, snapshot(head), facts=facts)

    assert not verdict.blocked
    assert {violation.level for violation in verdict.violations} == {"warn"}
    assert verdict.accepted_after == sha("head")
    assert verdict_of(ABC, snapshot(head, head_sha="next"), facts=facts).blocked


def test_an_approval_completes_an_open_step_and_waits_for_a_locked_one() -> None:
    """Staff's approval is a condition, not a way around the order."""
    a_lab = lab(step("a", "/a.txt"), step("review", "/r", needs=["a"], complete=Approval()))
    facts = Facts(approved=frozenset({"review"}))

    assert gained(verdict_of(a_lab, snapshot({}), facts=facts)) == []
    assert gained(verdict_of(a_lab, snapshot(A), facts=facts)) == ["a", "review"]
    assert verdict_of(a_lab, snapshot(A)).steps[1] == StepStatus(
        "review", StepState.WAITING, waiting_for=("approval by staff",)
    )


def test_a_workflow_run_completes_the_step_at_its_head() -> None:
    """The run wakes the same head, which is judged again and completes."""
    a_lab = lab(
        step("a", "/a.txt", complete=AllOf((Exists(("a.txt",)), Workflow("w")))), step("b", "/b.txt", needs=["a"])
    )
    waiting = verdict_of(a_lab, snapshot({**A, **B}))
    assert states(waiting)["a"] == "waiting"
    assert waiting.violations[0].missing == ("a",)

    facts = Facts(workflows=frozenset({("w", sha("head"))}))
    assert gained(verdict_of(a_lab, snapshot({**A, **B}), facts=facts)) == ["a", "b"]


def test_equal_facts_have_equal_digests() -> None:
    """The digest tells different facts apart, and not the order in which they came."""
    one = Facts(approved=frozenset({"a", "b"}), workflows=frozenset({("w", "1"), ("w", "2")}))
    same = Facts(workflows=frozenset({("w", "2"), ("w", "1")}), approved=frozenset({"b", "a"}))
    others = [Facts(), Facts(completed=one.approved, workflows=one.workflows), Facts(checks=frozenset({("c", 1, "h")}))]

    assert facts_digest(one) == facts_digest(same)
    assert len({facts_digest(facts) for facts in (one, *others)}) == 4


# ----------------------------------------------------------------------------------------------------- near misses


def test_a_near_miss_is_suggested_also_where_nothing_is_violated() -> None:
    """`profile.md` where the step wants `PROFILE.md`: accepted, not complete, and the learner is told why."""
    a_lab = lab(step("a", "PROFILE.md"), policy=Policy(unmapped="allow"))
    verdict = verdict_of(a_lab, snapshot({"profile.md": "1"}))

    assert (verdict.blocked, verdict.gains) == (False, ())
    assert verdict.paths[0].suggestion == "PROFILE.md"


def test_a_violation_carries_its_near_miss() -> None:
    """The refused file and the suggestion stand together."""
    a_lab = lab(step("a", "src/server.py"), policy=Policy(unmapped="block"))
    (violation,) = verdict_of(a_lab, snapshot({"src/sevrer.py": "1"})).violations

    assert violation.suggestion == "src/server.py"


def test_an_open_steps_own_file_may_be_a_near_miss_until_the_step_is_done() -> None:
    """The step's pattern takes any file, its condition wants one name."""
    a_lab = lab(step("a", "*.md", complete=Exists(("ANSWER.md",))))

    assert verdict_of(a_lab, snapshot({"answer.md": "1"})).paths[0].suggestion == "ANSWER.md"
    done = verdict_of(a_lab, snapshot({"answer.md": "1", "ANSWER.md": "1"}))
    assert [path.suggestion for path in done.paths] == ["", ""]


def test_a_removed_path_is_no_near_miss() -> None:
    """Only what is there can have been meant for something else."""
    a_lab = lab(step("a", "PROFILE.md"))
    verdict = verdict_of(a_lab, snapshot({}, template={"profile.md": "1"}))

    assert [(path.change, path.suggestion) for path in verdict.paths] == [(ChangeKind.REMOVED, "")]
    assert Change("profile.md", ChangeKind.REMOVED).renamed_to is None
