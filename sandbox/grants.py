"""People who let the App act for them: codes, user tokens, refresh tokens.

Lifetimes and errors: GitHub docs, "Generating a user access token for a GitHub App", "Refreshing user access tokens",
"Troubleshooting OAuth app access token request errors".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from .core import AppIdentity, Core
from .state import Account

CODE_LIFETIME = 600  # seconds
TOKEN_LIFETIME = 28_800  # seconds: 8 hours
REFRESH_LIFETIME = 15_897_600  # seconds: 6 months
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class GrantError(Exception):
    """A request for a token that GitHub answers with status 200 and `error`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Code:
    """What a browser carries from the authorisation to the App. `challenge`: PKCE's, None without."""

    account_id: int
    client_id: str
    redirect_uri: str
    challenge: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class UserToken:
    """A user access token with its refresh token; times in seconds since 1970."""

    value: str
    refresh: str
    account_id: int
    client_id: str
    expires_at: float
    refresh_expires_at: float


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A classic personal access token: the person themselves, as far as its scopes go; no App has a part in it."""

    value: str
    account_id: int
    scopes: frozenset[str]


def callback_of(app: AppIdentity, asked: str | None) -> str | None:
    """Return where the browser is sent after the authorisation; None if the App has no such callback URL.

    The address must be one of the App's, except that a loopback one may have any port. GitHub docs, "About the user
    authorization callback URL".
    """
    if not asked:
        return app.callback_urls[0] if app.callback_urls else None
    wanted = _parts(asked)
    for each in app.callback_urls:
        known = _parts(each)
        if wanted is not None and known is not None and _same(wanted, known):
            return asked
    return None


def _parts(address: str) -> SplitResult | None:
    if any(ord(character) <= 32 or character == "\\" for character in address):
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and "@" not in parts.netloc and not parts.fragment else None


def _same(wanted: SplitResult, known: SplitResult) -> bool:
    port = wanted.hostname in _LOOPBACK or wanted.port == known.port
    return port and (wanted.scheme, wanted.hostname, wanted.path or "/", wanted.query) == (
        known.scheme, known.hostname, known.path or "/", known.query,
    )  # fmt: skip


class Grants:
    """Who has authorised the App, and the codes and tokens that came of it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._authorised: set[tuple[int, str]] = set()
        self._codes: dict[str, Code] = {}
        self._tokens: dict[str, UserToken] = {}
        self._refreshes: dict[str, UserToken] = {}
        self._personal: dict[str, PersonalToken] = {}

    def authorised(self, account: Account) -> bool:
        """Tell whether the person has let the App know them before."""
        return (account.id, self._core.app.client_id) in self._authorised

    def code(self, account: Account, redirect_uri: str, challenge: str | None) -> str:
        """Note that the person agrees; return the code that their browser takes to the App."""
        code, client_id = secrets.token_hex(10), self._core.app.client_id
        self._authorised.add((account.id, client_id))
        end = self._core.clock() + CODE_LIFETIME
        self._codes[code] = Code(account.id, client_id, redirect_uri, challenge, end)
        return code

    def exchange(self, code: str, redirect_uri: str | None, verifier: str | None) -> UserToken:
        """Return a new token for the code, which is spent by the attempt; GrantError if something does not fit."""
        found = self._codes.pop(code, None)
        if found is None or found.expires_at <= self._core.clock() or found.client_id != self._core.app.client_id:
            raise _bad_code()
        if redirect_uri is not None and redirect_uri != found.redirect_uri:
            raise GrantError(
                "redirect_uri_mismatch",
                "The redirect_uri MUST match the registered callback URL for this application.",
            )
        if found.challenge is not None and not hmac.compare_digest(challenge_of(verifier or ""), found.challenge):
            raise _bad_code()
        return self.token(found.account_id)

    def refresh(self, refresh_token: str) -> UserToken:
        """Return a new token for a refresh token; that one and its user token end. GrantError if it is not valid."""
        old = self._refreshes.get(refresh_token)
        client_id = self._core.app.client_id
        if old is None or old.refresh_expires_at <= self._core.clock() or old.client_id != client_id:
            raise GrantError("bad_refresh_token", "The refresh token passed is incorrect or expired.")
        self._end(old)
        return self.token(old.account_id)

    def token(self, account_id: int) -> UserToken:
        """Return a new user token of the registered App for the account."""
        now, client_id = self._core.clock(), self._core.app.client_id
        token = UserToken(
            "ghu_" + secrets.token_hex(18), "ghr_" + secrets.token_hex(38), account_id, client_id,
            now + TOKEN_LIFETIME, now + REFRESH_LIFETIME,
        )  # fmt: skip
        self._tokens[token.value] = self._refreshes[token.refresh] = token
        self._authorised.add((account_id, client_id))
        return token

    def find(self, value: str) -> UserToken | None:
        """Return the living token of the registered App with this value."""
        token, app = self._tokens.get(value), self._core.registered
        if token is None or app is None or token.client_id != app.client_id:
            return None
        return token if token.expires_at > self._core.clock() else None

    def personal_token(self, account_id: int, scopes: frozenset[str]) -> PersonalToken:
        """Return a new personal access token of the account."""
        token = PersonalToken("ghp_" + secrets.token_hex(18), account_id, scopes)
        self._personal[token.value] = token
        return token

    def find_personal(self, value: str) -> PersonalToken | None:
        """Return the personal access token with this value."""
        return self._personal.get(value)

    def revoke(self, value: str) -> bool:
        """End the token; False if there was none."""
        token = self.find(value)
        if token is not None:
            self._end(token)
        return token is not None

    def withdraw(self, account: Account) -> bool:
        """End the person's authorisation of the App with all its tokens; False if there was none."""
        key = (account.id, self._core.app.client_id)
        known = key in self._authorised
        self._authorised.discard(key)
        for token in [each for each in self._tokens.values() if (each.account_id, each.client_id) == key]:
            self._end(token)
        return known

    def _end(self, token: UserToken) -> None:
        self._tokens.pop(token.value, None)
        self._refreshes.pop(token.refresh, None)


def challenge_of(verifier: str) -> str:
    """Return PKCE's S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _bad_code() -> GrantError:
    return GrantError("bad_verification_code", "The code passed is incorrect or expired.")
