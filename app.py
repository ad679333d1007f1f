"""Stepgate's one entry point: `python app.py COMMAND`, and the place where its parts are put together.

Everything heavy is imported inside the functions that need it, so that `--help` answers at once.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from cli import labs, ops, sessions
from cli.connect import github_of, pool_on, reachable_database
from cli.faults import one_line
from cli.serve import database, leave_on_sigterm, run, run_until_stopped, say, serve_http

if TYPE_CHECKING:
    from aiohttp import web as http

    from bot.services import Services
    from github.client import GitHubApp
    from settings import Settings
    from storage.cache import CachedMappings
    from storage.database import Pool

# Connections of a web process (deliveries share transactions) and, beside one for each lane, of a worker.
WEB_CONNECTIONS = 10
SPARE_CONNECTIONS = 4
# Immutable trees and blobs that a worker keeps, in bytes.
TREE_CACHE_BYTES = 64 * 1024 * 1024

# ------------------------------------------------------------------------------------------------------- composition


def build_web(settings: Settings, pool: Pool, github: GitHubApp | None = None) -> http.Application:
    """The web process: receives deliveries, shows pages, answers probes. It never judges.

    With `github`, /readyz also asks whether GitHub accepts the App's key.
    """
    from aiohttp import web as http

    from bot.webhook import MAX_BODY, add_routes
    from storage.inbox import Recorder
    from web import health, routes
    from web.site import Site

    probes = {"database": health.database_is_ready(pool)}
    if github is not None:
        probes["github"] = health.github_accepts_us(github)
    recorder = Recorder(pool)

    async def finish_recording(_app: http.Application) -> None:
        await recorder.close()

    app = http.Application(client_max_size=MAX_BODY)
    app.on_cleanup.append(finish_recording)
    add_routes(app, record=recorder.record, secrets=settings.webhook_secrets())
    site = Site(
        pool=pool,
        web_url=settings.web_url,
        public_url=settings.base_url,
        github=github,
        check_name=settings.check_name,
        staff=frozenset(settings.staff),
        probes=probes,
    )
    routes.add_routes(app, site)
    return app


def build_services(settings: Settings, pool: Pool, github: GitHubApp, mappings: CachedMappings) -> Services:
    """What judging is given."""
    from bot.services import Judging, Services
    from github.trees import Trees

    return Services(
        pool=pool,
        app=github,
        trees=Trees(TREE_CACHE_BYTES),
        mappings=mappings,
        judging=Judging(
            check_name=settings.check_name,
            public_url=settings.base_url,
            web_url=settings.web_url,
            report_status=settings.report_status,
            stuck_after=settings.stuck_after,
        ),
    )


async def run_web(settings: Settings, dsn: str, host: str, stop: asyncio.Event) -> None:
    """Receive and show until `stop`."""
    async with pool_on(dsn, WEB_CONNECTIONS) as pool, github_of(settings) as github:
        await serve_http(build_web(settings, pool, github), host=host, port=settings.port, stop=stop)


async def run_worker(settings: Settings, dsn: str, stop: asyncio.Event) -> None:
    """Judge and report until `stop`, then finish what is in hand."""
    from bot.worker import Worker
    from storage.cache import CachedMappings
    from storage.mappings import Mappings
    from storage.notify import Listener

    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    connections = settings.worker_concurrency + SPARE_CONNECTIONS
    async with pool_on(dsn, connections) as pool, github_of(settings) as github:
        mappings = CachedMappings(Mappings(pool), ttl=settings.mapping_ttl, miss_ttl=settings.mapping_miss_ttl)
        services = build_services(settings, pool, github, mappings)
        async with Listener(dsn, on_lost=mappings.clear) as listener:
            listener.subscribe("binding_changed", lambda repo_id: mappings.drop(int(repo_id)))
            worker = Worker(services, listener, dsn=dsn, holder=holder, concurrency=settings.worker_concurrency)
            await worker.run(stop)


async def run_everything(settings: Settings, dsn: str, host: str, stop: asyncio.Event) -> None:
    """Web and worker in one process; when one ends, for whatever reason, the other is stopped."""
    parts = [
        asyncio.create_task(run_web(settings, dsn, host, stop)),
        asyncio.create_task(run_worker(settings, dsn, stop)),
    ]
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.gather(*parts)
    finally:
        for part in parts:
            part.cancel()


# ---------------------------------------------------------------------------------------------------------- commands

cli = typer.Typer(
    help="Keeps hands-on coding labs in order: one push, one verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(labs.commands, name="labs")
cli.add_typer(sessions.commands, name="sessions")
cli.add_typer(ops.dead_letters, name="deadletters")

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 in a container or behind a proxy.")]


def _configured(command: str) -> Settings:
    """The settings that `command` needs, with logging set up by them."""
    from cli.logs import configure
    from settings import load

    settings = load(command)
    configure(settings.log_format, settings.log_level)
    return settings


@cli.command("serve")
def serve_command(host: Host = "127.0.0.1") -> None:
    """Run everything in one process: receive, judge, report, show."""
    with one_line():
        settings = _configured("serve")
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_everything(settings, dsn, host, stop))


@cli.command("web")
def web_command(host: Host = "127.0.0.1") -> None:
    """Receive deliveries and show pages."""
    with one_line():
        settings = _configured("web")
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_web(settings, dsn, host, stop))


@cli.command("worker")
def worker_command() -> None:
    """Judge pushes and report verdicts."""
    with one_line():
        settings = _configured("worker")
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_worker(settings, dsn, stop))


@cli.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date."""
    with one_line():
        from storage.migrate import migrate

        settings = _configured("migrate")
        if settings.database_url is None:
            with database(settings):  # an embedded database is brought up to date whenever it starts
                say("The schema is up to date.")
            return
        dsn = settings.database_url.get_secret_value()
        with reachable_database():
            applied = run(lambda: migrate(dsn))
        for name in applied:
            say(f"Applied {name}")
        say("The schema is up to date.")


@cli.command("demo")
def demo_command(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up after the story, until Ctrl-C.")] = False,
) -> None:
    """Play one learner's story with real pushes, on this machine only."""
    with one_line():
        from cli.demo import run as run_demo

        if not run_demo(keep=keep):
            raise typer.Exit(1)


@cli.command("sandbox")
def sandbox_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    webhook: Annotated[str, typer.Option(help="Where deliveries are sent.")] = "http://127.0.0.1:8000/webhook",
) -> None:
    """Run a GitHub on this machine, with a template repository and a learner's fork, for trying things out."""
    with one_line():
        from cli.sandbox import run as run_sandbox

        run_sandbox(port, webhook)


def main() -> None:
    """Run the command line."""
    leave_on_sigterm()
    cli(prog_name="app.py")


if __name__ == "__main__":
    main()
