"""GET /schema/steps.json: the JSON Schema of lab files, for the `$schema` line of an author's file."""

from __future__ import annotations

import hashlib

from aiohttp import hdrs, web

from rules.labfile_schema import schema_text
from web.access import Rule, add_route

ADDRESS = "/schema/steps.json"
#: The media type of JSON Schemas (JSON Schema 2020-12 core, section 14).
CONTENT_TYPE = "application/schema+json"
# Editors keep it for an hour; it changes with a release of Stepgate only. Editors that are web pages live elsewhere and
# may read it: it is the same for all.
HEADERS = {
    hdrs.CACHE_CONTROL: "public, max-age=3600",
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def add_routes(app: web.Application) -> None:
    """Mount the schema, for everybody, also where signing in is not set up yet: it says nothing about any lab."""
    body = schema_text().encode()
    tag = hashlib.sha256(body).hexdigest()[:32]

    async def schema(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        if any(each.value in (tag, "*") for each in known):
            answer = web.Response(status=304, headers=HEADERS)
        else:
            answer = web.Response(body=body, content_type=CONTENT_TYPE, charset="utf-8", headers=HEADERS)
        answer.etag = tag
        return answer

    add_route(app, hdrs.METH_GET, ADDRESS, schema, Rule.UNGUARDED)
