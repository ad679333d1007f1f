"""Commands for learners to paste: exact for any file name, and never more than the named files.

For bash and zsh (on Windows: Git Bash), in the root folder of a clone. All options used are in git since 2.23 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.escape import shell_quote

MAX_PATHS = 20  # in one command
_LOOKED_AT = 100  # paths that are tried for room


@dataclass(frozen=True, slots=True)
class Source:
    """A commit to restore files from. `fetch_from`: the remote or address to fetch it from first, if a clone may lack
    it (GitHub hands out any commit that a repository knows by its sha)."""

    sha: str
    fetch_from: str | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """Changed files to take back: those in `remove` are new and go, those in `restore` become as in `source`."""

    source: Source
    remove: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to paste. `hidden`: files for which there was no room. `unnamed`: files that no command can name."""

    lines: tuple[str, ...]
    hidden: int = 0
    unnamed: int = 0


def can_name(path: str) -> bool:
    """Whether a command can name the file. Bytes that are no UTF-8 come from GitHub's API as U+FFFD: they are lost."""
    try:
        shell_quote(path)
    except ValueError:
        return False
    return "\ufffd" not in path


def undo(changes: Sequence[Undo], message: str, room: int) -> Commands:
    """Commands that take changes back, commit and push. `room`: bytes for file names; what does not fit is counted.

    `git restore` would remove new files too; `git rm` says it, and refuses if there is uncommitted work in them.
    """
    lines: list[str] = []
    budget = _Budget(room)
    for change in changes:
        removed = budget.take(change.remove)
        restored = budget.take(change.restore)
        if removed:
            lines.append(f"{_git(removed)} rm -- {_words(removed)}")
        if restored and change.source.fetch_from is not None:
            lines.append(f"git fetch {shell_quote(change.source.fetch_from)} {change.source.sha}")
        if restored:
            options = f"--source={change.source.sha} --staged --worktree"
            lines.append(f"{_git(restored)} restore {options} -- {_words(restored)}")
    if lines:
        lines += commit(message)
    return Commands(tuple(lines), budget.hidden, budget.unnamed)


def rename(old: str, new: str) -> str:
    """The command that renames a file; its new folder must exist."""
    return f"git mv -- {shell_quote(old)} {shell_quote(new)}"


def commit(message: str) -> list[str]:
    """Commands that commit what is staged, and push."""
    return [f"git commit -m {shell_quote(message)}", "git push"]


class _Budget:
    """Chooses the paths that commands name."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.hidden = 0
        self.unnamed = 0

    def take(self, paths: Sequence[str]) -> list[str]:
        """The paths that fit, in order."""
        taken: list[str] = []
        for path in paths[:_LOOKED_AT]:
            if not can_name(path):
                self.unnamed += 1
                continue
            size = len(shell_quote(path).encode()) + 1
            if len(taken) == MAX_PATHS or size > self._room:
                self.hidden += 1
                continue
            self._room -= size
            taken.append(path)
        self.hidden += len(paths[_LOOKED_AT:])
        return taken


def _git(paths: Sequence[str]) -> str:
    """git, told to take paths as they are where one would be read as a pattern or as pathspec magic."""
    magic = any(path.startswith(":") or not set("*?[\\").isdisjoint(path) for path in paths)
    return "git --literal-pathspecs" if magic else "git"


def _words(paths: Sequence[str]) -> str:
    return " ".join(map(shell_quote, paths))
