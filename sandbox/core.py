"""What all parts of the sandbox share: addresses, the App's identity, records, git, events."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cachetools import LRUCache
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .deliveries import DeliveryLog
from .errors import SandboxError
from .faults import FaultPlan
from .gitdata import GitData
from .gitstore import GitStore
from .replication import PushLog
from .state import Account, State

DEFAULT_PERMISSIONS = {"checks": "write", "contents": "read", "metadata": "read", "statuses": "write"}
DEFAULT_EVENTS = ("check_run", "check_suite", "fork", "public", "push", "repository", "status")
CACHED_BODY_BYTES = 128 * 1024 * 1024


@dataclass(slots=True)
class AppIdentity:
    """The one App that is registered with this GitHub. `public`: anybody may install it.

    `spare_keys`, `spare_secrets`: private keys and client secrets that are valid as well, until they are deleted
    (GitHub docs, "Managing private keys for GitHub Apps", "Best practices for creating an OAuth app").
    """

    id: int
    slug: str
    client_id: str
    client_secret: str
    private_key_pem: str
    owner: Account
    bot: Account
    created_at: datetime
    permissions: dict[str, str]
    events: list[str]
    name: str = ""
    description: str = ""
    external_url: str = ""
    callback_urls: list[str] = field(default_factory=list)
    setup_url: str | None = None
    setup_on_update: bool = False
    request_oauth_on_install: bool = False
    public: bool = True
    spare_keys: list[str] = field(default_factory=list)
    spare_secrets: list[str] = field(default_factory=list)

    def owned_by(self, account: Account | None) -> bool:
        """Tell whether the account may change the App: its owner, or an owner of the organisation that owns it."""
        return account is not None and (account.id == self.owner.id or account.id in self.owner.members)

    def has_secret(self, given: str) -> bool:
        """Tell whether this is one of the App's client secrets."""
        known = [self.client_secret, *self.spare_secrets]
        return any(hmac.compare_digest(given.encode(), secret.encode()) for secret in known)

    def installable_on(self, account: Account) -> bool:
        """Tell whether the App may be installed there: a private App only on its owner's account.

        GitHub docs, "Making a GitHub App public or private".
        """
        return self.public or account.id == self.owner.id


def new_private_key() -> str:
    """Return a fresh RSA key in PEM, as GitHub hands out to an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


@dataclass(frozen=True, slots=True)
class CachedBody:
    """A response body that can never change, with its digest for the ETag."""

    data: bytes
    digest: bytes


@dataclass(slots=True)
class Core:
    """The sandbox without its control API: handlers and events work on this."""

    registered: AppIdentity | None
    state: State
    deliveries: DeliveryLog
    tree_limit: int
    rate_limit: int
    echo_events: bool
    base_clock: Callable[[], float] = time.time
    url: str = ""
    store: GitStore = field(default_factory=GitStore)
    git: GitData = field(init=False)
    faults: FaultPlan = field(init=False)
    pushes: PushLog = field(default_factory=PushLog)
    bodies: LRUCache[Any, CachedBody] = field(init=False)
    manifest_codes: dict[str, float] = field(default_factory=dict)  # code -> end of its hour
    other_apps: dict[int, AppIdentity] = field(default_factory=dict)

    _last_stamp: float = 0.0

    def __post_init__(self) -> None:
        self.git = GitData(self.store)
        self.faults = FaultPlan(self.clock, self.stamp)
        self.bodies = LRUCache(CACHED_BODY_BYTES, lambda body: len(body.data) + 200)
        self.deliveries.now = self.now

    @property
    def app(self) -> AppIdentity:
        """The registered App; SandboxError if none is."""
        if self.registered is None:
            raise SandboxError("no App is registered with this sandbox")
        return self.registered

    def app_of(self, app_id: int | None) -> AppIdentity:
        """The App that wrote a check: another one by its id, or the registered one (None)."""
        return self.app if app_id is None else self.other_apps[app_id]

    @property
    def api_url(self) -> str:
        """The root of the REST API, as on a GitHub Enterprise Server."""
        return f"{self.url}/api/v3"

    def clock(self) -> float:
        """The sandbox's time, in seconds since 1970: the clock it was given, as fast or slow as a fault makes it."""
        return self.base_clock() + self.faults.clock_offset

    def stamp(self) -> float:
        """The sandbox's time, but later than at every call before: which of two things came first."""
        self._last_stamp = max(self.clock(), self._last_stamp + 1e-6)
        return self._last_stamp

    def now(self) -> datetime:
        """The sandbox's time, in whole seconds."""
        return datetime.fromtimestamp(int(self.clock()), UTC)
