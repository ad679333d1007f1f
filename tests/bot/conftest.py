"""For tests of a module: a running line with a lab, and learners. For tests of lanes: a course without a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from tests.support.course import Course, running_course
from tests.support.direct import begin
from tests.support.lane_trace import TABLE
from tests.support.learners import Learner, open_course, open_lab, template_files
from tests.support.line import Line, running_line
from tests.support.worker_process import WorkerPlan

#: The example lab on the line of a module.
LAB = "word-counter"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with the example lab, for all tests of a module."""
    async with running_line(module_database) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line) -> Learner:
    """A learner who has just installed the App on a fork of the example lab, and pushed nothing."""
    return await begin(line, LAB)


@pytest.fixture(name="course")
async def _course(fresh_database: str) -> AsyncIterator[Course]:
    """A course with a table for traces of lanes, without any worker."""
    async with running_course(fresh_database) as course:
        await course.pool.execute(TABLE)
        yield course


@pytest.fixture(name="plan")
def _plan(course: Course) -> WorkerPlan:
    """A plan for workers that trace their lanes and whose leases are short."""
    lease = timedelta(seconds=1.5)
    log = course.folder / "workers.log"
    return WorkerPlan.on(
        course.sandbox, course.dsn, log, lease=lease, report_lease=lease, seams=("tests.support.lane_trace:trace",)
    )
