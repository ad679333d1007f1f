"""The lab file `.forgea/steps.json` as pydantic models: one source for what is accepted and for the JSON Schema.

Models check what one value can tell; what needs several values at once is in `labfile_checks`. Titles and descriptions
are the author's manual: editors show them on hover.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from rules import model
from rules.patterns import PatternError, check_pattern, compiled_expression

MAX_BYTES = 256 * 1024
MAX_STEPS = 100
MAX_PATTERNS = 2_000  # in the whole file
MAX_STEP_PATTERNS = 50  # of one list
MAX_PATTERN = 256  # characters
MAX_EXPRESSION = 1_000  # characters
MAX_TITLE = 200  # characters
MAX_MATCH = 100_000  # files; what one head is judged with at most
MAX_APP_ID = 2**53 - 1  # JSON numbers are exact up to here
ACTIONS_APP_ID = 15368  # GitHub Actions on github.com (GitHub REST docs, checks: the app of a workflow's check runs)
ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
NOT_BLANK = r"\S"


def _pattern(text: str) -> str:
    problem = check_pattern(text)
    if problem:
        raise PydanticCustomError("pattern", "{problem}", {"problem": problem})
    return text


def _path(text: str) -> str:
    if text.startswith("!"):
        raise PydanticCustomError("pattern", "A path of a condition cannot start with !: it has no list to take from.")
    return _pattern(text)


def _patterns(items: list[str]) -> list[str]:
    if items and all(item.startswith("!") for item in items):
        raise PydanticCustomError(
            "only_negated", "Every pattern of this list starts with !, so the list takes nothing."
        )
    return items


def _expression(text: str) -> str:
    try:
        compiled_expression(text)
    except PatternError as error:
        raise PydanticCustomError("expression", "{problem}", {"problem": str(error)}) from None
    return text


def _branch(name: str) -> str:
    bad = any(char <= " " or char in "~^:?*[\\\x7f" for char in name)
    parts = name.split("/")
    bad = bad or any(not part or part.startswith((".", "-")) or part.endswith(".lock") for part in parts)
    if bad or ".." in name or "@{" in name or name.endswith("."):
        raise PydanticCustomError("branch", "This is not a name that git allows for a branch.")
    if name.startswith("refs/"):
        raise PydanticCustomError("branch", "Name the branch alone, without refs/heads/.")
    return name


def _workflow(path: str) -> str:
    name = path.removeprefix(".github/workflows/")
    if name == path or "/" in name or not name.endswith((".yml", ".yaml")):
        message = "A workflow is named by its file, such as .github/workflows/test.yml."
        raise PydanticCustomError("workflow_path", message)
    return path


def _app_id(number: int) -> int:
    if number == ACTIONS_APP_ID:
        message = "A check of GitHub Actions proves nothing: whoever can push can make one. Use a workflow condition."
        raise PydanticCustomError("actions_app", message)
    return number


def _match(value: object, inner: Callable[[object], str | int]) -> str | int:
    """One sentence instead of one for each alternative."""
    try:
        return inner(value)
    except ValidationError:
        message = 'This must be "any", "all" or a whole number from 1 to {limit}.'
        raise PydanticCustomError("match", message, {"limit": MAX_MATCH}) from None


def _without_default(schema: dict[str, Any]) -> None:
    """For a key whose default depends on the rest of the file: the one in the model is only a mark."""
    del schema["default"]


StepId = Annotated[str, Field(pattern=ID_PATTERN)]
Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_pattern)]
Patterns = Annotated[list[Pattern], AfterValidator(_patterns)]
ConditionPath = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_path)]
ConditionPaths = Annotated[list[ConditionPath], Field(min_length=1, max_length=MAX_STEP_PATTERNS)]
Expression = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION), AfterValidator(_expression)]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE, pattern=NOT_BLANK)]
Text = Annotated[str, Field(min_length=1, pattern=NOT_BLANK)]
Match = Annotated[
    Literal["any", "all"] | Annotated[int, Field(ge=1, le=MAX_MATCH)],
    WrapValidator(_match),
]


class _Strict(BaseModel):
    """No unknown keys, no conversions: 1 is not "1"."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# -------------------------------------------------------------------------------------------------------- conditions


