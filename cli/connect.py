"""What commands and processes connect to: the database's pool and GitHub."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from cli.faults import CommandError

if TYPE_CHECKING:
    from github.client import GitHubApp
    from github.governor import Governor
    from github.governor_shared import SharedGovernor
    from settings import Settings
    from storage.database import Pool
    from storage.notify import Listener

# A command runs one statement after another.
COMMAND_CONNECTIONS = 2
# Wrong password or role, no such database (PostgreSQL docs, appendix A, classes 28 and 3D).
REFUSED = ("28", "3D")


@contextmanager
def reachable_database() -> Iterator[None]:
    """A database that is away, refuses us, or has a wrong address is the operator's to repair: CommandError."""
    from storage.database import is_down

    try:
        yield
    except Exception as error:
        state = str(getattr(error, "sqlstate", None) or "")
        if not (is_down(error) or isinstance(error, ValueError) or state.startswith(REFUSED)):
            raise
        # Errors of Python itself about a part of the address repeat it, and it may be one of the password.
        why = "its address cannot be read" if type(error) is ValueError else error
        raise CommandError(f"The database (DATABASE_URL) cannot be used now: {why}") from error


@asynccontextmanager
async def pool_on(dsn: str, connections: int = COMMAND_CONNECTIONS) -> AsyncIterator[Pool]:
    """A pool on a database whose schema fits this version; SchemaError if not, CommandError if it cannot be used."""
    from storage.database import check_schema, open_pool

    with reachable_database():
        pool = await open_pool(dsn, min_size=1, max_size=connections)
    try:
        await check_schema(pool)
        yield pool
    finally:
        await pool.close()


def shared_governor(
    settings: Settings, pool: Pool, listener: Listener | None = None, *, patient: bool = False
) -> SharedGovernor:
    """The governor that all processes on this database share; by `listener` it hears at once of limits of others.

    `patient`: for commands, which wait for their turn where a worker does something else.
    """
    from github.governor_shared import COMMANDS_PATIENCE, LONGEST_WAIT, SharedGovernor
    from storage.budgets import PAUSED, Budgets

    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    strict = settings.github_write_profile == "strict"
    patience = COMMANDS_PATIENCE if patient else LONGEST_WAIT
    governor = SharedGovernor(Budgets(pool), holder, settings.github_write_interval, strict=strict, patience=patience)
    if listener is not None:
        listener.subscribe(PAUSED, governor.heard)
    return governor


@asynccontextmanager
async def github_of(settings: Settings, governor: Governor | None = None) -> AsyncIterator[GitHubApp]:
    """The App's client of GitHub. Without `governor` (and database) this process keeps its pace by itself."""
    import aiohttp

    from github.client import GitHubApp
    from github.governor import MemoryGovernor

    # GitHub's API sets no cookies that matter; looking for some costs time with each request.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield GitHubApp(
            session,
            api_url=settings.github_api_url,
            app_id=settings.app_id(),
            private_key=settings.private_key(),
            governor=governor or MemoryGovernor(settings.github_write_interval),
        )
