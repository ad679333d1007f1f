"""Compares what is stored with what GitHub has, and lets be judged what was missed: the backstop behind all events.

There are pushes of which GitHub tells nobody (over 25 MB, more than 3 tags or 5,000 branches at once), and deliveries
that are lost for ever (GitHub keeps its log for some days only). So each installation is visited every 15 to 30
minutes: its list of repositories, and the branch of each open session, are compared with what is stored, by conditional
requests. Nothing is decided here. What differs wakes whoever decides: a session's lane, or the reading of an
installation.

Cost for 1,000 open sessions, a round: 10 requests for the list of installations; for each installation one for each 100
repositories; for each session one, and one more each hour for its commit status. Nearly all are answered with 304,
which costs nothing of the primary limit. A session on an installation of its own costs a token in each hour besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import structlog
from prometheus_client import Counter

from bot import statuses
from bot.coverage import is_reachable, look_at, refresh_installation
from bot.services import Services
from github.client import InstallationClient
from github.errors import (
    Forbidden,
    GitHubError,
    Gone,
    InstallationError,
    InstallationGone,
    NotFound,
    RateLimited,
    Rejected,
)
from github.statuses import shown_status
from rules.model import ZERO_SHA, Installation
from storage import looks
from storage.database import is_transient
from storage.echoes import StatusSeen
from storage.looks import KnownInstallation, OpenHead, Visit

log = structlog.get_logger(__name__)

# An installation is visited so often; without any open session this many times less often.
LEAST, MOST = timedelta(minutes=15), timedelta(minutes=30)
QUIET = 8
# What was visited less than this ago is not visited anew because a worker starts.
NOT_AGAIN = timedelta(minutes=5)
# Somebody's own commit status in place of ours is found by its event; this is for a lost one.
STATUSES_EVERY = timedelta(hours=1)
# A head that nothing has come of (its judging has failed) is tried again after this.
WAKE_AGAIN = timedelta(hours=6)

# Installations that are begun in one run (a minute), side by side: with more than MOST / 1 min * VISITS of them rounds
# take longer, so that there are never more than 3,600 new tokens an hour of the App's 5,000 requests.
VISITS = 60
AT_ONCE = 4
# Branches of one installation in a turn, and when the next turn is: of the 900 points a minute less than a quarter.
HEADS = 200
NEXT_TURN = timedelta(seconds=60)
# While GitHub is away or refuses us.
LATER = timedelta(minutes=2)

FOUND = Counter("stepgate_reconciled_total", "What was found to differ from GitHub without any event", ["kind"])


async def begin_round(services: Services) -> None:
    """Let everything be compared now, but what was compared just before: after a start, or because somebody asks."""
    await looks.begin_round(services.pool, NOT_AGAIN)


async def reconcile(services: Services) -> int:
    """Compare what is due; how much was found to differ. Several may do this at once; each takes others' rest."""
    found = 0
    if await looks.installations_due(services.pool, LEAST, MOST):
        found += await _compare_installations(services)
    visits = await looks.claim(services.pool, VISITS, within=LEAST, statuses_every=STATUSES_EVERY)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(visit: Visit) -> int:
        async with places:
            return await _visit(services, visit)

    return found + sum(await asyncio.gather(*(one(visit) for visit in visits)))


# -------------------------------------------------------------------------------------------------------- installations


async def _compare_installations(services: Services) -> int:
    """Read anew each installation that is not as it is stored, and those that are not there any more."""
    known = await looks.installations(services.pool)
    differing, seen = set[int](), set[int]()
    try:
        async for installation in services.app.installations():
            seen.add(installation.installation_id)
            if _differs(known.get(installation.installation_id), installation):
                differing.add(installation.installation_id)
    except GitHubError as error:
        await looks.installations_again(services.pool, LATER)
        log.warning("installations_not_listed", error=str(error))
        return 0
    differing |= known.keys() - seen
    for installation_id in sorted(differing):
        await _quietly("installation", installation_id, _refresh(services, installation_id))
    await looks.installations_read(services.pool)
    return len(differing)


def _differs(known: KnownInstallation | None, now: Installation) -> bool:
    """Whether an installation is another one than is stored. Of strangers nothing is kept but the state."""
    if known is None or known.state is not now.state:
        return True
    if known.account_id is None:
        return False
    return (known.account_id, known.repository_selection, known.permissions) != (
        now.account.account_id,
        now.repository_selection,
        dict(now.permissions),
    )


async def _refresh(services: Services, installation_id: int) -> None:
    FOUND.labels("installation").inc()
    log.info("installation_differs", installation=installation_id)
    try:
        await refresh_installation(services, installation_id)
    except InstallationGone:
        return  # which is stored by then


