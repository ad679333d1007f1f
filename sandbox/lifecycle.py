"""Birth, change and end of repositories and installations, with the events that GitHub sends for each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .core import Core
from .errors import SandboxError
from .githttp import POST_RECEIVE
from .gitstore import run_git
from .hooks import Events
from .present import minimal_repository, organization, user
from .state import Account, Installation, Repository

# What GitHub's git servers allow; the rest is git's default.
_REPOSITORY_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[http]
\treceivepack = true
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = true
"""


class Lifecycle:
    """Makes, changes and removes records together with their bare repositories."""

    def __init__(self, core: Core, events: Events, root: Path) -> None:
        self._core = core
        self._events = events
        self._folder = root / "repositories"
        self._template = root / "template"

    def prepare(self) -> None:
        """Write the folder that every bare repository starts from; SandboxError if another run used this root."""
        if not self._core.state.repositories and self._folder.exists() and any(self._folder.iterdir()):
            raise SandboxError(f"{self._folder} holds repositories of an earlier run: start with an empty folder")
        hook = self._template / "hooks" / "post-receive"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(POST_RECEIVE)
        hook.chmod(0o755)
        self._folder.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------------------------------------ birth

    def _record(self, owner: Account, name: str, *, private: bool, default_branch: str) -> Repository:
        number, now = next(self._core.state.repository_ids), self._core.now()
        path = self._folder / f"{number}.git"
        self._core.state.check_free(f"{owner.login}/{name}")
        return Repository(number, name, owner, path, default_branch, private, now, now, now)

    def _register(self, record: Repository, sender: Account) -> None:
        (record.path / "config").write_text(_REPOSITORY_CONFIG)
        self._core.state.add_repository(record)
        self._events.of_repository("repository", "created", record, sender, {})

    async def create(self, owner: Account, name: str, *, private: bool, default_branch: str) -> Repository:
        """Make an empty bare repository."""
        record = self._record(owner, name, private=private, default_branch=default_branch)
        await self._init(record)
        self._register(record, owner)
        return record

    async def _init(self, record: Repository) -> None:
        options = ["--bare", "--quiet", f"--template={self._template}", f"--initial-branch={record.default_branch}"]
        await run_git(["init", *options, str(record.path)], cwd=self._folder)

    async def fork(self, parent: Repository, account: Account, name: str) -> Repository:
        """Clone objects and refs; the parent's installation gets a `fork` event."""
        record = self._record(account, name, private=parent.private, default_branch=parent.default_branch)
        clone = ["clone", "--bare", "--quiet", f"--template={self._template}", str(parent.path), str(record.path)]
        await run_git(clone, cwd=self._folder)
        record.fork, record.parent_id = True, parent.id
        record.source_id = parent.source_id or parent.id
        record.pushed_at = parent.pushed_at
        self._register(record, account)
        forkee = minimal_repository(self._core, record) | {"public": not record.private}
        self._events.of_repository("fork", None, parent, account, {"forkee": forkee})
        return record

    async def generate(
        self, template: Repository, account: Account, name: str, *, private: bool | None = None
    ) -> Repository:
        """Use a template: its default branch's tree under a new root commit, none of its history.

        `private` None: as private as the template.
        """
        tree = await self._core.store.resolve(template.path, f"refs/heads/{template.default_branch}", "tree")
        if tree is None:
            raise SandboxError(f"template {template.full_name} has no commit on {template.default_branch}")
        hidden = template.private if private is None else private
        record = self._record(account, name, private=hidden, default_branch=template.default_branch)
        await self._init(record)
        _, pack = await run_git(
            ["pack-objects", "--revs", "--stdout", "-q"], cwd=template.path, stdin=f"{tree}\n".encode()
        )
        await run_git(["unpack-objects", "-q"], cwd=record.path, stdin=pack)
        people = {f"GIT_{who}_{what}": value
                  for who in ("AUTHOR", "COMMITTER")
                  for what, value in (("NAME", account.login), ("EMAIL", account.email))}  # fmt: skip
        _, commit = await run_git(["commit-tree", tree, "-m", "Initial commit"], cwd=record.path, environment=people)
        ref = f"refs/heads/{record.default_branch}"
        await run_git(["update-ref", ref, commit.decode().strip()], cwd=record.path)
        record.template_id = template.id
        self._register(record, account)
        return record

    # ------------------------------------------------------------------------------------------------ change

    def rename(self, record: Repository, name: str, sender: Account) -> None:
        """Give it another name; the old one redirects."""
        old = record.name
        self._core.state.move(record, name=name, owner=record.owner)
        self._changed(record, "renamed", sender, {"repository": {"name": {"from": old}}})

    def transfer(self, record: Repository, owner: Account) -> None:
        """Give it to another account: the old owner's installation loses it, the new one's must cover it."""
        old = record.owner
        self._core.state.move(record, name=record.name, owner=owner)
        for installation in self._core.state.installations.values():
            if installation.account.id != owner.id:
                installation.repository_ids.discard(record.id)
        kind = "organization" if old.kind == "Organization" else "user"
        shown = organization(self._core, old) if kind == "organization" else user(self._core, old)
        self._changed(record, "transferred", old, {"owner": {"from": {kind: shown}}})

    def set_visibility(self, record: Repository, *, private: bool, sender: Account) -> None:
        """Make it private or public; nothing is sent if it is so already."""
        if record.private != private:
            record.private = private
            self._changed(record, "privatized" if private else "publicized", sender, None)
            if not private:
                self._events.of_repository("public", None, record, sender, {})

    def archive(self, record: Repository, *, archived: bool, sender: Account) -> None:
        """Make it read-only, or writable again."""
        if record.archived != archived:
            record.archived = archived
            self._changed(record, "archived" if archived else "unarchived", sender, None)

    async def set_default_branch(self, record: Repository, branch: str, sender: Account) -> None:
        """Make another existing branch the default one."""
        if await self._core.store.resolve(record.path, f"refs/heads/{branch}") is None:
            raise SandboxError(f"{record.full_name} has no branch {branch!r}")
        old, record.default_branch = record.default_branch, branch
        await run_git(["symbolic-ref", "HEAD", f"refs/heads/{branch}"], cwd=record.path)
        self._changed(record, "edited", sender, {"default_branch": {"from": old}})

    async def delete(self, record: Repository, sender: Account) -> None:
        """Remove it from GitHub and from disk."""
        receiver = self._core.state.installation_on(record)
        self._core.state.remove_repository(record)
        if receiver is not None:
            self._events.of_repository("repository", "deleted", record, sender, {}, receiver=receiver)
        await self._core.store.close(record.path)
        shutil.rmtree(record.path)

    def describe(self, record: Repository, description: str | None, sender: Account) -> None:
        """Give it another description; nothing is sent if it has that one already."""
        if record.description != description:
            old, record.description = record.description, description
            self._changed(record, "edited", sender, {"description": {"from": old}})

    def _changed(self, record: Repository, action: str, sender: Account, changes: Mapping[str, object] | None) -> None:
        record.updated_at = self._core.now()
        self._events.of_repository(
            "repository", action, record, sender, {} if changes is None else {"changes": changes}
        )

    def rename_account(self, account: Account, login: str) -> None:
        """Give an account another login; the App's installation there hears of it."""
        old = account.login
        self._core.state.rename_account(account, login)
        self._events.of_target(account, {"login": {"from": old}})

    def authorization_revoked(self, account: Account) -> None:
        """Tell the App that a person ended its authorisation."""
        self._events.of_authorization(account)

    def ping(self) -> None:
        """Send the App a `ping`."""
        self._events.ping()

    # ------------------------------------------------------------------------------------------------ installations

    def install(
        self,
        account: Account,
        selection: Literal["all", "selected"],
        repositories: list[Repository],
        sender: Account | None = None,
    ) -> Installation:
        """Install the App on an account; a new installation has a new id, even of the same account.

        `sender`: who did it, if not the account itself (of an organisation: one of its owners).
        """
        if not self._core.app.installable_on(account):
            owner = self._core.app.owner.login
            raise SandboxError(f"the App is private: it installs on {owner!r} only, not on {account.login!r}")
        for each in repositories:
            self._must_own(account, each)
        now, app = self._core.now(), self._core.app
        ids = {each.id for each in repositories}
        number = next(self._core.state.installation_ids)
        record = Installation(
            number, account, selection, ids, dict(app.permissions), list(app.events), now, now
        )  # fmt: skip
        self._core.state.add_installation(record)
        self._events.of_installation("created", record, sender or account, self._core.state.repositories_of(record))
        return record

    def uninstall(self, record: Installation, sender: Account) -> None:
        """Remove the App from the account; its tokens die."""
        covered = self._core.state.repositories_of(record)
        self._core.state.remove_installation(record)
        self._events.of_installation("deleted", record, sender, covered)

    def suspend(self, record: Installation, *, suspended: bool, sender: Account | None = None) -> None:
        """Suspend the installation, or end that: no events, no tokens meanwhile."""
        record.suspended_at = self._core.now() if suspended else None
        record.suspended_by = (sender or record.account) if suspended else None
        record.updated_at = self._core.now()
        self._events.of_installation("suspend" if suspended else "unsuspend", record, sender or record.account)

    def accept_permissions(self, record: Installation) -> None:
        """Grant what the App asks for now: its owner accepted the request that GitHub sends them."""
        record.permissions, record.events = dict(self._core.app.permissions), list(self._core.app.events)
        record.updated_at = self._core.now()
        covered = self._core.state.repositories_of(record)
        self._events.of_installation("new_permissions_accepted", record, record.account, covered)

    def select(
        self, record: Installation, add: list[Repository], remove: list[Repository], sender: Account | None = None
    ) -> None:
        """Change which repositories are selected."""
        if record.selection == "all":
            raise SandboxError("the installation covers all repositories: there is nothing to select")
        for each in [*add, *remove]:
            self._must_own(record.account, each)
        added = [each for each in add if each.id not in record.repository_ids]
        removed = [each for each in remove if each.id in record.repository_ids]
        record.repository_ids |= {each.id for each in added}
        record.repository_ids -= {each.id for each in removed}
        record.updated_at = self._core.now()
        self._events.of_selection(record, sender or record.account, added, removed)

    def reselect(self, record: Installation, selection: Literal["all", "selected"], keep: list[Repository]) -> None:
        """Cover all repositories of the account, or from now on only those to `keep`."""
        for each in keep:
            self._must_own(record.account, each)
        before = {each.id: each for each in self._core.state.repositories_of(record)}
        record.selection, record.repository_ids = selection, {each.id for each in keep}
        record.updated_at = self._core.now()
        after = {each.id: each for each in self._core.state.repositories_of(record)}
        added = [each for number, each in after.items() if number not in before]
        removed = [each for number, each in before.items() if number not in after]
        self._events.of_selection(record, record.account, added, removed)

    @staticmethod
    def _must_own(account: Account, repository: Repository) -> None:
        if repository.owner.id != account.id:
            raise SandboxError(f"{repository.full_name} does not belong to {account.login}")