class ChangedModel(_Strict):
    """Complete when files of the step have content of the learner's: new files, or other content than the template's.
    Deleting a file or changing its mode does not count."""

    model_config = ConfigDict(title="Files of the step changed")
    type: Literal["changed"]
    match: Match = Field(
        default="any",
        title="How much must change",
        description='"any": one file of the step. "all": for each pattern of `files` at least one file. A number: at '
        "least that many files.",
        examples=["any", "all", 3],
    )


class ExistsModel(_Strict):
    """Complete when each of the paths is there."""

    model_config = ConfigDict(title="Files exist")
    type: Literal["exists"]
    paths: ConditionPaths = Field(
        title="Paths",
        description="Paths or patterns; each must match at least one file. "
        "A name without wildcards is looked for from the root of the repository.",
        examples=[["ANSWER.md", "src/*.test.js"]],
    )


class AbsentModel(_Strict):
    """Complete when none of the paths is there (any more)."""

    model_config = ConfigDict(title="Files are absent")
    type: Literal["absent"]
    paths: ConditionPaths = Field(
        title="Paths",
        description="Paths or patterns; none may match a file. "
        "A name without wildcards is looked for from the root of the repository.",
        examples=[["src/legacy/"]],
    )


_SEARCHED = "A path or a pattern. At most 20 files of at most 1 MiB are read."
_RE2 = (
    "A regular expression of RE2 (no look-around, no back-references). ^ and $ match at every line; CRLF reads as LF."
)


class ContainsModel(_Strict):
    """Complete when a file at the path has text that the expression finds."""

    model_config = ConfigDict(title="A file contains")
    type: Literal["contains"]
    path: ConditionPath = Field(
        title="File", description=_SEARCHED + " One of them must contain it.", examples=["src/hooks/useTimer.ts"]
    )
    pattern: Expression = Field(title="Regular expression", description=_RE2, examples=["useRef\\("])


class LacksModel(_Strict):
    """Complete when the files at the path, at least one, have no text that the expression finds."""

    model_config = ConfigDict(title="Files lack")
    type: Literal["lacks"]
    path: ConditionPath = Field(
        title="File", description=_SEARCHED + " None of them may contain it.", examples=["src/**/*.ts"]
    )
    pattern: Expression = Field(title="Regular expression", description=_RE2, examples=["TODO"])


class ApprovalModel(_Strict):
    """Complete when staff approves the step."""

    model_config = ConfigDict(title="Staff approves")
    type: Literal["approval"]


class NothingModel(_Strict):
    """Something to read: complete as soon as the step is open."""

    model_config = ConfigDict(title="Nothing to do")
    type: Literal["none"]


class WorkflowModel(_Strict):
    """Complete when a run of a workflow, started by the push of exactly this commit, ends in success, while every
    protected file is the template's."""

    model_config = ConfigDict(title="A workflow passes")
    type: Literal["workflow"]
    path: Annotated[str, Field(max_length=MAX_PATTERN), AfterValidator(_workflow)] = Field(
        title="Workflow file",
        description="A file of the template. With such a condition .github/** is protected.",
        examples=[".github/workflows/test.yml"],
    )


class CheckModel(_Strict):
    """Complete when the check of another GitHub App on exactly this commit ends in success."""

    model_config = ConfigDict(title="An App's check passes")
    type: Literal["check"]
    name: Title = Field(title="Name of the check", description="As GitHub shows it on the commit.", examples=["lint"])
    app_id: Annotated[int, Field(ge=1, le=MAX_APP_ID), AfterValidator(_app_id)] = Field(
        title="App id",
        description="The number of the App that must have made the check; never GitHub Actions.",
        examples=[12345],
    )


