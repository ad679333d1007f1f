"""The Makefile's set-up: what is missing is said in one command, before anything is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SH = shutil.which("sh") or "/bin/sh"


class Machine:
    """A folder of programs that is the whole PATH of the script under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.link("id", "/usr/bin/id")

    def link(self, name: str, target: str) -> None:
        """Install a real program."""
        (self.folder / name).symlink_to(shutil.which(target) or target)

    def script(self, name: str, body: str) -> None:
        """Install a program made of shell lines."""
        path = self.folder / name
        path.write_text(f"#!{SH}\n{body}\n")
        path.chmod(0o755)

    def check(self, python: str = "python3") -> subprocess.CompletedProcess[str]:
        """Run the check of prerequisites with nothing else on the PATH."""
        return subprocess.run(
            [SH, str(ROOT / ".ci" / "prerequisites")],
            env={"PATH": str(self.folder), "PYTHON": python},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    """A machine that has everything."""
    machine = Machine(tmp_path / "bin")
    machine.script("python3", f'exec "{sys.executable}" "$@"')
    machine.link("git", "git")
    machine.link("make", "make")
    return machine


def remedy(done: subprocess.CompletedProcess[str]) -> str:
    """The one command that the check proposes."""
    (command,) = re.findall(r"^Install it with:  (?:sudo )?(.*)$", done.stderr, re.MULTILINE)
    return str(command)


def test_a_complete_machine_gets_its_python(machine: Machine) -> None:
    """When nothing is missing, the path of the Python is printed, and nothing else."""
    done = machine.check()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(machine.folder / "python3")


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "apt-get install -y python3-venv git make"),
        ("dnf", "dnf install -y python3 git make"),
        ("brew", "brew install python git make"),
    ],
)
def test_a_bare_machine_gets_one_command(manager: str, command: str, tmp_path: Path) -> None:
    """Everything is missing: the system's own package manager gets one command for all of it."""
    machine = Machine(tmp_path / "bare")
    machine.script(manager, "exit 99")

    done = machine.check()

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Stepgate needs: Python 3.11 or newer, git, make\n")
    assert remedy(done) == command


def test_without_a_package_manager_a_sentence_remains(tmp_path: Path) -> None:
    """On an unknown system the missing things are named all the same."""
    done = Machine(tmp_path / "bare").check()

    assert done.returncode == 1
    assert "package manager of your system" in done.stderr


def test_an_old_python_is_not_taken(machine: Machine) -> None:
    """A python3 before 3.11 counts as none, and the remedy names a version."""
    (machine.folder / "python3").unlink()
    machine.script("python3", 'case "$2" in *version_info*) exit 1;; esac; exit 0')
    machine.script("apt-get", "exit 99")

    done = machine.check()

    assert "Python 3.11 or newer" in done.stderr
    assert remedy(done).startswith("apt-get install -y python3.11 python3.11-venv")


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    """When python3 is too old but python3.12 is there, that one is used."""
    (machine.folder / "python3").rename(machine.folder / "python3.12")
    machine.script("python3", "exit 1")

    assert machine.check().stdout.strip() == str(machine.folder / "python3.12")


def test_a_python_without_venv_is_named(machine: Machine) -> None:
    """Debian ships venv apart: its package is what the remedy installs."""
    (machine.folder / "python3").unlink()
    machine.script("python3", f'case "$2" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"')
    machine.script("apt-get", "exit 99")

    done = machine.check()

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert "the venv module of" in done.stderr
    assert remedy(done).startswith(f"apt-get install -y python{version}-venv")


def test_a_git_without_http_backend_is_named(machine: Machine) -> None:
    """The sandbox serves pushes with git http-backend, which some systems ship apart."""
    (machine.folder / "git").unlink()
    machine.script("git", "echo /nowhere")

    assert machine.check().stderr.startswith("Stepgate needs: git http-backend\n")


def test_make_stops_before_installing_anything(tmp_path: Path) -> None:
    """`make demo` on a machine that lacks Python prints the remedy and leaves no .venv behind."""
    project = tmp_path / "project"
    (project / ".ci").mkdir(parents=True)
    for name in ("Makefile", ".ci/prerequisites", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, project / name)
    machine = Machine(tmp_path / "bin")
    machine.script("apt-get", "exit 99")
    make = shutil.which("make")
    assert make is not None, "the tests are run by make"

    done = subprocess.run(
        [make, "demo"],
        cwd=project,
        env={"PATH": str(machine.folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode != 0
    assert "Install it with:" in done.stderr
    assert not (project / ".venv").exists()


def test_every_target_is_explained() -> None:
    """`make help` names every target that people type."""
    text = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    explained = set(re.findall(r"^\t@echo 'make (\w+)", text, re.MULTILINE))

    assert explained | {"help"} == set(targets.split())


def test_soak_runs_what_tries_harder() -> None:
    """`make soak` sets SOAK and selects the modules that ask for it: whole ones, no others, or those of a folder."""
    chosen = {}
    for folder in ("", "tests/storage"):
        told = subprocess.run(
            ["make", "--dry-run", "--assume-old=.venv/.ready-dev", "soak", f"ARGS={folder}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        assert "SOAK=1 .venv/bin/python -m pytest" in told
        select = re.search(r"\$\((grep .*)\)", told)
        assert select is not None
        done = subprocess.run([SH, "-c", select[1]], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
        chosen[folder] = done.stdout.split()
    everything, some = chosen[""], chosen["tests/storage"]

    assert {"tests/matrix/test_group_e_limits.py", "tests/rules/test_verdict_properties.py"} <= set(everything)
    assert "tests/test_settings.py" not in everything
    assert some == [path for path in everything if path.startswith("tests/storage/")] != []


def test_ci_runs_lint_and_then_exactly_make_test() -> None:
    """.ci/run is `make lint`, then `make test`, and stops at the first failure."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test"]
    assert lines[-1] == "make test"
