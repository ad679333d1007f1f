"""rules.lazy: computed once for each object, and nobody waits for another object's value."""

from __future__ import annotations

import threading

from rules.lazy import Lazy


class Slow:
    """Something whose value takes as long as the test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.computed = 0
        self.begun, self.may_end = threading.Event(), threading.Event()

    @Lazy
    def value(self) -> str:
        """The name, once it may end."""
        self.computed += 1
        self.begun.set()
        assert self.may_end.wait(30)
        return self.name


def test_a_value_is_computed_once_for_each_object() -> None:
    """Each object has its own value, and asks for it once."""
    objects = [Slow("a"), Slow("b")]
    for each in objects:
        each.may_end.set()

    assert [each.value for each in (*objects, *objects)] == ["a", "b", "a", "b"]
    assert [each.computed for each in objects] == [1, 1]


def test_one_objects_computing_holds_up_no_other() -> None:
    """While a thread computes the value of one object, that of another is there at once."""
    slow, quick = Slow("slow"), Slow("quick")
    quick.may_end.set()
    computing = threading.Thread(target=lambda: slow.value)
    answered = threading.Event()

    def ask() -> None:
        assert quick.value == "quick"
        answered.set()

    other = threading.Thread(target=ask)
    computing.start()
    assert slow.begun.wait(30)
    other.start()
    try:
        assert answered.wait(30), "the other object waits for this one"
    finally:
        slow.may_end.set()
        computing.join(30)
        other.join(30)
    assert (slow.value, slow.computed) == ("slow", 1)
