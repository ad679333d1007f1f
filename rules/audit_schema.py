"""The kinds of audit events, and the JSON Schema (2020-12) of each as `audit export --format jsonl` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from rules.audit_chain import NAME_KEYS
from rules.binding import Note
from rules.lifecycle import AwayCode
from rules.model import BindingCode, Enrolment, SessionStatus

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID = "urn:stepgate:schema:audit-event:1"

Schema = Mapping[str, Any]

_ID: Schema = {"type": "integer", "minimum": 1}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_SHA: Schema = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_STATUS: Schema = {"enum": [status.value for status in SessionStatus]}
_CAUSE: Schema = {"enum": ["staff", "installation", None]}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _pair(schema: Schema) -> Schema:
    """Before and after."""
    return {"type": "array", "prefixItems": [schema, schema], "minItems": 2, "maxItems": 2}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


#: What every event has, and what it may have: the columns of the table, each with its meaning.
COLUMNS: Mapping[str, Schema] = {
    "event_id": {**_ID, "description": "Number of the event; rises, with gaps."},
    "at": {**_TIME, "description": "When the transaction that wrote it began."},
    "count": {**_ID, "description": "How often it happened that day (rejections); else 1."},
    "last_at": {**_TIME, "description": "When it happened last that day (rejections); else as `at`."},
    "kind": _TEXT,
    "code": {**_TEXT, "description": "Why, in one word."},
    "actor_id": {**_ID, "description": "Account that decided it; absent: the operator's shell, or the App itself."},
    "installation_id": _ID,
    "repo_id": {**_ID, "description": "The repository's number, which survives renames and transfers."},
    "repo_full_name": {**_TEXT, "description": "As it was called then; absent once its owner was forgotten."},
    "owner_id": {**_ID, "description": "Account that owned the repository then."},
    "expected_owner_id": {**_ID, "description": "Account that should have owned it."},
    "parent_id": {**_ID, "description": "Repository that it was forked or generated from."},
    "key_tried": {**_TEXT, "description": "Legacy address that was looked up."},
    "mapping_id": _ID,
    "session_id": _UUID,
    "ref": {**_TEXT, "description": "Branch or tag; absent once its owner was forgotten."},
    "head_sha": _SHA,
    "sender_id": {**_ID, "description": "Account that pushed; it decides nothing."},
    "delivery_id": {**_UUID, "description": "GitHub's X-GitHub-Delivery."},
    "binding_mode": {"enum": ["canonical", "shadow"]},
    "detail": {"type": "object"},
}
_ALWAYS = ("event_id", "at", "count", "last_at", "kind", "binding_mode", "detail")

# What `detail` may hold, by its name, where it means the same in all kinds.
_FIELDS: Mapping[str, Schema] = {
    "reason": {**_TEXT, "description": "Why, in the words of who did it; may be forgotten."},
    "detail": {**_TEXT, "description": "More about a rejection, for staff; may be forgotten."},
    "undoes": {**_ID, "description": "The event that this one takes back."},
    "from": {**_STATUS, "description": "The session's status before."},
    "to": {**_STATUS, "description": "The session's status after."},
    "cause_before": _CAUSE,
    "cause": {**_CAUSE, "description": "Who deferred it."},
    "fact_id": _ID,
    "step_id": _or_null(_TEXT),
    "head_sha": _or_null(_SHA),
    "until": _or_null(_TIME),
    "deadline_before": _or_null(_TIME),
    "deadline": _or_null(_TIME),
    "mapping_before": _or_null(_ID),
    "repo_before": _or_null({**_TEXT, "description": "May be forgotten."}),
    "accepted_before": _or_null(_SHA),
    "lab_id": _ID,
}
_MOVE = ("from", "to", "cause_before", "cause")
_DECIDED = ("reason", "undoes", *_MOVE)
_CODES = tuple(code.value for code in BindingCode)
_NOTES: tuple[str, ...] = get_args(Note)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: what it says, the codes that it may have (none: it has no code), the columns that it always
    has besides those of all, what its `detail` may hold (of `_FIELDS`, and its own), and what of that it always has.
    """

    meaning: str
    codes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    own: Mapping[str, Schema] | None = None
    always: tuple[str, ...] = ()


