"""What reaches the receiver over the wire: slow, false, huge, compressed and odd requests; nothing else suffers."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from bot.webhook import LARGE, LARGE_AT_ONCE, MAX_BODY, add_routes
from cli.serve import serve_http
from storage.inbox import NewDelivery
from tests.support.deliveries import MemoryInbox, headers_of
from tests.support.line import SECRET

BODY = json.dumps({"ref": "refs/heads/main", "repository": {"id": 7}, "installation": {"id": 9}}).encode()
#: Injected time-outs (seconds), and the patience of the tests, which is not measured.
SHORT, PATIENCE = 0.4, 20.0


@asynccontextmanager
async def served(
    record: Callable[[NewDelivery], Awaitable[bool]], unused_port: Callable[[], int], *, idle: float = PATIENCE
) -> AsyncIterator[int]:
    """The receiver behind the product's own HTTP server, with short time-outs; its port."""
    app = web.Application(client_max_size=MAX_BODY)
    add_routes(app, record=record, secrets=(SECRET,), read_timeout=SHORT)
    stop, port = asyncio.Event(), unused_port()
    server = asyncio.create_task(serve_http(app, host="127.0.0.1", port=port, stop=stop, idle=idle))
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield port
    finally:
        stop.set()
        await server


def head(*lines: str, body: bytes = BODY, **changes: str | None) -> bytes:
    """A request's head as GitHub sends it; `changes` replace or (None) drop headers, `lines` are added."""
    headers: dict[str, str | None] = {"Host": "app", **headers_of("push", body), "Content-Length": str(len(body))}
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    sent = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(["POST /webhook HTTP/1.1", *sent, *lines, "", ""]).encode()


async def answered(port: int, *parts: bytes, end: bool = False) -> int:
    """Send bytes; the status of the first answer, 0 when the connection ends without one. `end`: then stop sending."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(SHORT / 40)  # so that the head is handled before the body is there
            if end:
                writer.write_eof()
            line = await reader.readline()
            return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.close()


# ------------------------------------------------------------------------------------------------------ slow and false


async def drip(port: int, start: bytes, rest: bytes) -> bytes:
    """Send `start`, then one byte of `rest` at a time until the server closes the connection; what it answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read())
    try:
        writer.write(start)
        for byte in rest:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(SHORT / 8)
        return await answer
    except ConnectionError:
        return b""
    finally:
        answer.cancel()
        writer.close()


async def test_a_body_that_drips_in_is_given_up(unused_tcp_port_factory: Callable[[], int]) -> None:
    """A sender of one byte at a time loses its connection, and meanwhile others are served."""
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory) as port, asyncio.timeout(PATIENCE):
        slow = asyncio.create_task(drip(port, head(Content_Length="5000"), b"x" * 4000))
        await asyncio.sleep(SHORT / 4)
        assert await answered(port, head(), BODY) == 202
        assert await answered(port, head(Content_Length="5000"), b"x") == 408
        await slow  # would take minutes and end the test by its time-out, if the server waited
    assert len(inbox.deliveries) == 1


@pytest.mark.parametrize("start", [b"", b"POST /webhook HTTP/1.1\r\nX-Filler: "])
async def test_a_connection_without_a_request_is_closed(
    unused_tcp_port_factory: Callable[[], int], start: bytes
) -> None:
    """Who only connects, or never ends the head of a request, loses the connection; meanwhile others are served."""
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory, idle=SHORT) as port, asyncio.timeout(PATIENCE):
        slow = asyncio.create_task(drip(port, start, b"y" * 4000 if start else b""))
        assert await answered(port, head(), BODY) == 202
        await slow  # would take minutes and end the test by its time-out, if the server waited
    assert len(inbox.deliveries) == 1


