"""Problems of a lab file, in plain words: their codes, the collector, and the sentences for what pydantic finds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from enum import StrEnum, unique

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rules.labfile_models import ID_PATTERN, ConditionModel, LabFileModel, PolicyModel, StepModel, models_of
from rules.model import Problem, Severity
from rules.positions import Document, Fault, Path, pointer

MAX_PROBLEMS = 500  # told of one file; the last one says how many more there are
_MAX_WORD = 64  # characters of a word that is looked up among similar ones

CONDITION_MODELS: Mapping[str, type[BaseModel]] = models_of(ConditionModel)


@unique
class ProblemCode(StrEnum):
    """Codes of problems. Stable: documentation and tools refer to them; a code is never given another meaning."""

    TOO_LARGE = "STEPS001"
    NOT_UTF8 = "STEPS002"
    SYNTAX = "STEPS003"
    DUPLICATE_KEY = "STEPS004"
    BOM = "STEPS005"
    NUMBER = "STEPS006"
    DEPTH = "STEPS007"
    TEXT = "STEPS008"
    UNKNOWN_KEY = "STEPS010"
    MISSING_KEY = "STEPS011"
    WRONG_TYPE = "STEPS012"
    VALUE = "STEPS013"
    LIMIT = "STEPS014"
    VERSION = "STEPS015"
    ID = "STEPS016"
    BRANCH = "STEPS017"
    DUPLICATE_ID = "STEPS020"
    UNKNOWN_NEED = "STEPS021"
    CYCLE = "STEPS022"
    REPEATED_NEED = "STEPS023"
    NO_FILES = "STEPS024"
    ALL_OPTIONAL = "STEPS025"
    CONDITION_TYPE = "STEPS030"
    NOT_OVER_FACTS = "STEPS032"
    CHECK_APP = "STEPS033"
    WORKFLOW_PATH = "STEPS034"
    PATTERN = "STEPS040"
    ONLY_NEGATED = "STEPS041"
    EXPRESSION = "STEPS042"
    PATTERNS_TOO_LARGE = "STEPS043"
    NEGATED_FIRST = "STEPS044"
    OVERRULED = "STEPS045"
    REPEATED_PATTERN = "STEPS046"
    NEVER_COMPLETES = "STEPS050"
    PROTECTED_TAKES = "STEPS051"
    SHARED_TAKES = "STEPS052"
    ONE_EDIT = "STEPS053"
    REWORK_BLOCKS = "STEPS054"
    DEAD_PATTERN = "STEPS060"
    CASE_ONLY = "STEPS061"
    NOTHING_CREATES = "STEPS062"
    ALREADY_HOLDS = "STEPS063"
    NOT_READ = "STEPS064"
    MORE = "STEPS099"


#: What is worth a look, and yet may be meant: it stops nobody from publishing.
WARNINGS: frozenset[ProblemCode] = frozenset(
    {
        ProblemCode.NEGATED_FIRST,
        ProblemCode.OVERRULED,
        ProblemCode.REPEATED_PATTERN,
        ProblemCode.PROTECTED_TAKES,
        ProblemCode.SHARED_TAKES,
        ProblemCode.ONE_EDIT,
        ProblemCode.REWORK_BLOCKS,
        ProblemCode.DEAD_PATTERN,
        ProblemCode.CASE_ONLY,
        ProblemCode.NOTHING_CREATES,
        ProblemCode.ALREADY_HOLDS,
        ProblemCode.NOT_READ,
    }
)
FAULT_CODES: Mapping[Fault, ProblemCode] = {
    Fault.SYNTAX: ProblemCode.SYNTAX,
    Fault.DUPLICATE_KEY: ProblemCode.DUPLICATE_KEY,
    Fault.NUMBER: ProblemCode.NUMBER,
    Fault.DEPTH: ProblemCode.DEPTH,
    Fault.TEXT: ProblemCode.TEXT,
    Fault.BOM: ProblemCode.BOM,
}


class Problems:
    """Collects the problems of a document. Beyond MAX_PROBLEMS they are only counted: no file may cost a minute."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: list[Problem] = []
        self._more: list[Severity] = []

    def add(
        self,
        code: ProblemCode,
        path: Path,
        message: str,
        suggestion: str = "",
        *,
        key: bool = False,
        near: tuple[object, Collection[str]] | None = None,
    ) -> None:
        """Add a problem at a path (`key`: at its key). `near`: a word and the known ones, for a "did you mean"."""
        if len(self._found) == MAX_PROBLEMS:
            self._more.append(_severity(code))
            return
        line, column = self._document.place(path, key=key)
        suggestion = suggestion or (did_you_mean(*near) if near else "")
        self._found.append(Problem(code, message, suggestion, pointer(path), line, column, _severity(code)))

    def line(self, path: Path) -> int:
        """The line of the value at a path."""
        return self._document.place(path)[0]

    def has_errors(self) -> bool:
        """Whether there is more than warnings."""
        return "error" in self._more or any(problem.severity == "error" for problem in self._found)

    def all(self) -> tuple[Problem, ...]:
        """The problems in the order of the file."""
        ordered = sorted(self._found, key=lambda problem: (problem.line, problem.column, problem.code))
        if self._more:
            severity: Severity = "error" if "error" in self._more else "warning"
            message = f"The file has {len(self._more)} more problems."
            ordered.append(Problem(ProblemCode.MORE, message, severity=severity))
        return tuple(ordered)


def _severity(code: ProblemCode) -> Severity:
    return "warning" if code in WARNINGS else "error"