_BOUND = ("repo_id", "installation_id", "owner_id", "mapping_id", "session_id")


def _decided(meaning: str, *detail: str, always: tuple[str, ...] = ()) -> Kind:
    """What somebody did to a session."""
    return Kind(meaning, columns=("session_id",), detail=(*_DECIDED, *detail), always=("from", "to", *always))


KINDS: Mapping[str, Kind] = {
    "bound": Kind("A repository was bound to a session.", _NOTES, _BOUND),
    "reinstalled": Kind("A bound repository is reached through another installation of the App.", _NOTES, _BOUND),
    "unbound": Kind("A repository was taken from its session.", ("REPOSITORY_GONE", "OWNER_FORGOTTEN"), _BOUND[3:]),
    "rejected": Kind(
        "A delivery was not judged, for the reason in `code`: one event for each repository, code and day (UTC).",
        _CODES,
        ("repo_id", "code"),
        ("detail", "lab_id"),
    ),
    "ignored": Kind(
        "A push to a session's repository that is not judged: a tag, a deleted branch.",
        _CODES,
        ("repo_id", "session_id", "code"),
    ),
    "button_refused": Kind(
        "Somebody pressed a button on a check-run who may not: only the session's learner asks for help, and its "
        "repository's owner and staff may check again. Nothing was done. One event for each repository and day (UTC).",
        ("NOT_THEIRS",),
        ("repo_id", "code"),
        own={"button": _TEXT},
    ),
    "status_forged": Kind(
        "Somebody else (`sender_id`) wrote a commit status under our name: ours was sent again. One event for each "
        "repository and day (UTC).",
        ("STATUS_FORGED",),
        ("repo_id", "code", "head_sha"),
        own={"state": _TEXT},
    ),
    "status_changed": Kind(
        "A session's status changed by itself: its deadline, or its repository became (un)reachable (then `code`).",
        get_args(AwayCode),
        ("session_id",),
        ("reason", "from", "to", "cause"),
        always=("from", "to"),
    ),
    "judged": Kind(
        "A verdict changed a session's status: complete, stuck, or in progress again.",
        columns=("repo_id", "mapping_id", "session_id", "head_sha"),
        detail=("from", "to"),
        own={"attempt_id": {**_ID, "description": "The judgement, as the session's page tells of it."}},
        always=("from", "to", "attempt_id"),
    ),
    "staff_approve": _decided("Staff approved a step.", "fact_id", "step_id", "until", always=("fact_id",)),
    "staff_complete": _decided("Staff marked a step as complete.", "fact_id", "step_id", "until", always=("fact_id",)),
    "staff_reopen": _decided("Staff reopened a step.", "fact_id", "step_id", "until", always=("fact_id",)),
    "staff_unlock": _decided(
        "Staff opened a step before its turn.", "fact_id", "step_id", "until", always=("fact_id",)
    ),
    "staff_accept_head": _decided(
        "Staff accepted a head as it is.", "fact_id", "head_sha", "until", always=("fact_id",)
    ),
    "staff_revoke": Kind(
        "Staff took one of these decisions back.",
        columns=("session_id",),
        detail=(*_DECIDED, "fact_id", "step_id", "head_sha"),
        own={"kind": {"enum": ["approve", "complete", "reopen", "unlock", "accept_head"]}},
        always=("from", "to", "kind"),
    ),
    "staff_defer": _decided("Staff paused a session."),
    "staff_resume": _decided("Staff let a session go on."),
    "staff_reopen_session": _decided("Staff reopened a finished session."),
    "staff_extend": _decided("Staff set a session's deadline.", "deadline_before", "deadline", always=("deadline",)),
    "staff_relink": _decided(
        "Staff connected a session with another repository.",
        "mapping_before",
        "repo_before",
        "accepted_before",
        always=("mapping_before",),
    ),
    "staff_unbind": _decided(
        "Staff took the repository from a session.",
        "mapping_before",
        "repo_before",
        "accepted_before",
        always=("mapping_before",),
    ),
    "staff_judge": _decided("Staff had a session's head judged again."),
    "check_requested": _decided("A learner had their head judged again."),
    "help_requested": _decided("A learner asked for help; `reason`: in their words."),
    "help_withdrawn": _decided("A learner needs help no more."),
    "lab_edited": Kind(
        "A lab's enrolment or deadline was changed, each [before, after].",
        detail=("reason", "lab_id"),
        own={"enrolment": _pair({"enum": [each.value for each in Enrolment]}), "deadline": _pair(_or_null(_TIME))},
        always=("lab_id", "enrolment", "deadline"),
    ),
    "deadline_moved": Kind(
        "A session's deadline moved with its lab's, [before, after].",
        columns=("session_id",),
        detail=("reason", "lab_id"),
        own={"deadline": _pair(_or_null(_TIME))},
        always=("lab_id", "deadline"),
    ),
    "invited": Kind(
        "People were invited to a lab; each [account or null, repository or null].",
        detail=("reason", "lab_id"),
        own={"accounts_and_repositories": _list(_pair(_or_null(_ID)))},
        always=("lab_id", "accounts_and_repositories"),
    ),
    "uninvited": Kind(
        "Invitations were taken back; null: of a login that GitHub did not know.",
        detail=("reason", "lab_id"),
        own={"accounts": _list(_or_null(_ID))},
        always=("lab_id", "accounts"),
    ),
    **{
        kind: Kind(
            meaning,
            columns=("session_id",),
            detail=("reason",),
            own={"run_id": _ID, "from": _ID, "to": _ID},
            always=("run_id", "from", "to"),
        )
        for kind, meaning in {
            "migrated": "A session moved to another version of its lab; `from`, `to`: the versions' numbers.",
            "migration_undone": "Such a move was taken back.",
        }.items()
    },
    "learner_forgotten": Kind(
        "A person was erased (`owner_id`); `sessions`: each [lab, status, how many].",
        columns=("owner_id",),
        own={"sessions": _list({"type": "array", "prefixItems": [_ID, _STATUS, _ID], "minItems": 3, "maxItems": 3})},
        always=("sessions",),
    ),
}


