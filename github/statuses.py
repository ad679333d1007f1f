"""Commit statuses as GitHub shows them: which one counts for a context now."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from github.answers import read
from github.errors import NotFound, Rejected
from github.installation import InstallationClient, repository_path


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Status(_Model):
    id: int
    state: str
    context: str
    description: str | None = None
    target_url: str | None = None


class _Combined(_Model):
    statuses: tuple[_Status, ...]


@dataclass(frozen=True, slots=True)
class ShownStatus:
    """The newest status of a context on a commit. `state`: "success", "failure", "error" or "pending"."""

    status_id: int
    state: str
    description: str | None
    target_url: str | None


async def shown_status(client: InstallationClient, full_name: str, sha: str, context: str) -> ShownStatus | None:
    """The status that counts for a context on a commit: of each context the newest one, whoever wrote it.

    None: nobody wrote one, or the commit is not there. Conditional, so an unchanged answer costs nothing of the primary
    limit (REST docs, commits/statuses, "Get the combined status for a specific reference"). Raises GitHubError.
    """
    try:
        async for data in client.pages(f"{repository_path(full_name)}/commits/{sha}/status?per_page=100"):
            for status in read(_Combined, data).statuses:
                if status.context == context:
                    return ShownStatus(status.id, status.state, status.description, status.target_url)
    except NotFound:
        return None
    except Rejected as error:
        if error.status != 422:  # "No commit found for SHA"
            raise
    return None
