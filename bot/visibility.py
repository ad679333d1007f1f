"""Whether a bound repository is private, kept up to date: of a private one strangers are shown nothing."""

from __future__ import annotations

import structlog

from bot.services import Services
from github.errors import GitHubError
from rules.model import Repo, RepoMapping

log = structlog.get_logger(__name__)


async def follow(services: Services, repo: Repo, mapping: RepoMapping) -> None:
    """Take over whether the repository is private, as a delivery says.

    Deliveries may be old, and old ones may be sent again: "private" is believed at once, "public" only if GitHub's API
    says so now. If it does not answer, the session stays closed to strangers, and nothing else waits for it.
    """
    if repo.private == mapping.private:
        return
    if repo.private:
        await services.mappings.see(repo)
        return
    try:
        await refresh(services, mapping, repo.full_name)
    except GitHubError as error:
        log.info("visibility_unknown", repo=repo.repo_id, error=str(error))


async def refresh(services: Services, mapping: RepoMapping, full_name: str) -> bool:
    """Take over what the API says of the repository; False: the name is another repository's by now.

    Raises NotFound when nobody has this name, and other GitHubErrors.
    """
    repo, _ = await services.app.installation(mapping.installation_id).repository(full_name)
    if repo.repo_id != mapping.repo_id:
        return False
    await services.mappings.see(repo)
    return True
