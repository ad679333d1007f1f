"""What git says of a learner's heads, and the picture of a learner that the App stores and GitHub has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rules.model import LabVersion
from sandbox import Repository
from tests.support.githost import fast_import, run
from tests.support.oracle import Expected, Objects

#: The learner's work, a step each; the commits lie in the template on branches of these names, and so in every fork.
WORK: Mapping[str, Mapping[str, str | bytes]] = {
    "work-0": {"report/bug.md": "Expected: 2\nActual: 3\n"},
    "work-1": {"src/wordcount.js": "export const countWords = (text) => text.split(/\\s+/).filter(Boolean).length;\n"},
    "work-2": {"src/cli.js": "import { countWords } from './wordcount.js';\nconsole.log(countWords(''));\n"},
    "work-3": {"src/frequent.js": "export const mostFrequent = (words, count) => words.slice(0, count);\n"},
}


async def lay_out_work(template: Repository) -> dict[str, str]:
    """Put the learner's future commits, each on the one before, on branches of the template; their shas by name."""
    heads, start = {}, "main"
    for name, files in WORK.items():
        stream = fast_import([files], name, start=f"{start}^0")
        await run("fast-import", "--quiet", cwd=template.path, stdin=stream)
        heads[name] = await run("rev-parse", name, cwd=template.path)
        start = name
    await run("repack", "-a", "-d", "-q", cwd=template.path)  # a fork is one file then, not a hundred
    return heads


# --------------------------------------------------------------------------------------------------- what git says


@dataclass(frozen=True)
class GitOracle:
    """What each head is worth, by git's objects and the rules alone. `heads`: of WORK, by name; `start`: the template's
    own head."""

    version: LabVersion
    objects: Objects
    heads: Mapping[str, str]
    start: str
    _known: dict[str, tuple[frozenset[str], str]] = field(default_factory=dict)

    @classmethod
    async def of(cls, template: Repository, version: LabVersion, heads: Mapping[str, str]) -> GitOracle:
        """Read the template's repository, in which all work lies."""
        start = await run("rev-parse", "main", cwd=template.path)
        return cls(version, await Objects.of(template.path), heads, start)

    def worth(self, head: str) -> tuple[frozenset[str], str]:
        """The steps that are done at a head that follows on the ones before, and the conclusion of its check run."""
        if head not in self._known:
            expected = Expected(self.version.lab, self.version.commit_sha, self.objects)
            verdict = expected.judge_head(head)
            colour = "failure" if verdict.blocked else "neutral" if verdict.untouched else "success"
            self._known[head] = verdict.done_after, colour
        return self._known[head]


# ------------------------------------------------------------------------------------------------------- two pictures


@dataclass(frozen=True)
class Installed:
    """An installation. Of one that is deleted nothing else matters, of a suspended one the App sees no repositories."""

    state: str
    login: str | None = None
    selection: str | None = None
    permissions: tuple[tuple[str, str], ...] | None = None
    covered: tuple[tuple[int, str], ...] | None = None


@dataclass(frozen=True)
class Bound:
    """The active mapping of the learner's repository. Name, visibility and installation: as far as the App can see."""

    repo_id: int
    owner_id: int
    installation_id: int | None = None
    full_name: str | None = None
    private: bool | None = None


@dataclass(frozen=True)
class Picture:
    """Everything that is stored of a learner, as it is or as it must be. `told`: the conclusion of the newest check run
    on the head, where the App can write one."""

    installations: Mapping[int, Installed]
    bound: Bound | None
    status: tuple[str, str | None] | None
    accepted_sha: str | None
    head_sha: str | None
    done: frozenset[str]
    told: str | None

    def differences(self, wanted: Picture, names: Sequence[str] = ()) -> list[str]:
        """Where this one (of it these parts, or everything) is not as it must be."""
        return [
            f"{name}: {getattr(self, name)} instead of {getattr(wanted, name)}"
            for name in names or self.__dataclass_fields__
            if getattr(self, name) != getattr(wanted, name)
        ]
