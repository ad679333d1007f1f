"""How hard property tests try: enough for every change by default, ten times as hard in `make soak`."""

from __future__ import annotations

import os

SOAK_FACTOR = 10


def examples(number: int) -> int:
    """The number of examples of a property test: `number`, or ten times as many when SOAK=1 is set."""
    return number * (SOAK_FACTOR if os.environ.get("SOAK") == "1" else 1)
