"""Scripted answers: of a status and body, or as GitHub and the proxies before it have been seen to give."""

from __future__ import annotations

import re
from email.utils import formatdate

import orjson
from aiohttp import web

from .effects import Answer
from .presets import JSON, PRESETS, Preset

_TIME = re.compile(r"\{(now|date)([+-]\d+)?\}")


def answer_of(effect: Answer, now: float) -> web.Response:
    """Return the answer that the effect describes; `now` in seconds since 1970."""
    preset = PRESETS[effect.like] if effect.like is not None else Preset(0, "", content_type=JSON)
    content_type = preset.content_type
    if isinstance(effect.body, str):
        content_type = "text/html; charset=utf-8"
    elif effect.body is not None:
        content_type = JSON
    made = Preset(
        effect.status or preset.status,
        preset.body if effect.body is None else effect.body,
        {name: timed(value, now) for name, value in {**preset.headers, **effect.headers}.items()},
        effect.content_type or content_type,
    )
    return response_of(made)


def response_of(preset: Preset) -> web.Response:
    """Return the answer as it stands there."""
    body = preset.body.encode() if isinstance(preset.body, str) else orjson.dumps(preset.body)
    headers = {"Content-Type": preset.content_type, **preset.headers} if body else dict(preset.headers)
    return web.Response(status=preset.status, body=body, headers=headers)


def timed(value: str, now: float) -> str:
    """Return a header's value with its `{now+90}` and `{date-5}` filled in."""

    def moment(match: re.Match[str]) -> str:
        at = int(now) + int(match[2] or 0)
        return str(at) if match[1] == "now" else formatdate(at, usegmt=True)

    return _TIME.sub(moment, value)
