"""Options and arguments that the commands of labs share."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Annotated

import typer


def _enrolment(value: str | None) -> str | None:
    if value not in ("open", "invited", "closed", None):
        raise typer.BadParameter("must be open, invited or closed")
    return value


def _deadline(value: str | None) -> str | None:
    if value is not None and value != "none":
        try:
            moment(value)
        except ValueError as error:
            raise typer.BadParameter(
                "must be a date such as 2026-12-20 (the end of that day, UTC), a time such as 2026-12-20T18:00+01:00, "
                "or none"
            ) from error
    return value


def moment(value: str) -> datetime:
    """An ISO 8601 date or time; a date means the end of that day, a time without offset is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(value)
    if re.fullmatch(r"[0-9-]+", value):
        parsed = datetime.combine(parsed, time(23, 59, 59))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


Slug = Annotated[str, typer.Argument(metavar="LAB", help="Short name of the lab.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Enrolled = Annotated[
    str | None,
    typer.Option(
        callback=_enrolment,
        metavar="WHO",
        help="Who may start: open (everybody), invited (those on the class list), closed (nobody new).",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        callback=_deadline,
        metavar="WHEN",
        help="Pushes after it are not judged. A date (the end of that day, UTC), a time with offset, or none.",
    ),
]
