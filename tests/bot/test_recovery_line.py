"""A class whose deliveries come from GitHub's log, alone and together with the webhook: the whole line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from bot.recovery import DeliveryPoller
from tests.support.deliveries import WORK, World, world
from tests.support.githost import WorkingCopy


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database) as here:
        yield here


async def _pull(poller: DeliveryPoller, here: World) -> int:
    await here.line.sandbox.idle()
    taken = await poller.look()
    await here.line.settle()
    return taken


async def _push(clone: WorkingCopy, files: Mapping[str, str | bytes]) -> str:
    """Write files, commit and push them; the head."""
    for path, text in files.items():
        target = clone.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    await clone.git("add", "--all")
    await clone.git("commit", "--quiet", "-m", "work")
    await clone.git("push", "--quiet", "origin", "HEAD")
    return await clone.git("rev-parse", "HEAD")


async def test_a_class_without_a_public_address(here: World, tmp_path: Path) -> None:
    """Nothing reaches the webhook: installation and push are taken from the log, and the push gets its check-run."""
    sandbox = here.line.sandbox
    poller = DeliveryPoller(here.line.pool, here.line.services.app)
    sandbox.webhook_url = None
    sandbox.add_account("learner-one")
    fork = await sandbox.fork("octo-course/lab", "learner-one")
    await sandbox.install("learner-one", [fork.full_name])
    assert await _pull(poller, here) >= 1
    clone = await WorkingCopy.clone(sandbox, fork.full_name, "learner-one", tmp_path / "clone")
    head = await _push(clone, WORK[0])

    assert await _pull(poller, here) == 1

    assert [conclusion for _, conclusion in here.runs(fork, head)] == ["success"]
    assert await _pull(poller, here) == 0


async def test_webhook_and_log_together_judge_each_push_once(here: World, tmp_path: Path) -> None:
    """Pushes that come both ways, in either order, have one attempt and one check-run each."""
    sandbox = here.line.sandbox
    poller = DeliveryPoller(here.line.pool, here.line.services.app)
    fork = await here.learner("learner-one")
    assert await _pull(poller, here) == 0  # the webhook has brought everything so far
    clone = await WorkingCopy.clone(sandbox, fork.full_name, "learner-one", tmp_path / "clone")

    webhook_first = await _push(clone, WORK[0])
    await here.line.settle()
    assert await _pull(poller, here) == 0

    hook, sandbox.webhook_url = sandbox.webhook_url, None
    log_first = await _push(clone, WORK[1])
    assert await _pull(poller, here) == 1
    sandbox.webhook_url = hook
    pushed = [delivery for delivery in sandbox.deliveries if delivery.event == "push"][-1]
    await sandbox.redeliver(pushed.guid)
    await here.line.settle()
    assert await _pull(poller, here) == 0

    attempts = await here.line.fetch("SELECT after_sha FROM push_attempt WHERE trigger = 'push'")
    assert sorted(attempt["after_sha"] for attempt in attempts) == sorted([webhook_first, log_first])
    assert [len(here.runs(fork, head)) for head in (webhook_first, log_first)] == [1, 1]
