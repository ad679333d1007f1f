"""Attributes that are computed when they are first asked for, without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Lazy(Generic[V]):
    """Decorator of a method without arguments: an attribute that is computed once for each object.

    As functools.cached_property, but that holds one lock for all objects while it computes (until Python 3.12, see
    What's New there): a long judgement in a thread would stop all others, those on the event loop too. Of two threads
    that ask one object at the same time both may compute; one's value stays.
    """

    def __init__(self, function: Callable[[Any], V]) -> None:
        self._function = function
        self._name = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> V:
        """Called once: from then on the object's own attribute of that name is found first."""
        value: V = self._function(instance)
        instance.__dict__[self._name] = value
        return value