async def _quietly(what: str, number: int, work: Awaitable[None]) -> None:
    """Do it; what goes wrong with one is logged, and keeps no other waiting."""
    try:
        await work
    except Exception as error:
        expected = isinstance(error, GitHubError) or is_transient(error)
        log.warning("not_reconciled", what=what, number=number, error=repr(error), exc_info=not expected)


# --------------------------------------------------------------------------------------------------------------- visits


async def _visit(services: Services, visit: Visit) -> int:
    """One turn at an installation; how many heads and statuses differed. What fails is made up for soon."""
    found, place = 0, visit.after_repo_id
    heads: tuple[OpenHead, ...] = ()
    try:
        client = services.app.installation(visit.installation_id)
        if place == 0:
            await _compare_repositories(services, client)
        heads = await looks.heads(services.pool, visit, HEADS, services.judging.check_name)
        for head in heads:
            try:
                found += await _compare(services, client, head, statuses_too=visit.statuses)
            except RateLimited:
                raise
            except Exception:  # this one has its turn in the next round: it may be the only one that fails, and always
                place = head.repo_id
                raise
            place = head.repo_id
    except InstallationError:  # away since just now: what is stored follows
        await _quietly("installation", visit.installation_id, _refresh(services, visit.installation_id))
    except Exception as error:
        expected = isinstance(error, GitHubError) or is_transient(error)
        log.warning("visit_broken_off", installation=visit.installation_id, error=repr(error), exc_info=not expected)
        wait = timedelta(seconds=error.retry_after or 0) if isinstance(error, GitHubError) else LATER
        await looks.go_on(services.pool, visit, place, max(wait, LATER))
        return found
    if len(heads) == HEADS:
        await looks.go_on(services.pool, visit, place, NEXT_TURN)
    else:
        await looks.done(services.pool, visit, LEAST, MOST, QUIET)
    return found


async def _compare_repositories(services: Services, client: InstallationClient) -> None:
    """Read the installation anew if its repositories are others. A list that cannot be had keeps no head waiting."""
    try:
        await _read_if_other(services, client)
    except (RateLimited, InstallationError):
        raise
    except GitHubError as error:
        log.warning("repositories_not_compared", installation=client.installation_id, error=str(error))


async def _read_if_other(services: Services, client: InstallationClient) -> None:
    listed = {each.repo_id: each.full_name for each in await client.repositories()}
    if await looks.repositories_differ(services.pool, client.installation_id, listed):
        FOUND.labels("repositories").inc()
        log.info("repositories_differ", installation=client.installation_id)
        await refresh_installation(services, client.installation_id)


async def _compare(services: Services, client: InstallationClient, head: OpenHead, *, statuses_too: bool) -> int:
    """Compare a session's branch (and status); how much differed. What GitHub refuses of one keeps no other waiting."""
    try:
        found = await _compare_head(services, client, head)
        return found + (await _compare_status(services, client, head) if statuses_too else 0)
    except (Forbidden, NotFound, Gone, Rejected) as error:
        log.warning("head_not_compared", repo=head.repo_id, error=str(error))
        return 0


async def _compare_head(services: Services, client: InstallationClient, head: OpenHead) -> int:
    """Let the session be judged if its branch is at another head than we know."""
    sha = await client.branch_head(head.repo_full_name, head.branch)
    if sha == head.seen:
        return 0
    if sha is None:  # the branch is gone, or the repository, or it is another one by this name
        await look_at(services, client.installation_id, head.repo_id)
        if not await is_reachable(services, client.installation_id, head.repo_id):
            return 1
    if not await looks.wake_for(services.pool, head, sha or ZERO_SHA, WAKE_AGAIN):
        return 0
    FOUND.labels("head").inc()
    log.info("head_differs", repo=head.repo_id, head=sha, known=head.seen)
    return 1


async def _compare_status(services: Services, client: InstallationClient, head: OpenHead) -> int:
    """Let our commit status be written again if somebody else's is in its place, of which no event told."""
    if head.judged is None or head.status_id is None:
        return 0
    context = services.judging.check_name
    shown = await shown_status(client, head.repo_full_name, head.judged, context)
    if shown is None or shown.status_id == head.status_id:
        return 0
    seen = StatusSeen(shown.status_id, head.judged, context, shown.state, shown.description, shown.target_url)
    standing = await statuses.contest(services, head.repo_id, seen, owner_id=head.owner_id)
    if standing != "restored":
        return 0
    FOUND.labels("status").inc()
    return 1