class AllModel(_Strict):
    """Complete when every part holds."""

    model_config = ConfigDict(title="All of")
    type: Literal["all"]
    of: Annotated[list[ConditionModel], Field(min_length=1, max_length=MAX_STEP_PATTERNS)] = Field(
        title="Parts",
        description="Conditions that must all hold.",
        examples=[[{"type": "changed"}, {"type": "approval"}]],
    )


class AnyModel(_Strict):
    """Complete when at least one part holds."""

    model_config = ConfigDict(title="Any of")
    type: Literal["any"]
    of: Annotated[list[ConditionModel], Field(min_length=1, max_length=MAX_STEP_PATTERNS)] = Field(
        title="Parts",
        description="Conditions of which one must hold.",
        examples=[[{"type": "exists", "paths": ["a.js"]}, {"type": "exists", "paths": ["a.ts"]}]],
    )


class NotModel(_Strict):
    """Complete when the part does not hold. Only over conditions on files."""

    model_config = ConfigDict(title="Not")
    type: Literal["not"]
    of: ConditionModel = Field(
        title="Part",
        description="changed, exists, absent, contains or lacks, or all, any, not over these.",
        examples=[{"type": "exists", "paths": ["src/legacy/"]}],
    )


ConditionModel = Annotated[
    ChangedModel
    | ExistsModel
    | AbsentModel
    | ContainsModel
    | LacksModel
    | ApprovalModel
    | NothingModel
    | WorkflowModel
    | CheckModel
    | AllModel
    | AnyModel
    | NotModel,
    Field(discriminator="type", title="Condition", description="When it holds, the step is complete."),
]


