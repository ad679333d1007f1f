"""Templates: what authors push is linted, published if it is valid, and answered by a check run.

Level-triggered, as everything: whatever woke us, the branch is read as it is now. So deliveries that come late, twice
or at the same time end in the same versions, and a template that sends no events is looked at by the clock in the same
way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from bot.linting import Reading, read_branch
from bot.registry import (
    RegistryError,
    any_reader,
    publish_commit,
    read_template,
    reader,
    record_up_to,
    template_of,
)
from bot.services import Services
from github.client import InstallationClient
from github.errors import GitHubError, Transient
from rules.labfile import digest
from rules.model import LabRecord, LabVersion, Repo, Report
from rules.report_lab import LabContext, Outcome, render_lab
from storage import labs, outbox, versions
from storage.outbox import WantedReport
from storage.versions import LookOutcome, TemplateLook

log = structlog.get_logger(__name__)


async def on_template_push(services: Services, lab: LabRecord, branch: str | None) -> str:
    """A push to a lab's template: lint the head of the pushed branch, publish what the lab's branch has, and tell.

    `branch` None: a tag. Returns a word for the log. Raises GitHubError; a template that cannot be what it is
    registered as is stored and logged, because trying again changes nothing.
    """
    if branch is None:
        return "template_tag_ignored"
    fallback = await any_reader(services.app) if lab.base_installation_id is None else None
    try:
        return await _look(services, reader(services.app, lab, fallback), lab, branch)
    except RegistryError as error:
        await _unreadable(services, lab, str(error))
        return "template_unreadable"


async def look_at_quiet_templates(services: Services) -> int:
    """Look at the templates of which GitHub tells us nothing: public ones, without the App. How many had news.

    A template that stands where it stood at the last look costs one conditional request. What goes wrong with one lab
    is stored and logged, and does not keep the others waiting.
    """
    quiet = [lab for lab in await labs.list_labs(services.pool) if lab.base_installation_id is None]
    client = await any_reader(services.app) if quiet else None
    return sum([await _look_by_the_clock(services, lab, client) for lab in quiet])


async def look_at_missed_templates(services: Services) -> int:
    """Look at the templates with the App whose branch is not where we know it: the event of a push was lost.

    How many there were. One that stands still costs one conditional request.
    """
    installed = [lab for lab in await labs.list_labs(services.pool) if lab.base_installation_id is not None]
    return sum([await _look_by_the_clock(services, lab, None) for lab in installed])


async def _look_by_the_clock(services: Services, lab: LabRecord, fallback: InstallationClient | None) -> bool:
    """Look at a template if its branch has moved; whether it has. What goes wrong is stored and logged."""
    try:
        client = reader(services.app, lab, fallback)
        if await _stands_still(services, client, lab):
            return False
        outcome = await _look(services, client, lab, None)
        log.info("template_looked_at", lab=lab.slug, outcome=outcome)
        return True
    except Transient as error:
        log.warning("template_not_looked_at", lab=lab.slug, error=str(error))
    except (RegistryError, GitHubError) as error:
        await _unreadable(services, lab, str(error))
    except Exception as error:  # the database's, or a defect of ours
        log.error("template_look_failed", lab=lab.slug, error=repr(error), exc_info=True)
    return False


async def _stands_still(services: Services, client: InstallationClient, lab: LabRecord) -> bool:
    """Whether the lab's branch is where the last look saw it; one that was never looked at: where it was published."""
    last = await versions.last_look(services.pool, lab.lab_id)
    if last is None:
        newest = await labs.latest_version(services.pool, lab.lab_id)
        if newest is None or newest.lab.branch is None or lab.base_installation_id is None:
            return False
        branch, head = newest.lab.branch, newest.commit_sha
    elif last.branch is None or last.head_sha is None or last.outcome == "unreadable":
        return False
    else:
        branch, head = last.branch, last.head_sha
    return await client.branch_head(lab.base_repo_full_name, branch) == head


async def _unreadable(services: Services, lab: LabRecord, sentence: str) -> None:
    log.warning("template_unreadable", lab=lab.slug, reason=sentence)
    await versions.save_look(services.pool, lab.lab_id, TemplateLook("unreadable", detail=sentence))


