"""Reading requests: pages of lists with their Link headers, fields of bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import invalid_request
from .rest import Call

T = TypeVar("T")


def page_of(call: Call, *, default: int = 30, largest: int = 100) -> tuple[int, int]:
    """Return (page, per_page) of the query, within GitHub's bounds."""

    def number(name: str, fallback: int) -> int:
        text = call.query.get(name, "")
        return max(1, int(text)) if text.isdigit() else fallback

    return number("page", 1), min(largest, number("per_page", default))


def paged(call: Call, items: list[T]) -> tuple[list[T], dict[str, str]]:
    """Return one page of the items and the Link header that leads to the others."""
    page, per_page = page_of(call)
    last = max(1, -(-len(items) // per_page))
    return items[(page - 1) * per_page : page * per_page], link_header(call, page, last)


def link_header(call: Call, page: int, last: int) -> dict[str, str]:
    """Return GitHub's Link header for numbered pages; empty when there is only one."""
    targets = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page <= 1:
        del targets["prev"], targets["first"]
    if page >= last:
        del targets["next"], targets["last"]
    url = call.request.rel_url
    links = [f'<{call.core.url}{url.update_query(page=str(number))}>; rel="{name}"' for name, number in targets.items()]
    return {"Link": ", ".join(links)} if links else {}


def text_field(body: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    """Return the body's text field; 422 if it has another type, or is missing though required."""
    value = body.get(name)
    if value is None:
        if required:
            raise invalid_request(f'"{name}" wasn\'t supplied.')
        return None
    if not isinstance(value, str):
        raise invalid_request(f"For 'properties/{name}', {value!r} is not a string.")
    return value
