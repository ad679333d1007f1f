"""Answers that do not arrive as they should: closed and reset connections, bodies that are cut or come in parts."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from .effects import Truncate

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what was not sent, and says so by RST


def close(request: web.Request) -> web.StreamResponse:
    """End the connection; returns what a handler must, which goes nowhere."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection; returns what a handler must, which goes nowhere."""
    transport = request.transport
    if transport is not None:
        ours = transport.get_extra_info("socket")
        if ours is not None and ours.fileno() >= 0:
            # A second handle of the same socket: that of uvloop does not let options be set.
            with socket.socket(fileno=os.dup(ours.fileno())) as handle:
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
    return web.Response()


async def resend(
    request: web.Request, response: web.Response, cut: Truncate | None, wait: Callable[[], Awaitable[None]] | None
) -> web.StreamResponse:
    """Send the answer's head and body: cut, or with a wait amid the body; returns what was sent."""
    body = response.body if isinstance(response.body, bytes) else b""
    sent = body
    if cut is not None:
        sent = body[: len(body) // 2 if cut.keep is None else cut.keep]
    short = cut is not None and cut.promise == "whole" and len(sent) < len(body)
    parts = web.StreamResponse(status=response.status, reason=response.reason, headers=response.headers)
    parts.content_length = len(body) if short else len(sent)
    await parts.prepare(request)
    middle = len(sent) // 2 if wait is not None else len(sent)
    try:
        await parts.write(sent[:middle])
        if wait is not None:
            await wait()
            await parts.write(sent[middle:])
        if short:
            close(request)
        else:
            await parts.write_eof()
    except ConnectionError:
        pass  # the client did not wait for it
    return parts
