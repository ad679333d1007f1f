"""What the stages of the pipeline are given: connections and settings, made once in app.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol
from uuid import UUID

from github.client import GitHubApp
from github.trees import Trees
from rules.model import Repo, RepoMapping
from storage.database import Pool


class MappingLookup(Protocol):
    """Find the active mapping of a repository: a hint from the cache, saving checks it again."""

    async def find(self, repo_id: int) -> RepoMapping | None:
        """The active mapping of the repository with this numeric id, or None."""
        ...

    async def see(self, repo: Repo) -> bool:
        """Take over what GitHub says of the repository now; whether that was news."""
        ...

    def drop(self, repo_id: int) -> None:
        """Forget what is known of the repository: the next look asks the database."""
        ...


@dataclass(frozen=True, slots=True)
class Judging:
    """Settings that judging and reporting need.

    `public_url`: base of the links to session pages; `web_url`: GitHub's own pages; both without a trailing slash.
    """

    check_name: str
    public_url: str
    web_url: str
    report_status: Literal["always", "failures", "never"]
    stuck_after: int

    def session_url(self, session_id: UUID) -> str:
        """Address of a session's page."""
        return f"{self.public_url}/sessions/{session_id}"

    def join_url(self, slug: str) -> str:
        """Address of a lab's page for those who want to start it."""
        return f"{self.public_url}/join/{slug}"


@dataclass(frozen=True, slots=True)
class Services:
    """The outside world, as the bot sees it. `keep_bodies`: how long bodies of processed deliveries are kept.

    `log_kept`: how far GitHub's delivery log reaches back, and so how long a delivery may be sent again. `receives`:
    deliveries come by the webhook (too). `staff`: account ids of those who run the labs.
    """

    pool: Pool
    app: GitHubApp
    trees: Trees
    mappings: MappingLookup
    judging: Judging
    keep_bodies: timedelta = timedelta(days=8)
    log_kept: timedelta = timedelta(days=3)
    receives: bool = True
    staff: frozenset[int] = frozenset()
