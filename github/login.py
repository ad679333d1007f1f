"""Signing in with GitHub: where the browser is sent, and whom the code that it brings back stands for.

GitHub docs, "Generating a user access token for a GitHub App" (web application flow, with PKCE) and "Troubleshooting
OAuth app access token request errors". The user's token is used for two questions and ended at once: nobody keeps it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from gidgethub import sansio
from pydantic import BaseModel, ConfigDict, SecretStr

from github.answers import AccountModel, read
from github.errors import Fault, GitHubError, Misconfigured, Permanent, Transient
from github.governor import MemoryGovernor
from github.transport import USER_AGENT, Credential, Request, Transport
from rules.model import Account

log = structlog.get_logger(__name__)

# A browser waits for all of it: code, person, installations.
TIMEOUT = aiohttp.ClientTimeout(total=8, sock_connect=4)
# Answers here are small; the installations of somebody with many come in pages of 100.
_LARGEST = 4 * 1024 * 1024
MOST_PAGES = 5

# What only the operator can mend, by GitHub's word for it.
_OPERATORS = {
    "incorrect_client_credentials": "GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET are not those of one App",
    "redirect_uri_mismatch": "the App's settings on GitHub do not hold our callback URL; compare PUBLIC_URL with them",
}


class NotSignedIn(Permanent):
    """GitHub does not accept the code: used twice, older than ten minutes, or the person's e-mail is not verified."""

    fault = Fault.OWNER


@dataclass(frozen=True, slots=True)
class Client:
    """The App as it speaks for people: GitHub's two addresses, and the App's id and secret for this."""

    web_url: str
    api_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom GitHub names, and the ids of the App's installations that they may see."""

    account: Account
    installations: frozenset[int]


class _Token(BaseModel):
    """POST /login/oauth/access_token, with `Accept: application/json`: a token, or status 200 with an error."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    access_token: SecretStr | None = None
    error: str = ""
    error_description: str = ""


class _WithId(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int


class _Installations(BaseModel):
    """GET /user/installations, one page."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    installations: tuple[_WithId, ...]


class _NoCredential(Credential):
    """For the exchange: the secret is in its body. This address answers in JSON only if it is asked so."""

    def headers(self) -> dict[str, str]:
        """Request headers, in lower case."""
        return sansio.create_headers(USER_AGENT, accept="application/json")


class _AsClient(Credential):
    """For DELETE /applications/{client_id}/token: the secret is "client id:client secret", for basic authentication."""

    def headers(self) -> dict[str, str]:
        """Request headers, in lower case."""
        pair = base64.b64encode(self.secret.get_secret_value().encode()).decode()
        return {**Credential("none", SecretStr("")).headers(), "authorization": f"Basic {pair}"}


def challenge_of(verifier: str) -> str:
    """PKCE's challenge of a verifier, method S256 (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def authorize_url(client: Client, *, state: str, verifier: str, redirect_uri: str) -> str:
    """Where the browser is sent. No scope is asked for: an App's user token has none."""
    query = {
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
    }
    return f"{client.web_url}/login/oauth/authorize?{urlencode(query)}"


async def sign_in(
    http: aiohttp.ClientSession, client: Client, *, code: str, verifier: str, redirect_uri: str
) -> SignedIn:
    """Exchange the code, ask who it is and which installations they see, and end the token.

    Raises NotSignedIn, Misconfigured (the operator's settings) or another GitHubError. Installations that cannot be
    read count as none.
    """
    token = await exchange(http, client, code=code, verifier=verifier, redirect_uri=redirect_uri)
    try:
        account = await person(http, client, token)
        try:
            installations = await installations_of(http, client, token)
        except GitHubError as error:
            log.warning("installations_of_user_unknown", error=str(error))
            installations = frozenset()
    finally:
        await end_token(http, client, token)
    return SignedIn(account, installations)


async def exchange(
    http: aiohttp.ClientSession, client: Client, *, code: str, verifier: str, redirect_uri: str
) -> Credential:
    """The user token for a code. A code works once."""
    body = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    request = Request("POST", "login/oauth/access_token", body, repeatable=False, max_body=_LARGEST)
    answer = await _transport(http, client.web_url).send(request, _NoCredential("none", SecretStr("")), 0)
    token = read(_Token, answer.data)
    if token.error in _OPERATORS:
        raise Misconfigured(f"GitHub answers {token.error}: {_OPERATORS[token.error]}")
    if token.error:
        raise NotSignedIn(f"GitHub answers {token.error}: {token.error_description}")
    if token.access_token is None:
        raise Transient("GitHub answered without a token")
    return Credential("token", token.access_token)


async def person(http: aiohttp.ClientSession, client: Client, token: Credential) -> Account:
    """GET /user: whose token it is."""
    answer = await _transport(http, client.api_url).send(Request("GET", "user", max_body=_LARGEST), token, 0)
    return read(AccountModel, answer.data).value()


async def installations_of(http: aiohttp.ClientSession, client: Client, token: Credential) -> frozenset[int]:
    """GET /user/installations: the App's installations that the person may see, of the first MOST_PAGES pages."""
    transport, url = _transport(http, client.api_url), "user/installations?per_page=100"
    found: set[int] = set()
    for _ in range(MOST_PAGES):
        answer = await transport.send(Request("GET", url, max_body=_LARGEST), token, 0)
        found.update(each.id for each in read(_Installations, answer.data).installations)
        if answer.next_page is None:
            break
        url = answer.next_page
    return frozenset(found)


async def end_token(http: aiohttp.ClientSession, client: Client, token: Credential) -> None:
    """DELETE /applications/{client_id}/token. If it fails the token ends by itself after eight hours, unknown to us."""
    secret = SecretStr(f"{client.client_id}:{client.client_secret}")
    body = {"access_token": token.secret.get_secret_value()}
    request = Request("DELETE", f"applications/{quote(client.client_id, safe='')}/token", body)
    try:
        await _transport(http, client.api_url).send(request, _AsClient("basic", secret), 0)
    except GitHubError as error:
        log.warning("user_token_not_ended", error=str(error))


def _transport(http: aiohttp.ClientSession, base: str) -> Transport:
    """One for each request: limits are each person's own, and nothing of one is kept for another."""
    return Transport(http, base, MemoryGovernor(0.0), timeout=TIMEOUT)
