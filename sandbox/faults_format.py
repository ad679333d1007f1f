"""Faults as JSON: one object, or a list of them; `kind` stands beside the fields of its effect and of `Match`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_args

import orjson
from pydantic import TypeAdapter, ValidationError

from .effects import Effect, Scripted, kind_of
from .errors import SandboxError
from .faults import Armed, Fault, Match

KINDS: Mapping[str, type[Effect]] = {kind_of(kind): kind for kind in get_args(Effect) if kind is not Scripted}
_MATCH = frozenset(each.name for each in fields(Match))

T = TypeVar("T")


def read_faults(data: bytes) -> list[Fault]:
    """Read the faults of a JSON text; SandboxError tells which one is wrong, and in what."""
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SandboxError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    faults = []
    for number, item in enumerate(raw if isinstance(raw, list) else [raw], start=1):
        try:
            faults.append(_fault(item))
        except SandboxError as error:
            raise SandboxError(f"fault {number}: {error}") from None
    return faults


def show(armed: Armed) -> dict[str, Any]:
    """Return a fault of the plan as JSON has it, without what is as usual, and with what has become of it."""
    effect = armed.fault.effect
    given = {"function": repr(effect.function)} if isinstance(effect, Scripted) else _given(effect)
    counts = {"id": armed.id, "matched": armed.matched, "fired": armed.fired, "left": armed.left}
    match = {name: value for name, value in _given(armed.fault).items() if name != "effect"}
    return {"kind": armed.fault.kind, **given, **match, **counts}


def _given(value: Any) -> dict[str, Any]:
    usual = {each.name: each.default for each in fields(value)}
    return {name: each for name, each in asdict(value).items() if each != usual[name] and each != {}}


def _fault(item: Any) -> Fault:
    if not isinstance(item, dict):
        raise SandboxError(f"{orjson.dumps(item).decode()[:60]} is not an object")
    kind = item.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SandboxError(f"kind is {kind!r}{_meant(str(kind), KINDS)}: one of {', '.join(sorted(KINDS))}")
    effect = KINDS[kind]
    own = {each.name for each in fields(effect)}
    for name in item:
        if name not in own | _MATCH | {"kind"}:
            raise SandboxError(f"{kind} has no {name!r}{_meant(name, own | _MATCH)}")
    made = _checked(effect, {name: value for name, value in item.items() if name in own})
    match = _checked(Match, {name: value for name, value in item.items() if name in _MATCH})
    return Fault(made, **asdict(match))


def _checked(kind: type[T], values: Mapping[str, Any]) -> T:
    try:
        return TypeAdapter(kind).validate_json(orjson.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = str(first.get("ctx", {}).get("error", first["msg"]))
        raise SandboxError(f"{where}: {said}" if where else said) from None


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
