"""The lab that an author works on: its file, and the template's files around it, from the working tree or a commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.faults import WRONG_USE, CommandError
from cli.gitread import GitReadError, NotARepositoryError, Repository
from cli.terminal import name

if TYPE_CHECKING:
    from rules.model import TreeEntry

LAB_FILE = ".forgea/steps.json"
_READ_AT_MOST = 16 << 20  # bytes of a lab file; far more than one may have


@dataclass(frozen=True, slots=True)
class Template:
    """The files of a template. `revision` None: as they lie in the working tree."""

    repository: Repository
    revision: str | None
    tree: Mapping[str, TreeEntry]

    def read(self, paths: Iterable[str], limit: int) -> dict[str, bytes]:
        """The contents of regular files by path, of each at most the first `limit` bytes; others are left out."""
        found: dict[str, bytes] = {}
        for path in paths:
            entry = self.tree.get(path)
            if entry is None or not entry.mode.startswith("100"):
                continue
            if self.revision is not None:
                found[path] = self.repository.blob(entry.sha, limit)
            elif (content := self.repository.read_working_file(path, limit)) is not None:
                found[path] = content
        return found


@dataclass(frozen=True, slots=True)
class LabSource:
    """A lab file to look at. `shown`: its name in messages. `template` None: only the file is known; `note`: why."""

    shown: str
    data: bytes
    template: Template | None
    note: str = ""


@contextmanager
def lab_source(place: Path, revision: str | None = None) -> Iterator[LabSource]:
    """The lab file at a place: a file, or the folder of a template's checkout (or a bare repository, with a revision).

    CommandError with status 2 when there is no such file or revision. Without a revision, a place that is in no
    repository gives the file alone.
    """
    folder = _checkout(place)
    if folder is None:
        if revision is not None:
            raise CommandError(f"{name(str(place))} is not the {LAB_FILE} of a checkout: no --rev", status=WRONG_USE)
        note = f"Only the file was looked at: it is not called {LAB_FILE}, so that there is no template around it."
        yield LabSource(name(str(place)), _bytes(place), None, note)
        return
    if revision is not None:
        with Repository.open(folder) as repository:
            yield _at_commit(repository, revision)
        return
    path = folder / LAB_FILE
    shown = name(str(path if place.is_dir() else place))
    data = _lab_file_of(folder)
    try:
        opened = Repository.open(folder)
    except GitReadError as error:
        reason = "it is not in a git repository" if isinstance(error, NotARepositoryError) else str(error)
        yield LabSource(shown, data, None, f"Only the file was looked at, not the template's files: {reason}.")
        return
    with opened as repository:
        yield LabSource(shown, data, Template(repository, None, repository.working_tree()))


def _checkout(place: Path) -> Path | None:
    """The template's folder; None for a file that is not in its place there."""
    if place.is_dir():
        return place
    whole = place.absolute()
    return whole.parent.parent if whole.parts[-2:] == tuple(LAB_FILE.split("/")) else None


def _lab_file_of(folder: Path) -> bytes:
    path = folder / LAB_FILE
    if path.exists() or path.is_symlink():
        return _bytes(path)
    if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        raise CommandError(f"{name(str(folder))} is a bare repository: name a commit with --rev", status=WRONG_USE)
    hint = f"`app.py lab init {name(str(folder))}` proposes one"
    raise CommandError(f"there is no {LAB_FILE} in {name(str(folder))}; {hint}", status=WRONG_USE)


def _bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise CommandError(f"{name(str(path))} is not a file", status=WRONG_USE)
    try:
        with path.open("rb") as file:
            return file.read(_READ_AT_MOST)
    except FileNotFoundError:
        raise CommandError(f"there is no file {name(str(path))}", status=WRONG_USE) from None
    except OSError as error:
        raise CommandError(f"{name(str(path))} cannot be read: {error.strerror}", status=WRONG_USE) from None


def _at_commit(repository: Repository, revision: str) -> LabSource:
    tree = repository.tree(revision)
    shown = f"{name(revision)}:{LAB_FILE}"
    data = repository.show_file(revision, LAB_FILE, _READ_AT_MOST)
    if data is None:
        raise CommandError(f"the commit {name(revision)} has no {LAB_FILE}", status=WRONG_USE)
    return LabSource(shown, data, Template(repository, revision, tree))
