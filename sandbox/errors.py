"""Refusals of the REST API, worded and shaped as GitHub words and shapes them.

A handler raises `ApiError`; `rest.py` turns it into `{"message", "documentation_url", "status"[, "errors"]}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION_URL = "https://docs.github.com/rest"


class SandboxError(ValueError):
    """The caller of the control API (a test, the demo, an author) asked for something impossible."""


class GitError(RuntimeError):
    """A git process failed in a way that the sandbox did not expect: our fault, or a broken installation of git."""


class ApiError(Exception):
    """An HTTP answer of status 4xx or 5xx. `errors` is GitHub's list of details of a 422."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return GitHub's JSON error body; `status` is text there too."""
        body: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            body["errors"] = [dict(error) for error in self.errors]
        body["documentation_url"] = DOCUMENTATION_URL
        body["status"] = str(self.status)
        return body


def bad_credentials(message: str = "Bad credentials") -> ApiError:
    """Who asks is unknown: 401."""
    return ApiError(401, message)


def not_found() -> ApiError:
    """It does not exist, or the caller may not know that it does: GitHub answers 404 to both."""
    return ApiError(404, "Not Found")


def not_accessible(permission: str) -> ApiError:
    """The installation lacks `permission` ("checks:write"): 403 with the header that names it."""
    accepted = {"X-Accepted-GitHub-Permissions": permission.replace(":", "=")}
    return ApiError(403, "Resource not accessible by integration", headers=accepted)


def invalid_request(detail: str) -> ApiError:
    """The body breaks the operation's schema: 422, in the words of GitHub's schema checker."""
    return ApiError(422, f"Invalid request.\n\n{detail}")


def validation_failed(resource: str, field: str | None, message: str) -> ApiError:
    """The body breaks a rule of the `resource`: 422 "Validation Failed" with one entry in `errors`."""
    error: dict[str, Any] = {"resource": resource, "code": "custom", "message": message}
    if field is not None:
        error["field"] = field
    return ApiError(422, "Validation Failed", errors=[error])


def no_commit(sha: str) -> ApiError:
    """A check or status was written for a commit that the repository does not have."""
    return ApiError(422, f"No commit found for SHA: {sha}")
