"""What `labs show` tells of the last look at a template."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.lab_view import print_lab
from rules.model import Enrolment, LabRecord, Problem
from settings import Settings
from storage.labs import LabCounts
from storage.versions import TemplateLook

AT = datetime(2031, 5, 1, 12, 0, tzinfo=UTC)
LAB = LabRecord(1, "closures", "Closures", 7, "octo-course/closures", None, Enrolment.OPEN)
ERRORS = (Problem("STEPS021", "There is no such step."), Problem("STEPS060", "Dead.", severity="warning"))


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (None, "no push seen yet"),
        (TemplateLook("published", "main", "c" * 40, looked_at=AT), "its rules are published at ccccccc (2031-05-01"),
        (TemplateLook("unchanged", "main", "c" * 40, looked_at=AT), "no change of the rules at ccccccc"),
        (TemplateLook("older", "main", "c" * 40, looked_at=AT), "a newer version is published at ccccccc"),
        (TemplateLook("broken", "main", "c" * 40, ERRORS, looked_at=AT), "1 error in the steps file at ccccccc"),
        (TemplateLook("broken", "main", "c" * 40, looked_at=AT), "no steps file at ccccccc"),
        (
            TemplateLook("unreadable", detail="it cannot be read", looked_at=AT),
            "it cannot be read (2031-05-01 12:00 UTC)",
        ),
    ],
)
def test_the_last_look_is_told(look: TemplateLook | None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator sees what the branch had when it was last looked at, and when that was."""
    settings = Settings.model_construct(public_url="https://stepgate.example.com")
    print_lab(settings, LAB, (), LabCounts(0, 0, 0, 0, 0, 0, 0), look)
    assert said in capsys.readouterr().out
