"""Pages that say one thing: what went wrong, whose fault it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp_jinja2
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Message:
    """What a page says. `link` and `label`: where to go from there."""

    title: str
    text: str
    link: str = ""
    label: str = ""


def show(request: web.Request, message: Message, status: int) -> web.Response:
    """The message as a page."""
    return aiohttp_jinja2.render_template("message.html", request, {"message": message}, status=status)
