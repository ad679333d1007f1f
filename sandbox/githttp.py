"""Git over HTTP: `git http-backend` behind the rules of who may read and push.

The body streams both ways. Pushes are noticed by the repository's own post-receive hook, which writes git's lines into
a file that is named for each request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from aiohttp import web

from .core import Core
from .gitstore import end_process, git_environment
from .pushes import PushEvents, parse_updates
from .state import Account, Repository

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 300.0  # seconds for one request of git
CHUNK = 64 * 1024
RECEIVED = "SANDBOX_RECEIVED"
POST_RECEIVE = f"""#!/bin/sh
# Tell the server which refs moved: `old new ref` lines, into the file that it named for this push.
exec cat >>"${{{RECEIVED}:-/dev/null}}"
"""
_SERVICES = {"git-upload-pack", "git-receive-pack"}


@cache
def http_backend() -> str:
    """Return the path of git's CGI program; FileNotFoundError if this git has none (Debian: package git)."""
    folder = subprocess.run(
        ["git", "--exec-path"], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
    program = Path(folder) / "git-http-backend"
    if not program.exists():
        raise FileNotFoundError(f"git http-backend is not installed: {program} is missing")
    return str(program)


class GitHttp:
    """The web addresses `/{owner}/{repo}.git/...`."""

    def __init__(self, core: Core, pushes: PushEvents) -> None:
        self._core = core
        self._pushes = pushes

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the three addresses of git's smart protocol."""
        router.add_route("GET", "/{owner}/{repo}/info/refs", self._serve)
        router.add_route("POST", "/{owner}/{repo}/{service:git-(upload|receive)-pack}", self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        service = request.match_info.get("service") or request.query.get("service", "")
        if service not in _SERVICES:
            raise web.HTTPForbidden(text="The dumb protocol is not served; use a git newer than 1.6.6.\n")
        name = f"{request.match_info['owner']}/{request.match_info['repo'].removesuffix('.git')}"
        present = self._core.state.find(name)
        record = present or self._core.state.find_moved(name)
        if record is None:
            raise web.HTTPNotFound(text="Repository not found.\n")
        account = self._account(request)
        self._check(record, account, writes=service == "git-receive-pack")
        if present is None:
            suffix = request.raw_path.split("/", 3)[3]
            raise web.HTTPMovedPermanently(f"{self._core.url}/{record.full_name}.git/{suffix}")
        with self._core.deliveries.expecting():
            return await self._backend(request, record, account, service)

    def _account(self, request: web.Request) -> Account | None:
        """Return the account of the basic credentials: the login counts, any password will do. None without."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, value = header.partition(" ")
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            login = base64.b64decode(value, validate=True).decode().partition(":")[0]
            account = self._core.state.accounts.get(login.casefold())
            if scheme.lower() == "basic" and account is not None and account.kind == "User":
                return account
        raise _unauthorized("Invalid username or token.\n")

    @staticmethod
    def _check(record: Repository, account: Account | None, *, writes: bool) -> None:
        if account is None and (writes or record.private):
            raise _unauthorized("Authentication required.\n")
        if account is not None and record.private and not record.writable_by(account):
            raise web.HTTPNotFound(text="Repository not found.\n")
        if writes and account is not None and not record.writable_by(account):
            raise web.HTTPForbidden(text=f"Permission to {record.full_name}.git denied to {account.login}.\n")
        if writes and record.archived:
            raise web.HTTPForbidden(text="This repository was archived so it is read-only.\n")

    async def _backend(
        self, request: web.Request, record: Repository, account: Account | None, service: str
    ) -> web.StreamResponse:
        """Run git, then give birth to the deliveries, then end the answer: who has pushed finds them in the log."""
        environment = self._environment(request, record, account)
        if account is None or service != "git-receive-pack" or request.method != "POST":
            response = await relay(request, environment)
        else:
            with tempfile.NamedTemporaryFile(prefix="received-", dir=record.path.parent) as received:
                try:
                    response = await relay(request, environment | {RECEIVED: received.name})
                finally:  # refs may have moved even if the client has gone
                    updates = parse_updates(received.read())
                    if updates:
                        await self._pushes.announce(record, updates, account)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    @staticmethod
    def _environment(request: web.Request, record: Repository, account: Account | None) -> dict[str, str]:
        environment = {
            "GIT_PROJECT_ROOT": str(record.path.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{record.path.name}/{request.path.split('/', 3)[3]}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "REMOTE_ADDR": request.remote or "",
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        if account is not None:
            environment |= {
                "REMOTE_USER": account.login, "GIT_COMMITTER_NAME": account.login, "GIT_COMMITTER_EMAIL": account.email,
            }  # fmt: skip
        # aiohttp has already undone gzip and chunks, so that a length can be told only for a plain body.
        if request.content_length is not None and "Content-Encoding" not in request.headers:
            environment["CONTENT_LENGTH"] = str(request.content_length)
        return environment


async def relay(request: web.Request, environment: dict[str, str]) -> web.StreamResponse:
    """Run git http-backend on the request; return its answer, sent except for its end."""
    process = await asyncio.create_subprocess_exec(
        http_backend(), env=git_environment(environment), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("git http-backend was started without pipes")
    feeder = asyncio.create_task(_feed(request, process.stdin))
    complaints = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            response = _response(await process.stdout.readuntil(b"\r\n\r\n"))
            connected = True
            try:
                await response.prepare(request)
                while chunk := await process.stdout.read(CHUNK):
                    if connected:
                        try:
                            await response.write(chunk)
                        except ConnectionError:  # git must still end its work, and the push be announced
                            connected = False
            finally:
                await process.wait()
    except asyncio.IncompleteReadError:
        said = (await complaints).decode(errors="replace").strip()
        log.warning("git http-backend gave no answer to %s %s: %s", request.method, request.path, said)
        raise web.HTTPInternalServerError(text="git failed.\n") from None
    finally:
        feeder.cancel()
        await end_process(process)
        await asyncio.gather(feeder, complaints, return_exceptions=True)
    return response


async def _feed(request: web.Request, stdin: asyncio.StreamWriter) -> None:
    try:
        async for chunk in request.content.iter_chunked(CHUNK):
            stdin.write(chunk)
            await stdin.drain()
    except ConnectionError:  # git has read enough, or the client has gone: either way its end is near
        pass
    finally:
        stdin.close()


def _response(head: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        if name == "Status":
            response.set_status(int(value.split()[0]))
        elif name:
            response.headers[name] = value
    return response


def _unauthorized(text: str) -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(text=text, headers={"WWW-Authenticate": 'Basic realm="GitHub"'})
