"""What the clients return besides `rules.model`: frozen values, nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Sha = str  # 40 lower-case hex digits


class Commit(NamedTuple):
    """A commit: its sha, the sha of its tree, the shas of its parents."""

    sha: Sha
    tree_sha: Sha
    parents: tuple[Sha, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How `head` stands to `base`. `commits`: (sha, parents) of base..head, oldest first.

    `complete`: all of base..head is listed. `status` diverged with no commits: the two have no common ancestor.
    """

    status: Literal["ahead", "behind", "identical", "diverged"]
    commits: tuple[tuple[Sha, tuple[Sha, ...]], ...]
    complete: bool


class RawEntry(NamedTuple):
    """An entry of a tree as GitHub gives it. `kind`: blob, tree or commit (a submodule). `size`: of blobs, in bytes."""

    path: str
    mode: str
    kind: str
    sha: Sha
    size: int | None


@dataclass(frozen=True, slots=True)
class TreeAnswer:
    """A tree's listing. `truncated`: GitHub left entries out."""

    entries: tuple[RawEntry, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class AppRecord:
    """The App as GitHub knows it: for checks of the configuration. `html_url`: its page, from which it is installed."""

    app_id: int
    slug: str
    name: str
    owner: str
    permissions: Mapping[str, str]
    events: tuple[str, ...]
    html_url: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """How people can take a repository as their own. `private`: only who may see it can fork it. `is_template`: a
    repository can be generated from it as well."""

    private: bool
    is_template: bool


@dataclass(frozen=True, slots=True)
class RepositoryCondition:
    """`archived`: read-only by its owner's wish. `disabled`: blocked by GitHub; nobody can read or fork it."""

    archived: bool
    disabled: bool
