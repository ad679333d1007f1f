"""`app.py doctor`, each lab: can its template be read, is its steps file valid, is its newest version published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from github.client import GitHubApp
    from rules.model import Lab, LabRecord, LabVersion
    from storage.database import Pool

Labs = tuple[tuple["LabRecord", "LabVersion | None"], ...]


async def all_labs(pool: Pool) -> Labs:
    """All labs with their newest versions."""
    from storage import labs

    return tuple([(lab, await labs.latest_version(pool, lab.lab_id)) for lab in await labs.list_labs(pool)])


def uses_workflow(labs: Labs) -> bool:
    """Whether a published lab has a step with the condition `workflow`."""
    from rules.mapping import leaves
    from rules.model import Workflow

    return any(
        isinstance(leaf, Workflow)
        for _, version in labs
        if version is not None
        for step in version.lab.steps
        for leaf in leaves(step.complete)
    )


async def lab_findings(github: GitHubApp, lab: LabRecord, version: LabVersion | None) -> list[Finding]:
    """One line for a lab. Raises GitHubError when GitHub does not answer."""
    from bot.registry import LabFileError, RegistryError, current_rules

    name = f"lab {lab.slug}"
    try:
        _, repo, commit, rules = await current_rules(github, lab)
    except LabFileError as error:
        first = error.problems[0]
        what = f"{name}: {error.where} line {first.line}, column {first.column}: {first.message}"
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        remedy = "correct the file; learners go on with the published version"
        return [(fail if version is None else warn)("labs", what + more, remedy)]
    except RegistryError as error:
        return [fail("labs", f"{name}: {error}", "see docs/classes.md")]
    return [_standing(name, lab, version, rules, f"{repo.full_name} at {commit.sha[:7]}")]


def _standing(name: str, lab: LabRecord, version: LabVersion | None, rules: Lab, where: str) -> Finding:
    """How the published version stands to the rules at the template's head."""
    from rules.labfile import digest

    publish = f"python app.py labs publish {lab.slug}"
    if version is None:
        return fail("labs", f"{name}: nothing is published yet; {where} is valid", f"run: {publish}")
    if digest(rules) != version.digest:
        what = f"{name}: the rules of {where} are newer than version {version.number}, which learners follow"
        return warn("labs", what, f"if that is not meant: {publish}")
    return ok("labs", f"{name}: version {version.number} is what {where} says")
