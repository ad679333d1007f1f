"""Operations on people: accounts, what a signed-in person reaches through the App, the end of a user token."""

from __future__ import annotations

from .auth import Authenticator
from .core import Core
from .errors import ApiError, not_found
from .fields import paged, text_field
from .present import installation, integration, profile, repository
from .rest import Call, Operation, Reply
from .rest_repos import access_of
from .state import Account, Installation, Repository


class UserOperations:
    """Handlers of `/users`, `/user`, `/apps` and `/applications`."""

    def __init__(self, core: Core, auth: Authenticator) -> None:
        self._core = core
        self._auth = auth

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        mine = "/user/installations"
        return [
            Operation("GET", "/users/{username}", self.by_login, "anyone"),
            Operation("GET", mine, self.installations, "user"),
            Operation("GET", f"{mine}/{{installation_id}}/repositories", self.repositories, "user"),
            Operation("GET", "/user/{account_id}", self.by_id, "anyone"),
            Operation("GET", "/user", self.me, "signed-in"),
            Operation("GET", "/apps/{app_slug}", self.app, "anyone"),
            Operation("DELETE", "/applications/{client_id}/token", self.end_token, "client"),
        ]

    def _me(self, call: Call) -> Account:
        account = self._auth.account_of(call.actor)
        if account is None:
            raise not_found()
        return account

    async def by_login(self, call: Call) -> Reply:
        """GET /users/{username}: a person, organisation or bot by its present login."""
        account = self._core.state.accounts.get(call.path["username"].casefold())
        if account is None:
            raise not_found()
        return Reply(profile(self._core, account))

    async def by_id(self, call: Call) -> Reply:
        """GET /user/{account_id}: the same by the id that survives a rename."""
        account = self._core.state.account_by_id(int(call.path["account_id"]))
        if account is None:
            raise not_found()
        return Reply(profile(self._core, account))

    async def me(self, call: Call) -> Reply:
        """GET /user: whom the user token stands for."""
        return Reply(profile(self._core, self._me(call), private=True))

    def _reached(self, account: Account, record: Installation) -> list[Repository]:
        """Return the installation's repositories that the person has an explicit right to: not as anybody."""
        covered = self._core.state.repositories_of(record)
        return [each for each in covered if each.writable_by(account)]

    def _sees(self, account: Account, record: Installation) -> bool:
        target = record.account
        return account.id == target.id or account.id in target.members or bool(self._reached(account, record))

    async def installations(self, call: Call) -> Reply:
        """GET /user/installations: those with a repository that the person may do more with than anybody."""
        account = self._me(call)
        found = [each for each in self._core.state.installations.values() if self._sees(account, each)]
        page, headers = paged(call, found)
        shown = [installation(self._core, each) for each in page]
        return Reply({"total_count": len(found), "installations": shown}, headers=headers)

    async def repositories(self, call: Call) -> Reply:
        """GET /user/installations/{installation_id}/repositories: what of it the person reaches."""
        account = self._me(call)
        record = self._core.state.installations.get(int(call.path["installation_id"]))
        if record is None or not self._sees(account, record):
            raise not_found()
        found = self._reached(account, record)
        page, headers = paged(call, found)
        shown = [repository(self._core, each) | {"permissions": access_of(account, each)} for each in page]
        body = {"total_count": len(found), "repository_selection": record.selection, "repositories": shown}
        return Reply(body, headers=headers)

    async def app(self, call: Call) -> Reply:
        """GET /apps/{app_slug}: anybody sees a public App; a private one its own installations and its owner."""
        app = self._core.registered
        if app is None or app.slug != call.path["app_slug"]:
            raise not_found()
        known = call.actor.token is not None or app.owned_by(self._auth.account_of(call.actor))
        if not app.public and not known:
            raise not_found()
        return Reply(integration(self._core))

    async def end_token(self, call: Call) -> Reply:
        """DELETE /applications/{client_id}/token: the user token in the body ends, with its refresh token."""
        if call.path["client_id"] != self._core.app.client_id:
            raise not_found()
        value = text_field(call.body, "access_token", required=True)
        if value is None or not self._auth.grants.revoke(value):
            raise ApiError(404, "Not Found")
        return Reply(status=204)