async def test_false_lengths_and_broken_chunks(unused_tcp_port_factory: Callable[[], int]) -> None:
    """A body that is shorter or longer than it says, has no length, or has wrong chunks is refused, never a 5xx."""
    chunked = partial(head, Content_Length=None, Transfer_Encoding="chunked")
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory) as port:
        shorter = await answered(port, head(Content_Length="500"), BODY, end=True)
        cut = await answered(port, head(Content_Length=str(len(BODY) - 1)), BODY)
        none = await answered(port, head(Content_Length=None), BODY)
        twice = await answered(port, head("Content-Length: 5"), BODY)
        negative = await answered(port, head(Content_Length="-5"), BODY)
        both = await answered(port, head(Transfer_Encoding="chunked"), BODY)
        broken = await answered(port, chunked() + b"zz\r\n" + BODY)
        late = await answered(port, chunked(), b"zz\r\n" + BODY)
        unended = await answered(port, chunked(), b"ffff\r\n" + BODY, end=True)
        assert inbox.deliveries == []
        right = await answered(port, chunked(), b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))

    assert shorter in (0, 400)
    assert unended in (0, 400)
    assert {cut, none} <= {400, 401}  # what is left of the body is no request
    assert (twice, negative, both, broken) == (400, 400, 400, 400)
    assert late in (400, 408)  # the HTTP server does not tell the handler: its time-out ends the waiting
    assert right == 202
    assert [delivery.payload for delivery in inbox.deliveries] == [BODY]


async def test_headers_given_twice_count_for_nothing(unused_tcp_port_factory: Callable[[], int]) -> None:
    """A second signature, event or delivery id makes the request invalid: nobody may choose which one counts."""
    good = headers_of("push", BODY)
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory) as port:
        signed_twice = await answered(port, head(f"X-Hub-Signature-256: {good['X-Hub-Signature-256']}"), BODY)
        two_events = await answered(port, head("X-GitHub-Event: installation"), BODY)
        two_ids = await answered(port, head(f"x-github-delivery: {uuid4()}"), BODY)

    assert (signed_twice, two_events, two_ids) == (401, 400, 400)
    assert inbox.deliveries == []


async def test_other_methods_and_forms_are_refused(unused_tcp_port_factory: Callable[[], int]) -> None:
    """Only POST of JSON is a delivery."""
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory) as port, aiohttp.ClientSession() as http:
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
            async with http.request(method, f"http://127.0.0.1:{port}/webhook") as response:
                assert response.status == 405
        assert await answered(port, head(Content_Type="application/x-www-form-urlencoded"), BODY) == 415
        assert await answered(port, head(Content_Type="text/json, application/json"), BODY) == 415
    assert inbox.deliveries == []


# --------------------------------------------------------------------------------------------------- large and packed


async def test_compressed_bodies_are_not_unpacked(
    unused_tcp_port_factory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzip bomb is refused by its header, and no byte of it is ever unpacked."""
    unpacked: list[bytes] = []

    def unpack(_self: object, data: bytes, *_: object, **__: object) -> bytes:
        unpacked.append(data)
        return b""

    monkeypatch.setattr("aiohttp.compression_utils.ZLibDecompressor.decompress_sync", unpack)
    bomb = gzip.compress(b"\0" * 32 * 1024 * 1024, 1)
    inbox = MemoryInbox()
    async with served(inbox.record, unused_tcp_port_factory) as port:
        for encoding in ("gzip", "deflate", "br", "identity"):
            assert await answered(port, head(body=bomb, Content_Encoding=encoding), bomb) == 415
    assert unpacked == []
    assert inbox.deliveries == []


async def test_few_large_bodies_are_in_hand_at_a_time(unused_tcp_port_factory: Callable[[], int]) -> None:
    """However many large deliveries come at once, a few are worked on; small ones pass; those that wait too long are
    told to come again (503), and nothing is stored by halves.
    """
    large = [json.dumps({"filler": f"{number}" * (LARGE + 100_000)}).encode() for number in range(8)]
    inbox, release = MemoryInbox(), asyncio.Event()
    stored: list[int] = []

    async def record(delivery: NewDelivery) -> bool:
        stored.append(len(delivery.payload))
        if len(delivery.payload) > LARGE:
            await release.wait()
        return await inbox.record(delivery)

    async with served(record, unused_tcp_port_factory) as port, asyncio.timeout(PATIENCE):
        sent = [asyncio.create_task(answered(port, head(body=body), body)) for body in large]
        while len(stored) < LARGE_AT_ONCE:
            await asyncio.sleep(0.01)
        assert await answered(port, head(), BODY) == 202
        refused, waiting = await asyncio.wait(sent, timeout=4 * SHORT)
        assert len(stored) == LARGE_AT_ONCE + 1
        assert [task.result() for task in refused] == [503] * (len(large) - LARGE_AT_ONCE)
        release.set()
        assert [await task for task in waiting] == [202] * LARGE_AT_ONCE
        assert await answered(port, head(body=large[0]), large[0]) == 202  # the places are free again
    assert len(inbox.deliveries) == LARGE_AT_ONCE + 2
