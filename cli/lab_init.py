"""`app.py lab init`: look at a repository, propose its steps file, and write it where there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.faults import WRONG_USE, CommandError
from cli.gitread import NotARepositoryError, Repository
from cli.lab_lint import linted, problem_line
from cli.lab_proposal import Proposal, propose
from cli.lab_source import LAB_FILE, LabSource, Template
from cli.serve import say
from cli.terminal import name
from rules.model import Problem

_LINE = 110  # characters of a line of JSON
_HEADING_BYTES = 8_192  # of a file, in which a heading is looked for


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal as the text of a file, and what the linter says of it."""

    text: str
    proposal: Proposal
    problems: tuple[Problem, ...]
    bare: bool


def propose_for(folder: Path) -> Proposed:
    """The proposal for a repository: for its working tree or, if it is bare, for its newest commit.

    CommandError if the folder is in no repository.
    """
    try:
        opened = Repository.open(folder)
    except NotARepositoryError as error:
        hint = ": run `git init` in it first" if folder.is_dir() else ""
        raise CommandError(f"{error}{hint}", status=WRONG_USE) from None
    with opened as repository:
        template = _template(repository)

        def read(path: str) -> str:
            return template.read([path], _HEADING_BYTES).get(path, b"").decode("utf-8-sig", "replace")

        proposal = propose(template.tree, read, folder.resolve().name.removesuffix(".git"))
        text = f"{_pretty(proposal.document)}\n"
        result = linted(LabSource(LAB_FILE, text.encode(), template))
        return Proposed(text, proposal, result.problems, repository.bare)


def _pretty(value: Any, indent: str = "") -> str:
    """JSON as people write it: short lists and objects in one line."""
    line = json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    is_short = len(inner) + len(line) <= _LINE and "{" not in line[1:]
    if not value or not isinstance(value, dict | list) or (indent and is_short):
        return line
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{indent}]"
    pairs = (f"{inner}{json.dumps(key)}: {_pretty(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"


def _template(repository: Repository) -> Template:
    if not repository.bare:
        return Template(repository, None, repository.working_tree())
    if not repository.has_commits():
        return Template(repository, "HEAD", {})
    return Template(repository, "HEAD", repository.tree("HEAD"))


def write_proposal(folder: Path, proposed: Proposed) -> None:
    """Write the file, and say what to do next. CommandError if there is one, or no place for it."""
    path = folder / LAB_FILE
    if path.parent.is_symlink() or (path.parent.exists() and not path.parent.is_dir()):
        raise CommandError(f"{name(str(path.parent))} is not a folder: nothing was written", status=WRONG_USE)
    if proposed.bare:
        raise CommandError(
            f"{name(str(folder))} is a bare repository: nothing can be written; use --print", status=WRONG_USE
        )
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(proposed.text)
    except FileExistsError:
        hint = "it stays as it is; --print shows the proposal"
        raise CommandError(f"there is a {name(str(path))} already: {hint}", status=WRONG_USE) from None
    except OSError as error:
        raise CommandError(f"{name(str(path))} cannot be written: {error.strerror}", status=WRONG_USE) from None
    steps = proposed.proposal.document["steps"]
    say(f"Wrote {name(str(path))}: {len(steps)} step{'' if len(steps) == 1 else 's'}, from {proposed.proposal.basis}.")
    tell(proposed, folder)


def tell(proposed: Proposed, folder: Path) -> None:
    """Say what to look at next, on standard error."""
    for problem in proposed.problems:
        say(problem_line(LAB_FILE, problem))
    say("It is a beginning. Look at:")
    for advice in proposed.proposal.advice:
        say(f"  - {advice}")
    say(f"Then: python app.py lab lint {name(str(folder))} --map")
