"""What a person does at GitHub with a personal access token of theirs: make repositories, read reports, delete again.

For `make live` and the demo. The App itself never has such a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, SecretStr

from github.answers import AccountModel, RefModel, RepositoryModel, read
from github.errors import NotFound, Rejected
from github.governor import MemoryGovernor
from github.installation import quoted, repository_path
from github.transport import Answer, Credential, Request, Transport
from rules.model import Account, Repo

# What a classic token tells of itself (GitHub docs, "Scopes for OAuth apps"); fine-grained ones do not send it.
SCOPES_HEADER = "X-OAuth-Scopes"
_MINE = 0  # the governor's key: there is one caller


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Output(_Model):
    title: str | None = None
    summary: str | None = None
    text: str | None = None


class _Run(_Model):
    id: int
    conclusion: str | None = None
    output: _Output = _Output()


class _Runs(_Model):
    check_runs: tuple[_Run, ...]


class _Status(_Model):
    state: str
    context: str


class _Statuses(_Model):
    statuses: tuple[_Status, ...]


@dataclass(frozen=True, slots=True)
class Reports:
    """What GitHub shows beside a commit: the newest check-run of a name, how many there are, and the status.

    `conclusion` and `status` are "none" where there is nothing (yet); `text` is all that the check-run says.
    """

    conclusion: str
    title: str
    text: str
    runs: int
    status: str


class PersonClient:
    """A person's requests, one after another. `write_interval`: seconds between two writes, at least."""

    def __init__(
        self, http: aiohttp.ClientSession, *, api_url: str, token: SecretStr, write_interval: float = 1.0
    ) -> None:
        """Raises Misconfigured for an address that cannot be used."""
        # "wait at least one second between each" write (REST docs, best practices)
        self._transport = Transport(http, api_url, MemoryGovernor(write_interval))
        self._credential = Credential("token", token)

    async def me(self) -> tuple[Account, frozenset[str] | None]:
        """Whose token it is, and its scopes; None: GitHub does not tell them (a fine-grained token). Unauthorized."""
        answer = await self._send(Request("GET", "user"))
        told = answer.headers.get(SCOPES_HEADER)
        scopes = None if told is None else frozenset(filter(None, map(str.strip, told.split(","))))
        return read(AccountModel, answer.data).value(), scopes

    # -------------------------------------------------------------------------------------------------- repositories

    async def create_template(self, name: str, *, organization: str | None, description: str) -> Repo:
        """A new, empty, public template repository, of one's own or of an organisation.

        NotFound, Forbidden: no such organisation, or no right to make repositories there. Rejected: the name is taken.
        """
        where = f"orgs/{quoted(organization)}/repos" if organization else "user/repos"
        body = {"name": name, "description": description, "private": False, "is_template": True, "has_wiki": False}
        return await self._made(where, body)

    async def fork(self, template: Repo, name: str) -> Repo:
        """Fork into one's own account. GitHub copies the content later: wait for `branch_head`."""
        body = {"name": name, "default_branch_only": True}
        return await self._made(f"{repository_path(template.full_name)}/forks", body)

    async def generate(self, template: Repo, name: str, *, description: str) -> Repo:
        """Use the template for a repository of one's own. GitHub copies the content later: wait for `branch_head`."""
        body = {"name": name, "description": description, "private": False}
        return await self._made(f"{repository_path(template.full_name)}/generate", body)

    async def branch_head(self, repo: Repo, branch: str) -> str | None:
        """The sha at which a branch stands; None: it is not there (yet)."""
        path = f"{repository_path(repo.full_name)}/git/ref/heads/{quoted(branch)}"
        try:
            return read(RefModel, (await self._send(Request("GET", path))).data).object.sha
        except NotFound:
            return None
        except Rejected as error:
            if error.status == 409:  # "Git Repository is empty."
                return None
            raise

    async def delete(self, repo: Repo) -> bool:
        """Delete exactly this repository; False: it is gone, or another one has its name now. Forbidden."""
        path = repository_path(repo.full_name)
        try:
            found = read(RepositoryModel, (await self._send(Request("GET", path))).data)
            if found.id != repo.repo_id:
                return False
            await self._send(Request("DELETE", path))
        except NotFound:
            return False
        return True

    # ------------------------------------------------------------------------------------------------------- reports

    async def reports(self, full_name: str, sha: str, name: str) -> Reports:
        """Check-runs and status of this name on a commit."""
        commit = f"{repository_path(full_name)}/commits/{quoted(sha)}"
        query = f"check_name={quoted(name)}&filter=all&per_page=100"
        runs = read(_Runs, await self._look(f"{commit}/check-runs?{query}")).check_runs
        statuses = read(_Statuses, await self._look(f"{commit}/status?per_page=100")).statuses
        newest = max(runs, key=lambda run: run.id, default=None)
        output = newest.output if newest else _Output()
        return Reports(
            conclusion=(newest.conclusion if newest else None) or "none",
            title=output.title or "",
            text=f"{output.title}\n{output.summary}\n{output.text}",
            runs=len(runs),
            status=next((status.state for status in statuses if status.context == name), "none"),
        )

    async def _look(self, path: str) -> Any:
        return (await self._send(Request("GET", path, cacheable=True))).data

    async def _made(self, path: str, body: dict[str, Any]) -> Repo:
        answer = await self._send(Request("POST", path, body, repeatable=False))
        return read(RepositoryModel, answer.data).repo()

    async def _send(self, request: Request) -> Answer:
        return await self._transport.send(request, self._credential, _MINE)
