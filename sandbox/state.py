"""What the sandbox knows besides git: accounts, repositories, installations, checks, statuses.

Ids come from counters that start where GitHub's are today, beyond 32 bits where GitHub's are, so that a column or a
mix-up that would fail there fails here too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from .errors import SandboxError
from .views import view

AccountKind = Literal["User", "Organization", "Bot"]


@dataclass(slots=True)
class Account:
    """A person, an organisation or the App's bot. `members`: account ids of an organisation's owners."""

    id: int
    login: str
    kind: AccountKind
    created_at: datetime
    members: set[int] = field(default_factory=set)

    @property
    def email(self) -> str:
        """The account's private address: commits with it are linked to the account."""
        return f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass(slots=True)
class Repository:
    """A repository: its numeric id stays, everything else may change. `path` is the bare repository on disk."""

    id: int
    name: str
    owner: Account
    path: Path
    default_branch: str
    private: bool
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime
    fork: bool = False
    parent_id: int | None = None
    source_id: int | None = None
    template_id: int | None = None
    archived: bool = False
    is_template: bool = False
    description: str | None = None
    collaborators: set[int] = field(default_factory=set)

    @property
    def full_name(self) -> str:
        """`owner/name`, as it is now."""
        return f"{self.owner.login}/{self.name}"

    def owned_by(self, account: Account) -> bool:
        """Tell whether the account decides over the repository: its owner, or an owner of its organisation."""
        return account.id == self.owner.id or account.id in self.owner.members

    def writable_by(self, account: Account) -> bool:
        """Tell whether the account may push: the owner, or a collaborator."""
        return self.owned_by(account) or account.id in self.collaborators

    def readable_by(self, account: Account | None) -> bool:
        """Tell whether the account (None: nobody is signed in) may see the repository."""
        return not self.private or (account is not None and self.writable_by(account))


@dataclass(slots=True)
class Installation:
    """The App on one account: all repositories of the account, or selected ones."""

    id: int
    account: Account
    selection: Literal["all", "selected"]
    repository_ids: set[int]
    permissions: dict[str, str]
    events: list[str]
    created_at: datetime
    updated_at: datetime
    suspended_at: datetime | None = None
    suspended_by: Account | None = None

    def covers(self, repository: Repository) -> bool:
        """Tell whether the installation may act on the repository."""
        if repository.owner.id != self.account.id:
            return False
        return self.selection == "all" or repository.id in self.repository_ids


@dataclass(slots=True)
class CheckSuite:
    """An App's suite of check runs of one commit. `app_id` None: the registered App's."""

    id: int
    repository_id: int
    head_sha: str
    head_branch: str | None
    before: str | None
    created_at: datetime
    updated_at: datetime
    status: str = "queued"
    conclusion: str | None = None
    app_id: int | None = None


@dataclass(slots=True)
class CheckRun:
    """One check run; `output` and `actions` as they were written, `annotations` as they were appended.

    `app_id` None: the registered App's.
    """

    id: int
    repository_id: int
    suite_id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None
    started_at: str
    completed_at: str | None
    external_id: str = ""
    details_url: str | None = None
    output: dict[str, Any] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    app_id: int | None = None
    born: float = 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """One commit status; statuses are never changed, the newest of a context counts."""

    id: int
    repository_id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: Account
    created_at: datetime
    born: float = 0.0


