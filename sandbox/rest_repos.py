"""Operations on repositories as a whole, and the API's own: meta and rate limit."""

from __future__ import annotations

from .core import Core
from .errors import ApiError, SandboxError, validation_failed
from .fields import text_field
from .lifecycle import Lifecycle
from .present import full_repository
from .rest import Call, Operation, Reply, RestApi
from .state import Account, Repository


class RepositoryOperations:
    """Handlers of `/repos/{owner}/{repo}`, `/meta` and `/rate_limit`."""

    def __init__(self, core: Core, rest: RestApi, lifecycle: Lifecycle) -> None:
        self._core = core
        self._rest = rest
        self._lifecycle = lifecycle

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        one = "/repos/{owner}/{repo}"
        return [
            Operation("GET", one, self.get, "metadata:read"),
            Operation("PATCH", one, self.update, "administration:write"),
            Operation("DELETE", one, self.delete, "administration:write"),
            Operation("GET", "/meta", self.meta, "anyone"),
            Operation("GET", "/rate_limit", self.rate_limit, "anyone"),
        ]

    async def get(self, call: Call) -> Reply:
        """GET /repos/{owner}/{repo}: with parent, source and template."""
        account = call.auth.account_of(call.actor)
        if account is not None:
            permissions = access_of(account, call.repository)
        else:
            held = call.auth.holds(call.actor, call.repository)
            granted = call.auth.granted(call.actor, call.repository) if held else None
            contents = granted.get("contents") if granted is not None else None
            permissions = {
                "admin": granted is not None and granted.get("administration") == "write",
                "maintain": False,
                "push": contents == "write",
                "triage": False,
                "pull": granted is None or contents is not None,
            }
        return Reply(full_repository(self._core, call.repository, permissions))

    async def update(self, call: Call) -> Reply:
        """PATCH /repos/{owner}/{repo}: description, template flag, default branch, visibility, archive, name."""
        record, body, bot = call.repository, call.body, self._core.app.bot
        flags = {name: body[name] for name in ("private", "archived", "is_template") if body.get(name) is not None}
        for name, value in flags.items():
            if not isinstance(value, bool):
                raise validation_failed("Repository", name, f"{name} is not a boolean")
        branch, new_name = text_field(body, "default_branch"), text_field(body, "name")
        self._lifecycle.describe(record, text_field(body, "description") or record.description, bot)
        record.is_template = flags.get("is_template", record.is_template)
        try:
            if branch is not None:
                await self._lifecycle.set_default_branch(record, branch, bot)
            if new_name is not None and new_name != record.name:
                self._lifecycle.rename(record, new_name, bot)
        except SandboxError as error:
            raise validation_failed("Repository", "default_branch" if branch else "name", str(error)) from None
        if body.get("visibility") in {"public", "private"}:
            flags["private"] = body["visibility"] == "private"
        self._lifecycle.set_visibility(record, private=flags.get("private", record.private), sender=bot)
        self._lifecycle.archive(record, archived=flags.get("archived", record.archived), sender=bot)
        return await self.get(call)

    async def delete(self, call: Call) -> Reply:
        """DELETE /repos/{owner}/{repo}: with a personal access token only if it has the scope for that."""
        person = call.actor.person
        if person is not None and "delete_repo" not in person.scopes:
            raise ApiError(403, "Must have admin rights to Repository.")
        sender = call.auth.account_of(call.actor) or self._core.app.bot
        await self._lifecycle.delete(call.repository, sender)
        return Reply(status=204)

    async def meta(self, _call: Call) -> Reply:
        """GET /meta: from where deliveries come."""
        local = ["127.0.0.1/32"]
        return Reply(
            {"verifiable_password_authentication": False, "hooks": local, "web": local, "api": local, "git": local}
        )

    async def rate_limit(self, call: Call) -> Reply:
        """GET /rate_limit."""
        rate = self._rest.rate(call.actor.key)
        resources = {"core": rate, "search": rate | {"limit": 30, "remaining": 30, "used": 0}}
        return Reply({"resources": resources, "rate": rate})


def access_of(account: Account, repository: Repository) -> dict[str, bool]:
    """Return what a person may do with a repository that they see."""
    owns, writes = repository.owned_by(account), repository.writable_by(account)
    return {"admin": owns, "maintain": owns, "push": writes, "triage": writes, "pull": True}


def archived() -> ApiError:
    """An archived repository takes no writes: 403."""
    return ApiError(403, "Repository was archived so is read-only.")
