"""What a command says when it cannot do its work: one line that tells whose fault it is, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rules.model import Problem

WRONG_USE = 2  # the command line or the configuration
FAILED = 1  # the environment: database, GitHub, a file


class CommandError(Exception):
    """The command cannot do what it was asked for; the message is the whole explanation."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def _problem(problem: Problem) -> str:
    """A problem of a lab file as compilers write them."""
    suggestion = f" ({problem.suggestion})" if problem.suggestion else ""
    return f"steps.json:{problem.line}:{problem.column}: {problem.code} {problem.message}{suggestion}"


def explain(error: BaseException) -> tuple[str, int] | None:
    """Message and exit status for an expected fault; None for a defect of ours, which keeps its traceback."""
    if isinstance(error, CommandError):  # before the imports: wrong use is told at once
        return str(error), error.status

    from settings import SettingsError

    if isinstance(error, SettingsError):  # before the other imports, which take a second
        return str(error), WRONG_USE

    from bot.registry import LabFileError, RegistryError
    from github.errors import GitHubError
    from storage.embedded import EmbeddedError
    from storage.errors import StorageError

    if isinstance(error, LabFileError):
        return "\n".join([*map(_problem, error.problems), str(error)]), FAILED
    if isinstance(error, EmbeddedError | RegistryError | StorageError):
        return str(error), FAILED
    if isinstance(error, GitHubError):
        return f"GitHub: {error}", FAILED
    return None


@contextmanager
def one_line() -> Iterator[None]:
    """Turn an expected fault inside the block into one line on standard error and an exit."""
    try:
        yield
    except Exception as error:
        from cli.logs import scrub

        if (known := explain(error)) is None:
            raise
        message, status = known
        print(scrub(message), file=sys.stderr)  # noqa: T201 (a command's answer)
        raise SystemExit(status) from None
