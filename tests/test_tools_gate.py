"""promtool and pgbouncer: how .ci/tools gets them, and what a run says without."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import programs

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("sh", "cat", "chmod", "cp", "env", "find", "grep", "mkdir", "mktemp", "mv", "rm", "sed", "tar", "tr")


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Path:
    """A machine with few programs and, in `shop`, what its package manager can bring; what that is asked is noted."""
    for folder in ("bin", "shop", "tmp", "clone"):
        (tmp_path / folder).mkdir()
    for name in NEEDED:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    script(tmp_path, "id", "echo 0")
    script(
        tmp_path,
        "apt-get",
        f'echo "$*" >>{tmp_path}/asked\nfor last; do :; done\n'
        f'[ "$last" = update ] || cp "{tmp_path}/shop/$last" "./$last.deb"',
    )
    script(
        tmp_path, "dpkg-deb", 'if [ "$1" = --field ]; then echo "adduser, libspeed2 (>= 1), libhere"; else cat "$2"; fi'
    )
    script(tmp_path, "dpkg-query", '[ "$4" = libhere ] && echo "install ok installed"')
    offer(tmp_path, "prometheus", "usr/bin/promtool", "#!/bin/sh\necho it is promtool: $1\n")
    offer(tmp_path, "pgbouncer", "usr/sbin/pgbouncer", '#!/bin/sh\nexec cat "$LD_LIBRARY_PATH/libspeed.so.2"\n')
    offer(tmp_path, "libspeed2", "usr/lib/x/libspeed.so.2", "it is pgbouncer")
    return tmp_path


def script(machine: Path, name: str, body: str) -> None:
    """Put a program made of shell lines onto the machine."""
    path = machine / "bin" / name
    path.write_text(f"#!{shutil.which('sh')}\n{body}\n")
    path.chmod(0o755)


def offer(machine: Path, package: str, file: str, content: str) -> None:
    """Put a package with one file into the shop."""
    with tarfile.open(machine / "shop" / package, "w") as archive:
        entry = tarfile.TarInfo(f"./{file}")
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content.encode()))


def tools(machine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/tools on the machine."""
    return subprocess.run(
        [programs.SH, str(programs.SCRIPT), *words],
        cwd=machine / "clone",
        env={"PATH": str(machine / "bin"), "TMPDIR": str(machine / "tmp")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def found(machine: Path, name: str) -> str:
    """What the program of this name that was found says when it is run."""
    path = tools(machine, "find", name).stdout.strip()
    return subprocess.run([path, "now"], capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.fixture(name="_only_ours")
def _only_ours(machine: Path) -> None:
    """These programs are not in the folder of the system's that is looked into besides the PATH."""
    if any(Path("/usr/sbin", name).exists() for name in ("promtool", "pgbouncer")):
        pytest.skip("this machine has them")


@pytest.mark.usefixtures("_only_ours")
def test_programs_are_taken_out_of_their_packages(machine: Path) -> None:
    """Packages are downloaded, with a library that is lacking; nothing is installed, so nothing is started."""
    assert tools(machine, "find", "promtool").returncode == 1
    done = tools(machine, "install")

    assert (done.returncode, done.stderr) == (0, "")
    assert (found(machine, "promtool"), found(machine, "pgbouncer")) == ("it is promtool: now", "it is pgbouncer")
    asked = [line.split()[-2:] for line in (machine / "asked").read_text().splitlines()]
    assert [words[-1] for words in asked] == ["update", "prometheus", "pgbouncer", "libspeed2"]
    assert {words[-2] for words in asked[1:]} == {"download"}
    assert list((machine / "tmp").iterdir()) == []
    assert tools(machine, "install").returncode == 0
    assert len((machine / "asked").read_text().splitlines()) == len(asked), "what is there is not fetched again"


@pytest.mark.usefixtures("_only_ours")
@pytest.mark.parametrize("lack", ["registry", "one", "apt-get"])
def test_where_they_cannot_be_had(machine: Path, lack: str) -> None:
    """Without the registry, a package or a package manager one sentence tells the remedy; the rest is brought."""
    match lack:
        case "registry":
            script(machine, "apt-get", "exit 100")
        case "one":
            (machine / "shop" / "prometheus").unlink()
        case _:
            (machine / "bin" / "apt-get").unlink()
    done = tools(machine, "install")

    assert done.returncode == 1
    assert done.stderr.startswith("promtool or pgbouncer could not be had here. By hand: ")
    assert len(done.stderr.splitlines()) == 1
    assert tools(machine, "find", "promtool").returncode == 1
    assert tools(machine, "find", "pgbouncer").returncode == (0 if lack == "one" else 1)
    assert list((machine / "tmp").iterdir()) == []


def test_a_program_of_the_systems_is_used(machine: Path) -> None:
    """What is on the PATH is found, and not brought again."""
    for name in ("promtool", "pgbouncer"):
        script(machine, name, "echo it is the own")
    assert tools(machine, "install").returncode == 0
    assert not (machine / "asked").exists()
    assert found(machine, "promtool") == "it is the own"


def test_without_a_program_the_test_is_left_out_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run tells what is missing and the remedy; with REQUIRE_TOOLS=1 it fails."""
    monkeypatch.delenv("REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no such-program was found; to have it: .+"):
        programs.program("such-program")
    monkeypatch.setenv("REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"REQUIRE_TOOLS=1: no such-program was found; to have it: .+"):
        programs.program("such-program")


@pytest.mark.parametrize("had", [True, False])
def test_ci_requires_them_where_they_can_be_had(tmp_path: Path, had: bool) -> None:
    """.ci/run goes on without them and says so at its end, whatever the tests say; with them the tests have to run."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    script(tmp_path, "make", 'echo "$1 ${REQUIRE_TOOLS-}"')
    for name, body in (("browser", "exit 1"), ("tools", f'[ "$1" = how ] && echo by hand || exit {int(not had)}')):
        script(tmp_path, name, body)
        (tmp_path / "bin" / name).rename(tmp_path / ".ci" / name)
    done = subprocess.run(
        [str(tmp_path / ".ci" / "run")],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["lint ", f"test {'1' if had else ''}"]
    left_out = "LEFT OUT: tests of alerts or poolers: promtool or pgbouncer could not be had. By hand: by hand\n"
    assert done.stderr == ("" if had else left_out)
