"""Who asks, and whether they may: App JWTs, installation and user tokens, checked as GitHub checks them.

Rules of the JWT: GitHub docs, "Generating a JSON Web Token (JWT) for a GitHub App".
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt
from cachetools import LRUCache
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from .core import Core
from .errors import ApiError, bad_credentials, not_accessible, not_found
from .grants import Grants, PersonalToken, UserToken
from .state import Account, Installation, Repository
from .views import view

JWT_LIFETIME_MAX = 600  # seconds from now to `exp`
TOKEN_LIFETIME = timedelta(hours=1)
TOKEN_LENGTH = 520  # characters; GitHub's are about that long since 2026
TOKEN_LENGTH_MAX = 600  # that a fault may ask for
TOKENS_KEPT = 100_000
_LEVELS = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Token:
    """An installation token. `repository_ids` None: all repositories of the installation."""

    value: str
    installation_id: int
    repository_ids: frozenset[int] | None
    permissions: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sent a request: the App (`app`), one of its installations (`token`), a person through the App (`user`).

    `client`: the App, by its client id and secret; `person`: somebody without the App, by a personal access token.
    None of these: nobody that we know.
    """

    app: bool = False
    token: Token | None = None
    user: UserToken | None = None
    client: bool = False
    person: PersonalToken | None = None

    @property
    def key(self) -> str:
        """What separates one caller's rate limit and ETags from another's."""
        if self.token is not None:
            return f"installation ID {self.token.installation_id}"
        if (someone := self.user or self.person) is not None:
            return f"user ID {someone.account_id}"
        return "app" if self.app else "anonymous"


