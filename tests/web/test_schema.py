"""web.schema: editors get the lab file's schema, and ask again cheaply."""

from __future__ import annotations

from typing import Any

import jsonschema
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from rules.labfile_schema import json_schema
from web import access, schema, security


async def pages(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    """An application that has the schema alone."""
    app = web.Application()
    app[access.RULES] = {}
    app.on_response_prepare.append(security.add_headers)
    schema.add_routes(app)
    return await aiohttp_client(app)


async def test_the_schema_is_served_as_one(aiohttp_client: AiohttpClient) -> None:
    """The address gives the schema under its media type; editors that are web pages of others may read and keep it."""
    client = await pages(aiohttp_client)

    answer = await client.get("/schema/steps.json")

    assert answer.status == 200
    assert answer.content_type == "application/schema+json"
    assert answer.charset == "utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    served = await answer.json(content_type=None)
    assert served == json_schema()
    jsonschema.Draft202012Validator.check_schema(served)


async def test_a_copy_that_is_the_newest_is_not_sent_again(aiohttp_client: AiohttpClient) -> None:
    """A request with the ETag that was given is answered 304 without a body; with another one the schema comes."""
    client = await pages(aiohttp_client)
    tag = (await client.get("/schema/steps.json")).headers["ETag"]

    same = await client.get("/schema/steps.json", headers={"If-None-Match": tag})
    other = await client.get("/schema/steps.json", headers={"If-None-Match": '"another"'})
    head = await client.head("/schema/steps.json")

    assert (same.status, await same.read(), same.headers["ETag"]) == (304, b"", tag)
    assert (other.status, other.headers["ETag"]) == (200, tag)
    assert (head.status, await head.read(), head.headers["ETag"]) == (200, b"", tag)
