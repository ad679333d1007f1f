"""What people do themselves, with a personal access token: make repositories, fork them, use templates."""

from __future__ import annotations

from .core import Core
from .errors import ApiError, SandboxError, not_found, validation_failed
from .fields import text_field
from .lifecycle import Lifecycle
from .present import full_repository
from .rest import Call, Operation, Reply
from .rest_repos import access_of
from .state import Account, Repository


class PersonOperations:
    """Handlers of `/user/repos`, `/orgs/{org}/repos`, `/repos/.../forks` and `/repos/.../generate`."""

    def __init__(self, core: Core, lifecycle: Lifecycle) -> None:
        self._core = core
        self._lifecycle = lifecycle

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        one = "/repos/{owner}/{repo}"
        return [
            Operation("POST", "/user/repos", self.create, "person"),
            Operation("POST", "/orgs/{org}/repos", self.create_in_organisation, "person"),
            Operation("POST", f"{one}/forks", self.fork, "person"),
            Operation("POST", f"{one}/generate", self.generate, "person"),
        ]

    @staticmethod
    def _me(call: Call) -> Account:
        """Return the caller, whose token must have the scope for repositories."""
        account, token = call.auth.account_of(call.actor), call.actor.person
        if account is None or token is None or "repo" not in token.scopes:
            raise not_found()
        return account

    @staticmethod
    def _source(call: Call) -> Repository:
        """Return the repository of the path, if the caller sees it."""
        if not call.auth.sees(call.actor, call.repository):
            raise not_found()
        return call.repository

    def _shown(self, record: Repository, account: Account, status: int) -> Reply:
        return Reply(full_repository(self._core, record, access_of(account, record)), status)

    async def create(self, call: Call) -> Reply:
        """POST /user/repos: an empty repository of one's own."""
        account = self._me(call)
        return await self._create(call, account, account)

    async def create_in_organisation(self, call: Call) -> Reply:
        """POST /orgs/{org}/repos: an empty repository of an organisation that the person belongs to."""
        account = self._me(call)
        owner = self._core.state.accounts.get(call.path["org"].casefold())
        if owner is None or owner.kind != "Organization":
            raise not_found()
        if account.id not in owner.members:
            raise ApiError(403, "You need admin access to the organization before adding a repository to it.")
        return await self._create(call, owner, account)

    async def _create(self, call: Call, owner: Account, account: Account) -> Reply:
        name = text_field(call.body, "name", required=True) or ""
        private = call.body.get("private") is True
        try:
            record = await self._lifecycle.create(owner, name, private=private, default_branch="main")
        except SandboxError:
            raise _taken() from None
        record.description = text_field(call.body, "description")
        record.is_template = call.body.get("is_template") is True
        return self._shown(record, account, 201)

    async def fork(self, call: Call) -> Reply:
        """POST /repos/{owner}/{repo}/forks: into one's own account; 202, as if its content came later."""
        account, parent = self._me(call), self._source(call)
        name = text_field(call.body, "name") or parent.name
        try:
            record = await self._lifecycle.fork(parent, account, name)
        except SandboxError:
            raise _taken() from None
        return self._shown(record, account, 202)

    async def generate(self, call: Call) -> Reply:
        """POST /repos/{template_owner}/{template_repo}/generate: into one's own account."""
        account, template = self._me(call), self._source(call)
        owner = text_field(call.body, "owner")
        if not template.is_template or owner not in (None, account.login):
            raise not_found()
        name = text_field(call.body, "name", required=True) or ""
        private = call.body.get("private") is True
        try:
            record = await self._lifecycle.generate(template, account, name, private=private)
        except SandboxError:
            raise _taken() from None
        return self._shown(record, account, 201)


def _taken() -> ApiError:
    return validation_failed("Repository", "name", "name already exists on this account")
