"""Fixtures: a sandbox with a course's lab and its App, whose every REST exchange is checked after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from sandbox import Installation, Sandbox, new_private_key
from tests.support.apispec import check_exchange
from tests.support.githost import ApiClient, WorkingCopy, seed

LAB = "octo-course/lab"


@pytest.fixture(scope="session")
def private_key() -> str:
    """One key for all sandboxes: making one takes longer than most tests."""
    return new_private_key()


@pytest.fixture
async def sandbox(tmp_path: Path, private_key: str) -> AsyncIterator[Sandbox]:
    """A sandbox with an organisation and two learners; its exchanges must follow GitHub's description."""
    async with Sandbox(tmp_path / "github", private_key_pem=private_key) as running:
        running.add_account("octo-course", "Organization")
        running.add_account("learner-one")
        running.add_account("learner-two")
        await running.add_repository("octo-course", "lab")
        running.add_collaborator(LAB, "learner-one")
        yield running
        for exchange in running.exchanges:
            if not exchange.scripted and exchange.operation:
                check_exchange(exchange)


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[ApiClient]:
    """A plain client of the REST API."""
    async with aiohttp.ClientSession() as session:
        yield ApiClient(sandbox, session)


@pytest.fixture
async def installed(sandbox: Sandbox) -> Installation:
    """The App on the organisation, for the lab only."""
    return await sandbox.install("octo-course", [LAB])


@pytest.fixture
async def token(api: ApiClient, installed: Installation) -> str:
    """A token of the App's installation on the organisation."""
    return await api.token(installed.id)


@pytest.fixture
async def head(sandbox: Sandbox) -> str:
    """The sha of a first commit of the lab, which was not pushed: for tests that need no delivery of it."""
    return await seed(sandbox.repository(LAB), {"README.md": "# Lab\n", "src/app.py": "print(1)\n"})


@pytest.fixture
def clone(sandbox: Sandbox, tmp_path: Path) -> Callable[..., Awaitable[WorkingCopy]]:
    """Return a function that clones a repository as a person."""

    async def make(full_name: str = LAB, login: str = "learner-one", folder: str = "work") -> WorkingCopy:
        return await WorkingCopy.clone(sandbox, full_name, login, tmp_path / folder)

    return make


@pytest.fixture
async def lab(clone: Callable[..., Awaitable[WorkingCopy]]) -> WorkingCopy:
    """A working copy of the lab with one pushed commit."""
    work: WorkingCopy = await clone()
    await work.git("checkout", "--quiet", "-B", "main")
    await work.commit({"README.md": "# Lab\n", "src/app.py": "print(1)\n"}, "Start")
    await work.push()
    return work
