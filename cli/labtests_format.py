"""The fixtures of `lab test`: JSON text -> Fixture, or everything that is wrong with it, each thing at its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from rules.conditions import todays_ids
from rules.labfile_problems import did_you_mean, quoted
from rules.model import Lab
from rules.positions import Document, JsonError, parse

MAX_BYTES = 4 * 1024 * 1024  # of one fixture
MODES = {"file": "100644", "executable": "100755", "link": "120000"}

# Tags of unions stand in pydantic's locations beside keys of the file; no path has a NUL.
_TEXT, _GONE, _FILE, _ONE, _MANY = "\0text", "\0gone", "\0file", "\0one", "\0many"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileModel(_Strict):
    """A file with more to say: `text`, or `file` (a name below .forgea/tests whose bytes are taken), and its mode."""

    text: str | None = None
    file: str | None = None
    mode: Literal["file", "executable", "link"] = "file"

    @model_validator(mode="after")
    def _one_content(self) -> FileModel:
        if (self.text is None) is (self.file is None):
            raise ValueError('give either "text" or "file"')
        return self


def _kind_of_content(value: object) -> str:
    if isinstance(value, str):
        return _TEXT
    return _GONE if value is None else _FILE


def _kind_of_list(value: object) -> str:
    return _MANY if isinstance(value, list) else _ONE


Content = Annotated[
    Annotated[str, Tag(_TEXT)] | Annotated[None, Tag(_GONE)] | Annotated[FileModel, Tag(_FILE)],
    Discriminator(_kind_of_content),
]
Edits = dict[str, Content]


class CheckModel(_Strict):
    """A check-run of another App that concluded success."""

    name: str
    app_id: int


class FactsModel(_Strict):
    """What is known beyond git, for all pushes of the fixture: staff's words by step id; runs that passed on each
    pushed head."""

    approved: list[str] = []
    completed: list[str] = []
    reopened: list[str] = []
    unlocked: list[str] = []
    accept_head: bool = False
    workflows: list[str] = []
    checks: list[CheckModel] = []


class GivenModel(_Strict):
    """The session before the first push: steps that are complete, and files by which what was accepted differs from
    the template. With neither nothing was accepted yet."""

    done: list[str] = []
    files: Edits = {}
    facts: FactsModel = FactsModel()


class ViolationModel(_Strict):
    """A path that is out of order. What is left out is not compared."""

    path: str
    code: Literal["OUT_OF_ORDER", "PROTECTED_PATH", "UNMAPPED_PATH", "REWORK"]
    step: str | None = None
    missing: list[str] | None = None
    level: Literal["block", "warn"] | None = None


class ExpectModel(_Strict):
    """What must come of a push. What is left out is not compared; lists are compared as sets."""

    verdict: Literal["accepted", "blocked", "closed"] | None = None
    complete: bool | None = None
    done: list[str] | None = None
    gained: list[str] | None = None
    reopened: list[str] | None = None
    open: list[str] | None = None
    waiting: list[str] | None = None
    locked: list[str] | None = None
    violations: list[ViolationModel] | None = None

    @model_validator(mode="after")
    def _something(self) -> ExpectModel:
        if not self.model_fields_set:
            raise ValueError(f"nothing is expected: give one of {', '.join(type(self).model_fields)}")
        return self


Commits = Annotated[
    Annotated[Edits, Tag(_ONE)] | Annotated[Annotated[list[Edits], Field(min_length=1)], Tag(_MANY)],
    Discriminator(_kind_of_list),
]


class FixtureModel(_Strict):
    """One fixture: given this, after these pushes, expect that."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    given: GivenModel = GivenModel()
    force: bool = False
    push: Annotated[list[Commits], Field(min_length=1)]
    expect: Annotated[
        Annotated[ExpectModel, Tag(_ONE)] | Annotated[list[ExpectModel], Tag(_MANY)], Discriminator(_kind_of_list)
    ]


MODELS = (FixtureModel, GivenModel, FactsModel, CheckModel, FileModel, ExpectModel, ViolationModel)
_KEYS = tuple(dict.fromkeys(name for model in MODELS for name in model.model_fields))
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with a fixture itself: its author's fault. Line and column count from 1."""

    message: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Fixture:
    """A fixture that was read. `expect`: by the number of the push, from 0."""

    model: FixtureModel
    document: Document
    pushes: tuple[tuple[Edits, ...], ...]
    expect: dict[int, ExpectModel]

    def fault(self, message: str, place: Place) -> Fault:
        """A fault at a place (of its key, where it has one)."""
        return Fault(message, *self.document.place(place, key=True))