class State:
    """All records, with the look-ups that the API needs. Names are compared without case, as GitHub does."""

    def __init__(self) -> None:
        self.app_ids = itertools.count(1_200_401)
        self.account_ids = itertools.count(21_031_067)
        self.repository_ids = itertools.count(1_186_853_002)
        self.installation_ids = itertools.count(95_737_001)
        self.suite_ids = itertools.count(35_118_578_174)
        self.run_ids = itertools.count(38_128_620_228)
        self.status_ids = itertools.count(36_805_126_730)
        self.accounts: dict[str, Account] = {}
        self.repositories: dict[int, Repository] = {}
        self.installations: dict[int, Installation] = {}
        self.check_runs: dict[int, CheckRun] = {}
        # of one App's check runs of a commit (the last part: its id, 0 for the registered App), or of one workflow run
        self.check_suites: dict[tuple[int, str, int], CheckSuite] = {}
        self.fork_counts: Counter[int] = Counter()
        self._installed: dict[int, Installation] = {}
        self._names: dict[str, int] = {}
        self._old_names: dict[str, int] = {}
        self._runs_of: dict[tuple[int, str], list[CheckRun]] = {}
        self._statuses_of: dict[tuple[int, str], list[Status]] = {}

    def add_account(self, login: str, kind: AccountKind, created_at: datetime) -> Account:
        """Register an account; SandboxError if the login is taken."""
        if login.casefold() in self.accounts:
            raise SandboxError(f"an account {login!r} exists already")
        account = Account(next(self.account_ids), login, kind, created_at)
        self.accounts[login.casefold()] = account
        return account

    def account(self, login: str) -> Account:
        """Return the account; SandboxError if there is none."""
        try:
            return self.accounts[login.casefold()]
        except KeyError:
            raise SandboxError(f"the sandbox has no account {login!r}: add_account() first") from None

    def account_by_id(self, account_id: int) -> Account | None:
        """Return the account that has this id, whatever its login is now."""
        return next((each for each in self.accounts.values() if each.id == account_id), None)

    def rename_account(self, account: Account, login: str) -> None:
        """Give the account another login; the old names of its repositories redirect, its old login is free."""
        if login.casefold() != account.login.casefold() and login.casefold() in self.accounts:
            raise SandboxError(f"an account {login!r} exists already")
        owned = [each for each in self.repositories.values() if each.owner.id == account.id]
        for each in owned:
            del self._names[each.full_name.casefold()]
            self._old_names[each.full_name.casefold()] = each.id
        del self.accounts[account.login.casefold()]
        account.login = login
        self.accounts[login.casefold()] = account
        for each in owned:
            self._take_name(each)

    def repository(self, full_name: str) -> Repository:
        """Return the repository of this present name; SandboxError if there is none."""
        found = self.find(full_name)
        if found is None:
            raise SandboxError(f"the sandbox has no repository {full_name!r}")
        return found

    def find(self, full_name: str) -> Repository | None:
        """Return the repository that has this name now."""
        repository_id = self._names.get(full_name.casefold())
        return None if repository_id is None else self.repositories[repository_id]

    def find_moved(self, full_name: str) -> Repository | None:
        """Return the repository that once had this name, while no other has taken it."""
        repository_id = self._old_names.get(full_name.casefold())
        return None if repository_id is None else self.repositories.get(repository_id)

    def add_repository(self, repository: Repository) -> None:
        """Register the repository under its present name; a redirect from that name ends."""
        self.check_free(repository.full_name)
        self.repositories[repository.id] = repository
        if repository.parent_id is not None:
            self.fork_counts[repository.parent_id] += 1
        self._take_name(repository)

    def check_free(self, full_name: str) -> None:
        """Raise SandboxError if a repository has this name."""
        if full_name.casefold() in self._names:
            raise SandboxError(f"a repository {full_name!r} exists already")

    def move(self, repository: Repository, *, name: str, owner: Account) -> None:
        """Give the repository another name or owner; the old name redirects to it."""
        old = repository.full_name
        new = f"{owner.login}/{name}"
        if new.casefold() != old.casefold():
            self.check_free(new)
        del self._names[old.casefold()]
        self._old_names[old.casefold()] = repository.id
        repository.name, repository.owner = name, owner
        self._take_name(repository)

    def _take_name(self, repository: Repository) -> None:
        key = repository.full_name.casefold()
        self._names[key] = repository.id
        self._old_names.pop(key, None)

    def remove_repository(self, repository: Repository) -> None:
        """Forget the repository and what hung on it; its redirects end, its forks stay without a parent."""
        del self.repositories[repository.id]
        if repository.parent_id is not None:
            self.fork_counts[repository.parent_id] -= 1
        del self._names[repository.full_name.casefold()]
        for installation in self.installations.values():
            installation.repository_ids.discard(repository.id)
        for runs in [runs for (owner_id, _), runs in self._runs_of.items() if owner_id == repository.id]:
            for run in runs:
                del self.check_runs[run.id]
        for suite in [key for key in self.check_suites if key[0] == repository.id]:
            del self.check_suites[suite]
        for records in (self._runs_of, self._statuses_of):
            for key in [key for key in records if key[0] == repository.id]:
                del records[key]

    def repositories_of(self, installation: Installation) -> list[Repository]:
        """Return the repositories that the installation covers, oldest first."""
        return [repository for repository in self.repositories.values() if installation.covers(repository)]

    def installation_on(self, repository: Repository) -> Installation | None:
        """Return the installation that covers the repository, suspended or not."""
        installation = self._installed.get(repository.owner.id)
        return installation if installation is not None and installation.covers(repository) else None

    def add_installation(self, installation: Installation) -> None:
        """Register an installation; an account has at most one of an App."""
        if installation.account.id in self._installed:
            raise SandboxError(f"the App is already installed on {installation.account.login!r}")
        self.installations[installation.id] = installation
        self._installed[installation.account.id] = installation

    def remove_installation(self, installation: Installation) -> None:
        """Forget the installation."""
        del self.installations[installation.id]
        del self._installed[installation.account.id]

    def installation(self, installation_id: int) -> Installation:
        """Return the installation; SandboxError if there is none."""
        try:
            return self.installations[installation_id]
        except KeyError:
            raise SandboxError(f"the sandbox has no installation {installation_id}") from None

    def add_run(self, run: CheckRun) -> None:
        """Store a new check run."""
        self.check_runs[run.id] = run
        self._runs_of.setdefault((run.repository_id, run.head_sha), []).append(run)

    def runs_of(self, repository: Repository, sha: str) -> list[CheckRun]:
        """Return the commit's check runs in the order of creation."""
        return [run for run in self._runs_of.get((repository.id, sha), ()) if view().shows_report(run.born)]

    def add_status(self, status: Status) -> None:
        """Store a new status."""
        self._statuses_of.setdefault((status.repository_id, status.sha), []).append(status)

    def statuses_of(self, repository: Repository, sha: str) -> list[Status]:
        """Return the commit's statuses in the order of creation."""
        return [each for each in self._statuses_of.get((repository.id, sha), ()) if view().shows_report(each.born)]
