"""What the ledger and a session must say, computed from git's objects and the rules alone.

Git is read here by other means than the product's: all objects of the repository in one go, no API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rules.conditions import needed_for
from rules.model import CommitTree, Facts, Lab, Progress, SessionStatus, Snapshot, Tree, TreeEntry, Verdict
from rules.session import event_of, next_status
from rules.verdict import judge

#: More first-parent commits than this below a head are not looked at one by one (steps.md 5).
MAX_COMMITS = 20


@dataclass(frozen=True)
class Objects:
    """All objects of a repository: type and content by sha."""

    known: Mapping[str, tuple[str, bytes]]

    @classmethod
    async def of(cls, path: Path) -> Objects:
        """Read a bare repository."""
        process = await asyncio.create_subprocess_exec(
            "git", "cat-file", "--batch-all-objects", "--batch", cwd=path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        known, at = {}, 0
        while at < len(output):
            end = output.index(b"\n", at)
            sha, kind, size = output[at:end].decode().split()
            known[sha] = kind, output[end + 1 : end + 1 + int(size)]
            at = end + 2 + int(size)
        return cls(known)

    def parents(self, commit: str) -> list[str]:
        """The commit's parents."""
        header = self.known[commit][1].partition(b"\n\n")[0].decode()
        return [line.split()[1] for line in header.splitlines() if line.startswith("parent ")]

    def ancestors(self, commit: str) -> set[str]:
        """The commit and everything below it."""
        found: set[str] = set()
        waiting = [commit]
        while waiting:
            sha = waiting.pop()
            if sha not in found:
                found.add(sha)
                waiting += self.parents(sha)
        return found

    def files(self, commit: str) -> Tree:
        """The commit's files by path."""
        root = self.known[commit][1].split(b"\n", 1)[0].split()[1].decode()
        found: dict[str, TreeEntry] = {}
        self._walk(root, "", found)
        return found

    def _walk(self, tree: str, prefix: str, found: dict[str, TreeEntry]) -> None:
        data, at = self.known[tree][1], 0
        while at < len(data):
            end = data.index(b"\0", at)
            mode, name = data[at:end].decode().split(" ", 1)
            sha = data[end + 1 : end + 21].hex()
            at = end + 21
            if mode == "40000":
                self._walk(sha, f"{prefix}{name}/", found)
            else:
                found[prefix + name] = TreeEntry(prefix + name, mode, sha, len(self.known[sha][1]))

    def between(self, base: str, head: str) -> list[str]:
        """First-parent commits of base..head without head, oldest first; none when there are too many."""
        below = self.ancestors(base)
        line, sha = [], head
        while (parents := self.parents(sha)) and parents[0] not in below:
            sha = parents[0]
            line.append(sha)
        return line[::-1] if len(line) < MAX_COMMITS else []


@dataclass
class Expected:
    """A session as it must be after the heads that `judge_head` was called with, in order."""

    lab: Lab
    template: str
    objects: Objects
    stuck_after: int = 3
    accepted: str | None = None
    head: str | None = None
    status: SessionStatus = SessionStatus.IN_PROGRESS
    progress: Progress = field(default_factory=Progress)
    blocked_heads: set[str] = field(default_factory=set)

    def judge_head(self, head: str) -> Verdict:
        """Judge a head, and move on as the verdict says."""
        verdict = self.verdict_on(head)
        if verdict.blocked:
            self.blocked_heads.add(head)
            kept = self.progress.since_accepted & verdict.done_after
            since = kept | (verdict.done_after - self.progress.done)
        else:
            self.blocked_heads, since, self.accepted = set(), frozenset(), head
        self.head = head
        self.progress = Progress(verdict.done_after, since)
        blocked = len(self.blocked_heads)
        event = event_of(verdict)
        self.status = next_status(self.status, event, None, blocked_heads=blocked, stuck_after=self.stuck_after).status
        return verdict

    def verdict_on(self, head: str) -> Verdict:
        """The verdict on a head as things stand."""
        base = self.accepted or self.template
        snapshot = Snapshot(
            template=self.objects.files(self.template),
            accepted=self.objects.files(base),
            head=self.objects.files(head),
            head_sha=head,
            accepted_sha=self.accepted,
            rewrite=self.accepted is not None and self.accepted not in self.objects.ancestors(head),
            commits=tuple(CommitTree(sha, self.objects.files(sha)) for sha in self.objects.between(base, head)),
        )
        shas: Sequence[str] = sorted(needed_for(self.lab, self.progress, snapshot, Facts()))
        blobs = {sha: self.objects.known[sha][1] for sha in shas}
        return judge(self.lab, self.progress, replace(snapshot, blobs=blobs), Facts())
