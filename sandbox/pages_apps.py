"""Registering an App from a manifest, its settings and its public page.

GitHub docs, "Registering a GitHub App from a manifest".
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import orjson
from aiohttp import web

from .core import AppIdentity, Core
from .pages import APP_ROOTS, Browsers, PageError, fields_of, href, page_not_found, with_query
from .registration import Manifest, ManifestError, Registrar, read_manifest
from .state import Account

PENDING_MAX = 100


@dataclass(frozen=True, slots=True)
class Pending:
    """A manifest that a page has sent, until a person says yes. `organisation` None: for the person."""

    manifest: Manifest
    state: str | None
    organisation: str | None


class AppPages:
    """Handlers of `/settings/apps`, `/organizations/{org}/settings/apps` and `/apps/{slug}`."""

    def __init__(self, core: Core, browsers: Browsers, registrar: Registrar) -> None:
        self._core = core
        self._browsers = browsers
        self._registrar = registrar
        self._pending: dict[str, Pending] = {}

    def register(self, router: web.UrlDispatcher) -> None:
        """Mount the pages."""
        add = self._browsers.route
        for root in ("/settings/apps", "/organizations/{org}/settings/apps"):
            add(router, "POST", f"{root}/new", self.take)
            add(router, "GET", f"{root}/{{slug}}", self.settings)
        add(router, "GET", "/settings/apps/new/{pending}", self.ask)
        add(router, "POST", "/settings/apps/new/{pending}", self.create)
        add(router, "POST", "/settings/apps/{slug}/delete", self.delete)
        for public in APP_ROOTS:
            add(router, "GET", public, self.public)

    # ------------------------------------------------------------------------------------------------ manifest

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take a manifest from the App's own page, which is another site; ask on a page of ours.

        Nothing is done yet: the cookie of who is signed in need not come with another site's form.
        """
        fields = await fields_of(request)
        try:
            raw = orjson.loads(fields.get("manifest", ""))
        except orjson.JSONDecodeError:
            raise _bad('"manifest" is missing or is not JSON') from None
        try:
            manifest = read_manifest(raw)
        except ManifestError as error:
            raise _bad(str(error)) from None
        state = request.query.get("state", fields.get("state"))
        while len(self._pending) >= PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        key = secrets.token_urlsafe(16)
        self._pending[key] = Pending(manifest, state, request.match_info.get("org"))
        return web.Response(status=303, headers={"Location": f"/settings/apps/new/{key}"})

    def _found(self, request: web.Request, account: Account) -> tuple[Pending, Account]:
        """Return the manifest and whose the App is going to be; PageError 404 where the person has no say."""
        pending = self._pending.get(request.match_info["pending"])
        if pending is None:
            raise PageError(404, "Page not found", "This registration is over or was never begun: start again.")
        if pending.organisation is None:
            return pending, account
        owner = self._core.state.accounts.get(pending.organisation.casefold())
        if owner is None or owner.kind != "Organization" or account.id not in owner.members:
            raise page_not_found()
        return pending, owner

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Show what the App would be allowed to do."""
        pending, owner = self._found(request, self._browsers.require(request))
        return self._browsers.page(request, "app_new.html", manifest=pending.manifest, owner=owner)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Register the App, and send the browser back with a code for its credentials."""
        account, fields = await self._browsers.form(request)
        pending, owner = self._found(request, account)
        self._registrar.register(pending.manifest, owner, fields.get("name", ""))
        del self._pending[request.match_info["pending"]]
        back = with_query(pending.manifest.redirect_url, code=self._registrar.new_code(), state=pending.state)
        return web.Response(status=303, headers={"Location": back})

    # ------------------------------------------------------------------------------------------------ the App's pages

    def _app(self, request: web.Request) -> AppIdentity:
        app = self._core.registered
        if app is None or app.slug != request.match_info["slug"]:
            raise page_not_found()
        return app

    def _own(self, request: web.Request, account: Account) -> AppIdentity:
        app = self._app(request)
        if not app.owned_by(account):
            raise page_not_found()
        return app

    async def settings(self, request: web.Request) -> web.StreamResponse:
        """Show the owner what is set, without the secrets."""
        app = self._own(request, self._browsers.require(request))
        return self._browsers.page(request, "app_settings.html", app=app, hook=self._core.deliveries)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete the App: this GitHub has room for another one."""
        account, _ = await self._browsers.form(request)
        self._own(request, account)
        self._registrar.delete()
        return web.Response(status=303, headers={"Location": "/"})

    async def public(self, request: web.Request) -> web.StreamResponse:
        """Show anybody what the App is; a private one to its owner only."""
        app = self._app(request)
        if not app.public and not app.owned_by(self._browsers.account(request)):
            raise page_not_found()
        return self._browsers.page(request, "app.html", app=app, install=href("apps", app.slug, "installations", "new"))


def _bad(problem: str) -> PageError:
    return PageError(
        422,
        "Invalid GitHub App configuration",
        f"The configuration does not appear to be a valid GitHub App manifest. Error: {problem}.",
    )
