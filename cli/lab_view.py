"""A lab as `labs list` and `labs show` tell it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.output import print_rows

if TYPE_CHECKING:
    from rules.model import LabRecord, LabVersion
    from settings import Settings
    from storage.labs import LabCounts, PublishedVersion
    from storage.versions import TemplateLook


def join_url(settings: Settings, slug: str) -> str:
    """The address at which learners begin with a lab."""
    return f"{settings.base_url}/join/{slug}"


def facts_of(lab: LabRecord) -> dict[str, object]:
    """What a lab is, as `list` and `show` tell it."""
    return {
        "slug": lab.slug,
        "title": lab.title,
        "repository": lab.base_repo_full_name,
        "enrolment": lab.enrolment.value,
        "deadline": lab.deadline,
    }


def document(
    settings: Settings,
    lab: LabRecord,
    versions: tuple[PublishedVersion, ...],
    counts: LabCounts,
    look: TemplateLook | None = None,
) -> dict[str, object]:
    """Everything about a lab, for programs."""
    return facts_of(lab) | {
        "join_url": join_url(settings, lab.slug),
        "people": asdict(counts),
        "template": asdict(look) if look is not None else None,
        "versions": [
            {
                "number": each.version.number,
                "commit": each.version.commit_sha,
                "published_at": each.published_at,
                "steps": len(each.version.lab.steps),
            }
            for each in versions
        ],
        "steps": _steps(versions[0].version) if versions else [],
    }


def _steps(version: LabVersion) -> list[dict[str, object]]:
    return [
        {"id": step.id, "title": step.title, "needs": step.needs, "optional": step.optional}
        for step in version.lab.steps
    ]


def _last_look(look: TemplateLook | None) -> str:
    """What the last look at the template found, for people."""
    if look is None or look.looked_at is None:
        return "no push seen yet"
    errors = sum(problem.severity == "error" for problem in look.problems)
    words = {
        "published": "its rules are published",
        "unchanged": "no change of the rules",
        "older": "a newer version is published",
        "broken": f"{errors} {'error' if errors == 1 else 'errors'} in the steps file" if errors else "no steps file",
        "unreadable": look.detail,
    }
    at = f" at {look.head_sha[:7]}" if look.head_sha else ""
    return f"{words[look.outcome]}{at} ({look.looked_at:%Y-%m-%d %H:%M} UTC)"


def print_lab(
    settings: Settings,
    lab: LabRecord,
    versions: tuple[PublishedVersion, ...],
    counts: LabCounts,
    look: TemplateLook | None = None,
) -> None:
    """Everything about a lab, as tables."""
    facts: dict[str, object] = {
        **facts_of(lab),
        "template last looked at": _last_look(look),
        "join address": join_url(settings, lab.slug),
        "invited": f"{counts.invited}, of whom {counts.not_started} have not started",
        "started": f"{counts.started}: {counts.open} at work, {counts.finished} finished, "
        f"{counts.expired} past the deadline, {counts.deferred} deferred",
    }
    del facts["slug"]
    facts["deadline"] = facts["deadline"] or "none"
    print_rows([{"what": what, "is": is_} for what, is_ in facts.items()], {"what": lab.slug, "is": ""}, empty="")
    rows = [
        {
            "version": each.version.number,
            "commit": each.version.commit_sha[:7],
            "published": each.published_at,
            "steps": len(each.version.lab.steps),
        }
        for each in versions
    ]
    empty = f"Not published yet: python app.py labs publish {lab.slug}"
    print_rows(rows, {name: name for name in ("version", "commit", "published", "steps")}, empty=empty)
    if versions:
        steps = [
            {"step": at, "id": step["id"], "title": step["title"], "needs": _needs(step)}
            for at, step in enumerate(_steps(versions[0].version), start=1)
        ]
        print_rows(steps, {name: name for name in ("step", "id", "title", "needs")}, empty="")


def _needs(step: dict[str, object]) -> str:
    needs = step["needs"]
    words = ", ".join(needs) if isinstance(needs, tuple) else ""
    return words + (" (optional)" if step["optional"] else "")
