"""One running line for all tests of a file: each test enrols a learner of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.learners import Learner, enrol, open_course, open_lab, template_files
from tests.support.line import Line, running_line

LAB = "word-counter"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with the example lab."""
    async with running_line(module_database) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, tmp_path: Path) -> Learner:
    """A learner who has just started the example lab."""
    return await enrol(line, LAB, tmp_path)
