"""Running processes: the database they use, the event loop, a graceful stop, and an HTTP server."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from aiohttp import web

    from settings import Settings

Result = TypeVar("Result")

# Hosts kill a process 30 s after SIGTERM (Heroku's documents say 30 s; Kubernetes' default is 30 s).
GRACE = 25.0
# A request in hand is given this long; a webhook answers within 10 s anyway (GitHub webhook docs).
FINISH_REQUESTS = 10.0
# A connection may be silent, or send the head of a request, for this long: longer than a proxy keeps one that it does
# not use (Heroku's router 90 s, nginx 60 s, by their documents), so that it is never closed under a request.
IDLE = 120.0
# What is still sent after an answer is read and dropped for this long, so that the sender gets to see the answer.
LINGER = 2.0


def leave_on_sigterm() -> None:
    """Make SIGTERM end the program like Ctrl-C does, so that what was started (an embedded server) is stopped."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def say(line: str) -> None:
    """A notice for the person at the terminal; standard output is for results."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 (a command's answer)


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The address of the database: DATABASE_URL, or an embedded PostgreSQL that lives as long as the block.

    The embedded one belongs to this program, so its schema is brought up to date at once; a database of the
    operator's is migrated only by `python app.py migrate`.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from storage import embedded
    from storage.migrate import migrate

    with embedded.running(settings.stepgate_home) as server:
        if server.moved_from is not None:
            say(f"PostgreSQL's data is in {server.data_dir}: its user cannot enter {server.moved_from}.")
        else:
            say(f"PostgreSQL's data is in {server.data_dir} (no DATABASE_URL is set).")
        run(lambda: migrate(server.dsn))
        yield server.dsn


def run(work: Callable[[], Awaitable[Result]], *, fast: bool = True) -> Result:
    """Run `work`, on uvloop if `fast`; Ctrl-C ends it at once (commands that answer and leave)."""

    async def main() -> Result:
        return await work()

    if not fast:
        return asyncio.run(main())
    import uvloop

    return uvloop.run(main())


def run_until_stopped(
    work: Callable[[asyncio.Event], Awaitable[None]], *, fast: bool = True, watched: bool = False
) -> None:
    """Run `work` until it ends; SIGTERM or SIGINT sets the event it is given.

    Work that is not over GRACE seconds after the signal is cancelled; a second signal cancels it at once. Not `fast`:
    asyncio's own loop, for work that runs many short programs (uvloop fails when one ends before its input is written).
    `watched`: what blocks the event loop is logged (cli.watchdog); for processes that log.
    """
    _collect_less()
    run(lambda: _until_stopped(partial(_watched, work) if watched else work, GRACE), fast=fast)


def _collect_less() -> None:
    """Look for cycles of garbage less often, and never among what was imported.

    With a worker's many kept trees a full look takes 80 ms, in which nothing else happens, and little of what we make
    is in cycles (measured: 4 % of the time).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _watched(work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    from cli.watchdog import watched_loop

    async with watched_loop():
        await work(stop)


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[None]], grace: float) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    working = asyncio.ensure_future(work(stop))
    stopping = asyncio.create_task(stop.wait())
    hurrying = asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working, hurrying}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    finally:
        stopping.cancel()
        hurrying.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        leave_on_sigterm()  # asyncio leaves the system's own handler behind


async def serve_http(
    app: web.Application,
    *,
    host: str,
    port: int,
    stop: asyncio.Event,
    idle: float = IDLE,
    listening: Callable[[str, int], None] | None = None,
    setting: str = "PORT",
) -> None:
    """Serve `app` until `stop`; requests in hand are finished. A port in use is a CommandError that names `setting`.

    `idle`: seconds after which a connection without a complete request head is closed. `listening` is told the address
    and the port, once requests are answered.
    """
    import structlog
    from aiohttp import web

    from cli.faults import WRONG_USE, CommandError

    # Nobody sends us compressed bodies: unpacking what a handler refuses would be work for whoever asks for it.
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=FINISH_REQUESTS,
        keepalive_timeout=idle,
        lingering_time=LINGER,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CommandError(
                f"{setting}: cannot listen on {host}:{port}: {error.strerror}", status=WRONG_USE
            ) from error
        address = runner.addresses[0]
        structlog.get_logger("cli.serve").info("listening", url=f"http://{address[0]}:{address[1]}")
        if listening is not None:
            listening(address[0], address[1])
        await stop.wait()
    finally:
        await runner.cleanup()


def local_root(host: str, port: int) -> str:
    """Our root as a browser on this machine reaches it, for an address that we listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - all interfaces: the loopback one as well
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