def did_you_mean(word: object, known: Collection[str]) -> str:
    """A question naming the known word that is most like this one; empty if none is."""
    if not isinstance(word, str) or len(word) > _MAX_WORD:
        return ""
    close = difflib.get_close_matches(word.casefold(), known, 1)
    return f'Did you mean "{close[0]}"?' if close else ""


def quoted(text: str) -> str:
    """A text of the author's, for a sentence: in quotes, shortened, control characters escaped."""
    short = text if len(text) <= _MAX_WORD else text[:_MAX_WORD] + "..."
    return f'"{short}"' if short.isprintable() else ascii(short)


def list_quoted(words: Collection[str]) -> str:
    """Words in quotes: "a", "b" or "c"."""
    *most, last = [quoted(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last


# ----------------------------------------------------------------------------------------------- what pydantic found


def add_validation_errors(error: ValidationError, problems: Problems) -> None:
    """Add what pydantic found, except the version, which is looked at before."""
    for details in error.errors(include_url=False):
        path, tag = _path(details["loc"])
        if path == ("version",) and details["type"] != "missing":
            continue
        if details["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in _model(path[:-1], tag).model_fields.items()]
            name = str(path[-1])
            message = f"{quoted(name)} is not a key that is known here."
            options = f"Known are {', '.join(known)}."
            problems.add(ProblemCode.UNKNOWN_KEY, path, message, did_you_mean(name, known) or options, key=True)
        elif details["type"] == "missing":
            message = f"The key {quoted(str(path[-1]))} is missing."
            problems.add(ProblemCode.MISSING_KEY, path[:-1], message)
        elif details["type"] in ("union_tag_invalid", "union_tag_not_found"):
            _add_type_problem(details["input"], path, problems)
        else:
            code, message, suggestion = _sentence(details)
            problems.add(code, path, message, suggestion)


def _path(loc: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], str]:
    """The path of a pydantic location, without the types of conditions in it; and the last type."""
    path: list[int | str] = []
    tag, tag_follows = "", False
    for part in loc:
        if tag_follows:
            tag, tag_follows = str(part), False
            continue
        in_list = isinstance(part, int) and path[-1:] == ["of"]
        tag_follows = in_list or part == "complete" or (part == "of" and tag == "not")
        path.append(part)
    return tuple(path), tag


def _model(path: tuple[int | str, ...], tag: str) -> type[BaseModel]:
    """The model of the object at a path."""
    if tag:
        return CONDITION_MODELS[tag]
    return (LabFileModel, PolicyModel, StepModel)[len(path)]


def _add_type_problem(condition: object, path: Path, problems: Problems) -> None:
    """Say what is wrong with the type of a condition."""
    options = f"Known are {', '.join(CONDITION_MODELS)}."
    if not isinstance(condition, dict) or "type" not in condition:
        problems.add(ProblemCode.MISSING_KEY, path, 'The condition has no "type".', options)
        return
    word = condition["type"]
    if not isinstance(word, str):
        problems.add(ProblemCode.WRONG_TYPE, (*path, "type"), f"Expected text, not {_kind(word)}.", options)
        return
    message = f"{quoted(word)} is not a type of condition."
    suggestion = did_you_mean(word, CONDITION_MODELS) or options
    problems.add(ProblemCode.CONDITION_TYPE, (*path, "type"), message, suggestion)


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_OWN_TYPES = {  # the errors that our validators raise bring their sentence
    "pattern": ProblemCode.PATTERN,
    "only_negated": ProblemCode.ONLY_NEGATED,
    "expression": ProblemCode.EXPRESSION,
    "branch": ProblemCode.BRANCH,
    "workflow_path": ProblemCode.WORKFLOW_PATH,
    "actions_app": ProblemCode.CHECK_APP,
    "match": ProblemCode.VALUE,
}


def _sentence(details: ErrorDetails) -> tuple[ProblemCode, str, str]:
    """Code, sentence and suggestion for a value that pydantic refused."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind in _OWN_TYPES:
        return _OWN_TYPES[kind], details["msg"], ""
    if kind in _EXPECTED:
        return ProblemCode.WRONG_TYPE, f"Expected {_EXPECTED[kind]}, not {_kind(value)}.", ""
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        return ProblemCode.VALUE, f"This must be {list_quoted(options)}.", did_you_mean(value, options)
    if kind == "string_pattern_mismatch":
        if context["pattern"] != ID_PATTERN:
            return ProblemCode.LIMIT, "This text must not be blank.", ""
        rule = (
            "An id is made of lower-case letters, digits and hyphens, starts with no hyphen, and has at most 64 of them"
        )
        return ProblemCode.ID, f"{quoted(str(value))} is not an id. {rule}.", _as_id(str(value))
    limits = {
        "string_too_short": "This text must not be empty.",
        "too_short": "This list must not be empty.",
        "string_too_long": "This text has more than {max_length} characters.",
        "too_long": "This list has more than {max_length} entries.",
        "greater_than_equal": "This number must be at least {ge}.",
        "less_than_equal": "This number must be at most {le}.",
    }
    # An error type that a later pydantic invents is told in its own words.
    return ProblemCode.LIMIT, limits[kind].format(**context) if kind in limits else details["msg"], ""


def _as_id(text: str) -> str:
    """A suggestion of an id like the text, if letters or digits remain."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.casefold())[:_MAX_WORD].strip("-")
    return f'Write "{slug}".' if slug else ""


def _kind(value: object) -> str:
    """What kind of JSON value this is, for a sentence."""
    if isinstance(value, bool):
        return "true or false"
    kinds: dict[type, str] = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")
