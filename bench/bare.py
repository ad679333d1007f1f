"""The reference of `receive`: a bare aiohttp handler that checks the HMAC and parses, and keeps nothing.

`python -m bench.bare` takes the secret (JSON) from standard input and prints its port.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys

import orjson
import uvloop
from aiohttp import web


async def serve(secret: bytes) -> None:
    """Answer POST /webhook until killed."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        given = request.headers["X-Hub-Signature-256"]
        if not hmac.compare_digest("sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(), given):
            return web.Response(status=401)
        orjson.loads(body)
        return web.Response(status=202)

    app = web.Application(client_max_size=26 * 1024 * 1024)
    app.router.add_post("/webhook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.stdin.readline()).encode()))
