"""Writes the text of `docs/commands.md` from the command line itself (`make schema`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

HEAD = """\
# Commands

<!-- Generated from the command line by `make schema`; a test keeps it equal. -->

Each is `.venv/bin/python app.py COMMAND`; `--help` behind it tells its options, with examples. A wrong setting or
command line is one clear line and exit status 2; what cannot be done now (database or GitHub away, nothing found) is
one line and exit status 1. `--json`, where there is one, prints for programs.

| command | what it does |
|---|---|
"""


def commands_document(app: typer.Typer) -> str:
    """The whole document, ending with a newline. `app`: the whole command line."""
    rows = [f"| `{name}` | {_first(told)} |\n" for name, told in _commands(typer.main.get_command(app))]
    return HEAD + "".join(rows)


def _commands(command: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every command's full name and help, in the order of `--help`. (Typer carries its own click, without types.)"""
    if not isinstance(command, TyperGroup):
        yield prefix.strip(), command.help or ""
        return
    for name, inner in command.commands.items():
        yield from _commands(inner, f"{prefix} {name}")


def _first(told: str) -> str:
    """The first paragraph, in one line of a table."""
    return " ".join(told.strip().partition("\n\n")[0].split()).replace("|", "\\|")
