"""Installation tokens: made once, used until five minutes before they end, never shown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from github.concurrency import SingleFlight
from github.transport import Credential

# A token lives for one hour (GitHub docs, best practices for creating a GitHub App). One that ends while a request is
# under way would be refused, and clocks differ: it is replaced this many seconds before its end.
EXPIRY_MARGIN = 300.0


@dataclass(frozen=True, slots=True)
class Token:
    """An installation token. `created_at`, `expires_at`: seconds since 1970 by our clock.

    `permissions`: name -> level, as GitHub told when it was made; empty: it did not.
    """

    credential: Credential
    created_at: float
    expires_at: float
    permissions: Mapping[str, str]


class TokenSource:
    """The current token of one installation. All who need a new one at the same time get the same."""

    def __init__(self, mint: Callable[[], Coroutine[Any, Any, Token]], *, now: Callable[[], float]) -> None:
        self._mint = mint
        self._now = now
        self._token: Token | None = None
        self._generation = 0  # a token that was asked for before the last `drop` is not kept
        self._flight: SingleFlight[int, Token] = SingleFlight()

    async def get(self) -> Token:
        """The token, made now if there is none that lives for five more minutes. Raises what `mint` raises."""
        token = self._token
        if token is not None and self._now() < token.expires_at - EXPIRY_MARGIN:
            return token
        generation = self._generation
        return await self._flight.run(generation, lambda: self._renew(generation))

    def drop(self, token: Token | None = None) -> None:
        """Forget the token (only if it is still `token`, when one is given): the next `get` makes another."""
        if token is None:
            self._generation += 1
        if token is None or self._token is token:
            self._token = None

    async def _renew(self, generation: int) -> Token:
        token = await self._mint()
        if generation == self._generation:
            self._token = token
        return token
