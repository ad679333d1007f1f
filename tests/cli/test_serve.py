"""Running processes: a graceful stop at the first signal, a hard one at the second, and after a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web

from cli import serve
from cli.faults import CommandError


@pytest.fixture(autouse=True)
def _restore_sigterm() -> Iterator[None]:
    """Give SIGTERM back to the test runner."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def _raise_soon(*numbers: signal.Signals) -> None:
    for number in numbers:
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_work_finish(number: signal.Signals) -> None:
    """SIGTERM and SIGINT set the event; the work then ends by itself, with its last words."""
    done = []

    async def work(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0.05)
        done.append("finished")

    await asyncio.gather(serve._until_stopped(work, grace=5), _raise_soon(number))

    assert done == ["finished"]


async def test_work_that_does_not_end_is_cancelled_after_the_grace() -> None:
    """A stop takes no longer than the grace."""
    began = time.monotonic()

    async def work(_stop: asyncio.Event) -> None:
        await asyncio.sleep(60)

    await asyncio.gather(serve._until_stopped(work, grace=0.2), _raise_soon(signal.SIGTERM))

    assert time.monotonic() - began < 5


async def test_a_second_signal_cancels_at_once() -> None:
    """Who asks twice does not want to wait."""
    began = time.monotonic()

    async def work(_stop: asyncio.Event) -> None:
        await asyncio.sleep(60)

    await asyncio.gather(serve._until_stopped(work, grace=30), _raise_soon(signal.SIGINT, signal.SIGINT))

    assert time.monotonic() - began < 5


async def test_work_that_fails_tells_so() -> None:
    """An error ends the process: it is not swallowed by the wait for a signal."""

    async def work(_stop: asyncio.Event) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await serve._until_stopped(work, grace=1)


async def test_requests_in_hand_are_finished() -> None:
    """A request that is being answered when the stop comes gets its answer."""
    stop, started = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        started.set()
        await asyncio.sleep(0.2)
        return web.Response(text="answered")

    app = web.Application()
    app.router.add_get("/", slow)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = asyncio.create_task(serve.serve_http(app, host="127.0.0.1", port=port, stop=stop))

    async def ask() -> str:
        async with aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    async with http.get(f"http://127.0.0.1:{port}/") as response:
                        return await response.text()
                await asyncio.sleep(0.02)

    asked = asyncio.create_task(ask())
    await asyncio.wait_for(started.wait(), 10)
    stop.set()

    assert await asked == "answered"
    await asyncio.wait_for(server, 10)


async def test_a_port_in_use_is_explained() -> None:
    """A port that another program has is a fault of configuration that names PORT."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CommandError, match=r"^PORT: cannot listen on 127\.0\.0\.1:\d+: "):
            await serve.serve_http(
                web.Application(), host="127.0.0.1", port=taken.getsockname()[1], stop=asyncio.Event()
            )


async def test_sigterm_outside_of_the_loop_lets_contexts_end() -> None:
    """Before and after the loop SIGTERM is an orderly exit, so that an embedded server is stopped."""
    serve.leave_on_sigterm()

    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)

    assert caught.value.code == 143


@pytest.mark.parametrize(
    ("host", "root"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_a_browser_on_this_machine_reaches_us(host: str, root: str) -> None:
    """The printed address opens here, whatever was listened on."""
    assert serve.local_root(host, 8000) == root