def models_of(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a tagged union by their tag."""
    members: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


# ---------------------------------------------------------------------------------------------------------- the file


_BLOCK = "The check is red, and the file does not count."
_WARN = "The check is green and tells about the file, which counts."
_ALLOW = "Nothing is said."
_LEVELS: dict[str, JsonValue] = {"enumDescriptions": [_BLOCK, _WARN]}
_LEVELS_OR_ALLOW: dict[str, JsonValue] = {"enumDescriptions": [_ALLOW, _WARN, _BLOCK]}


class PolicyModel(_Strict):
    """What to do about each kind of irregular change. "block" makes the check red, "warn" only says it, "allow" says
    nothing."""

    model_config = ConfigDict(title="Policy")
    out_of_order: model.Level = Field(
        default="block",
        title="Out of order",
        description="A file that only locked steps own was changed.",
        examples=["warn"],
        json_schema_extra=_LEVELS,
    )
    protected: model.Level = Field(
        default="block",
        title="Protected files",
        description="A protected file was changed.",
        examples=["warn"],
        json_schema_extra=_LEVELS,
    )
    unmapped: model.LevelOrAllow = Field(
        default="allow",
        title="Unmapped files",
        description="A file that no step names was changed.",
        examples=["warn"],
        json_schema_extra=_LEVELS_OR_ALLOW,
    )
    rework: model.LevelOrAllow = Field(
        default="allow",
        title="Rework",
        description="A file that only completed steps own was changed again.",
        examples=["warn"],
        json_schema_extra=_LEVELS_OR_ALLOW,
    )
    reopen: model.Reopen = Field(
        default="rewrite",
        title="Reopening",
        description='Which pushes reopen a completed step whose result they took away: "rewrite" (a force-push), '
        '"always" (any push) or "never".',
        examples=["never"],
        json_schema_extra={
            "enumDescriptions": [
                "A force-push reopens the steps whose result it took away.",
                "Every push reopens the steps whose result it took away.",
                "Completed stays completed.",
            ]
        },
    )


_PATTERNS = (
    "Patterns as in .gitignore: / anchors, ** spans folders, ! gives back, a trailing / is the folder; last match wins."
)


class StepModel(_Strict):
    """One step of the lab."""

    model_config = ConfigDict(title="Step")
    id: StepId = Field(
        title="Id",
        description="Stable key of the stored progress: lower-case letters, digits and hyphens, at most 64. To rename "
        "a step, put its old id into `aliases`.",
        examples=["reproduce"],
    )
    title: Title = Field(title="Title", description="One line, shown to the learner.", examples=["Reproduce the bug"])
    description: str = Field(
        default="",
        title="Description",
        description="Markdown, shown while the step is open.",
        examples=["Write a test in `src/` that fails."],
    )
    files: Annotated[Patterns, Field(max_length=MAX_STEP_PATTERNS)] = Field(
        default=[],
        title="Files",
        description="Which paths belong to this step; steps may overlap. At least one pattern where the condition is "
        '"changed". ' + _PATTERNS,
        examples=[["src/hooks/**", "!**/*.md"]],
    )
    needs: list[StepId] = Field(
        default=[],
        title="Needed steps",
        description="Ids of the steps to complete first. Without this key: the nearest earlier step that is not "
        "optional. []: open from the start.",
        examples=[["reproduce"], []],
        json_schema_extra=_without_default,
    )
    complete: ConditionModel = Field(
        default=ChangedModel(type="changed"),
        title="Complete when",
        description="The condition that completes the step. While it lacks only a workflow, a check or an "
        "approval, the step is waiting.",
        examples=[{"type": "contains", "path": "src/hooks/useTimer.ts", "pattern": "useRef\\("}],
    )
    optional: bool = Field(
        default=False, title="Optional", description="Not needed to finish the lab.", examples=[True]
    )
    hints: list[Text] = Field(
        default=[],
        title="Hints",
        description="One more is shown for each further head of this learner that was blocked.",
        examples=[["Look at which render the callback closes over."]],
    )
    aliases: list[StepId] = Field(
        default=[],
        title="Old ids",
        description="Progress that is stored under an old id counts for this step.",
        examples=[["repair"]],
    )


class LabFileModel(_Strict):
    """The rules of a lab: `.forgea/steps.json` of its template repository."""

    model_config = ConfigDict(title="Stepgate lab file")
    schema_: str = Field(
        default="",
        alias="$schema",
        title="JSON Schema",
        description="For editors, which read here where the schema is; not read by Stepgate.",
        examples=["https://stepgate.example.com/schema/steps.json"],
    )
    version: Literal[1] = Field(title="Version of this format", description="Always 1.", examples=[1])
    title: Title = Field(
        title="Title", description="Name of the lab, shown to the learner.", examples=["React stale closure"]
    )
    branch: Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_branch)] = Field(
        default="",
        title="Branch",
        description="The branch on which learners work. Without this key: the template's default branch.",
        examples=["main"],
        json_schema_extra=_without_default,
    )
    protected: Annotated[Patterns, Field(max_length=MAX_PATTERNS)] = Field(
        default=[],
        title="Protected files",
        description="Only the template changes these. .forgea/** always belongs to them. " + _PATTERNS,
        examples=[["tests/**"]],
    )
    shared: Annotated[Patterns, Field(max_length=MAX_PATTERNS)] = Field(
        default=[],
        title="Shared files",
        description="May change at any time, never count and never block. " + _PATTERNS,
        examples=[["README.md", "notes/"]],
    )
    policy: PolicyModel = Field(
        default=PolicyModel(),
        title="Policy",
        description="What to do about irregular changes.",
        examples=[{"unmapped": "warn"}],
    )
    steps: Annotated[list[StepModel], Field(min_length=1, max_length=MAX_STEPS)] = Field(
        title="Steps",
        description="In the order in which learners meet them.",
        examples=[[{"id": "explain", "title": "Explain it", "files": ["ANSWER.md"]}]],
    )


for _recursive in (AllModel, AnyModel, NotModel, StepModel, LabFileModel):
    _recursive.model_rebuild()
