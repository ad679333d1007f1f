"""What commands and processes connect to."""

from __future__ import annotations

import pytest

from cli.connect import pool_on, shared_governor
from cli.faults import CommandError
from settings import Settings
from storage.budgets import PAUSED
from storage.database import open_pool
from storage.notify import Listener


@pytest.mark.parametrize(("profile", "writes"), [("adaptive", (0, 0)), ("strict", (80, 500))])
async def test_the_write_settings_are_those_of_the_governor(
    fresh_database: str, profile: str, writes: tuple[int, int]
) -> None:
    """Distance and profile come from the settings, and a limit that another process meets is heard of at once."""
    settings = Settings.model_validate({"github_write_profile": profile, "github_write_interval": 0.5})
    listener = Listener(fresh_database)
    pool = await open_pool(fresh_database, min_size=0, max_size=2)
    try:
        governor = shared_governor(settings, pool, listener)
        assert governor.rules.distance == 0.5
        assert (governor.rules.per_minute, governor.rules.per_hour) == writes
        assert listener._callbacks[PAUSED] == [governor.heard]
    finally:
        await pool.close()


async def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    """What Python says of a part of the database's address stays unsaid: it may be part of the password."""
    with pytest.raises(CommandError) as caught:
        async with pool_on("postgresql:///course?port=hunter22"):
            pass
    assert str(caught.value) == "The database (DATABASE_URL) cannot be used now: its address cannot be read"
