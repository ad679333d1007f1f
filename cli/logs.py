"""Logging: structlog for our own lines and the standard library's, scrubbed of secrets, on standard error."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

HIDDEN = "[hidden]"

# What must never reach a log, whatever library wrote the line: GitHub's tokens (the classic 40 characters and the
# coming ones of about 520), JSON web tokens, PEM blocks, and passwords inside database addresses.
SECRETS = re.compile(
    r"\bgh[a-z]_[A-Za-z0-9_.\-]{16,}|\bgithub_pat_\w{16,}"
    r"|\beyJ[\w\-]+\.[\w\-]+\.[\w\-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=token ))[\w.\-]{16,}",
    re.DOTALL,
)


def scrub(value: Any) -> Any:
    """`value` with every secret replaced; looks into mappings, lists and tuples."""
    if isinstance(value, str):
        return SECRETS.sub(HIDDEN, value)
    if isinstance(value, bytes):
        return SECRETS.sub(HIDDEN, value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {key: scrub(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return SECRETS.sub(HIDDEN, repr(value))


def _scrub_event(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: the last before rendering, so that tracebacks are text already."""
    kept = {key: value for key, value in event.items() if key.startswith("_")}  # structlog's own record
    return {**{key: scrub(value) for key, value in event.items() if key not in kept}, **kept}


def configure(log_format: Literal["auto", "json", "console"], level: str) -> None:
    """Send all logs of this process to standard error, from `level` (debug, info, warning, error) on."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.processors.JSONRenderer(default=repr) if as_json else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_scrub_event, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line for each request would drown the rest; the deliveries are logged by name already.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
