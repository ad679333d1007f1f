"""Many deliveries of the largest size at once: the web process stays small, and nothing is lost."""

from __future__ import annotations

import asyncio
import io
import random
import re
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from bench.processes import program, web_port
from sandbox.core import new_private_key
from settings import child_environment
from tests.support.deliveries import headers_of
from tests.support.effort import examples
from tests.support.line import SECRET

ROOT = Path(__file__).parents[2]
#: GitHub sends no larger body (GitHub webhook docs, "Payload cap").
LARGEST = 25_000_000
#: Memory of a small host's process.
ROOM = 512 * 1024 * 1024

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")


def largest_push() -> bytes:
    """A signed-for push of 25 MB that does not compress to nothing."""
    begin, end = b'{"ref":"refs/heads/main","repository":{"id":7},"installation":{"id":9},"pad":"', b'"}'
    pad = random.Random(7).randbytes((LARGEST - len(begin) - len(end)) // 2).hex().encode()
    return begin + pad + end


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had in RAM (proc(5), VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def deliver(http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a delivery until it is taken, as who redelivers does; how often it was put off."""
    for refused in range(1_000):
        try:
            async with http.post(url, data=io.BytesIO(body), headers=headers) as answer:
                if answer.status == 202:
                    return refused
                assert answer.status == 503, await answer.text()
        except aiohttp.ClientConnectionError:
            pass  # told 503 before all was sent, and hung up
        await asyncio.sleep(0.2)
    raise AssertionError("never taken")


@pytest.mark.timeout(600)
async def test_the_largest_deliveries_at_once(fresh_database: str, tmp_path: Path) -> None:
    """Dozens of 25 MB deliveries at once fit into half a GiB: some are put off, all are stored in the end."""
    count, body = examples(5), largest_push()
    environment = child_environment(
        PYTHONPATH=str(ROOT),
        DATABASE_URL=fresh_database,
        PORT="0",
        GITHUB_APP_ID="1",
        GITHUB_PRIVATE_KEY=new_private_key(),
        GITHUB_API_URL="http://127.0.0.1:9",
        GITHUB_WEBHOOK_SECRET=SECRET,
        LOG_FORMAT="json",
    )
    guids = [uuid4() for _ in range(count)]
    async with (
        program("web", tmp_path, str(ROOT / "app.py"), "web", environment=environment) as web,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        url = f"http://127.0.0.1:{await web_port(web)}/webhook"
        await asyncio.gather(*(deliver(http, url, body, headers_of("push", body, guid)) for guid in guids))
        peak = peak_bytes(web.pid)
    link = await asyncpg.connect(fresh_database)
    try:
        stored = await link.fetch("SELECT guid, octet_length(payload) AS size FROM delivery")
    finally:
        await link.close()
    assert {(row["guid"], row["size"]) for row in stored} == {(guid, len(body)) for guid in guids}
    assert peak < ROOM, f"{peak / 2**20:.0f} MiB"
