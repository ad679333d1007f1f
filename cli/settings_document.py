"""Writes the text of `docs/settings.md` from the settings' model (`make schema`)."""

from __future__ import annotations

from settings import settings_table

HEAD = """\
# Settings

<!-- Generated from settings.py by `make schema`; a test keeps it equal. -->

Stepgate reads the environment, and a file `.env` in the folder that it is started in. A setting that is wrong or
missing is one line that names it, and exit status 2. Secrets are marked with \\*; they are never logged or shown.

| variable | default | meaning | needed by |
|---|---|---|---|
"""


def settings_document() -> str:
    """The whole document, ending with a newline."""
    lines = []
    for row in settings_table():
        name = f"`{row.name}`" + (" \\*" if row.secret else "")
        default = f"`{row.default}`" if row.default else ""
        needed_by = ", ".join(f"`{command}`" for command in row.needed_by)
        meaning = row.help.replace("|", "\\|")
        lines.append(f"| {name} | {default} | {meaning} | {needed_by} |\n")
    return HEAD + "".join(lines)
