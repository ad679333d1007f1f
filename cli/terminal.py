"""Text for the person at a terminal: colours where they are wanted, and names in which everything can be seen."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Literal

from cli.output import clean
from rules.escape import visible

Colour = Literal["red", "yellow", "green", "cyan", "bold"]
_CODES: dict[Colour, str] = {"red": "31", "yellow": "33", "green": "32", "cyan": "36", "bold": "1"}


def coloured() -> bool:
    """Whether standard output is a terminal that shows colours, and its user wants them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: Colour) -> str:
    """`text` in a colour, where colours are wanted."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if coloured() else text


def out(line: str = "") -> None:
    """A line of the answer. What comes from outside has been through `name` or `words` before."""
    print(line)  # noqa: T201 (a command's answer)


def name(path: str) -> str:
    """A file's name: control characters, odd spaces and bytes that are no UTF-8 are spelled out, as git does."""
    return visible(path)


def words(text: str) -> str:
    """A sentence that holds words of the author's: nothing in it moves the cursor."""
    return clean(text)


def out_json(value: Any) -> None:
    """One JSON document, in ASCII: names may hold bytes that are no UTF-8, which are lone surrogates here."""
    out(json.dumps(value, indent=2, ensure_ascii=True))
