"""An expected fault is one line that tells whose it is; a defect of ours keeps its traceback."""

from __future__ import annotations

import pytest

from bot.registry import LabFileError, RegistryError
from cli.faults import CommandError, explain, one_line
from github.errors import Transient
from rules.model import Problem
from settings import SettingsError
from storage.embedded import EmbeddedError
from storage.errors import LabConflict


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (SettingsError("PORT: wrong"), "PORT: wrong", 2),
        (CommandError("there is no lab 'x'", status=2), "there is no lab 'x'", 2),
        (CommandError("it failed"), "it failed", 1),
        (EmbeddedError("The disk is full."), "The disk is full.", 1),
        (RegistryError("the App is not installed"), "the App is not installed", 1),
        (LabConflict("registered already"), "registered already", 1),
        (Transient("502"), "GitHub: 502", 1),
    ],
)
def test_expected_faults(error: Exception, message: str, status: int) -> None:
    """Wrong use and configuration exit with 2, everything around us with 1."""
    assert explain(error) == (message, status)


def test_problems_of_a_lab_file_are_listed_with_their_places() -> None:
    """The author sees every problem with line, column, code and suggestion, then the sum."""
    problems = (
        Problem("STEPS003", "unknown key 'step'", "did you mean 'steps'?", "/step", 4, 3),
        Problem("STEPS010", "no such step", "", "/steps/0/needs/0", 9, 17),
    )

    known = explain(LabFileError("octo-course/lab", problems))

    assert known is not None
    assert known[0].splitlines() == [
        "steps.json:4:3: STEPS003 unknown key 'step' (did you mean 'steps'?)",
        "steps.json:9:17: STEPS010 no such step",
        "octo-course/lab has 2 problems; nothing was published",
    ]


def test_a_fault_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The line goes to standard error, without secrets, and the status is the process's."""
    with pytest.raises(SystemExit) as caught, one_line():
        raise CommandError("cannot use postgresql://stepgate:hunter22@db/x", status=2)

    assert caught.value.code == 2
    assert capsys.readouterr().err == "cannot use postgresql://[hidden]@db/x\n"


def test_a_defect_keeps_its_traceback() -> None:
    """What nobody expects is not dressed up as the operator's fault."""
    with pytest.raises(ZeroDivisionError), one_line():
        raise ZeroDivisionError
