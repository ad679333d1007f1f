"""The Procfile, run as a host runs it: migrate at release, then web and worker until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).resolve().parent.parent


def processes() -> dict[str, str]:
    """Process types of the Procfile and their commands."""
    return dict(re.findall(r"^(\w+): (.+)$", (ROOT / "Procfile").read_text(), re.MULTILINE))


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def settings(dsn: str, port: int) -> dict[str, str]:
    """A complete configuration, with a GitHub that does not answer."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": dsn,
        "PORT": str(port),
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "GITHUB_APP_ID": "1",
        "GITHUB_PRIVATE_KEY": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "GITHUB_WEBHOOK_SECRET": "5f1d2c3b4a59687706152433425160af",
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


async def answer(url: str, *, within: float) -> tuple[int, object]:
    """Status and JSON of the first answer from `url`, waiting for the server to listen."""
    end = time.monotonic() + within
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    return response.status, await response.json()
            except aiohttp.ClientConnectorError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)


def test_process_types() -> None:
    """A host finds a release step, a web process that listens for its proxy, and a worker."""
    assert processes() == {
        "release": "python app.py migrate",
        "web": "exec python app.py web --host 0.0.0.0",
        "worker": "exec python app.py worker",
    }


@pytest.mark.timeout(90)
async def test_web_and_worker_run_and_stop(fresh_database: str, tmp_path: Path) -> None:
    """honcho starts web and worker; the probes answer; SIGTERM ends both without an error."""
    port = free_port()
    environment = settings(fresh_database, port)
    with (tmp_path / "log").open("wb") as log:
        honcho = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "honcho", "-d", str(ROOT), "-e", str(tmp_path / "none.env")),
            *("start", "web", "worker"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        healthy = await answer(f"http://127.0.0.1:{port}/healthz", within=30)
        ready = await answer(f"http://127.0.0.1:{port}/readyz", within=5)
        honcho.send_signal(signal.SIGTERM)
        await asyncio.wait_for(honcho.wait(), 30)
    finally:
        if honcho.returncode is None:
            os.killpg(honcho.pid, signal.SIGKILL)
            await honcho.wait()
    text = (tmp_path / "log").read_text()

    assert healthy == (200, {"status": "ok"})
    assert ready == (
        200,
        {"status": "ready", "checks": {"database": "ok", "github": "ok"}, "last_delivery_seconds": None},
    ), text
    assert "Traceback" not in text
    assert re.search(r"web\.1\s+\| process terminated \(rc=0\)", text) or "web.1 stopped (rc=0)" in text, text
    assert re.search(r"worker\.1.*\(rc=0\)", text), text