class Authenticator:
    """Checks credentials and keeps the installation tokens."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._public_keys: dict[str, PublicKeyTypes] = {}
        self._tokens: LRUCache[str, Token] = LRUCache(TOKENS_KEPT)
        self.grants = Grants(core)

    def _public_key(self, pem: str) -> PublicKeyTypes:
        if pem not in self._public_keys:
            # Our own key: checking its primes again takes longer than all else at the start of a sandbox.
            key = serialization.load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
            self._public_keys[pem] = key.public_key()
        return self._public_keys[pem]

    def actor(self, authorization: str | None) -> Actor:
        """Return who sent the request; ApiError 401 or 403 if the credentials are wrong."""
        if authorization is None:
            return Actor()
        scheme, _, value = authorization.strip().partition(" ")
        if scheme.lower() == "basic":
            return self._client(value)
        if scheme.lower() not in {"bearer", "token"} or not value:
            raise bad_credentials()
        if value.startswith("ghs_"):
            return Actor(token=self._live_token(value))
        if value.startswith("ghu_"):
            user = self.grants.find(value)
            if user is None:
                raise bad_credentials()
            return Actor(user=user)
        if value.startswith("ghp_"):
            person = self.grants.find_personal(value)
            if person is None:
                raise bad_credentials()
            return Actor(person=person)
        if value.count(".") == 2:
            self._check_jwt(value)
            return Actor(app=True)
        raise bad_credentials()

    def _client(self, encoded: str) -> Actor:
        """Return the App if these are its client id and secret: GitHub docs, "Authenticating to the REST API"."""
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise bad_credentials() from None
        app = self._core.registered
        if app is None or client_id != app.client_id:
            raise bad_credentials()
        if not app.has_secret(secret):
            raise bad_credentials()
        return Actor(client=True)

    def account_of(self, actor: Actor) -> Account | None:
        """Return the person whom a user token or personal access token stands for."""
        someone = actor.user or actor.person
        return None if someone is None else self._core.state.account_by_id(someone.account_id)

    def installation_of(self, authorization: str | None) -> int | None:
        """Return the installation of the token, whether or not it is valid still; None for other credentials."""
        token = self._tokens.get((authorization or "").strip().partition(" ")[2])
        return None if token is None else token.installation_id

    def caller(self, authorization: str | None) -> str:
        """Return `Actor.key` of who sent the request, also if it is to be refused."""
        if (installation_id := self.installation_of(authorization)) is not None:
            return f"installation ID {installation_id}"
        try:
            return self.actor(authorization).key
        except ApiError:
            return Actor().key

    def _live_token(self, value: str) -> Token:
        token = self._tokens.get(value)
        if token is None or token.expires_at.timestamp() <= self._core.clock():
            raise bad_credentials()
        installation = self._core.state.installations.get(token.installation_id)
        if installation is None:  # tokens die with the installation
            raise bad_credentials()
        if installation.suspended_at is not None:
            raise suspended()
        return token

    def _check_jwt(self, value: str) -> None:
        if self._core.registered is None:
            raise ApiError(404, "Integration not found")
        options = {
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_aud": False,
            "verify_sub": False,
        }
        for pem in (self._core.app.private_key_pem, *self._core.app.spare_keys):
            with suppress(jwt.PyJWTError):
                claims = jwt.decode(value, self._public_key(pem), algorithms=["RS256"], options=options)  # type: ignore[arg-type]
                break
        else:
            raise bad_credentials("A JSON web token could not be decoded")
        now = self._core.clock()
        issued, expires, issuer = claims.get("iat"), claims.get("exp"), claims.get("iss")
        if isinstance(issued, bool) or not isinstance(issued, int | float) or issued > now:
            raise bad_credentials(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            )
        if isinstance(expires, bool) or not isinstance(expires, int | float) or expires <= now:
            raise bad_credentials(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the"
                " assertion expires"
            )
        if expires > now + JWT_LIFETIME_MAX:
            raise bad_credentials("'Expiration time' claim ('exp') is too far in the future")
        if str(issuer) not in {str(self._core.app.id), self._core.app.client_id}:
            raise ApiError(404, "Integration not found")

    def issue(
        self, installation: Installation, repository_ids: frozenset[int] | None, permissions: Mapping[str, str]
    ) -> Token:
        """Create an installation token of one hour."""
        value = ("ghs_" + secrets.token_hex(TOKEN_LENGTH_MAX // 2))[: view().length(TOKEN_LENGTH)]
        expires_at = self._core.now() + TOKEN_LIFETIME
        token = Token(value, installation.id, repository_ids, dict(permissions), expires_at)
        self._tokens[value] = token
        return token

    def revoke(self, token: Token) -> None:
        """End the token."""
        self._tokens.pop(token.value, None)

    def holds(self, actor: Actor, repository: Repository) -> bool:
        """Tell whether the actor's token was issued for this repository.

        A user token reaches what both the person and an installation of the App reach.
        """
        token, account = actor.token, self.account_of(actor)
        if actor.person is not None:
            return repository.readable_by(account)
        if account is not None:
            return repository.readable_by(account) and self._core.state.installation_on(repository) is not None
        if token is None:
            return False
        installation = self._core.state.installations[token.installation_id]
        return installation.covers(repository) and (
            token.repository_ids is None or repository.id in token.repository_ids
        )

    def sees(self, actor: Actor, repository: Repository) -> bool:
        """Tell whether the actor may know that the repository exists."""
        if not repository.private or self.holds(actor, repository):
            return True
        return actor.app and self._core.state.installation_on(repository) is not None

    def granted(self, actor: Actor, repository: Repository) -> Mapping[str, str]:
        """Return what the actor's token may do with a repository that it holds."""
        if actor.token is not None:
            return actor.token.permissions
        installation, account = self._core.state.installation_on(repository), self.account_of(actor)
        if installation is None or account is None:
            return {}
        if repository.writable_by(account):
            return installation.permissions
        return dict.fromkeys(installation.permissions, "read")

    def require(self, actor: Actor, repository: Repository, permission: str) -> None:
        """Pass if the actor may use `permission` ("checks:write") on the repository; ApiError 401, 403 or 404 if not.

        Public repositories outside of the token's reach can be read, never written.
        """
        if not self.sees(actor, repository):
            raise not_found()
        name, _, level = permission.partition(":")
        if actor.person is not None:
            self._require_right(actor.person, repository, name, level)
        elif self.holds(actor, repository):
            if _LEVELS.get(self.granted(actor, repository).get(name, ""), 0) < _LEVELS[level]:
                raise not_accessible(permission)
        elif actor.app:
            raise bad_credentials()
        elif level != "read":
            known = actor.token is not None or actor.user is not None
            raise not_accessible(permission) if known else ApiError(401, "Requires authentication")

    def _require_right(self, token: PersonalToken, repository: Repository, name: str, level: str) -> None:
        """Pass if the person may do it and the token's scopes allow it; the repository is known to be seen.

        Checks belong to Apps; deleting wants a scope of its own (GitHub docs, "Scopes for OAuth apps").
        """
        account = self._core.state.account_by_id(token.account_id)
        if level == "read":
            return
        if name == "checks":
            raise ApiError(403, "You must authenticate via a GitHub App.")
        admin = name == "administration"
        if account is None or not (repository.owned_by(account) if admin else repository.writable_by(account)):
            raise ApiError(403, "Must have admin rights to Repository.") if admin else not_found()
        if "repo" not in token.scopes:
            raise not_found()


def suspended() -> ApiError:
    """The account's owner has suspended the installation: 403."""
    return ApiError(403, "This installation has been suspended")


def narrower(asked: Mapping[str, str], granted: Mapping[str, str]) -> bool:
    """Tell whether every permission asked for a token is within those granted to the installation."""
    return all(_LEVELS.get(level, 99) <= _LEVELS.get(granted.get(name, ""), 0) for name, level in asked.items())
