"""Stepgate's one entry point: `python app.py COMMAND`, and the place where its parts are put together.

Everything heavy is imported inside the functions that need it, so that `--help` answers at once.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import audit, lab, labs, learner, ops, sessions
from cli.connect import github_of, pool_on, reachable_database, shared_governor
from cli.faults import one_line
from cli.serve import database, leave_on_sigterm, local_root, run, run_until_stopped, say, serve_http

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import web as http

    from bot.services import Services
    from github.client import GitHubApp
    from settings import Settings
    from storage.cache import CachedMappings
    from storage.database import Pool
    from storage.notify import Listener
    from web.health import Probe
    from web.metrics import Monitoring
    from web.site import SignIn

# Connections of a web process (deliveries share transactions) and, beside one for each lane, of a worker.
WEB_CONNECTIONS = 10
SPARE_CONNECTIONS = 4
POLLER_CONNECTIONS = 2
# Before the link that opens the pages while nobody can sign in with GitHub; cli/demo_app.py looks for it.
OPEN_PAGES = "To see the pages on this machine, open this link (it works once):"
# Immutable trees and blobs that a worker keeps, in bytes.
TREE_CACHE_BYTES = 64 * 1024 * 1024

# ------------------------------------------------------------------------------------------------------- composition


def sign_in_of(settings: Settings) -> SignIn | None:
    """What signing in with GitHub needs; None: it is not set up. SettingsError when a part is missing.

    Without SESSION_KEY cookies end with the process. On a public address there may be several processes, and nobody
    watches the log: there it must be set.
    """
    from settings import SettingsError
    from web.site import SignIn

    client_id, secret, key = settings.github_client_id, settings.github_client_secret, settings.session_key
    if client_id is None and secret is None:
        return None
    if client_id is None or secret is None:
        missing = "GITHUB_CLIENT_ID" if client_id is None else "GITHUB_CLIENT_SECRET"
        raise SettingsError(f"{missing} is missing: signing in with GitHub needs both; see docs/settings.md")
    if key is None and settings.base_url.startswith("https://"):
        raise SettingsError("SESSION_KEY is missing: people sign in at PUBLIC_URL; make one with: openssl rand -hex 32")
    return SignIn(
        client_id=client_id,
        client_secret=secret.get_secret_value(),
        session_key=key.get_secret_value() if key is not None else secrets.token_urlsafe(32),
        api_url=settings.github_api_url,
    )


def probes_of(pool: Pool, github: GitHubApp | None) -> dict[str, Probe]:
    """What must be well for /readyz to say so."""
    from web import health

    probes = {"database": health.database_is_ready(pool)}
    if github is not None:
        probes["github"] = health.github_accepts_us(github)
    return probes


def monitoring_of(settings: Settings, pool: Pool) -> Monitoring:
    """How /metrics is answered."""
    from web.metrics import Monitoring, of_pool

    token = settings.metrics_token
    return Monitoring(of_pool(pool), token.get_secret_value() if token is not None else None)


def build_monitor(settings: Settings, pool: Pool, github: GitHubApp) -> http.Application:
    """What a worker answers on METRICS_PORT: probes and metrics, nothing else."""
    from aiohttp import web as http

    from web import access, health, metrics

    app = http.Application()
    app[access.RULES] = {}
    health.add_routes(app, probes_of(pool, github), {"last_delivery_seconds": health.last_delivery(pool)})
    metrics.add_routes(app, monitoring_of(settings, pool))
    return app


def build_web(
    settings: Settings, pool: Pool, github: GitHubApp | None = None, listener: Listener | None = None
) -> http.Application:
    """The web process: receives deliveries, shows pages, answers probes. It never judges.

    With `github`, /readyz also asks whether GitHub accepts the App's key; with `listener`, pages are live.
    """
    from aiohttp import web as http

    from bot.wanted import ResultFilter
    from bot.webhook import MAX_BODY, add_routes
    from storage import headfacts
    from storage.echoes import Echoes
    from storage.inbox import Recorder
    from web import health, routes
    from web.site import Site

    recorder = Recorder(pool)

    async def finish_recording(_app: http.Application) -> None:
        await recorder.close()

    app = http.Application(client_max_size=MAX_BODY)
    app.on_cleanup.append(finish_recording)
    if signed_by := settings.webhook_secrets():  # `serve --poll` may do without: then nothing is received
        wanted = None
        if settings.github_app_id is not None:
            own = Echoes(pool, settings.check_name)
            wanted = ResultFilter(settings.github_app_id, lambda repo_id: headfacts.awaited(pool, repo_id), own)
        add_routes(app, record=recorder.record, secrets=signed_by, results=wanted, app_id=settings.github_app_id)
    site = Site(
        pool=pool,
        web_url=settings.web_url,
        public_url=settings.base_url,
        github=github,
        listener=listener,
        check_name=settings.check_name,
        staff=frozenset(settings.staff),
        sign_in=sign_in_of(settings),
        probes=probes_of(pool, github),
        facts={"last_delivery_seconds": health.last_delivery(pool)},
        monitoring=monitoring_of(settings, pool),
    )
    routes.add_routes(app, site)
    return app


def build_services(
    settings: Settings, pool: Pool, github: GitHubApp, mappings: CachedMappings, *, receives: bool = True
) -> Services:
    """What judging is given. `receives`: deliveries come by the webhook."""
    from bot.recovery import look_back
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
        keep_bodies=timedelta(days=settings.retention_days),
        log_kept=look_back(is_enterprise_server=settings.is_enterprise_server),
        receives=receives,
        staff=frozenset(settings.staff),
    )


async def run_web(settings: Settings, dsn: str, host: str, stop: asyncio.Event) -> None:
    """Receive and show until `stop`. While nobody can sign in, the link that opens the pages is printed."""
    from storage.notify import Listener
    from web.site import SITE

    def open_pages(host: str, port: int) -> None:
        site = app[SITE]
        if site.sign_in is None:
            site.local_link.announce(local_root(host, port), lambda link: say(f"{OPEN_PAGES} {link}"))
        elif not site.staff:
            say("STAFF is empty: nobody sees the class. Its pages tell who signs in the number that belongs there.")

    async with (
        pool_on(dsn, WEB_CONNECTIONS) as pool,
        Listener(dsn) as listener,
        github_of(settings, shared_governor(settings, pool, listener)) as github,
    ):
        app = build_web(settings, pool, github, listener)
        await serve_http(app, host=host, port=settings.port, stop=stop, listening=open_pages)


async def run_worker(
    settings: Settings, dsn: str, stop: asyncio.Event, *, monitor_on: str | None = None, receives: bool = True
) -> None:
    """Judge and report until `stop`, then finish what is in hand.

    `monitor_on`: the address at which METRICS_PORT, if it is set, answers probes and /metrics; None: it does not.
    `receives`: deliveries come by the webhook.
    """
    from bot.worker import Worker
    from storage.cache import CachedMappings
    from storage.mappings import Mappings
    from storage.notify import Listener

    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    connections = settings.worker_concurrency + SPARE_CONNECTIONS
    async with pool_on(dsn, connections) as pool:
        mappings = CachedMappings(Mappings(pool), ttl=settings.mapping_ttl, miss_ttl=settings.mapping_miss_ttl)
        async with (
            Listener(dsn, on_lost=mappings.clear) as listener,
            github_of(settings, shared_governor(settings, pool, listener)) as github,
        ):
            services = build_services(settings, pool, github, mappings, receives=receives)
            listener.subscribe("binding_changed", mappings.heard)
            worker = Worker(services, listener, dsn=dsn, holder=holder, concurrency=settings.worker_concurrency)
            if monitor_on is None or settings.metrics_port is None:
                await worker.run(stop)
                return
            monitor = build_monitor(settings, pool, github)
            port = settings.metrics_port
            answering = serve_http(monitor, host=monitor_on, port=port, stop=stop, setting="METRICS_PORT")
            await together(stop, worker.run(stop), answering)


async def run_poller(settings: Settings, dsn: str, stop: asyncio.Event) -> None:
    """Take deliveries from GitHub's delivery log until `stop`."""
    from bot.recovery import DeliveryPoller, look_back

    async with (
        pool_on(dsn, POLLER_CONNECTIONS) as pool,
        github_of(settings, shared_governor(settings, pool)) as github,
    ):
        await DeliveryPoller(pool, github, kept=look_back(is_enterprise_server=settings.is_enterprise_server)).run(stop)


