"""Permissions of installations and tokens: levels of access, what Stepgate uses, what a refusal asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# GitHub's levels of access, each with all of the one before (GitHub docs, "Permissions required for GitHub Apps").
LEVELS = ("none", "read", "write", "admin")

#: What all tokens are narrowed to, whatever else an installation was granted. `actions: read` comes on top where
#: results of workflows are read (`InstallationClient.needs`).
IN_USE: Mapping[str, str] = {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}


def rank(level: str | None) -> int:
    """A level of access as a number; one that we do not know counts as the highest."""
    return LEVELS.index(level or "none") if level is None or level in LEVELS else len(LEVELS)


def lacking(have: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the permissions in `wanted` that `have` holds not at all or at a lower level."""
    return tuple(name for name, level in wanted.items() if rank(have.get(name)) < rank(level))


def superfluous(have: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the permissions in `have` that are not wanted, or wanted at a lower level only."""
    return tuple(name for name, level in have.items() if rank(level) > rank(wanted.get(name)))


def common(have: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The most of `wanted` that `have` allows."""
    lower = {name: min(have[name], level, key=rank) for name, level in wanted.items() if name in have}
    return {name: level for name, level in lower.items() if rank(level)}


def accepted_sets(header: str) -> tuple[dict[str, str], ...]:
    """The sets of permissions, any of which would do, of a refusal's header X-Accepted-GitHub-Permissions.

    "checks=write", "pull_requests=read,contents=read; issues=read,contents=read" (REST docs, troubleshooting,
    "Resource not accessible"). Nothing that can be read: no sets.
    """
    sets = []
    for part in header.split(";"):
        pairs = (pair.strip().partition("=") for pair in part.split(","))
        sets.append({name.strip(): level.strip() for name, _, level in pairs if name.strip() and level.strip()})
    return tuple(filter(None, sets))
