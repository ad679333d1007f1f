"""What GitHub says about the people and repositories of a class list: each question is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bot.classlist import Row
from bot.registry import RegistryError, any_reader, reader
from github.client import GitHubApp, InstallationClient
from github.errors import Forbidden, Gone, NotFound, Transient
from rules.model import Account, InstallationState, LabRecord, Lineage, Repo
from storage import invitations
from storage.database import Pool

# GitHub asks not to make many requests at once (REST docs, "Best practices for using the REST API").
CONCURRENCY = 4
# A request that did not work is tried so often, and a limit is waited for so long (seconds); then the row is left over.
TRIES = 3
LONGEST_WAIT = 60.0

UNKNOWN = "unknown on GitHub (misspelt? renamed?)"
LATER = "GitHub did not answer; run the command again"

#: Told how many of how many questions to GitHub are answered.
Progress = Callable[[int, int], None]
Sleep = Callable[[float], Awaitable[None]]

Key = TypeVar("Key", bound=str | int)
Value = TypeVar("Value")


class Unanswered:
    """GitHub did not answer a question, for now."""


_UNANSWERED = Unanswered()


@dataclass(frozen=True, slots=True)
class Seen:
    """A repository as GitHub tells it. `covered`: by an installation of the App."""

    repo: Repo
    lineage: Lineage
    covered: bool


@dataclass(slots=True)
class Answers:
    """GitHub's answers, each question asked once. None: there is none of that name or id."""

    by_login: dict[str, Account | Unanswered | None] = field(default_factory=dict)
    by_id: dict[int, Account | Unanswered | None] = field(default_factory=dict)
    repositories: dict[str, Seen | Unanswered | None] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    once_called: dict[str, tuple[Account, ...]] = field(default_factory=dict)

    def account(self, row: Row) -> tuple[Account | None, str, tuple[str, ...]]:
        """Whom a row means; else why not, in words. And what is to be told about it."""
        login = (row.login or "").lower()
        if row.account_id is not None:
            return self._named_by_id(row.account_id, login)
        account = self.by_login.get(login)
        if isinstance(account, Unanswered):
            return None, LATER, ()
        former = self.once_called.get(login, ())
        if account is None:
            for known in former:
                now = self.by_id.get(known.account_id)
                if isinstance(now, Account):
                    return now, "", (f"is called {now.login} now (id {now.account_id})",)
            return None, UNKNOWN, ()
        if former and account.account_id not in {known.account_id for known in former}:
            was = former[0].account_id
            return None, (
                f"is another account (id {account.account_id}) than the one seen under this login before (id {was}): "
                "the login changed hands; give the right one in a column `id`"
            ), ()  # fmt: skip
        return account, "", ()

    def _named_by_id(self, account_id: int, login: str) -> tuple[Account | None, str, tuple[str, ...]]:
        account = self.by_id.get(account_id)
        if isinstance(account, Unanswered):
            return None, LATER, ()
        if account is None:
            return None, f"no account at GitHub has the id {account_id}", ()
        if not login or account.login.lower() == login:
            return account, "", ()
        other = self.by_login.get(login)
        if isinstance(other, Account):
            return None, f"login and id are two accounts: id {account_id} is {account.login}", ()
        return account, "", (f"is called {account.login} now (id {account_id})",)


async def ask(
    pool: Pool,
    app: GitHubApp,
    lab: LabRecord,
    rows: Sequence[Row],
    *,
    progress: Progress = lambda _done, _total: None,
    sleep: Sleep = asyncio.sleep,
) -> Answers:
    """Ask GitHub everything that the rows want to know: each login, id and repository once.

    A row whose question GitHub does not answer in time is told so later; raises RegistryError and GitHubError when the
    App can ask nothing at all.
    """
    rows = [row for row in rows if row.problem is None]
    client = reader(app, lab) if lab.base_installation_id is not None else await any_reader(app)
    if client is None:
        raise RegistryError("the App is installed nowhere, so it can ask GitHub nothing: install it on your account")
    asked = Answers()
    logins = {row.login.lower(): row.login for row in rows if row.login}
    asked.once_called = await invitations.accounts_once_called(pool, logins)
    ids = {row.account_id for row in rows if row.account_id is not None}
    covered = await invitations.covered(pool, [row.repo_id for row in rows if row.repo_id is not None])
    asked.names = {repo_id: known.full_name for repo_id, known in covered.items()}
    names = {row.repository for row in rows if row.repository} | set(asked.names.values())

    questions = _Questions(progress, sleep, total=len(logins) + len(ids) + len(names))
    asked.by_login = await questions.ask(logins, lambda key: client.account(logins[key]))
    lost = [login for login, account in asked.by_login.items() if account is None]
    ids |= {known.account_id for login in lost for known in asked.once_called.get(login, ())}
    questions.total = len(logins) + len(ids) + len(names)
    asked.by_id = await questions.ask(ids, client.account_by_id)
    asked.repositories = await questions.ask(names, lambda name: _look_at(app, client, name))
    return asked


async def _look_at(app: GitHubApp, anybody: InstallationClient, full_name: str) -> Seen:
    """A repository, through the installation that covers it, else as anybody sees it."""
    installation = await app.installation_of(full_name)
    covered = installation is not None and installation.state is InstallationState.ACTIVE
    client = app.installation(installation.installation_id) if installation is not None and covered else anybody
    repo, lineage = await client.repository(full_name)
    return Seen(repo, lineage, covered)


class _Questions:
    """Asks many questions, a few at a time, and waits for limits that end soon."""

    def __init__(self, progress: Progress, sleep: Sleep, total: int) -> None:
        self.total = total
        self._done = 0
        self._progress = progress
        self._sleep = sleep
        self._room = asyncio.Semaphore(CONCURRENCY)

    async def ask(
        self, keys: Collection[Key], question: Callable[[Key], Awaitable[Value]]
    ) -> dict[Key, Value | Unanswered | None]:
        """The answer to each key."""
        ordered = list(keys)
        answers = await asyncio.gather(*(self._one(key, question) for key in ordered))
        return dict(zip(ordered, answers, strict=True))

    async def _one(self, key: Key, question: Callable[[Key], Awaitable[Value]]) -> Value | Unanswered | None:
        try:
            for tries in range(1, TRIES + 1):
                try:
                    async with self._room:
                        return await question(key)
                except (NotFound, Gone, Forbidden):
                    return None
                except Transient as error:
                    wait = error.retry_after or float(tries)
                    if tries == TRIES or wait > LONGEST_WAIT:
                        break
                    await self._sleep(wait)
            return _UNANSWERED
        finally:
            self._done += 1
            self._progress(self._done, self.total)