async def run_everything(settings: Settings, dsn: str, host: str, stop: asyncio.Event, *, poll: bool = False) -> None:
    """Web and worker (and poller) in one process."""
    parts = [run_web(settings, dsn, host, stop), run_worker(settings, dsn, stop, receives=not poll)]
    if poll:
        parts.append(run_poller(settings, dsn, stop))
    await together(stop, *parts)


async def together(stop: asyncio.Event, *parts: Coroutine[object, object, None]) -> None:
    """Run the parts of a process side by side; when one ends, for whatever reason, the others are stopped."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


# ---------------------------------------------------------------------------------------------------------- commands

cli = typer.Typer(
    help="Keeps hands-on coding labs in order: one push, one verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(lab.commands, name="lab")
cli.add_typer(labs.commands, name="labs")
cli.add_typer(sessions.commands, name="sessions")
cli.add_typer(learner.commands, name="learner")
cli.add_typer(audit.commands, name="audit")
cli.add_typer(ops.dead_letters, name="deadletters")

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 in a container or behind a proxy.")]
# What is known: GitHub logs what it fails to deliver too, and only while the webhook is active with an address (GitHub
# docs, "Handling failed webhook deliveries", "Viewing webhook deliveries").
Poll = Annotated[
    bool,
    typer.Option(
        "--poll",
        help="Take deliveries from GitHub's delivery log every few seconds, for a machine without a public address. "
        "The App's webhook must be active; its address may be one where nobody answers. No webhook secret is needed.",
    ),
]
POLLING = (
    "Taking deliveries from GitHub's delivery log, every 2 to 10 seconds: no public address is needed. On GitHub the "
    "App's webhook must be active, whether or not anybody answers at its address."
)


def _configured(command: str, *, setup_on: str = "") -> Settings:
    """The settings that `command` needs, with logging set up by them. `setup_on`: where /setup is served before, if
    there is no App yet."""
    from cli.logs import configure
    from settings import load

    if setup_on:
        from cli.setup import set_up_first

        set_up_first(setup_on)
    settings = load(command)
    configure(settings.log_format, settings.log_level)
    if command.split(maxsplit=1)[0] in ("serve", "web"):
        sign_in_of(settings)  # said before anything is started
    return settings


@cli.command("serve")
def serve_command(host: Host = "127.0.0.1", poll: Poll = False) -> None:
    """Run everything in one process: receive, judge, report, show."""
    with one_line():
        settings = _configured("serve --poll" if poll else "serve", setup_on=host)
        if poll:
            say(POLLING)
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_everything(settings, dsn, host, stop, poll=poll), watched=True)


@cli.command("web")
def web_command(host: Host = "127.0.0.1") -> None:
    """Receive deliveries and show pages."""
    with one_line():
        settings = _configured("web", setup_on=host)
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_web(settings, dsn, host, stop), watched=True)


@cli.command("worker")
def worker_command(host: Host = "127.0.0.1") -> None:
    """Judge pushes and report verdicts. With METRICS_PORT it answers probes and /metrics there."""
    with one_line():
        settings = _configured("worker")
        with database(settings) as dsn:
            run_until_stopped(lambda stop: run_worker(settings, dsn, stop, monitor_on=host), watched=True)


@cli.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date. One of a newer release is left as it is."""
    with one_line():
        from storage.health import inspect
        from storage.migrate import migrate

        settings = _configured("migrate")
        # An embedded database is brought up to date whenever it starts.
        with database(settings) as dsn, reachable_database():
            for name in run(lambda: migrate(dsn)):
                say(f"Applied {name}")
            ahead = run(lambda: inspect(dsn)).fit.ahead
        if ahead:
            say(
                f"Nothing to do: the database is newer than this program, by migrations up to {ahead[-1]:04d}, and "
                "works with it."
            )
        else:
            say("The schema is up to date.")


@cli.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Look at everything that a class needs: one line for each check, with the remedy.

    Exit status: 0 all is well (warnings are allowed), 1 something fails, 2 a setting is wrong or missing.
    """
    with one_line():
        from cli.doctor import doctor

        if status := doctor(as_json=as_json):
            raise typer.Exit(status)


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
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What goes wrong on purpose, as JSON: docs/sandbox.md.")
    ] = None,
) -> None:
    """Run a GitHub on this machine, with a template repository and a learner's fork, for trying things out."""
    with one_line():
        from cli.sandbox import run as run_sandbox

        run_sandbox(port, webhook, faults)


def main() -> None:
    """Run the command line."""
    leave_on_sigterm()
    cli(prog_name="app.py")


if __name__ == "__main__":
    main()
