"""Installing the App, and the installation's settings.

GitHub docs, "Installing a GitHub App from a third party", "About the setup URL".
"""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from yarl import URL

from .core import AppIdentity, Core
from .grants import callback_of
from .lifecycle import Lifecycle
from .pages import APP_ROOTS, Browsers, PageError, href, page_not_found, with_query
from .state import Account, Installation, Repository


class InstallPages:
    """Handlers of `/apps/{slug}/installations` and `/settings/installations`."""

    def __init__(self, core: Core, browsers: Browsers, lifecycle: Lifecycle) -> None:
        self._core = core
        self._browsers = browsers
        self._lifecycle = lifecycle

    def register(self, router: web.UrlDispatcher) -> None:
        """Mount the pages."""
        add = self._browsers.route
        for root in (f"{app}/installations" for app in APP_ROOTS):
            add(router, "GET", f"{root}/new", self.choose)
            add(router, "GET", f"{root}/select_target", self.choose)
            add(router, "GET", f"{root}/new/permissions", self.ask)
            add(router, "POST", root, self.install)
        for place in ("/settings/installations", "/organizations/{org}/settings/installations"):
            add(router, "GET", f"{place}/{{installation_id:\\d+}}", self.settings)
            add(router, "POST", f"{place}/{{installation_id:\\d+}}", self.change)

    # ------------------------------------------------------------------------------------------------ install

    def _app(self, request: web.Request, account: Account) -> tuple[AppIdentity, list[Account]]:
        """Return the App and the accounts where this person may install it; PageError 404 if there is none."""
        app = self._core.registered
        if app is None or app.slug != request.match_info["slug"]:
            raise page_not_found()
        everybody = self._core.state.accounts.values()
        mine = [account, *(each for each in everybody if account.id in each.members)]
        targets = [each for each in mine if app.installable_on(each)]
        if not targets:
            raise page_not_found()
        return app, targets

    def _installed(self, target: Account) -> Installation | None:
        found = self._core.state.installations.values()
        return next((each for each in found if each.account.id == target.id), None)

    def _owned(self, target: Account) -> list[Repository]:
        return [each for each in self._core.state.repositories.values() if each.owner.id == target.id]

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Ask on which account to install; with only one there is nothing to ask."""
        app, targets = self._app(request, self._browsers.require(request))
        suggested = [each for each in targets if str(each.id) == request.query.get("suggested_target_id")]
        page = URL(href("apps", app.slug, "installations", "new", "permissions")).with_query(request.query)
        links = [(each, str(page.update_query(target_id=str(each.id)))) for each in suggested or targets]
        if len(links) == 1:
            return web.Response(status=303, headers={"Location": links[0][1]})
        return self._browsers.page(request, "install_choose.html", app=app, links=links)

    def _target(self, targets: list[Account], wanted: str | None) -> Account:
        for each in targets:
            if wanted == str(each.id):
                return each
        raise page_not_found()

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Show what the App asks for, and let the person choose the repositories."""
        account = self._browsers.require(request)
        app, targets = self._app(request, account)
        target = self._target(targets, request.query.get("target_id", request.query.get("suggested_target_id")))
        installed = self._installed(target)
        if installed is not None:
            return web.Response(status=303, headers={"Location": href("settings", "installations", installed.id)})
        return self._browsers.page(
            request,
            "install.html",
            app=app,
            target=target,
            repositories=self._owned(target),
            suggested={each for each in request.query.getall("repository_ids[]", []) if each.isdigit()},
            state=request.query.get("state"),
        )

    async def install(self, request: web.Request) -> web.StreamResponse:
        """Install, and send the browser to the App's setup URL, or to sign in with the App if it wants that."""
        account, fields = await self._browsers.form(request)
        app, targets = self._app(request, account)
        target = self._target(targets, fields.get("target_id"))
        chosen = set(fields.getall("repository_ids[]", []))
        selection: Literal["all", "selected"] = "all" if fields.get("selection") == "all" else "selected"
        repositories = [each for each in self._owned(target) if str(each.id) in chosen] if selection != "all" else []
        if selection == "selected" and not repositories:
            raise PageError(422, "Select at least one repository", "Go back, and tick the repository to install on.")
        record = self._lifecycle.install(target, selection, repositories, account)
        back = self._after(app, record, "install", fields.get("state") or None)
        return web.Response(status=303, headers={"Location": back})

    def _after(self, app: AppIdentity, record: Installation, action: str, state: str | None) -> str:
        """Return where the browser goes: what it brings there can be made up by anybody."""
        query = {"installation_id": str(record.id), "setup_action": action, "state": state}
        callback = callback_of(app, None)
        if action == "install" and app.request_oauth_on_install and callback is not None:
            return with_query("/login/oauth/authorize", client_id=app.client_id, state=state)
        if app.setup_url is not None and (action == "install" or app.setup_on_update):
            return with_query(app.setup_url, **query)
        return href("settings", "installations", record.id)

    # ------------------------------------------------------------------------------------------------ settings

    def _record(self, request: web.Request, account: Account) -> Installation:
        record = self._core.state.installations.get(int(request.match_info["installation_id"]))
        if record is None or (account.id != record.account.id and account.id not in record.account.members):
            raise page_not_found()
        return record

    async def settings(self, request: web.Request) -> web.StreamResponse:
        """Show which repositories the App reaches, with buttons."""
        record = self._record(request, self._browsers.require(request))
        owned = self._owned(record.account)
        return self._browsers.page(
            request,
            "installation.html",
            app=self._core.app,
            record=record,
            covered=[each for each in owned if record.covers(each)],
            others=[each for each in owned if not record.covers(each)],
        )

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Add or remove a repository, suspend or end that, uninstall."""
        account, fields = await self._browsers.form(request)
        record, app = self._record(request, account), self._core.app
        back = href("settings", "installations", record.id)
        match fields.get("action"):
            case "add" | "remove" as action:
                repository_id = fields.get("repository_id", "")
                found = [each for each in self._owned(record.account) if str(each.id) == repository_id]
                added, removed = (found, []) if action == "add" else ([], found)
                self._lifecycle.select(record, added, removed, account)
                back = self._after(app, record, "update", None)
            case "suspend" | "unsuspend" as action:
                self._lifecycle.suspend(record, suspended=action == "suspend", sender=account)
            case "uninstall":
                self._lifecycle.uninstall(record, account)
                back = "/"
            case _:
                raise PageError(422, "Unknown action", "Use one of the buttons of the installation's page.")
        return web.Response(status=303, headers={"Location": back})
