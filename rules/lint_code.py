"""One code of the linter, for authors: its entry in the manual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rules.labfile_problems import WARNINGS, ProblemCode
from rules.model import Severity


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """What a code means. `explanation`: one paragraph. `bad` and `good`: texts of lab files, with the problem and
    without any. `template`: contents by path of the template's files that the problem shows beside; empty where it
    shows in the file alone. `encoding`: of `bad`, where that is the problem.
    """

    code: ProblemCode
    title: str
    explanation: str
    bad: str
    good: str
    template: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"

    @property
    def severity(self) -> Severity:
        """Whether it keeps a file from being published."""
        return "warning" if self.code in WARNINGS else "error"

    @property
    def anchor(self) -> str:
        """Where the manual explains it: the fragment of an address."""
        return self.code.lower()


def lab_text(*steps: str, **keys: str) -> str:
    """The text of a small lab file: its steps, and further keys, as JSON texts."""
    head = "".join(f'  "{key}": {value},\n' for key, value in {"version": "1", "title": '"Lab"', **keys}.items())
    return "{\n" + head + '  "steps": [\n    ' + ",\n    ".join(steps) + "\n  ]\n}\n"


def step_text(step_id: str, **keys: str) -> str:
    """The text of a step: id, title, and further keys as JSON texts. Without `files` and `complete` it has a file."""
    if "files" not in keys and "complete" not in keys:
        keys["files"] = f'["{step_id}.md"]'
    more = "".join(f', "{key}": {value}' for key, value in keys.items())
    return f'{{"id": "{step_id}", "title": "{step_id.capitalize()}"{more}}}'
