"""A gate between an App and its database: a socket of its own that leads to the server, and can be shut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

PORT = 5432  # part of the socket's name


@dataclass
class DatabaseGate:
    """`dsn`: the database's address through the gate. Shut, it ends all connections and takes no new ones."""

    dsn: str
    folder: Path
    target: tuple[str, int]
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Let connections through (again)."""
        if self._server is not None:
            return
        path = self.folder / f".s.PGSQL.{PORT}"
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    def shut(self) -> None:
        """As if the server had gone: nobody is told good-bye."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.target
        far = asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}") if host.startswith("/") else None
        far_reader, far_writer = await (far or asyncio.open_connection(host, port))
        both = {writer, far_writer}
        self._open |= both
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= both
        for each in both:
            each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, then end the other."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def database_gate(dsn: str, folder: Path) -> AsyncIterator[DatabaseGate]:
    """An open gate to the database of `dsn`; `folder`: for its socket, of a short name."""
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    host, port = query.pop("host", parts.hostname or ""), int(query.pop("port", parts.port or 5432))
    user = parts.netloc.rpartition("@")[0]
    query |= {"host": str(folder), "port": str(PORT)}
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    through = urlunsplit(parts._replace(netloc=f"{user}@" if user else "", query=text))
    gate = DatabaseGate(through, folder, (host, port))
    await gate.open()
    try:
        yield gate
    finally:
        gate.shut()
