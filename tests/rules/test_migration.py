"""What moving a session to another version of its lab would do, from small labs and trees."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from rules.migration import Effects, Move, Rename, plan, renames
from rules.model import Facts, Lab, Policy, Progress
from tests.support.labs import Files, chain, lab, snapshot, step

OLD = chain("a", "b", "c")
TEMPLATE: Files = {"a.txt": "template", "c.txt": "template"}


def effects(
    old: Lab, new: Lab, done: Iterable[str], head: Files, *, accepted: Files | None = None, facts: Facts | None = None
) -> Effects:
    """The plan for a session whose accepted head is `accepted` (else `head`) and whose branch stands at `head`."""
    base = head if accepted is None else accepted
    move = Move(old, new, Progress(frozenset(done)), facts or Facts())
    return plan(move, snapshot(head, template=TEMPLATE, accepted=base))


def test_equal_rules_change_nothing() -> None:
    """The same rules, in whatever version, leave a session unchanged."""
    found = effects(OLD, OLD, ["a"], {"a.txt": "done"})
    assert found.words == ("unchanged",)
    assert (found.done, found.steps) == (1, 3)


def test_an_alias_keeps_a_completed_step() -> None:
    """A step with a new id that names the old one stays complete; it is told which, and nothing reopens."""
    new = lab(step("one", "/a.txt", aliases=["zero", "a"]), step("b", "/b.txt", needs=["one"]))
    found = effects(OLD, new, ["a"], {"a.txt": "done"})
    assert found.renamed == (Rename("a", "one"),)
    assert (found.words, found.done) == (("renamed",), 1)


def test_an_alias_of_a_step_that_is_not_done_is_not_told() -> None:
    """Only progress can be renamed: a step without any is simply another one."""
    new = lab(step("one", "/a.txt", aliases=["a"]), step("b", "/b.txt", needs=["one"]))
    assert effects(OLD, new, [], {}).words == ("unchanged",)


def test_a_new_step_reopens_nothing() -> None:
    """A step put before completed ones is open; what is complete stays so, although it needs the new one."""
    new = lab(step("new", "/new.txt"), step("a", "/a.txt", needs=["new"]), step("b", "/b.txt", needs=["a"]))
    found = effects(OLD, new, ["a", "b"], {"a.txt": "done", "b.txt": "done"})
    assert found.words == ("unchanged",)
    assert (found.done, found.steps) == (2, 3)


def test_a_removed_step_is_lost() -> None:
    """Progress on a step that the new rules have under none of its names is lost, and told."""
    found = effects(OLD, chain("a"), ["a", "b"], {"a.txt": "done", "b.txt": "done"})
    assert found.dropped == ("b",)
    assert "reopen" in found.words


def test_an_alias_that_went_too_early_loses_the_step() -> None:
    """Progress that is stored under an old id needs the alias for as long as such sessions live."""
    once = lab(step("one", "/a.txt", aliases=["a"]))
    found = effects(once, lab(step("one", "/a.txt")), ["a"], {"a.txt": "done"})
    assert found.dropped == ("one",)


def test_easier_rules_complete_steps_and_the_lab() -> None:
    """What the head has already counts as soon as the new rules ask for no more than that."""
    found = effects(chain("a", "b"), lab(step("a", "/a.txt"), step("b", "/a.txt")), ["a"], {"a.txt": "done"})
    assert found.completes == ("b",)
    assert found.finishes
    assert found.words == ("complete", "finish")


def test_a_finished_lab_is_not_told_to_finish() -> None:
    """Who has all steps of the old rules done, and of the new ones, is unchanged."""
    assert effects(chain("a"), chain("a"), ["a"], {"a.txt": "done"}).words == ("unchanged",)


def test_stricter_protection_blocks() -> None:
    """A path that the new rules protect blocks a head that had changed it rightly; it is named."""
    new = lab(*OLD.steps, protected=["/b.txt"])
    found = effects(OLD, new, ["a"], {"a.txt": "done", "b.txt": "work"})
    assert found.blocks == ("b.txt",)
    assert found.words[0] == "block"


def test_rules_that_open_a_step_unblock() -> None:
    """A head that is blocked for work on a later step is free once nothing needs to come before."""
    new = lab(*(step(name, f"/{name}.txt") for name in "abc"))
    found = effects(OLD, new, [], {"b.txt": "early"}, accepted={})
    assert found.unblocks
    assert not found.blocks
    assert found.completes == ("b",)
    assert "unblock" in found.words


def test_a_head_that_stays_blocked_is_no_news() -> None:
    """Only what the move changes is told."""
    assert effects(OLD, OLD, [], {"b.txt": "early"}, accepted={}).words == ("unchanged",)


def test_rules_that_reopen_are_told() -> None:
    """With `reopen: always` a step whose result the unjudged head takes away is told as reopened."""
    new = lab(step("a", "/a.txt"), policy=Policy(reopen="always"))
    found = effects(lab(step("a", "/a.txt")), new, ["a"], dict(TEMPLATE), accepted={"a.txt": "done"})
    assert found.reopens == ("a",)
    assert "reopen" in found.words


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (lab(step("a")), lab(step("b", aliases=["a"])), {"b": "a"}),
        (lab(step("b", aliases=["a"])), lab(step("c", aliases=["a", "b"])), {"c": "b"}),
        (lab(step("b", aliases=["a"])), lab(step("c", aliases=["a"])), {"c": "b"}),
        (lab(step("a")), lab(step("a"), step("b")), {}),
        (lab(step("a")), lab(step("b", aliases=["x"])), {}),
    ],
)
def test_the_way_back_knows_the_former_names(old: Lab, new: Lab, expected: dict[str, str]) -> None:
    """Ids that were given later are led back to those that the older rules know; the others have no way back."""
    assert renames(old, new) == expected
