"""The two cookies, encrypted and signed: who has signed in, and a sign-in that is under way.

Fernet (of the package cryptography: AES-128-CBC with HMAC-SHA256) carries the time of its making, so that a cookie's
age is judged by us and not by the browser. Each purpose has its own key, derived by HKDF: one cookie is never taken for
the other.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from web.site import Site

#: Seconds that a sign-in lasts, however much one does meanwhile, and in which one must come back from GitHub.
SIGNED_IN = 8 * 3600
ATTEMPT = 600
#: Installations that a cookie names: 50 ids are some 600 bytes, of the 4096 that browsers keep (RFC 6265, section 6.1).
MOST_INSTALLATIONS = 50


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has signed in. `account_id` None: whoever sits at this machine and has used the terminal's link."""

    account_id: int | None
    login: str = ""
    installations: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that a browser has begun. `then`: the local address that it wanted."""

    state: str
    verifier: str
    then: str


class Sealed:
    """Values that only we can read and make, for one purpose, that end after `lifetime` seconds."""

    def __init__(self, key: str, purpose: str, lifetime: int, clock: Callable[[], float]) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=f"stepgate {purpose}".encode()).derive(key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))
        self._lifetime = lifetime
        self._clock = clock

    def seal(self, values: dict[str, Any]) -> str:
        """The values as text for a cookie."""
        text = json.dumps(values, separators=(",", ":")).encode()
        return self._fernet.encrypt_at_time(text, int(self._clock())).decode()

    def open(self, text: str) -> dict[str, Any] | None:
        """The values; None when the text is not ours, was made for another purpose or is too old."""
        try:
            opened = self._fernet.decrypt_at_time(text, self._lifetime, int(self._clock()))
        except (InvalidToken, ValueError):  # ValueError: characters that are not ASCII
            return None
        values: dict[str, Any] = json.loads(opened)
        return values


class Cookies:
    """Reads and writes both cookies of a site."""

    def __init__(self, site: Site, *, clock: Callable[[], float] = time.time) -> None:
        # Without a key of the operator's a sign-in ends with the process, and other processes do not know it.
        key = site.sign_in.session_key if site.sign_in is not None else secrets.token_urlsafe(32)
        # The link of the terminal leads to plain http on loopback, whatever the public address is.
        self._secure = site.sign_in is not None and urlsplit(site.public_url).scheme == "https"
        self._identity = Sealed(key, "signed in", SIGNED_IN, clock)
        self._attempt = Sealed(key, "signing in", ATTEMPT, clock)

    @property
    def name(self) -> str:
        """Name of the cookie of who has signed in. __Host-: no other host, also no sub-domain, can have set it."""
        return "__Host-stepgate" if self._secure else "stepgate"

    @property
    def attempt_name(self) -> str:
        """Name of the cookie of a sign-in under way."""
        return f"{self.name}-sign-in"

    def seal_identity(self, who: Identity) -> str:
        """The cookie's value for somebody who has signed in."""
        newest = sorted(who.installations, reverse=True)[:MOST_INSTALLATIONS]
        return self._identity.seal({"id": who.account_id, "login": who.login, "installations": newest})

    def identity(self, request: web.Request) -> Identity | None:
        """Who the request's cookie says it comes from; None without a valid one."""
        values = self._opened(request, self.name, self._identity)
        if values is None:
            return None
        return Identity(values["id"], values["login"], frozenset(values["installations"]))

    def sign_in(self, response: web.StreamResponse, who: Identity) -> None:
        """Let the answer's browser be signed in."""
        self._set(response, self.name, self.seal_identity(who), SIGNED_IN)

    def sign_out(self, response: web.StreamResponse) -> None:
        """Let the answer's browser be signed in no more."""
        self._delete(response, self.name)

    def attempt(self, request: web.Request) -> Attempt | None:
        """The sign-in that the request's browser has begun."""
        values = self._opened(request, self.attempt_name, self._attempt)
        return Attempt(**values) if values is not None else None

    def begin(self, response: web.StreamResponse, attempt: Attempt) -> None:
        """Bind a sign-in to the answer's browser."""
        values = {"state": attempt.state, "verifier": attempt.verifier, "then": attempt.then}
        self._set(response, self.attempt_name, self._attempt.seal(values), ATTEMPT)

    def end(self, response: web.StreamResponse) -> None:
        """Forget the sign-in that was under way."""
        self._delete(response, self.attempt_name)

    def _opened(self, request: web.Request, name: str, sealed: Sealed) -> dict[str, Any] | None:
        text = request.cookies.get(name)
        return sealed.open(text) if text else None

    def _set(self, response: web.StreamResponse, name: str, value: str, lifetime: int) -> None:
        # Lax: the browser comes back from GitHub by a link, and has to bring its cookie then.
        response.set_cookie(name, value, max_age=lifetime, path="/", httponly=True, secure=self._secure, samesite="Lax")

    def _delete(self, response: web.StreamResponse, name: str) -> None:
        response.del_cookie(name, path="/", httponly=True, secure=self._secure, samesite="Lax")


COOKIES: web.AppKey[Cookies] = web.AppKey("cookies", Cookies)
