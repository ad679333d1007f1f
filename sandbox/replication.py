"""When refs moved: what a replica of this GitHub that lags behind still shows."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path

from .gitstore import run_git
from .views import ZERO, OldRefs

PUSHES_KEPT = 1_000  # of one repository


@dataclass(frozen=True, slots=True)
class _Moved:
    at: float
    ref: str
    old: str


class PushLog:
    """When each ref moved, and from where."""

    def __init__(self) -> None:
        self._moves: defaultdict[Path, deque[_Moved]] = defaultdict(lambda: deque(maxlen=PUSHES_KEPT))

    def note(self, path: Path, ref: str, old: str, at: float) -> None:
        """Remember that the ref moved away from `old` (all zeros: it was new) at this time."""
        self._moves[path].append(_Moved(at, ref, old))

    async def as_of(self, path: Path, at: float, *, objects: bool) -> OldRefs | None:
        """Return the repository as it was at a time; None if no ref has moved since.

        `objects` False: every object is there, only refs are old.
        """
        before: dict[str, str | None] = {}
        for move in self._moves.get(path, ()):
            if move.at > at:
                before.setdefault(move.ref, None if move.old == ZERO else move.old)
        if not before:
            return None
        later: frozenset[str] = frozenset()
        if objects:
            _, listed = await run_git(["for-each-ref", "--format=%(objectname) %(refname)"], cwd=path)
            refs = [line.split(" ", 1) for line in listed.decode(errors="replace").splitlines()]
            new = [sha for sha, ref in refs if ref in before]
            known = [sha for sha, ref in refs if ref not in before] + [sha for sha in before.values() if sha]
            stdin = "".join([*(f"{sha}\n" for sha in new), *(f"^{sha}\n" for sha in known)]).encode()
            _, output = await run_git(["rev-list", "--objects", "--stdin"], cwd=path, stdin=stdin)
            later = frozenset(line[:40] for line in output.decode(errors="replace").splitlines())
        return OldRefs(path, before, later)
