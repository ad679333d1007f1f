"""What one request sees of this GitHub, where a scripted fault makes that differ from what is there.

A request that faults look at runs under a `View`: a replica that lags behind, smaller limits, tokens of another length.
Everything outside of such a request (the control API, deliveries, pages) sees what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

ZERO = "0" * 40  # git's name for no object


@dataclass(frozen=True, slots=True)
class OldRefs:
    """A repository as it was: refs with the sha that they had (None: not there), and the objects that came later."""

    path: Path
    refs: Mapping[str, str | None]
    objects: frozenset[str]


@dataclass(slots=True)
class View:
    """What the request under way sees. None: as it is. `used`: the names of what made a difference."""

    old: OldRefs | None = None
    reports_until: float | None = None
    tree_entries: int | None = None
    compare_files: int | None = None
    compare_commits: int | None = None
    commit_files: int | None = None
    token_length: int | None = None
    rate_limit: int | None = None
    used: set[str] = field(default_factory=set)

    def limit(self, name: str, usual: int, wanted: int) -> int:
        """Return how many of the `wanted` items are shown; notes it if that is fewer than usual."""
        own: int | None = getattr(self, name)
        if own is None or own >= usual:
            return usual
        if wanted > own:
            self.used.add(name)
        return own

    def length(self, usual: int) -> int:
        """Return how many characters a new token has."""
        if self.token_length is None:
            return usual
        self.used.add("token_length")
        return self.token_length

    def hourly(self, usual: int) -> int:
        """Return the primary rate limit."""
        return usual if self.rate_limit is None else min(usual, self.rate_limit)

    def hides(self, path: Path, name: str) -> bool:
        """Tell whether the repository's replica has no object of this name yet: a full sha, or an expression of one."""
        hidden = self.old is not None and self.old.path == path and name[:40] in self.old.objects
        if hidden:
            self.used.add("objects")
        return hidden

    def renamed(self, path: Path, name: str) -> str:
        """Return the expression with the sha that the ref had, where it begins with a ref that has moved since."""
        if self.old is None or self.old.path != path:
            return name
        ref, caret, rest = name.partition("^")
        if ref not in self.old.refs:
            return name
        self.used.add("refs")
        return f"{self.old.refs[ref] or ZERO}{caret}{rest}"

    def listed(self, path: Path, refs: dict[str, str]) -> dict[str, str]:
        """Return the refs as they were; those that have come since are left out, those deleted since stay away."""
        if self.old is None or self.old.path != path:
            return refs
        shown: dict[str, str] = {}
        for ref, sha in refs.items():
            before = self.old.refs.get(ref, sha)
            if before != sha:
                self.used.add("refs")
            if before is not None:
                shown[ref] = before
        return shown

    def shows_report(self, born: float) -> bool:
        """Tell whether a check run or status of this age is listed."""
        shown = self.reports_until is None or born <= self.reports_until
        if not shown:
            self.used.add("reports")
        return shown


_PLAIN = View()
_current: ContextVar[View] = ContextVar("sandbox_view", default=_PLAIN)


def view() -> View:
    """Return what the request under way sees; outside of one, everything as it is."""
    return _current.get()


@contextmanager
def seeing(seen: View) -> Iterator[None]:
    """Let the code inside the block, and the tasks that it starts, see this."""
    token = _current.set(seen)
    try:
        yield
    finally:
        _current.reset(token)
