"""What conditions are asked about: a tree with held paths put back, the step's work, contents, facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rules.lazy import Lazy
from rules.mapping import PathMap
from rules.model import Facts, Lab, Step, Tree, TreeEntry
from rules.patterns import compiled_expression
from rules.snapshot import entry_kind
from rules.template import Template

MAX_FILES = 20  # files that a pattern of `contains` or `lacks` has read in one tree: the first in path order
MAX_BYTES = 1 << 20  # of a file that is read

Truth = bool | None  # None: undecided


class MissingBlob(LookupError):  # noqa: N818 - a fact about the snapshot, named as the word it is
    """Our fault: the snapshot lacks a blob that `needed` names. Never an answer about the learner's work."""

    def __init__(self, sha: str) -> None:
        super().__init__(f"The snapshot has no content of blob {sha}.")
        self.sha = sha


@dataclass(frozen=True, slots=True)
class View:
    """A tree as conditions see it. `back`: held paths, each with the tree from which it is put back (JUDGED).

    `sha`: the commit of the tree, which a workflow run or check must have run on.
    """

    tree: Tree
    sha: str | None
    back: Mapping[str, Tree] = field(default_factory=dict)

    def origin(self, path: str) -> Tree:
        """The tree that this path is seen from."""
        return self.back.get(path, self.tree)

    def entry(self, path: str) -> TreeEntry | None:
        """What is at the path."""
        return self.origin(path).get(path)


class Evidence:
    """What conditions are asked about within one judgement: the lab, the template, contents and facts.

    `trees`: every tree that a view may show. `facts` speak of today's step ids.
    """

    def __init__(
        self,
        lab: Lab,
        paths: PathMap,
        template: Template,
        *,
        trees: Sequence[Tree],
        facts: Facts,
        blobs: Mapping[str, bytes],
    ) -> None:
        self.lab = lab
        self.paths = paths
        self.template = template
        self.facts = facts
        self._trees = trees
        self._blobs = blobs
        self._numbers = {step.id: number for number, step in enumerate(lab.steps)}
        self._read: dict[tuple[int, str], frozenset[str]] = {}
        self._found: dict[tuple[str, str], bool] = {}
        self._intact: dict[int, bool] = {}

    def work(self, step: Step, view: View) -> Iterator[str]:
        """Paths of the step whose content in the view is work: not the template's, not shared, not protected."""
        for path in self._workplaces[self._numbers[step.id]]:
            self.paths.tick(1)
            if self.template.is_work(path, view.entry(path)):
                yield path

    @Lazy
    def _workplaces(self) -> Mapping[int, list[str]]:
        """Of each step the paths that are not the pinned template's in some tree: where its work may be."""
        trees = {id(tree): tree for tree in self._trees}.values()
        changed = sorted(dict.fromkeys(path for tree in trees for path in self.template.changed(tree)))
        places = self.paths.places(changed)
        found: defaultdict[int, list[str]] = defaultdict(list)
        for path in changed:
            place = places[path]
            if not place.protected and not place.shared:
                for owner in place.owners:
                    found[owner].append(path)
        return found

    def intact(self, tree: Tree) -> bool:
        """Whether every protected path of a tree is the template's."""
        if id(tree) not in self._intact:
            self._intact[id(tree)] = not self.template.astray(tree, tree).paths
        return self._intact[id(tree)]

    def search(self, path: str, expression: str, view: View) -> Truth:
        """Whether a regular file that `path` names has text that the expression finds; undecided if one is unread."""
        unread = False
        for name in self.paths.named(path):
            self.paths.tick(1)
            entry = view.entry(name)
            if entry is None or entry_kind(entry) != "file":
                continue
            found = self._has(entry, expression) if name in self._readable(view.origin(name), path) else None
            if found:
                return True
            unread |= found is None
        return None if unread else False

    def _readable(self, tree: Tree, path: str) -> frozenset[str]:
        key = (id(tree), path)
        if key not in self._read:
            self._read[key] = frozenset(readable(self.paths, tree, path))
        return self._read[key]

    def _has(self, entry: TreeEntry, expression: str) -> Truth:
        if not is_small(entry.size):
            return None
        content = self._blobs.get(entry.sha)
        if content is None:
            raise MissingBlob(entry.sha)
        if not is_small(len(content)):
            return None
        key = (entry.sha, expression)
        if key not in self._found:
            compiled, text = compiled_expression(expression), _text(content)
            self.paths.tick(compiled.programsize * len(text))  # RE2's worst case: every instruction at every byte
            self._found[key] = compiled.search(text) is not None
        return self._found[key]


def is_small(size: int | None) -> bool:
    """Whether a file of so many bytes is read. One whose size the tree does not tell is fetched and then measured."""
    return size is None or size <= MAX_BYTES


def _text(content: bytes) -> bytes:
    """The file as UTF-8: without byte order mark, CRLF as LF, what is no UTF-8 as U+FFFD."""
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n").encode()


def readable(paths: PathMap, tree: Tree, path: str) -> Iterator[str]:
    """The regular files of a tree that a condition's path names and that are read: the first MAX_FILES."""
    files = (name for name in paths.named(path) if (entry := tree.get(name)) and entry_kind(entry) == "file")
    return islice(files, MAX_FILES)
