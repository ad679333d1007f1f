"""What the ledger and a session must say, computed from git's objects and the rules alone.

Git is read here by other means than the product's: all objects of the repository in one go, no API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rules.model import CommitTree, Facts, Lab, Tree, TreeEntry, Verdict
from rules.replay import Pushed, Setting, State, looked_at, play


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
        """First-parent commits of base..head without head, oldest first."""
        below = self.ancestors(base)
        line, sha = [], head
        while (parents := self.parents(sha)) and parents[0] not in below:
            sha = parents[0]
            line.append(sha)
        return line[::-1]


@dataclass
class Expected:
    """A session as it must be after the heads that `judge_head` was called with, in order."""

    lab: Lab
    template: str
    objects: Objects
    stuck_after: int = 3
    head: str | None = None
    state: State = field(default_factory=State)

    @property
    def accepted(self) -> str | None:
        """The last head that was accepted."""
        return self.state.accepted.sha if self.state.accepted else None

    def judge_head(self, head: str) -> Verdict:
        """Judge a head, and move on as the verdict says."""
        commits = tuple(self._commit(sha) for sha in self.objects.between(self.accepted or self.template, head))
        rewrite = self.accepted is not None and self.accepted not in self.objects.ancestors(head)
        setting = Setting(self.lab, self.objects.files(self.template), stuck_after=self.stuck_after)
        push = Pushed(self._commit(head), looked_at(commits), rewrite)
        verdict, self.state = play(setting, self.state, push, Facts(), self._contents)
        self.head = head
        return verdict

    def _commit(self, sha: str) -> CommitTree:
        return CommitTree(sha, self.objects.files(sha))

    def _contents(self, shas: frozenset[str]) -> dict[str, bytes]:
        return {sha: self.objects.known[sha][1] for sha in shas}
