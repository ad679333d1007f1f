"""What a bound repository is called and whether it is private, kept up to date: of a private one strangers are shown
nothing.
"""

from __future__ import annotations

import structlog

from bot.services import Services
from github.errors import GitHubError
from rules.model import Repo, RepoMapping

log = structlog.get_logger(__name__)


async def follow(services: Services, repo: Repo, mapping: RepoMapping) -> None:
    """Take over the name of the repository and whether it is private, when a delivery tells otherwise than is known.

    Deliveries may be old, and old ones may be sent again: GitHub's API is asked what is so now. Only "private" is
    believed at once: if the API does not answer, the session stays closed to strangers, and nothing else waits for it.
    """
    if (repo.private, repo.full_name) == (mapping.private, mapping.repo_full_name):
        return
    if repo.private and not mapping.private:
        await services.mappings.see(repo)
    try:
        now, _ = await services.app.installation(mapping.installation_id).repository_by_id(mapping.repo_id)
    except GitHubError as error:
        log.info("visibility_unknown", repo=repo.repo_id, error=str(error))
    else:
        await services.mappings.see(now)
