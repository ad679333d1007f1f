"""Fixtures for the GitHub clients: a scripted server, a clock that stands still, an App with a real key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from github.client import GitHubApp, InstallationClient
from github.governor import MemoryGovernor
from tests.support.fault_server import FakeClock, FaultServer, Reply
from tests.support.github_answers import APP_ID, INSTALLATION, TOKENS, token_reply


@pytest.fixture(scope="session")
def private_key() -> str:
    """An RSA key in PEM, as GitHub makes it for an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes only when the code sleeps."""
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[FaultServer]:
    """A scripted GitHub whose token endpoint works, and which lists no installations."""
    async with FaultServer() as server:
        server.on("POST", TOKENS, token_reply(clock))
        server.on("GET", "/app/installations", Reply(200, []))
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """The session that all clients share."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def app(server: FaultServer, http: aiohttp.ClientSession, clock: FakeClock, private_key: str) -> GitHubApp:
    """The App at the scripted server, both with one clock; writes keep no distance."""
    server.now = clock.now
    governor = MemoryGovernor(0.0, now=clock.now, sleep=clock.sleep)
    keywords: dict[str, Any] = {"now": clock.now, "sleep": clock.sleep, "governor": governor}
    return GitHubApp(http, api_url=server.url, app_id=APP_ID, private_key=private_key, **keywords)


@pytest.fixture
def client(app: GitHubApp) -> InstallationClient:
    """The client of one installation."""
    return app.installation(INSTALLATION)