@dataclass(frozen=True, slots=True)
class _Template:
    """A lab's template as it is now, and who reads it."""

    services: Services
    client: InstallationClient
    lab: LabRecord
    repo: Repo


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the lab's branch has, and the lab's newest version after that was looked at."""

    reading: Reading
    outcome: LookOutcome
    newest: LabVersion | None


async def _look(services: Services, client: InstallationClient, lab: LabRecord, pushed: str | None) -> str:
    """Read the lab's branch, publish, store, and answer it; or another branch that was pushed."""
    repo = await template_of(client, lab)
    await labs.rename_template(services.pool, lab.lab_id, repo.full_name)
    template = _Template(services, client, replace(lab, base_repo_full_name=repo.full_name), repo)
    await _record(template)
    try:
        reading = await read_template(client, repo)
    except RegistryError as error:
        await _tell_fault(template, pushed or repo.default_branch, str(error))
        raise
    standing = await _publish(template, reading)
    problems = reading.result.problems if reading.result is not None else ()
    look = TemplateLook(standing.outcome, reading.branch, reading.head_sha, problems)
    await versions.save_look(services.pool, lab.lab_id, look)
    if pushed is None or pushed == reading.branch:
        await _tell(template, reading, standing)
    else:
        await _tell_side(template, pushed, standing)
    return f"template_{standing.outcome}"


async def _record(template: _Template) -> None:
    """Record what the branch of the newest version has gained, whatever its steps file is like by now.

    Learners who sync their fork bring these commits' files: they are the template's work, not theirs.
    """
    pool, client, lab = template.services.pool, template.client, template.lab
    version = await labs.latest_version(pool, lab.lab_id)
    if version is None or version.lab.branch is None:
        return
    head = await client.branch_head(lab.base_repo_full_name, version.lab.branch)
    if head is not None:
        await record_up_to(pool, client, lab, head)


async def _publish(template: _Template, reading: Reading) -> _Standing:
    """Publish the rules of the lab's branch, if they are valid."""
    pool, client, lab = template.services.pool, template.client, template.lab
    if reading.result is None or reading.result.lab is None:
        return _Standing(reading, "broken", await labs.latest_version(pool, lab.lab_id))
    rules = replace(reading.result.lab, branch=reading.branch)
    commit = await client.commit(lab.base_repo_full_name, reading.head_sha)
    await publish_commit(pool, client, lab, commit, rules)
    newest = await labs.latest_version(pool, lab.lab_id)
    assert newest is not None  # noqa: S101 (one is published now)
    if newest.commit_sha == reading.head_sha:
        return _Standing(reading, "published", newest)
    return _Standing(reading, "unchanged" if newest.digest == digest(rules) else "older", newest)


async def _tell(template: _Template, reading: Reading, standing: _Standing) -> None:
    """The answer to a head: of the lab's branch, or of another one, from which nothing is published."""
    number = standing.newest.number if standing.newest is not None else None
    live = await versions.live_sessions(template.services.pool, template.lab.lab_id)
    context = replace(
        _context(template, reading.branch, reading.head_sha),
        lab_branch=standing.reading.branch,
        outcome=_outcome(reading, standing),
        number=number,
        staying={version: sessions for version, sessions in live.items() if version != number},
    )
    await _want(template, render_lab(reading.result, context))


def _outcome(reading: Reading, standing: _Standing) -> Outcome:
    if reading is not standing.reading:
        return "side"
    return "broken" if standing.outcome == "unreadable" else standing.outcome


async def _tell_side(template: _Template, branch: str, standing: _Standing) -> None:
    """The answer to a branch that is not the lab's. One that stands at the lab's head has its answer there; one without
    a steps file is no business of ours."""
    side = await read_branch(template.client, template.repo.full_name, branch)
    if side is not None and side.result is not None and side.head_sha != standing.reading.head_sha:
        await _tell(template, side, standing)


async def _tell_fault(template: _Template, branch: str, fault: str) -> None:
    """The answer to a push after which nobody knows which branch is the lab's."""
    head = await template.client.branch_head(template.repo.full_name, branch)
    if head is None:
        return
    newest = await labs.latest_version(template.services.pool, template.lab.lab_id)
    context = replace(
        _context(template, branch, head), number=newest.number if newest is not None else None, fault=fault
    )
    await _want(template, render_lab(None, context))


def _context(template: _Template, branch: str, head_sha: str) -> LabContext:
    lab = template.lab
    return LabContext(
        slug=lab.slug,
        lab_id=lab.lab_id,
        head_sha=head_sha,
        branch=branch,
        lab_branch=branch,
        outcome="broken",
        details_url=template.services.judging.join_url(lab.slug),
    )


async def _want(template: _Template, report: Report) -> None:
    """Want a check run on the template; where the App is not installed it can post none."""
    installation_id = template.lab.base_installation_id
    if installation_id is None:
        return
    wanted = WantedReport(
        repo_id=template.repo.repo_id,
        installation_id=installation_id,
        repo_full_name=template.repo.full_name,
        session_id=None,
        report=report,
    )
    await outbox.want(template.services.pool, wanted)
