"""Results that a judged head may wait for: workflow runs and checks of other Apps, read from GitHub and kept.

No payload is believed: an event only wakes, and what counts is read from the API for exactly the head
that is judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bot.services import Services
from github import results
from github.client import InstallationClient
from github.errors import MissingPermission, NotFound
from github.results import RunResult
from rules.conditions import awaited
from rules.mapping import leaves
from rules.model import Check, Facts, RepoMapping, Snapshot, Verdict, Workflow
from storage import accounts, headfacts
from storage.headfacts import HeadFact
from storage.progress import JudgingState

Kind = Literal["workflow", "check"]

# What runs of workflows are read with; operators without such labs need not ask for it (app.yml).
ACTIONS = "actions"


def of_snapshot(state: JudgingState, snapshot: Snapshot) -> JudgingState:
    """The state, with results only on the commits that are judged: what else is known may not make a new verdict."""
    judged = {snapshot.head_sha, *(commit.sha for commit in snapshot.commits)}
    facts = state.facts
    return replace(
        state,
        facts=replace(
            facts,
            workflows=frozenset(known for known in facts.workflows if known[1] in judged),
            checks=frozenset(known for known in facts.checks if known[2] in judged),
            unsuccessful=frozenset(known for known in facts.unsuccessful if known[2] in judged),
        ),
    )


@dataclass(slots=True)
class HeadResults:
    """Asks GitHub how results stand on one head: each kind at most once, and only while a step waits for it."""

    services: Services
    client: InstallationClient
    state: JudgingState
    head_sha: str
    _asked: set[Kind] = field(default_factory=set)

    async def learn(self, verdict: Verdict, facts: Facts) -> Facts | None:
        """The facts with the results that the verdict's waiting steps lack; None: GitHub need not be asked (again).

        Raises GitHubError when it does not answer as it should.
        """
        lacks = awaited(self.state.version.lab, verdict, facts)
        lacking: set[Kind] = {"check" if app_id else "workflow" for _, app_id in lacks}
        new = sorted(lacking - self._asked)
        if not new:
            return None
        for kind in new:
            self._asked.add(kind)
            facts = await self._ask(kind, facts)
        return facts

    async def _ask(self, kind: Kind, facts: Facts) -> Facts:
        try:
            if kind == "workflow" and not await self._may_read_runs():
                return replace(facts, unreadable=facts.unreadable | {kind})
            found = await (self._workflow_runs() if kind == "workflow" else self._check_runs())
        except MissingPermission:
            return replace(facts, unreadable=facts.unreadable | {kind})
        except NotFound:  # of a commit that is there by now: it has no runs
            found = []
        told = [HeadFact(kind, run.name, run.app_id, run.run_id, run.conclusion) for run in found]
        await headfacts.record(self.services.pool, self._mapping.repo_id, self.head_sha, told)
        return headfacts.with_results(facts, self.head_sha, told)

    async def _may_read_runs(self) -> bool:
        """Whether the installation has the permission, as far as we know: a refusal would cost seconds of retries."""
        known = await accounts.installation(self.services.pool, self._mapping.installation_id)
        return known is None or ACTIONS in known.permissions

    async def _workflow_runs(self) -> list[RunResult]:
        """The results of those workflow files that the lab names."""
        lab, mapping = self.state.version.lab, self._mapping
        named = {leaf.path for step in lab.steps for leaf in leaves(step.complete) if isinstance(leaf, Workflow)}
        found = await results.workflow_runs(
            self.client,
            mapping.repo_full_name,
            repo_id=mapping.repo_id,
            branch=lab.branch or "",
            head_sha=self.head_sha,
        )
        return [run for run in found if run.name in named]

    async def _check_runs(self) -> list[RunResult]:
        """The results of those checks that the lab names, of their own Apps. Asked for by what all have in common."""
        lab = self.state.version.lab
        parts = [leaf for step in lab.steps for leaf in leaves(step.complete) if isinstance(leaf, Check)]
        named = {(leaf.name, leaf.app_id) for leaf in parts}
        names, apps = {name for name, _ in named}, {app_id for _, app_id in named}
        found = await results.check_runs(
            self.client,
            self._mapping.repo_full_name,
            head_sha=self.head_sha,
            name=min(names) if len(names) == 1 else None,
            app_id=min(apps) if len(apps) == 1 else None,
        )
        return [run for run in found if (run.name, run.app_id) in named]

    @property
    def _mapping(self) -> RepoMapping:
        assert self.state.mapping  # noqa: S101 (what is judged is bound)
        return self.state.mapping
