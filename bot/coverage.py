"""Which repositories the App can reach, read from GitHub's API; sessions follow what was read.

Several lanes may read the same installation at once. Each reading is stored only if it was not overtaken (see
storage.lifecycle), so what is stored in the end is what the API said last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import structlog

from bot.lag import NotYetError
from bot.services import Services
from github.client import GitHubApp
from github.concurrency import NextFlight
from github.errors import InstallationError, InstallationGone, InstallationSuspended, NotFound
from rules.lifecycle import AwayCode, seen, worth_a_look
from rules.model import InstallationState, Lineage, Repo, RepoMapping
from storage import accounts, labs, lifecycle

log = structlog.get_logger(__name__)

# Each reading that was stored before ours costs one round.
ROUNDS = 5


# Readings of installations in this process, by the App's client: many lanes may want the same one at once.
_READINGS: WeakKeyDictionary[GitHubApp, NextFlight[int, int]] = WeakKeyDictionary()


class CoverageRaceError(NotYetError):
    """The installation kept changing while it was read: others stored what they read, so all get on. Tried again."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a repository through an installation. `repo` None: it was not asked for, or is not there.

    `code`: why the installation does not cover it; None: it does.
    """

    repo: Repo | None
    code: AwayCode | None


async def refresh_installation(
    services: Services, installation_id: int, told: Mapping[int, AwayCode] | None = None
) -> int:
    """Make the stored installation, the set of its repositories and their sessions equal to what the API says.

    `told`: repository id -> why it is not covered, where that is known better. Returns how many sessions changed.
    Raises InstallationGone when it was deleted (which is then stored, if it was known), and other GitHubErrors.
    Whoever asks while it is being read shares the next reading with all others who do, unless `told` something.
    """
    if told:
        return await _read_installation(services, installation_id, told)
    readings = _READINGS.setdefault(services.app, NextFlight())
    return await readings.run(installation_id, partial(_read_installation, services, installation_id))


async def _read_installation(
    services: Services, installation_id: int, told: Mapping[int, AwayCode] | None = None
) -> int:
    pool, client = services.pool, services.app.installation(installation_id)
    for _ in range(ROUNDS):
        before = await lifecycle.known(pool, installation_id)
        client.forget_token()
        try:
            installation = await services.app.installation_record(installation_id)
            active = installation.state is InstallationState.ACTIVE
            listed = await client.repositories() if active else None
        except InstallationSuspended:  # just now: the record says so
            continue
        except InstallationGone:
            await lifecycle.end_installation(pool, installation_id)
            await lifecycle.settle(pool, installation_id)
            await _follow_templates(services, installation_id)
            raise
        looks = worth_a_look(listed) if listed is not None else frozenset[int]()
        if await lifecycle.store_installation(pool, installation, before, listed, looks):
            await lifecycle.take_over_names(pool, installation_id)
            await _follow_templates(services, installation_id)
            await lifecycle.send_again_for(pool, installation_id)
            return await lifecycle.settle(pool, installation_id, told)
    raise CoverageRaceError(f"installation {installation_id} changed each time while it was read")


async def _follow_templates(services: Services, installation_id: int) -> None:
    """Labs' templates are read by an installation that covers them, if there is one."""
    for slug, reader in (await labs.follow_installation(services.pool, installation_id)).items():
        log.info("template_reader_changed", lab=slug, installation=reader)


async def look_at(services: Services, installation_id: int, repo_id: int) -> Sight:
    """Make what is stored of one repository under an installation, and its session, equal to what the API says.

    Of an installation that covers all of its account's repositories only this one is read; of another the whole list,
    because a public repository answers to everybody. Raises GitHubErrors, but not that the installation is gone.
    """
    try:
        return await _look_at(services, installation_id, repo_id)
    except InstallationGone:
        return Sight(None, "INSTALLATION_DELETED")


async def _look_at(services: Services, installation_id: int, repo_id: int) -> Sight:
    pool, client = services.pool, services.app.installation(installation_id)
    for _ in range(ROUNDS):
        before = await lifecycle.known(pool, installation_id)
        installation = before.installation
        if installation is None or installation.state is not InstallationState.ACTIVE:
            await refresh_installation(services, installation_id)
            before = await lifecycle.known(pool, installation_id)
            installation = before.installation
            if installation is None or installation.state is not InstallationState.ACTIVE:
                return Sight(None, "INSTALLATION_SUSPENDED")
        repo, lineage = None, None
        try:
            repo, lineage = await client.repository_by_id(repo_id)
        except NotFound:
            pass
        except InstallationError:  # since just now: the stored state follows, and is looked at again
            await refresh_installation(services, installation_id)
            continue
        code = seen(repo, installation.account.account_id)
        if installation.repository_selection == "selected":
            await refresh_installation(services, installation_id, {repo_id: code} if code else None)
            covered = (await accounts.coverage(pool, installation_id, repo_id)).selected
            return Sight(repo, None if covered else code or "REPO_NOT_SELECTED")
        look = lineage is not None and await _may_be_a_labs(services, lineage)
        name = repo.full_name if repo is not None and code is None else None
        if await lifecycle.store_repository(pool, installation_id, before, repo_id, name, look=look):
            await lifecycle.settle(pool, installation_id, {repo_id: code} if code else None)
            return Sight(repo, code)
    raise CoverageRaceError(f"installation {installation_id} changed each time while repository {repo_id} was read")


async def _may_be_a_labs(services: Services, lineage: Lineage) -> bool:
    """Whether a repository comes from a lab, or from something that it hides: that is audited, and can be invited."""
    line = [ident for ident in (lineage.parent_id, lineage.template_id, lineage.source_id) if ident is not None]
    if lineage.fork and lineage.parent_id is None:
        return True
    return bool(line) and await labs.by_base_repos(services.pool, line) is not None


async def is_reachable(services: Services, installation_id: int, repo_id: int) -> bool:
    """Whether the installation is in force and covers the repository, as far as is stored."""
    coverage = await accounts.coverage(services.pool, installation_id, repo_id)
    state = coverage.installation.state if coverage.installation is not None else None
    return coverage.selected and state is InstallationState.ACTIVE


async def is_alive(services: Services, mapping: RepoMapping, also: int | None) -> bool:
    """Whether the mapped repository still answers under its id.

    Uninstalled is not gone. If its own installation cannot be asked, `also` is, if it is the same owner's; a private
    repository may be hidden from that one. On doubt the repository is alive.
    """
    try:
        await services.app.installation(mapping.installation_id).repository_by_id(mapping.repo_id)
    except NotFound:
        return False
    except InstallationError:
        return also is None or not await _is_gone_for(services, mapping, also)
    return True


async def _is_gone_for(services: Services, mapping: RepoMapping, installation_id: int) -> bool:
    """Whether this installation can tell that the mapped repository is gone."""
    installation = await accounts.installation(services.pool, installation_id)
    if installation is None or installation.account.account_id != mapping.owner_account_id:
        return False
    if mapping.private and installation.repository_selection != "all":
        return False
    try:
        await services.app.installation(installation_id).repository_by_id(mapping.repo_id)
    except NotFound:
        return True
    return False
