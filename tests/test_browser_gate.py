"""What a run says on a machine without a browser, and that CI does not let such a run pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Some of them do for all: each file is left out by itself.
BROWSER_TESTS = "tests/browser/test_browser_audit.py"


@pytest.fixture(name="bare")
def _bare(tmp_path: Path) -> Path:
    """A PATH that has what tests need, a package manager, and no browser."""
    for name in ("sh", "git", "id", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "apt-get").symlink_to(shutil.which("true") or "true")
    return tmp_path


def run(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with this PATH."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_RUN_FOLDER"))}
    for name in ("CHROMIUM", "REQUIRE_BROWSER"):
        clean.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=ROOT,
        env=clean | {"PATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_without_a_browser_the_reason_and_the_remedy_are_told(bare: Path) -> None:
    """The run passes; each file's skip and the last line say what is missing and what installs it."""
    done = run(bare, BROWSER_TESTS)

    assert done.returncode == 0, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    reason = "no Chromium was found; to have one: sudo apt-get install -y --no-install-recommends chromium"
    assert f"LEFT OUT: tests in a browser: {reason}" in done.stdout
    assert "SKIPPED" in done.stdout
    assert "skipped" in last


def test_a_run_that_has_to_have_a_browser_fails_without(bare: Path) -> None:
    """REQUIRE_BROWSER=1: the same run fails, and says why; one that is not about browsers does not care."""
    done = run(bare, BROWSER_TESTS, REQUIRE_BROWSER="1")
    assert done.returncode == 1, done.stdout
    assert "FAILED (REQUIRE_BROWSER=1): tests in a browser: no Chromium was found" in done.stdout

    assert run(bare, "tests/test_docs_audit.py", REQUIRE_BROWSER="1").returncode == 0


def test_ci_requires_the_browser_tests() -> None:
    """.ci/run tries to install a browser and sets REQUIRE_BROWSER, so that it fails if these tests did not run."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert "export REQUIRE_BROWSER=${REQUIRE_BROWSER-1}" in lines
    assert ".ci/browser install || true" in lines
    assert lines.index("export REQUIRE_BROWSER=${REQUIRE_BROWSER-1}") < lines.index("make test")


@pytest.mark.parametrize("place", ["CHROMIUM", "PATH"])
def test_a_browser_is_found(place: str, bare: Path) -> None:
    """By CHROMIUM, or under one of its names on the PATH."""
    browser = bare / ("my-browser" if place == "CHROMIUM" else "google-chrome")
    browser.symlink_to(shutil.which("true") or "true")
    environment = {"PATH": str(bare)} | ({"CHROMIUM": str(browser)} if place == "CHROMIUM" else {})

    done = subprocess.run(
        ["sh", ".ci/browser", "find"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.strip() == str(browser)


def install(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the installation part of CI with nothing else on the PATH."""
    return subprocess.run(
        ["sh", ".ci/browser", "install"], cwd=ROOT, env={"PATH": str(path)}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip


def test_ci_installs_what_is_missing(tmp_path: Path) -> None:
    """Each missing package by itself, without questions and without what is only recommended."""
    script(tmp_path, "id", "echo 0")
    (tmp_path / "env").symlink_to(shutil.which("env") or "env")
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "sh")
    script(tmp_path, "apt-get", f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/asked')

    assert install(tmp_path).returncode == 0

    assert (tmp_path / "asked").read_text().splitlines() == [
        " update -qq",
        "noninteractive install -y -qq --no-install-recommends chromium",
        "noninteractive install -y -qq --no-install-recommends npm",
    ]


def test_ci_goes_on_where_nothing_can_be_installed(tmp_path: Path) -> None:
    """Without a package manager, or without the right to use it, a sentence says what is to be done by hand."""
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "sh")
    bare = install(tmp_path)
    script(tmp_path, "id", "echo 1000")
    script(tmp_path, "apt-get", f"echo asked >{tmp_path}/asked")
    script(tmp_path, "sudo", "exit 1")
    forbidden = install(tmp_path)

    for done in (bare, forbidden):
        assert done.returncode == 1
        assert "could not be installed here. By hand: " in done.stderr
    assert not (tmp_path / "asked").exists()


def script(folder: Path, name: str, body: str) -> None:
    """Put a program made of shell lines into a folder."""
    (folder / name).write_text(f"#!{shutil.which('sh')}\n{body}\n")
    (folder / name).chmod(0o755)
