"""`app.py sandbox`: a GitHub for trying things out, with scripted faults if they are wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from cli import sandbox as command
from cli.faults import CommandError
from sandbox import Fault
from sandbox.effects import Answer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "--faults: cannot read .*: No such file"),
        ("[", "--faults: .*: line 1, column 2: "),
        ('{"kind": "tea"}', "--faults: .*: fault 1: kind is 'tea'"),
    ],
)
def test_a_wrong_file_is_said_before_anything_runs(tmp_path: Path, text: str | None, words: str) -> None:
    """The file, the fault and what is wrong with it, in one line."""
    file = tmp_path / "faults.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CommandError, match=words) as caught:
        command.run(0, "http://127.0.0.1:9/webhook", file)
    assert caught.value.status == 2


async def test_faults_are_there_once_everything_is_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The faults do not disturb the setting up, and are listed at the address that is printed."""
    stop = asyncio.Event()
    faults = [Fault(Answer(like="unavailable"), area="any", times=1)]
    running = asyncio.create_task(
        command._serve(tmp_path, 0, "http://127.0.0.1:9/webhook", faults, stop)  # without a signal to end it
    )
    try:
        address, printed = "", ""
        async with asyncio.timeout(60):
            while not address:
                await asyncio.sleep(0.02)
                printed += capsys.readouterr().out
                address = next((line.partition("curl ")[2] for line in printed.splitlines() if "curl " in line), "")
            async with aiohttp.ClientSession() as session:
                api = next(line for line in printed.splitlines() if line.startswith("GITHUB_API_URL="))
                statuses = []
                for _ in range(2):
                    async with session.get(f"{api.partition('=')[2]}/meta") as response:
                        statuses.append(response.status)
                async with session.get(address) as response:
                    listed = await response.json()
    finally:
        stop.set()
        await running
    assert statuses == [503, 200]
    assert [(each["kind"], each["fired"]) for each in listed["faults"]] == [("answer", 1)]