def kind_schema(name: str) -> dict[str, Any]:
    """The schema of one kind of event."""
    kind = KINDS[name]
    fields: dict[str, Any] = {each: _FIELDS[each] for each in kind.detail} | dict(kind.own or {})
    detail = {"type": "object", "properties": fields, "additionalProperties": False}
    if required := [each for each in kind.always if each not in NAME_KEYS]:
        detail["required"] = required
    given: dict[str, Any] = {each: dict(schema) for each, schema in COLUMNS.items() if each != "code" or kind.codes}
    given["kind"] = {"const": name}
    if kind.codes:
        given["code"] = {"enum": list(kind.codes)}
    return {
        "title": name,
        "description": kind.meaning,
        "type": "object",
        "properties": {**given, "detail": detail},
        "required": [*_ALWAYS, *kind.columns],
        "additionalProperties": False,
    }


def json_schema() -> dict[str, Any]:
    """The schema of all kinds: an event is valid if it is valid as the kind that it says it is."""
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "Audit event",
        "description": "One line of `app.py audit export --format jsonl`. What is unknown is left out.",
        "type": "object",
        "properties": {"kind": {"enum": list(KINDS)}},
        "required": ["kind"],
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in KINDS],
        "$defs": {name: kind_schema(name) for name in KINDS},
    }


def schema_text() -> str:
    """The text of docs/audit-event.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def kinds_table() -> str:
    """The table of kinds in docs/audit-events.md, in Markdown."""
    rows = ["| kind | what it says | codes | `detail` |", "|---|---|---|---|"]
    for name, kind in KINDS.items():
        codes = "any of binding" if kind.codes == _CODES else ", ".join(f"`{code}`" for code in kind.codes)
        detail = ", ".join(f"`{each}`" for each in (*kind.detail, *(kind.own or {})))
        rows.append(f"| `{name}` | {kind.meaning} | {codes} | {detail} |")
    return "\n".join(rows) + "\n"
