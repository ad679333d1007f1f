"""`app.py serve --poll` as a process: a class on a machine that GitHub cannot reach, without a webhook secret."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from bot.registry import add_lab, publish_lab
from cli.connect import github_of
from sandbox import Sandbox
from settings import Settings
from storage.database import open_pool
from tests.support.deliveries import template_files
from tests.support.githost import WorkingCopy, seed
from tests.support.keys import private_key

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "https://stepgate.invalid/webhook"


async def test_a_push_is_judged_without_a_public_address(fresh_database: str, tmp_path: Path) -> None:
    """GitHub reaches nobody; installation and push come from its log, and the push's head has its check-run."""
    async with Sandbox(tmp_path / "github", webhook_url=NOWHERE, private_key_pem=private_key()) as sandbox:
        sandbox.add_account("octo-course", "Organization")
        sandbox.add_account("learner-one")
        await seed(await sandbox.add_repository("octo-course", "lab"), template_files())
        await sandbox.install("octo-course", ["octo-course/lab"])
        await _register(sandbox, fresh_database)
        process = await _serve(sandbox, fresh_database, tmp_path)
        try:
            fork = await sandbox.fork("octo-course/lab", "learner-one")
            await sandbox.install("learner-one", [fork.full_name])
            clone = await WorkingCopy.clone(sandbox, fork.full_name, "learner-one", tmp_path / "clone")
            await clone.git("commit", "--quiet", "--allow-empty", "-m", "work")
            await clone.git("push", "--quiet", "origin", "HEAD")
            head = await clone.git("rev-parse", "HEAD")
            async with asyncio.timeout(45):
                while not sandbox.check_runs(fork.full_name, head):
                    await asyncio.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert b"no public address is needed" in err
    assert b"Traceback" not in err


async def _register(sandbox: Sandbox, dsn: str) -> None:
    """Register and publish the lab, as `labs add` and `labs publish` do."""
    settings = Settings(
        _env_file=None,
        github_api_url=sandbox.api_url,
        github_app_id=sandbox.app_id,
        github_private_key=sandbox.private_key_pem,
    )
    pool = await open_pool(dsn, max_size=2)
    async with github_of(settings) as github:
        await publish_lab(pool, github, await add_lab(pool, github, "octo-course/lab"))
    await pool.close()


async def _serve(sandbox: Sandbox, dsn: str, folder: Path) -> asyncio.subprocess.Process:
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "app.py"),
        "serve",
        "--poll",
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": dsn,
            "PORT": "0",
            "GITHUB_API_URL": sandbox.api_url,
            "GITHUB_WEB_URL": sandbox.url,
            "GITHUB_APP_ID": str(sandbox.app_id),
            "GITHUB_PRIVATE_KEY": sandbox.private_key_pem.replace("\n", "\\n"),
        },
        stdout=-1,
        stderr=-1,
    )
