"""What the class page is asked for, from its address and back into addresses. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from storage.classroom import NEEDS, Group, Order, Query

#: The word that stands for all groups that need staff.
NEEDS_WORD = "needs-me"
#: Orders that begin with the largest when their heading is chosen.
LARGEST_FIRST = (Order.PUSHED, Order.BLOCKED)
#: Bounds of what an address may ask for: a year of hours, and a page that no class has.
MOST_HOURS = 24 * 366
MOST_PAGES = 100_000
LONGEST_SEARCH = 100

_ORDERS = {order.value: order for order in Order}
_GROUPS = {group.value: group for group in Group}


@dataclass(frozen=True, slots=True)
class Asked:
    """The query, and the parts of the address that were not understood and are left out."""

    query: Query
    refused: tuple[str, ...] = ()


def asked(values: Mapping[str, str], labs: Collection[str]) -> Asked:
    """Read the query of an address. `labs`: the slugs that there are. Nothing that stands there is an error."""
    query, refused = Query(), []

    def number(name: str, most: int) -> int | None:
        text = values.get(name, "").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most:
            return int(text)
        refused.append(name)
        return None

    if lab := values.get("lab", ""):
        query, refused = (replace(query, lab=lab), refused) if lab in labs else (query, [*refused, "lab"])
    if state := values.get("state", ""):
        groups = groups_of(state)
        query, refused = (replace(query, groups=groups), refused) if groups else (query, [*refused, "state"])
    if sort := values.get("sort", ""):
        name = sort.removeprefix("-")
        if name in _ORDERS:
            query = replace(query, order=_ORDERS[name], descending=sort != name)
        else:
            refused.append("sort")
    query = replace(query, search=values.get("q", "").strip()[:LONGEST_SEARCH])
    query = replace(query, idle_hours=number("idle", MOST_HOURS) or 0)
    return Asked(replace(query, page=number("page", MOST_PAGES) or 1), tuple(refused))


def groups_of(state: str) -> tuple[Group, ...]:
    """The groups of a word in an address; none: there is no such word."""
    if state == NEEDS_WORD:
        return NEEDS
    return (_GROUPS[state],) if state in _GROUPS else ()


def state_of(query: Query) -> str:
    """The word for the query's groups; "" for all."""
    if query.groups == NEEDS:
        return NEEDS_WORD
    return query.groups[0].value if query.groups else ""


def sort_of(query: Query) -> str:
    """The word for the query's order; "" for the usual one."""
    if query.order is Order.NEEDS and not query.descending:
        return ""
    return f"-{query.order.value}" if query.descending else query.order.value


def address(query: Query, path: str = "/") -> str:
    """The address that asks for a query: the same query has one address."""
    values = {
        "lab": query.lab,
        "state": state_of(query),
        "idle": str(query.idle_hours) if query.idle_hours else "",
        "q": query.search,
        "sort": sort_of(query),
        "page": str(query.page) if query.page > 1 else "",
    }
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def sorted_by(query: Query, order: Order) -> Query:
    """The query that a heading leads to: its own order, turned round when it is the order already."""
    descending = not query.descending if query.order is order else order in LARGEST_FIRST
    return replace(query, order=order, descending=descending, page=1)
