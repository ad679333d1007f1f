"""Checks recorded exchanges against GitHub's OpenAPI description (tests/data/github-api-*.json).

    check_exchange(exchange)

raises AssertionError naming operation, status and JSON path of the first thing that GitHub would not send or take.
An exchange is anything with `method`, `path`, `status`, `request_json`, `response_json` and `response_headers`; only
its path below `/api/v3` (or from the root) counts, so that both sides of a conversation can be checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jsonschema_rs
from jsonschema import Draft202012Validator, FormatChecker

SLICE = Path(__file__).parents[1] / "data" / "github-api-slice.json"
MORE = SLICE.with_name("github-api-actions.json")
JSON_TYPES = ("application/json", "application/vnd.github.object")
# Answers that GitHub gives to any operation, whether its description lists them or not.
ANYWHERE = {301, 304, 307, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503}
ERROR = {
    "type": "object",
    "required": ["message", "documentation_url"],
    "properties": {"message": {"type": "string"}, "documentation_url": {"type": "string"}, "errors": {"type": "array"}},
}


def _operation(status: str, schema: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    content = {} if schema is None else {"content": {"application/json": {"schema": schema}}}
    return {"responses": {status: content}} | more


def _page(name: str, component: str) -> dict[str, Any]:
    items = {"$ref": f"#/components/schemas/{component}"}
    properties = {"total_count": {"type": "integer"}, name: {"type": "array", "items": items}}
    return {"type": "object", "required": ["total_count", name], "properties": properties}


# GitHub's "public-user": what every account has beyond "simple-user".
_USER = {
    "allOf": [
        {"$ref": "#/components/schemas/simple-user"},
        {
            "type": "object",
            "required": [
                "name", "company", "blog", "location", "email", "hireable", "bio", "public_repos", "public_gists",
                "followers", "following", "created_at", "updated_at",
            ],
            "properties": {
                "created_at": {"type": "string", "format": "date-time"},
                "updated_at": {"type": "string", "format": "date-time"},
                "public_repos": {"type": "integer"},
            },
        },
    ]
}  # fmt: skip
_TOKEN_BODY = {"type": "object", "required": ["access_token"], "properties": {"access_token": {"type": "string"}}}
_REPOSITORY = {"$ref": "#/components/schemas/full-repository"}
# Operations that the slice leaves out, from GitHub's OpenAPI description (users, apps, oauth-applications, repos).
_MORE_PATHS: dict[str, Any] = {
    "/users/{username}": {"get": _operation("200", _USER)},
    "/user/{account_id}": {"get": _operation("200", _USER)},
    "/user": {"get": _operation("200", _USER)},
    "/user/installations": {"get": _operation("200", _page("installations", "installation"))},
    "/user/installations/{installation_id}/repositories": {
        "get": _operation("200", _page("repositories", "repository"))
    },
    "/user/repos": {"post": _operation("201", _REPOSITORY)},
    "/orgs/{org}/repos": {"post": _operation("201", _REPOSITORY)},
    "/repos/{owner}/{repo}/forks": {"post": _operation("202", _REPOSITORY)},
    "/repos/{owner}/{repo}/generate": {"post": _operation("201", _REPOSITORY)},
    "/apps/{app_slug}": {"get": _operation("200", {"$ref": "#/components/schemas/integration"})},
    "/applications/{client_id}/token": {
        "delete": _operation("204", None, requestBody={"content": {"application/json": {"schema": _TOKEN_BODY}}})
    },
}

formats = FormatChecker(formats=())


@formats.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@formats.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or (bool(urlsplit(value).scheme) and " " not in value)


def _conforms(value: str, name: str) -> bool:
    return bool(formats.conforms(value, name))


@dataclass(frozen=True, slots=True)
class _Schema:
    """A schema in two validators: a quick one says yes to nearly all; what it refuses, the other judges and names."""

    quick: jsonschema_rs.Draft202012Validator
    exact: Draft202012Validator

    @classmethod
    def of(cls, schema: dict[str, Any]) -> _Schema:
        own: dict[str, Any] = {name: partial(_conforms, name=name) for name in formats.checkers}
        quick = jsonschema_rs.Draft202012Validator(schema, formats=own, validate_formats=True)
        return cls(quick, Draft202012Validator(schema, format_checker=formats))


class Recorded(Protocol):
    """What of an exchange is looked at."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def response_headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def request_json(self) -> Any: ...  # noqa: D102
    @property
    def response_body(self) -> bytes: ...  # noqa: D102


