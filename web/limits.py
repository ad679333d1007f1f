"""How often a visitor may ask, counted in this process: enough for people, too little for a program gone wild."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from enum import StrEnum, unique

from cachetools import LRUCache

WINDOW = 60.0
#: Visitors that are counted at a time; beyond, who was away longest is forgotten. Some 200 bytes each.
MOST_VISITORS = 20_000


@unique
class Kind(StrEnum):
    """What is counted."""

    SIGN_IN = "sign-in"
    WRITE = "write"
    PAGE = "page"


#: Requests in WINDOW seconds. People who are not signed in yet are told apart by their address only, and a class sits
#: behind one: 60 who sign in at once are two requests each.
LIMITS = {Kind.SIGN_IN: 120, Kind.WRITE: 60, Kind.PAGE: 600}


class RateLimiter:
    """Counts requests of each visitor in windows of a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = MOST_VISITORS) -> None:
        self._clock = clock
        self._counts: LRUCache[tuple[Kind, str], tuple[int, int]] = LRUCache(most)

    @property
    def counted(self) -> int:
        """How many visitors are remembered, by kind."""
        return len(self._counts)

    def refuse(self, kind: Kind, who: str) -> int | None:
        """Count a request; seconds to wait when it is one too many, else None."""
        now = self._clock()
        window = int(now // WINDOW)
        seen, count = self._counts.get((kind, who), (window, 0))
        count = count + 1 if seen == window else 1
        self._counts[kind, who] = (window, count)
        if count <= LIMITS[kind]:
            return None
        return int((window + 1) * WINDOW - now) + 1


def network(address: str) -> str:
    """What an address counts as: an IPv6 host has a /64 to itself, and could take a new address for each request."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
