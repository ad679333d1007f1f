"""`app.py sandbox`: a GitHub on this machine with a lab's template, a learner's fork and the App installed on both."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

from cli.demo_git import Clone, with_login
from cli.demo_world import LAB, LEARNER, TEACHER, TEMPLATE
from cli.faults import WRONG_USE, CommandError
from cli.serve import run_until_stopped
from sandbox import Fault, Sandbox, SandboxError
from sandbox.faults_control import ADDRESS
from sandbox.faults_format import read_faults


def run(port: int, webhook: str, faults: Path | None = None) -> None:
    """Serve until Ctrl-C; the repositories live in a temporary folder. Prints the settings that the App needs.

    `faults`: a file of scripted faults, which are there once the repositories are.
    """
    scripted = [] if faults is None else _read(faults)
    home = Path(tempfile.mkdtemp(prefix="stepgate-sandbox-"))
    try:
        run_until_stopped(lambda stop: _serve(home, port, webhook, scripted, stop), fast=False)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _read(file: Path) -> list[Fault]:
    try:
        return read_faults(file.read_bytes())
    except OSError as error:
        raise CommandError(f"--faults: cannot read {file}: {error.strerror}", status=WRONG_USE) from error
    except SandboxError as error:
        raise CommandError(f"--faults: {file}: {error}", status=WRONG_USE) from error


async def _serve(home: Path, port: int, webhook: str, faults: list[Fault], stop: asyncio.Event) -> None:
    secret = secrets.token_hex(32)
    sandbox = Sandbox(home / "github", webhook_url=webhook, webhook_secret=secret, port=port)
    try:
        await sandbox.start()
    except OSError as error:
        raise CommandError(f"--port: cannot listen on {port}: {error.strerror}", status=WRONG_USE) from error
    try:
        for line in await _furnish(sandbox, home, secret):
            print(line, flush=True)  # noqa: T201 (the command's answer)
        for fault in faults:
            sandbox.faults.add(fault)
        await stop.wait()
    finally:
        await sandbox.stop()


async def _furnish(sandbox: Sandbox, home: Path, secret: str) -> list[str]:
    """Make accounts, template, fork and installations; returns the lines that tell how to use them."""
    sandbox.add_account("octo-course", kind="Organization")
    sandbox.add_account(TEACHER.login)
    sandbox.add_account(LEARNER.login)
    template = await sandbox.add_repository("octo-course", "word-counter-lab")
    sandbox.add_collaborator(template.full_name, TEACHER.login)
    await Clone.publish(TEACHER, TEMPLATE, f"{sandbox.url}/{template.full_name}.git", home / "template")
    await sandbox.install("octo-course", [template.full_name])
    fork = await sandbox.fork(template.full_name, LEARNER.login)
    await sandbox.install(LEARNER.login, [fork.full_name])
    key = home / "app.pem"
    key.touch(mode=0o600)
    key.write_text(sandbox.private_key_pem, encoding="utf-8")
    return [
        "# Put these lines into .env, then: python app.py serve",
        f"GITHUB_API_URL={sandbox.api_url}",
        f"GITHUB_WEB_URL={sandbox.url}",
        f"GITHUB_APP_ID={sandbox.app_id}",
        f"GITHUB_PRIVATE_KEY_PATH={key}",
        f"GITHUB_WEBHOOK_SECRET={secret}",
        f"# Then: python app.py labs add {template.full_name} --slug {LAB}; python app.py labs publish {LAB}",
        f"# The learner: git clone {with_login(f'{sandbox.url}/{fork.full_name}.git', LEARNER.login)}",
        f"# What goes wrong on purpose (docs/sandbox.md): curl {sandbox.url}{ADDRESS}",
    ]
