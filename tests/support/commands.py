"""`python app.py WORDS` in this process: a process of its own costs a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from typer import testing
from typer.main import get_command
from typer.testing import CliRunner, Result

import app as entry

#: What a Typer declares as the commands that it makes out of it: that takes 60 ms, and they keep nothing of a call.
commands_of = cache(get_command)
# The runner would make them anew for each call. (Where typer has no such name any more, it is slow again, and right.)
setattr(testing, "_get_command", commands_of)  # noqa: B010 (a name that typer does not export)


def invoke(words: Sequence[str | Path], *, text: str | bytes | None = None) -> Result:
    """Run a command with `text` as standard input; what it printed, and its exit status.

    Not for commands that run until they are stopped, and not for those that set up logging for their process.
    """
    return CliRunner().invoke(entry.cli, [str(word) for word in words], input=text, prog_name="app.py")
