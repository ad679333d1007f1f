"""What the sandbox tells of itself, and lets be changed: addresses, the App's credentials and settings, the clock."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence

from .core import Core, new_private_key
from .exchanges import Exchange
from .faults import FaultPlan
from .rest import RestApi


class Facts:
    """Mixed into `Sandbox`. What concerns the App raises SandboxError while none is registered."""

    _core: Core
    _rest: RestApi

    @property
    def url(self) -> str:
        """The root of web and git addresses: `{url}/{owner}/{repo}.git`."""
        return self._core.url

    @property
    def api_url(self) -> str:
        """The root of the REST API."""
        return self._core.api_url

    @property
    def exchanges(self) -> deque[Exchange]:
        """The newest 5,000 requests to the REST API with their answers."""
        return self._rest.exchanges

    @property
    def clock(self) -> Callable[[], float]:
        """The sandbox's clock, in seconds since 1970; tests may set another."""
        return self._core.base_clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._core.base_clock = clock

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong on purpose, and the list of what did."""
        return self._core.faults

    @property
    def echo_events(self) -> bool:
        """Whether the App hears of the check runs and statuses that it writes itself, as on GitHub."""
        return self._core.echo_events

    @echo_events.setter
    def echo_events(self, wanted: bool) -> None:
        self._core.echo_events = wanted

    @property
    def tree_limit(self) -> int:
        """The number of entries after which a recursive tree is truncated."""
        return self._core.tree_limit

    @tree_limit.setter
    def tree_limit(self, limit: int) -> None:
        self._core.tree_limit = limit

    # ------------------------------------------------------------------------------------------------ the App

    @property
    def registered(self) -> bool:
        """Whether an App is registered."""
        return self._core.registered is not None

    @property
    def app_id(self) -> int:
        """The App's numeric id."""
        return self._core.app.id

    @property
    def app_slug(self) -> str:
        """The App's name in addresses."""
        return self._core.app.slug

    @property
    def private_key_pem(self) -> str:
        """The App's private key."""
        return self._core.app.private_key_pem

    @property
    def client_id(self) -> str:
        """The App's OAuth client id."""
        return self._core.app.client_id

    @property
    def client_secret(self) -> str:
        """The App's OAuth client secret."""
        return self._core.app.client_secret

    def add_private_key(self) -> str:
        """Make a new private key for the App, as its settings page does (PEM); the ones before stay valid."""
        app = self._core.app
        app.spare_keys.append(app.private_key_pem)
        app.private_key_pem = new_private_key()
        return app.private_key_pem

    def delete_old_private_keys(self) -> None:
        """Delete all private keys but the newest."""
        self._core.app.spare_keys.clear()

    def add_client_secret(self) -> str:
        """Make a new client secret for the App, as its settings page does; the ones before stay valid."""
        app = self._core.app
        app.spare_secrets.append(app.client_secret)
        app.client_secret = secrets.token_hex(20)
        return app.client_secret

    def delete_old_client_secrets(self) -> None:
        """Delete all client secrets but the newest."""
        self._core.app.spare_secrets.clear()

    @property
    def permissions(self) -> dict[str, str]:
        """The App's permissions: what installations made from now on are granted."""
        return self._core.app.permissions

    @property
    def events(self) -> list[str]:
        """The events that installations made from now on are subscribed to."""
        return self._core.app.events

    @property
    def callback_urls(self) -> list[str]:
        """Where a browser may be sent after the authorisation of a person."""
        return self._core.app.callback_urls

    @callback_urls.setter
    def callback_urls(self, urls: Sequence[str]) -> None:
        self._core.app.callback_urls = list(urls)

    @property
    def setup_url(self) -> str | None:
        """Where a browser is sent after an installation; None: nowhere."""
        return self._core.app.setup_url

    @setup_url.setter
    def setup_url(self, url: str | None) -> None:
        self._core.app.setup_url = url

    @property
    def request_oauth_on_install(self) -> bool:
        """Whether an installation leads on to the authorisation of the person, instead of to the setup URL."""
        return self._core.app.request_oauth_on_install

    @request_oauth_on_install.setter
    def request_oauth_on_install(self, wanted: bool) -> None:
        self._core.app.request_oauth_on_install = wanted

    @property
    def public(self) -> bool:
        """Whether anybody may install the App; a private one installs on its owner's account only."""
        return self._core.app.public

    @public.setter
    def public(self, wanted: bool) -> None:
        self._core.app.public = wanted

    # ------------------------------------------------------------------------------------------------ the webhook

    @property
    def webhook_secret(self) -> str:
        """The secret that deliveries are signed with."""
        return self._core.deliveries.secret

    @webhook_secret.setter
    def webhook_secret(self, secret: str) -> None:
        self._core.deliveries.secret = secret

    @property
    def webhook_url(self) -> str | None:
        """Where deliveries are sent. None: to an address that nobody listens at, so that every attempt fails."""
        return self._core.deliveries.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self._core.deliveries.url = url

    @property
    def hook_active(self) -> bool:
        """Whether the App has an active webhook: without one there are no deliveries, not even failed ones."""
        return self._core.deliveries.active

    @hook_active.setter
    def hook_active(self, active: bool) -> None:
        self._core.deliveries.active = active
