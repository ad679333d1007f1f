"""How commands answer: tables for people, JSON for programs, and nothing that moves the terminal's cursor."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from cli.output import print_json, print_rows

COLUMNS = {"name": "name", "at": "since"}
AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_rows_become_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Headings, then a line for each row, with times in plain form; a missing value is empty."""
    print_rows([{"name": "a", "at": AT}, {"name": "b", "at": None}], COLUMNS, empty="none")

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "since"], ["a", "2026-03-04", "05:06:07", "UTC"], ["b"]]


def test_no_rows_become_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is said, not left to be guessed."""
    print_rows([], COLUMNS, empty="There is nothing [here].")

    assert capsys.readouterr().out == "There is nothing [here].\n"


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup in names from outside are shown, not obeyed."""
    print_rows([{"name": "\x1b[2J[red]x[/red]\r\n\u202e", "at": None}], COLUMNS, empty="")

    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert not {"\x1b", "\r", "\u202e"} & set(out)
    assert out.count("\n") == 2


def test_json_knows_our_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Times, ids and sets have a JSON form; everything else is a defect."""
    ident = UUID("3f2b1c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d")

    print_json({"at": AT, "id": ident, "set": frozenset({"b", "a"})})

    found = json.loads(capsys.readouterr().out)
    assert found == {"at": "2026-03-04T05:06:07+00:00", "id": str(ident), "set": ["a", "b"]}
    with pytest.raises(TypeError, match="no JSON form for object"):
        print_json(object())
