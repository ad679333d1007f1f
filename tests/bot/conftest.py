"""A course, and a plan for worker processes on it, for tests of lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.course import Course, running_course
from tests.support.lane_trace import TABLE
from tests.support.worker_process import WorkerPlan


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