def read_fixture(data: bytes, lab: Lab) -> Fixture | tuple[Fault, ...]:
    """Read a fixture for a lab. Of a syntax error only the first is told, else everything that is wrong."""
    if len(data) > MAX_BYTES:
        return (
            Fault(f'The fixture has {len(data):,} bytes, more than {MAX_BYTES:,}: put contents into files ("file").'),
        )
    try:
        document = parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return (Fault(f"The file is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}."),)
    except JsonError as error:
        return (Fault(f"{error.message} {error.suggestion}".strip(), error.line, error.column),)
    try:
        model = FixtureModel.model_validate(document.value)
    except ValidationError as error:
        faults = {_fault(details, document) for details in error.errors(include_url=False)}
        return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
    pushes = tuple(tuple(each) if isinstance(each, list) else (each,) for each in model.push)
    expect = dict(enumerate(model.expect)) if isinstance(model.expect, list) else {len(pushes) - 1: model.expect}
    fixture = Fixture(model, document, pushes, expect)
    return tuple(_disagreements(fixture, lab)) or fixture


def _fault(details: Any, document: Document) -> Fault:
    """What pydantic found, in an author's words."""
    place: Place = tuple(part for part in details["loc"] if not (isinstance(part, str) and part.startswith("\0")))
    kind, last = details["type"], quoted(str(place[-1])) if place else ""
    if kind == "extra_forbidden":
        message = f"{last} is not a key that is known here. {did_you_mean(place[-1], _KEYS)}".strip()
    elif kind == "missing":
        message = f"The key {last} is missing."
    elif details["loc"][-1:] == (_FILE,) and kind.startswith("model"):
        message = 'A content is a text, null (the path is deleted), or an object with "text" or "file".'
    elif kind.startswith(("model", "dict")):
        message = "Here must be an object: {...}."
    else:
        message = details["msg"].removeprefix("Value error, ")
    return Fault(message, *document.place(place, key=kind == "extra_forbidden"))


# ------------------------------------------------------------------------------------- what the lab says about it


def _disagreements(fixture: Fixture, lab: Lab) -> Iterator[Fault]:
    """Where the fixture does not fit the lab or itself."""
    model = fixture.model
    if isinstance(model.expect, list) and len(model.expect) != len(model.push):
        message = f"There are {len(model.push)} pushes and {len(model.expect)} expectations: give one for each push."
        yield fixture.fault(message, ("expect",))
    today = {step.id for step in lab.steps}
    stored = today | {old for step in lab.steps for old in step.aliases}
    given = model.given
    yield from _unknown(fixture, ("given", "done"), given.done, stored)
    for name in ("approved", "completed", "reopened", "unlocked"):
        yield from _unknown(fixture, ("given", "facts", name), getattr(given.facts, name), stored)
    yield from _unreachable(fixture, lab)
    for number, expected in fixture.expect.items():
        place: Place = ("expect", number) if isinstance(model.expect, list) else ("expect",)
        for name in ("done", "gained", "reopened", "open", "waiting", "locked"):
            yield from _unknown(fixture, (*place, name), getattr(expected, name) or (), today)
        for at, violation in enumerate(expected.violations or ()):
            within = (*place, "violations", at)
            if violation.step is not None and violation.step not in today:
                yield _no_such_step(fixture, violation.step, (*within, "step"), today)
            yield from _unknown(fixture, (*within, "missing"), violation.missing or (), today)


def _unknown(fixture: Fixture, place: Place, ids: Sequence[str], known: Collection[str]) -> Iterator[Fault]:
    for at, step_id in enumerate(ids):
        if step_id not in known:
            yield _no_such_step(fixture, step_id, (*place, at), known)


def _no_such_step(fixture: Fixture, step_id: str, place: Place, known: Collection[str]) -> Fault:
    return fixture.fault(f"The lab has no step {quoted(step_id)}. {did_you_mean(step_id, known)}".strip(), place)


def _unreachable(fixture: Fixture, lab: Lab) -> Iterator[Fault]:
    """A step is complete only after those that it needs, unless staff said otherwise."""
    given = fixture.model.given
    done = todays_ids(lab, given.done) | todays_ids(lab, given.facts.completed)
    excused = todays_ids(lab, given.facts.completed) | todays_ids(lab, given.facts.unlocked)
    for step in lab.steps:
        missing = [need for need in step.needs if need not in done]
        if step.id in done - excused and missing:
            message = f"{quoted(step.id)} is done, but not {quoted(missing[0])}, which it needs: no session gets there."
            yield fixture.fault(message, ("given", "done"))
