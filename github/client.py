"""The App as a client of GitHub's REST API, and the way to its installations' clients. Errors: `github.errors`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache

import aiohttp
import jwt
from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import RSAAlgorithm
from pydantic import SecretStr

from github import answers
from github.answers import read
from github.errors import InstallationGone, Misconfigured, NotFound, Rejected, Transient, Unauthorized
from github.governor import Governor, MemoryGovernor
from github.installation import InstallationClient, repository_path
from github.permissions import common
from github.refusals import server_time
from github.tokens import Token
from github.transport import Answer, Credential, Request, Transport
from github.values import AppRecord
from rules.model import Installation

__all__ = ["GitHubApp", "InstallationClient"]

# The App's JWT: issued a minute ago against clock drift, at most ten minutes ahead (GitHub docs, "Generating a JSON
# Web Token (JWT) for a GitHub App"); 540 s leaves a minute to the limit.
JWT_BACKDATED = 60
JWT_LIFETIME = 540
# A JWT that was refused may have been of a wrong time if GitHub's clock turns out to be this much off (seconds).
JWT_TOLERANCE = 30.0

_KEEP_CLIENTS = 10_000
_APP = 0  # the App's own key at the governor: no installation has this id


class GitHubApp:
    """The App itself, and the way to its installations. `private_key`: PEM. Never shows key, JWT or tokens."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        api_url: str,
        app_id: int,
        private_key: str,
        governor: Governor | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises Misconfigured for an address or a key that cannot be used. `governor`: one per process if None."""
        self.app_id = app_id
        self._key = _private_key(private_key)
        self._now = now
        self._sleep = sleep
        self._transport = Transport(http, api_url, governor or MemoryGovernor(now=now, sleep=sleep), now=now)
        self._clients: LRUCache[int, InstallationClient] = LRUCache(_KEEP_CLIENTS)

    def installation(self, installation_id: int) -> InstallationClient:
        """The client of an installation: the same object each time, so that its token is shared. No request."""
        client = self._clients.get(installation_id)
        if client is None:
            client = InstallationClient(
                installation_id,
                app_id=self.app_id,
                transport=self._transport,
                mint=lambda wanted: self._mint(installation_id, wanted),
                now=self._now,
                sleep=self._sleep,
            )
            self._clients[installation_id] = client
        return client

    async def app(self) -> AppRecord:
        """The App as GitHub knows it (GET /app). Unauthorized: id, key or clock are wrong."""
        return read(answers.AppModel, (await self.get("app")).data).value()

    async def installation_record(self, installation_id: int) -> Installation:
        """The installation's account, state and permissions as of now. InstallationGone: it was deleted.

        That is for ever, so one 404 does not do: a replica may not know a new installation yet. The list of all must
        not have it either.
        """
        try:
            answer = await self.get(f"app/installations/{installation_id:d}")
        except NotFound as error:
            missing = error
        else:
            return read(answers.InstallationModel, answer.data).value()
        async for listed in self.installations():
            if listed.installation_id == installation_id:
                return listed
        raise InstallationGone(str(missing), installation_id=installation_id)

    async def installation_of(self, full_name: str) -> Installation | None:
        """The installation that covers a repository; None: the App is not installed there, or there is no such one."""
        try:
            answer = await self.get(f"{repository_path(full_name)}/installation")
        except NotFound:
            return None
        return read(answers.InstallationModel, answer.data).value()

    async def get(self, url: str, *, cacheable: bool = True) -> Answer:
        """GET an address of the API as the App itself: for the modules of this package that ask more than this class.

        `url`: relative to the API base, or an absolute one of it (Link). `cacheable`: worth a conditional request.
        """
        return await self._send(Request("GET", url, cacheable=cacheable))

    async def post(self, url: str) -> Answer:
        """POST to an address of the API as the App itself, without a body. `url`: relative to the API base."""
        return await self._send(Request("POST", url, repeatable=False))

    async def installations(self) -> AsyncIterator[Installation]:
        """The App's installations, page by page (GET /app/installations); whoever needs one only stops early."""
        seen: set[str] = set()
        page: str | None = "app/installations?per_page=100"
        while page is not None and page not in seen:
            seen.add(page)
            # not conditional: another installation on a new page leaves this one unchanged, with the link that it had
            answer = await self.get(page, cacheable=False)
            # What is no list is no installation either, and refused as such.
            for item in answer.data if isinstance(answer.data, list) else [answer.data]:
                yield read(answers.InstallationModel, item).value()
            page = answer.next_page

    async def _mint(self, installation_id: int, wanted: Mapping[str, str]) -> Token:
        """A new installation token with the permissions in `wanted`, as far as the installation was granted them."""
        try:
            return await self._token(installation_id, wanted)
        except NotFound as error:
            await self.installation_record(installation_id)  # InstallationGone, as a rule
            raise Transient(str(error)) from None
        except Rejected as error:
            refused = error  # "The permissions requested are not granted to this installation."
        record = await self.installation_record(installation_id)
        granted = common(record.permissions, wanted)
        if not granted or granted == wanted:
            raise refused
        return await self._token(installation_id, granted)

    async def _token(self, installation_id: int, permissions: Mapping[str, str]) -> Token:
        """A token, narrowed. Making one twice is harmless, so a lost answer is Transient.

        Its end is reckoned from GitHub's clock (header Date), so that a wrong clock of ours does no harm.
        """
        url = f"app/installations/{installation_id:d}/access_tokens"
        asked_at = self._now()
        answer = await self._send(Request("POST", url, body={"permissions": dict(permissions)}), installation_id)
        model = read(answers.TokenModel, answer.data)
        lifetime = model.expires_at.timestamp() - (server_time(answer.headers) or asked_at)
        credential = Credential("token", model.token)
        return Token(credential, self._now(), asked_at + lifetime, model.permissions)

    async def _send(self, request: Request, key: int = _APP) -> Answer:
        """Send as the App itself; once more if the JWT was refused and the answer shows that our clock is to blame.

        Repeating is safe for writes too: 401 means that nothing was done. `key`: for which installation. Limits that
        GitHub tells are the App's: they neither stop that installation nor leave others going on.
        """
        clock = self._transport.clock
        skew = clock.skew
        try:
            return await self._transport.send(request, self._jwt(), key, payer=_APP)
        except Unauthorized:
            if abs(clock.skew - skew) < JWT_TOLERANCE:
                raise
        return await self._transport.send(request, self._jwt(), key, payer=_APP)

    def _jwt(self) -> Credential:
        issued = int(self._transport.clock.now())
        claims = {"iat": issued - JWT_BACKDATED, "exp": issued + JWT_LIFETIME, "iss": str(self.app_id)}
        return Credential("jwt", SecretStr(jwt.encode(claims, self._key, algorithm="RS256")))


@lru_cache(maxsize=2)  # it takes 50 ms, and a process may make more than one client
def _private_key(pem: str) -> RSAPrivateKey:
    """The App's key, parsed once. What the parser says is not passed on: it may quote the key."""
    try:
        key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(pem)
    except Exception:  # cryptography raises many types; all mean the same to the operator
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Misconfigured("the App's private key is not an RSA private key in PEM form (GITHUB_PRIVATE_KEY)")
    return key
