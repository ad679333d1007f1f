"""How an installation is spoken to: with a token that lives, after the seconds that a new one needs to be known
everywhere, and not at all while the installation is suspended or deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from github.errors import InstallationError, MissingPermission, Unauthorized
from github.permissions import IN_USE, accepted_sets, lacking
from github.tokens import Token, TokenSource
from github.transport import Answer, Request, Transport

# A new token may be refused with 401 or 403 until all of GitHub's hosts know it and its permissions
# (octokit/auth-app.js issues 65 and 589): retried after 1, 2, 3, 4 s while it is younger than this.
FRESH = 10.0
_FRESH_TRIES = 5
# A permission that an older token lacks may have been granted since, and another process heard of it: a new token is
# made, but not with each refusal (seconds).
ASK_AGAIN = 300.0
# A suspended or deleted installation is asked nothing for so long, unless we hear of it (`Access.renew`).
AWAY_FOR = 60.0


class Access:
    """Sends requests with the token of one installation. `mint` makes one with the permissions that it is given."""

    def __init__(
        self,
        installation_id: int,
        transport: Transport,
        mint: Callable[[Mapping[str, str]], Coroutine[Any, Any, Token]],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._installation_id = installation_id
        self._transport = transport
        self._wanted = dict(IN_USE)
        self._tokens = TokenSource(lambda: mint(dict(self._wanted)), now=now)
        self._away: InstallationError | None = None
        self._away_until = 0.0
        self._renewals = 0
        self._now = now
        self._sleep = sleep

    def renew(self) -> None:
        """Something of the installation changed: the next request is sent whatever we knew, with a new token."""
        self._away = None
        self._renewals += 1
        self._tokens.drop()

    def needs(self, permissions: Mapping[str, str]) -> None:
        """Ask for these permissions too, from the next token on (where the installation was granted them)."""
        if more := lacking(self._wanted, permissions):
            self._wanted |= {name: permissions[name] for name in more}
            self._tokens.drop()

    async def send(self, request: Request) -> Answer:
        """Send with the token; wait for a fresh one to be known everywhere; replace one that stays refused, once.

        All retries are safe for writes too: 401 and 403 mean that nothing was done. While the installation is known to
        be suspended or deleted, nothing is sent. Raises GitHubError.
        """
        self._refuse_while_away()
        renewals = self._renewals
        try:
            return await self._send(request)
        except InstallationError as error:
            if renewals == self._renewals:  # else it tells of how it was before we heard of the change
                self._tokens.drop()
                self._away, self._away_until = error, self._now() + AWAY_FOR
            raise

    async def _send(self, request: Request) -> Answer:
        waited = replaced = False
        for tries in range(1, _FRESH_TRIES + 2):
            token = await self._tokens.get()
            try:
                return await self._transport.send(request, token.credential, self._installation_id)
            except (Unauthorized, MissingPermission) as error:
                refused = error
            age = self._now() - token.created_at
            if 0 <= age < FRESH and _may_be_early(token, refused) and not (waited and replaced):
                waited = waited or not replaced
                await self._sleep(min(float(tries), FRESH - age))
            elif not replaced and self._may_be_outdated(token, refused, age):
                replaced = True
                self._tokens.drop(token)
            else:
                break
        raise refused

    def _may_be_outdated(self, token: Token, refused: Unauthorized | MissingPermission, age: float) -> bool:
        """Whether another token may be accepted where this one, of `age` seconds, was refused."""
        if isinstance(refused, Unauthorized):
            return True  # revoked, or the clock jumped
        ours = any(not lacking(self._wanted, wanted) for wanted in accepted_sets(refused.accepted_permissions))
        return ours and _lacks(token, refused) and not 0 <= age < ASK_AGAIN

    def _refuse_while_away(self) -> None:
        away = self._away
        if away is None:
            return
        if 0 < self._away_until - self._now() <= AWAY_FOR:  # longer: the clock was set back
            raise type(away)(str(away), installation_id=self._installation_id)
        self._away = None


def _may_be_early(token: Token, refused: Unauthorized | MissingPermission) -> bool:
    """Whether a fresh token may be refused for not being known everywhere yet, and not for what it is lacking."""
    return isinstance(refused, Unauthorized) or not _lacks(token, refused)


def _lacks(token: Token, refused: MissingPermission) -> bool:
    """Whether the token was made without the permission that the refusal asks for, as far as both tell."""
    sets = accepted_sets(refused.accepted_permissions)
    return bool(token.permissions and sets) and all(lacking(token.permissions, wanted) for wanted in sets)
