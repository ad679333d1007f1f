"""Options that the commands of `app.py audit` have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def moment(value: str) -> datetime:
    """A day or time of the command line; without a zone it is UTC."""
    try:
        known = datetime.fromisoformat(value)
    except ValueError as error:
        raise typer.BadParameter("must be a date or a time like 2030-01-31 or 2030-01-31T15:00, in UTC") from error
    return known.replace(tzinfo=UTC) if known.tzinfo is None else known.astimezone(UTC)
