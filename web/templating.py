"""How pages are made from templates, the same for the App and for its setup."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

from web import look, security

TEMPLATES = Path(__file__).parent / "templates"

# aiohttp-jinja2 keeps the request for templates under a text key; the advice is for its authors.
warnings.filterwarnings("ignore", category=web.NotAppKeyWarning, module="aiohttp_jinja2")


def mount_templates(app: web.Application) -> jinja2.Environment:
    """Give `app` (which has its `access.RULES`) the templates, their filters and files, and the protecting headers."""
    environment: jinja2.Environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        context_processors=[aiohttp_jinja2.request_processor],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    app.on_response_prepare.append(security.add_headers)
    look.add_routes(app, environment)
    return environment


def moment(at: datetime) -> str:
    """A time for people, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
