"""What becomes of sessions when installations and repositories come and go (binding.md sections 4.6 and 5).

Lifecycle deliveries only wake: all of this is decided from what GitHub's API told when it was asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rules.model import InstallationState, Repo
from rules.session import SessionEvent

#: Why a mapped repository cannot be reached: the code of the deferral in the audit.
AwayCode = Literal[
    "INSTALLATION_DELETED", "INSTALLATION_SUSPENDED", "REPO_NOT_SELECTED", "REPOSITORY_GONE", "OWNER_CHANGED"
]

#: Repositories that are no forks and are looked at when an installation comes, the newest first. Whether one was made
#: from a template, a list does not tell, so each costs a request; the others are bound by their first push.
LOOKED_AT = 100


def seen(repo: Repo | None, installation_account_id: int) -> AwayCode | None:
    """Why an installation on this account does not cover a repository, as far as the repository itself tells.

    `repo` None: the API does not know its id (any more).
    """
    if repo is None:
        return "REPOSITORY_GONE"
    return "OWNER_CHANGED" if repo.owner.account_id != installation_account_id else None


def away_because(state: InstallationState, *, covered: bool, told: AwayCode | None = None) -> AwayCode | None:
    """Why a repository that is mapped under an installation in this state cannot be reached; None: it can.

    `told`: what was seen of the repository itself. The database has the same function; a test compares them.
    """
    match state:
        case InstallationState.DELETED:
            return "INSTALLATION_DELETED"
        case InstallationState.SUSPENDED:
            return "INSTALLATION_SUSPENDED"
        case _:
            return None if covered else told or "REPO_NOT_SELECTED"


def event_of(code: AwayCode | None) -> SessionEvent:
    """What that is to a session of the repository."""
    return SessionEvent.INSTALLATION_BACK if code is None else SessionEvent.INSTALLATION_GONE


@dataclass(frozen=True, slots=True)
class Listed:
    """A repository as the list of an installation's repositories has it."""

    repo_id: int
    full_name: str
    fork: bool


def worth_a_look(listed: Iterable[Listed], limit: int = LOOKED_AT) -> frozenset[int]:
    """The ids of the repositories that may come from a lab: every fork, and the newest `limit` of the others.

    Ids rise with time.
    """
    repos = tuple(listed)
    others = sorted((each.repo_id for each in repos if not each.fork), reverse=True)
    return frozenset(others[:limit]).union(each.repo_id for each in repos if each.fork)
