"""The control API: what tests, the demo and authors do to this GitHub from outside of its protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from .actions import ResultBook
from .auth import Authenticator
from .checks import CheckBook
from .core import Core
from .deliveries import Delivery
from .errors import SandboxError
from .grants import callback_of
from .lifecycle import Lifecycle
from .pushes import PushEvents
from .registration import Registrar, read_manifest, slug_of
from .state import Account, AccountKind, Installation, Repository, State

IDLE_TIMEOUT = 30.0  # seconds


class Control:
    """Mixed into `Sandbox`. Repositories are named by their present full name, accounts by their login.

    Every method raises SandboxError when it is asked for something impossible.
    """

    _core: Core
    _lifecycle: Lifecycle
    _pushes: PushEvents
    _checks: CheckBook
    _auth: Authenticator
    _registrar: Registrar
    _results: ResultBook

    @property
    def _state(self) -> State:
        return self._core.state

    # ------------------------------------------------------------------------------------------------ accounts

    def add_account(self, login: str, kind: AccountKind = "User") -> Account:
        """Register a person or an organisation."""
        return self._state.add_account(login, kind, self._core.now())

    def account(self, login: str) -> Account:
        """Return the account that has this login now."""
        return self._state.account(login)

    def add_member(self, organisation: str, login: str) -> None:
        """Make the person an owner of the organisation: may install and register Apps there, and push."""
        record = self._state.account(organisation)
        if record.kind != "Organization":
            raise SandboxError(f"{organisation} is no organisation")
        record.members.add(self._state.account(login).id)

    def rename_account(self, login: str, new_login: str) -> Account:
        """Give the account another login; addresses of its repositories redirect, the old login is free."""
        record = self._state.account(login)
        self._lifecycle.rename_account(record, new_login)
        return record

    def add_collaborator(self, full_name: str, login: str) -> None:
        """Let the account push to the repository."""
        self._state.repository(full_name).collaborators.add(self._state.account(login).id)

    # ------------------------------------------------------------------------------------------------ repositories

    def repository(self, full_name: str) -> Repository:
        """Return the repository that has this name now."""
        return self._state.repository(full_name)

    async def add_repository(
        self, owner_login: str, name: str, *, private: bool = False, default_branch: str = "main"
    ) -> Repository:
        """Make an empty bare repository."""
        owner = self._state.account(owner_login)
        return await self._lifecycle.create(owner, name, private=private, default_branch=default_branch)

    async def fork(self, repo_full_name: str, by_login: str, *, name: str | None = None) -> Repository:
        """Fork into the account; the parent's installation gets a `fork` event."""
        parent = self._state.repository(repo_full_name)
        return await self._lifecycle.fork(parent, self._state.account(by_login), name or parent.name)

    async def generate(self, template_full_name: str, by_login: str, name: str) -> Repository:
        """Make a repository from a template: same files, new root commit."""
        template = self._state.repository(template_full_name)
        return await self._lifecycle.generate(template, self._state.account(by_login), name)

    async def rename(self, full_name: str, new_name: str) -> Repository:
        """Rename within the account; the old name redirects."""
        record = self._state.repository(full_name)
        self._lifecycle.rename(record, new_name, record.owner)
        return record

    async def transfer(self, full_name: str, to_login: str) -> Repository:
        """Give to another account; the old name redirects."""
        record = self._state.repository(full_name)
        self._lifecycle.transfer(record, self._state.account(to_login))
        return record

    async def delete_repository(self, full_name: str) -> None:
        """Delete for ever."""
        record = self._state.repository(full_name)
        await self._lifecycle.delete(record, record.owner)

    async def set_visibility(self, full_name: str, *, private: bool) -> Repository:
        """Make private or public."""
        record = self._state.repository(full_name)
        self._lifecycle.set_visibility(record, private=private, sender=record.owner)
        return record

    async def archive(self, full_name: str, *, archived: bool = True) -> Repository:
        """Make read-only, or with `archived=False` writable again."""
        record = self._state.repository(full_name)
        self._lifecycle.archive(record, archived=archived, sender=record.owner)
        return record

    async def describe(self, full_name: str, description: str | None) -> Repository:
        """Give another description."""
        record = self._state.repository(full_name)
        self._lifecycle.describe(record, description, record.owner)
        return record

    async def move_branch(self, full_name: str, branch: str, sha: str, by_login: str) -> None:
        """Set a branch to a commit that the repository has, with the deliveries of the push that would do so."""
        record = self._state.repository(full_name)
        await self._pushes.move_branch(record, branch, sha, self._state.account(by_login))

    async def set_default_branch(self, full_name: str, branch: str) -> Repository:
        """Make another existing branch the default one."""
        record = self._state.repository(full_name)
        await self._lifecycle.set_default_branch(record, branch, record.owner)
        return record

    # ------------------------------------------------------------------------------------------------ installations

    async def install(self, account_login: str, repositories: list[str] | Literal["all"] = "all") -> Installation:
        """Install the App on the account, for all its repositories or for the named ones."""
        account = self._state.account(account_login)
        if repositories == "all":
            return self._lifecycle.install(account, "all", [])
        chosen = [self._state.repository(full_name) for full_name in repositories]
        return self._lifecycle.install(account, "selected", chosen)

    async def uninstall(self, installation_id: int) -> None:
        """Remove the App from its account."""
        record = self._state.installation(installation_id)
        self._lifecycle.uninstall(record, record.account)

    async def suspend(self, installation_id: int) -> None:
        """Suspend the installation."""
        self._lifecycle.suspend(self._state.installation(installation_id), suspended=True)

    async def unsuspend(self, installation_id: int) -> None:
        """End the suspension."""
        self._lifecycle.suspend(self._state.installation(installation_id), suspended=False)

    async def accept_permissions(self, installation_id: int) -> None:
        """Let the installation's owner accept the permissions that the App asks for now."""
        self._lifecycle.accept_permissions(self._state.installation(installation_id))

    async def select(
        self, installation_id: int, *, add: list[str] | None = None, remove: list[str] | None = None
    ) -> None:
        """Add and remove repositories of an installation on selected repositories."""
        added = [self._state.repository(full_name) for full_name in add or ()]
        removed = [self._state.repository(full_name) for full_name in remove or ()]
        self._lifecycle.select(self._state.installation(installation_id), added, removed)

    async def select_all(self, installation_id: int) -> None:
        """Let an installation cover all repositories of its account, those to come as well."""
        self._lifecycle.reselect(self._state.installation(installation_id), "all", [])

    async def select_only(self, installation_id: int, repositories: list[str]) -> None:
        """Let an installation cover only these repositories."""
        keep = [self._state.repository(full_name) for full_name in repositories]
        self._lifecycle.reselect(self._state.installation(installation_id), "selected", keep)

    @property
    def installations(self) -> list[Installation]:
        """The App's installations, oldest first."""
        return list(self._state.installations.values())

    # ------------------------------------------------------------------------------------------------ deliveries

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery, oldest first; the oldest are dropped after 20,000."""
        return self._core.deliveries.log

    async def redeliver(self, delivery: int | str) -> Delivery:
        """Send the delivery of this id or GUID once more."""
        return self._core.deliveries.redeliver(delivery)

    async def idle(self, timeout: float = IDLE_TIMEOUT) -> None:  # noqa: ASYNC109 - a binding name
        """Wait until every delivery has got an answer, or has failed; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._core.deliveries.idle()

    def ping(self) -> None:
        """Send the App a `ping`."""
        self._lifecycle.ping()

    def new_manifest_code(self, manifest: dict[str, Any], owner_login: str | None = None) -> str:
        """Return the code that a person's browser brings back after accepting an App manifest; it works once.

        The App is registered for `owner_login` (None: the sandbox makes an owner). If there is an App already, the code
        is for its credentials, and of the manifest only the webhook's address counts.
        """
        if self._core.registered is None:
            checked = read_manifest(manifest)
            login = owner_login or f"{slug_of(checked.name)}-operator"
            owner = self._state.accounts.get(login.casefold()) or self.add_account(login)
            self._registrar.register(checked, owner)
        else:
            hook = self._core.deliveries
            hook.url = manifest.get("hook_attributes", {}).get("url", hook.url)
        return self._registrar.new_code()

    def delete_app(self) -> None:
        """Delete the App with its installations, as its owner can; another may be registered then."""
        self._registrar.delete()

    # ------------------------------------------------------------------------------------------------ sign-in

    def sign_in_code(self, login: str, redirect_uri: str, *, code_challenge: str | None = None) -> str:
        """Return the code that the person's browser takes to `redirect_uri` after "Authorize", without clicking."""
        if callback_of(self._core.app, redirect_uri) is None:
            raise SandboxError(f"{redirect_uri} is no callback URL of the App")
        return self._auth.grants.code(self._state.account(login), redirect_uri, code_challenge)

    def revoke_authorization(self, login: str) -> None:
        """Let the person end the App's authorisation: its user tokens of them die."""
        account = self._state.account(login)
        if not self._auth.grants.withdraw(account):
            raise SandboxError(f"{login} has not authorised the App")
        self._lifecycle.authorization_revoked(account)

    def user_token(self, login: str) -> str:
        """Return a user access token of the App for the person."""
        return self._auth.grants.token(self._state.account(login).id).value

    def personal_token(self, login: str, scopes: Iterable[str] = ("delete_repo", "repo")) -> str:
        """Return a classic personal access token of the person, as made on GitHub's settings pages."""
        return self._auth.grants.personal_token(self._state.account(login).id, frozenset(scopes)).value

    # ------------------------------------------------------------------------------------------------ reports

    def check_runs(self, full_name: str, sha: str) -> list[dict[str, Any]]:
        """Return the commit's check runs as the API shows them, with `annotations` and `actions`, oldest first."""
        record = self._state.repository(full_name)
        return [
            self._checks.show_run(record, run) | {"annotations": list(run.annotations), "actions": list(run.actions)}
            for run in self._state.runs_of(record, sha)
        ]

    def statuses(self, full_name: str, sha: str) -> list[dict[str, Any]]:
        """Return the commit's statuses as the API shows them, oldest first."""
        record = self._state.repository(full_name)
        return [self._checks.show_status(record, status) for status in self._state.statuses_of(record, sha)]

    async def run_workflow(
        self,
        full_name: str,
        path: str,
        *,
        branch: str | None = None,
        sha: str | None = None,
        conclusion: str | None = "success",
        event: str = "push",
    ) -> dict[str, Any]:
        """Let GitHub Actions run a workflow file that the commit has; returns the run as the API shows it.

        `branch`: None, the default one; `sha`: None, its head. `conclusion` None: the run goes on. A second call
        for the same path, branch, sha and event ends the run that goes on, or runs again the one that has ended.
        """
        record = self._state.repository(full_name)
        where = branch or record.default_branch
        return await self._results.run_workflow(record, path, where, sha, conclusion=conclusion, event=event)

    def other_app_id(self, app_slug: str) -> int:
        """Return the id of another App, which is registered when it is first named."""
        return self._results.app(app_slug).id

    async def post_check(
        self, full_name: str, sha: str, name: str, *, app_slug: str, conclusion: str = "success"
    ) -> dict[str, Any]:
        """Let another App write a completed check run; returns it as the API shows it, with the App's id.

        "github-actions" is the App whose check runs any workflow with `checks: write` can write, on any commit.
        """
        record = self._state.repository(full_name)
        return await self._results.post_check(record, sha, name, app_slug, conclusion)

    async def press(self, full_name: str, check_run_id: int, by_login: str, *, button: str | None = None) -> None:
        """Click "Re-run" of a check run, or the button with this identifier."""
        record, account = self._state.repository(full_name), self._state.account(by_login)
        run = self._state.check_runs.get(check_run_id)
        if run is None or run.repository_id != record.id:
            raise SandboxError(f"{full_name} has no check run {check_run_id}")
        if run.app_id is not None:
            raise SandboxError(f"check run {check_run_id} is another App's, which alone hears of it")
        if button is not None and button not in {action["identifier"] for action in run.actions}:
            raise SandboxError(f"check run {check_run_id} has no button {button!r}")
        await self._checks.press(record, run, account, button)

    async def rerequest_suite(self, full_name: str, sha: str, by_login: str) -> None:
        """Click "Re-run all checks" of a commit: the App's suite is queued until it writes a check run."""
        record, account = self._state.repository(full_name), self._state.account(by_login)
        await self._checks.rerequest_suite(record, sha, account)

    def suite(self, full_name: str, sha: str) -> tuple[str, str | None]:
        """Return status and conclusion of the App's check suite of a commit."""
        suite, _ = self._checks.suite(self._state.repository(full_name), sha)
        return suite.status, suite.conclusion
