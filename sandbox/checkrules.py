"""What GitHub refuses in a check run or a status, as functions of the body: ApiError 422 or nothing.

Figures: GitHub's OpenAPI description, checks/create, checks/update, repos/create-commit-status; the lengths of actions
are in the descriptions of these fields. The wording is that of GitHub's schema checker.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .errors import ApiError, invalid_request, validation_failed

ANNOTATIONS_MAX = 50  # per request; a PATCH appends
TEXT_MAX = 65_535  # characters of output.summary and output.text, each
MESSAGE_MAX = 64 * 1024  # bytes of an annotation's message and raw_details
TITLE_MAX = 255  # characters of an annotation's title
ACTIONS_MAX = 3
ACTION_LENGTHS = {"label": 20, "description": 40, "identifier": 20}  # characters
DESCRIPTION_MAX = 140  # characters of a status
STATUSES_MAX = 1000  # per commit and context
STATUSES_WRITABLE = {"queued", "in_progress", "completed"}
CONCLUSIONS = {"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}  # never stale
LEVELS = {"notice", "warning", "failure"}
STATES = {"error", "failure", "pending", "success"}
_TEXTS = ("name", "head_sha", "details_url", "external_id", "status", "conclusion", "started_at", "completed_at")


def check_run_body(body: Mapping[str, Any], *, creating: bool) -> None:
    """Refuse what GitHub refuses in the body of checks/create or checks/update."""
    if creating:
        _required(body, "name", "head_sha")
    for name in _TEXTS:
        if body.get(name) is not None and not isinstance(body[name], str):
            raise invalid_request(f"For 'properties/{name}', {body[name]!r} is not a string.")
    _member(body, "status", STATUSES_WRITABLE)
    _member(body, "conclusion", CONCLUSIONS)
    for name in ("started_at", "completed_at"):
        if body.get(name) is not None:
            _timestamp(name, body[name])
    if body.get("status") == "completed" and body.get("conclusion") is None:
        raise invalid_request('"conclusion" wasn\'t supplied.')
    if body.get("output") is not None:
        _output(body["output"], creating=creating)
    if body.get("actions") is not None:
        _actions(body["actions"])


def status_body(body: Mapping[str, Any]) -> None:
    """Refuse what GitHub refuses in the body of repos/create-commit-status."""
    if body.get("state") not in STATES:
        raise validation_failed("Status", "state", "state is not included in the list")
    for name in ("context", "description", "target_url"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise invalid_request(f"For 'properties/{name}', {body[name]!r} is not a string.")
    if len(body.get("description") or "") > DESCRIPTION_MAX:
        raise validation_failed(
            "Status", "description", f"description is too long (maximum is {DESCRIPTION_MAX} characters)"
        )
    target = body.get("target_url")
    if target and not target.startswith(("http://", "https://")):
        raise validation_failed("Status", "target_url", "target_url must use http(s) scheme")


def too_many_statuses() -> ApiError:
    """The commit already has the largest number of statuses of this context."""
    return validation_failed("Status", None, "This SHA and context has reached the maximum number of statuses.")


def _required(value: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if value.get(name) is None:
            raise invalid_request(f'"{name}" wasn\'t supplied.')


def _member(value: Mapping[str, Any], name: str, allowed: set[str]) -> None:
    given = value.get(name)
    if given is not None and given not in allowed:
        raise invalid_request(f"For 'properties/{name}', {given!r} is not a member of {sorted(allowed)}.")


def _timestamp(name: str, text: str) -> None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise invalid_request(f"For 'properties/{name}', {text!r} is not a valid date-time.")


def _longest(name: str, value: object, limit: int, *, in_bytes: bool = False) -> None:
    if not isinstance(value, str):
        raise invalid_request(f"For '{name}', {value!r} is not a string.")
    length = len(value.encode()) if in_bytes else len(value)
    if length > limit:
        unit = "bytes" if in_bytes else "characters"
        raise invalid_request(f"Only {limit} {unit} are allowed; {length} were supplied.")


def _output(output: object, *, creating: bool) -> None:
    if not isinstance(output, dict):
        raise invalid_request(f"For 'properties/output', {output!r} is not an object.")
    _required(output, *(("title", "summary") if creating else ("summary",)))
    for name in ("title", "summary", "text"):
        if output.get(name) is not None:
            _longest(name, output[name], TEXT_MAX)
    annotations = output.get("annotations") or []
    if not isinstance(annotations, list):
        raise invalid_request("For 'properties/annotations', it is not an array.")
    if len(annotations) > ANNOTATIONS_MAX:
        raise invalid_request(f"No more than {ANNOTATIONS_MAX} items are allowed; {len(annotations)} were supplied.")
    for annotation in annotations:
        _annotation(annotation)


def _annotation(annotation: object) -> None:
    if not isinstance(annotation, dict):
        raise invalid_request(f"For 'items', {annotation!r} is not an object.")
    _required(annotation, "path", "start_line", "end_line", "annotation_level", "message")
    _member(annotation, "annotation_level", LEVELS)
    for name in ("start_line", "end_line", "start_column", "end_column"):
        number = annotation.get(name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise invalid_request(f"For 'properties/{name}', {number!r} is not an integer.")
    if annotation["end_line"] < annotation["start_line"]:
        raise invalid_request("end_line must not be before start_line.")
    columns = annotation.get("start_column") is not None or annotation.get("end_column") is not None
    if columns and annotation["start_line"] != annotation["end_line"]:
        raise invalid_request("start_column and end_column are allowed only if start_line and end_line are equal.")
    _longest("path", annotation["path"], TEXT_MAX)
    _longest("message", annotation["message"], MESSAGE_MAX, in_bytes=True)
    if annotation.get("title") is not None:
        _longest("title", annotation["title"], TITLE_MAX)
    if annotation.get("raw_details") is not None:
        _longest("raw_details", annotation["raw_details"], MESSAGE_MAX, in_bytes=True)


def _actions(actions: object) -> None:
    if not isinstance(actions, list):
        raise invalid_request("For 'properties/actions', it is not an array.")
    if len(actions) > ACTIONS_MAX:
        raise invalid_request(f"No more than {ACTIONS_MAX} items are allowed; {len(actions)} were supplied.")
    for action in actions:
        if not isinstance(action, dict):
            raise invalid_request(f"For 'items', {action!r} is not an object.")
        _required(action, *ACTION_LENGTHS)
        for name, limit in ACTION_LENGTHS.items():
            _longest(name, action[name], limit)
