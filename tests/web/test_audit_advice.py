"""What staff are told of each code: of every code there is, the same in the pages and in the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.audit_schema import KINDS
from rules.binding import blocks_report
from rules.model import BindingCode
from web.audit_advice import RELINKABLE, advice, filled_in, seen, title_of

CLASSES = Path(__file__).parents[2] / "docs" / "classes.md"


@pytest.mark.parametrize("code", BindingCode)
def test_every_code_has_advice(code: BindingCode) -> None:
    """Each code by which something is not judged says what it means, what is seen of it, and what to do."""
    known = advice(code.value)
    assert known is not None
    assert all(text.endswith(".") for text in (known.means, known.do))
    assert title_of(code.value) == known.title
    assert (seen(code.value) == "Nothing.") == (blocks_report(code) == "none")


@pytest.mark.parametrize("code", BindingCode)
def test_the_document_says_the_same(code: BindingCode) -> None:
    """docs/classes.md has a line for each code, with the words of the page."""
    known = advice(code.value)
    assert known is not None
    assert f"| `{code.value}` | {known.means} | {known.do} |\n" in CLASSES.read_text(encoding="utf-8")


def test_every_code_that_is_written_has_advice() -> None:
    """Also codes that are no refusals, such as those of sessions whose repository is away."""
    written = {code for kind in KINDS.values() for code in kind.codes}
    assert written - {code for code in written if advice(code)} == set()


def test_what_can_be_connected_is_told_of() -> None:
    """Codes that connecting settles say so in their advice, and are codes."""
    assert set(BindingCode) >= RELINKABLE
    for code in RELINKABLE - {"NO_SESSION", "ENROLMENT_CLOSED"}:  # there an invitation is the better way
        known = advice(code)
        assert known is not None
        assert "onnect" in known.do


def test_unknown_codes_are_names() -> None:
    """A code of a newer release is shown by its name, without advice."""
    assert (advice("A_NEW_CODE"), advice(None), advice("")) == (None, None, None)
    assert title_of("A_NEW_CODE") == "a new code"
    assert seen("A_NEW_CODE") == ""


def test_commands_are_filled_in() -> None:
    """Names in capitals give way to what is known, and stay where nothing is."""
    command = "python app.py labs invite LAB OWNER"
    assert filled_in(command, lab="closures", owner="learner-one") == "python app.py labs invite closures learner-one"
    assert filled_in(command, owner="LAB") == "python app.py labs invite LAB LAB"
    assert filled_in("") == ""