def to_json_schema(schema: Any) -> Any:
    """Convert a schema of OpenAPI 3.0 to JSON Schema: `nullable` becomes a type of its own.

    `oneOf` becomes `anyOf`: GitHub's alternatives overlap (of two kinds of errors every field is optional).
    """
    if isinstance(schema, list):
        return [to_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    names = {"oneOf": "anyOf"}
    converted = {
        names.get(key, key): to_json_schema(value)
        for key, value in schema.items()
        if key not in {"nullable", "example"}
    }
    if schema.get("nullable") is True:
        return {"anyOf": [converted, {"type": "null"}]}
    return converted


@cache
def description() -> dict[str, Any]:
    """Return the API description with all schemas as JSON Schema."""
    slice_: dict[str, Any] = json.loads(SLICE.read_text())
    listed = slice_["paths"]["/app/installations"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    account = listed["items"]["properties"]["account"]
    # GitHub says anyOf (user or enterprise) everywhere else; in this one list its tool wrote allOf, which no
    # account can satisfy: users have no `slug`.
    assert "allOf" in account, "the description was corrected: remove this exception"
    account["anyOf"] = account.pop("allOf")
    more = json.loads(MORE.read_text())
    slice_["paths"] |= more["paths"] | _MORE_PATHS
    for kind, named in more["components"].items():
        slice_["components"][kind] |= named
    converted: dict[str, Any] = to_json_schema(slice_)
    return converted


@cache
def _routes() -> list[tuple[re.Pattern[str], str]]:
    def segment(match: re.Match[str]) -> str:
        return ".+" if match[1] in {"ref", "path", "tree_sha", "commit_sha", "basehead", "sha"} else "[^/]+"

    paths = sorted(description()["paths"], key=lambda path: (-path.count("/"), path.count("{"), path))
    routes = [(re.compile(re.sub(r"\{(\w+)\}", segment, path)), path) for path in paths]
    contents = next(path for path in paths if path.endswith("/contents/{path}"))
    return [*routes, (re.compile(r"/repos/[^/]+/[^/]+/contents/?"), contents)]


def operation_of(path: str) -> str | None:
    """Return the path template that an address belongs to, None if the App does not use such an operation."""
    local = re.sub(r"^/api/v3(?=/)", "", path)
    local = re.sub(r"^/repositories/\d+(?=/|$)", "/repos/o/r", local)
    return next((template for pattern, template in _routes() if pattern.fullmatch(local)), None)


@cache
def _validator(pointer: tuple[str, ...]) -> _Schema | None:
    """Return the schema that stands at `pointer` in the description; None if there is none."""
    node: Any = description()
    for key in pointer:
        while "$ref" in node:
            node = _at(node["$ref"])
        if key not in node:
            return None
        node = node[key]
    schema = {"components": description()["components"], "allOf": [node]}
    return _Schema.of(schema)


@cache
def _error() -> _Schema:
    return _Schema.of(ERROR)


def _at(reference: str) -> Any:
    node: Any = description()
    for key in reference.removeprefix("#/").split("/"):
        node = node[key]
    return node


def _require(schema: _Schema, value: Any, what: str) -> None:
    if schema.quick.is_valid(value):
        return
    errors: Iterable[Any] = schema.exact.iter_errors(value)
    worst = max(errors, key=lambda error: -len(list(error.absolute_path)), default=None)
    if worst is not None:
        deepest = worst
        while deepest.context:
            deepest = max(deepest.context, key=lambda error: len(list(error.absolute_path)))
        raise AssertionError(f"{what} at {deepest.json_path}: {deepest.message[:400]}")


def check_request(method: str, path: str, body: Any) -> None:
    """Raise AssertionError if GitHub's description of the operation does not allow this request body."""
    template = operation_of(path)
    assert template is not None, f"{method} {path}: no operation of the description"
    operation = description()["paths"][template].get(method.lower())
    assert operation is not None, f"{method} {template}: no such operation"
    validator = _validator(("paths", template, method.lower(), "requestBody", "content", "application/json", "schema"))
    if validator is not None and body is not None:
        _require(validator, body, f"{method} {template}: request body")


def check_exchange(exchange: Recorded) -> None:
    """Raise AssertionError if the request or the response differs from GitHub's description of the operation.

    The request's body is checked unless the answer refuses it: tests send wrong bodies on purpose.
    """
    template = operation_of(exchange.path)
    assert template is not None, f"{exchange.method} {exchange.path}: no operation of the description"
    operation = description()["paths"][template].get(exchange.method.lower())
    assert operation is not None, f"{exchange.method} {template}: no such operation"
    what = f"{exchange.method} {template}: answer {exchange.status}"
    status = str(exchange.status)
    if exchange.status < 400:
        check_request(exchange.method, exchange.path, exchange.request_json)
    if status not in operation["responses"]:
        assert exchange.status in ANYWHERE, f"{what} is not in the description"
        if exchange.status >= 400:
            _require(_error(), json.loads(exchange.response_body), what)
        return
    kind = exchange.response_headers.get("Content-Type", "").partition(";")[0].removesuffix("+json")
    pointer = ("paths", template, exchange.method.lower(), "responses", status)
    schemas = {name: _validator((*pointer, "content", name, "schema")) for name in JSON_TYPES}
    validator = schemas.get(kind)
    if validator is not None:
        _require(validator, json.loads(exchange.response_body), what)
    elif exchange.status in {204, 304} or (exchange.status < 300 and not any(schemas.values())):
        assert exchange.response_body in {b"", b"{}"}, f"{what} has a body"
    else:
        assert kind.startswith("application/vnd.github."), f"{what} has the content type {kind!r}"
    if exchange.status >= 400 and exchange.status != 404:
        _require(_error(), json.loads(exchange.response_body), what)
