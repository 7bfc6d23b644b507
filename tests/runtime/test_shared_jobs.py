"""Jobs that several processes share."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mjx_s2r.runtime.shared_jobs import share_jobs

Found = tuple[int, int, int]  # job, number of what it found, process
Work = Callable[[int], Iterator[Found]]


def counting(job: int) -> Iterator[Found]:
    """Finds two things, slowly enough that others get a share."""
    for number in range(2):
        time.sleep(0.3)
        yield job, number, os.getpid()


def counters() -> Work:
    """Prepares a process."""
    return counting


def dying_elsewhere(first_by: int, marks: Path) -> Work:
    """Prepares a process that ends without a word in the midst of its first job."""

    def work(job: int) -> Iterator[Found]:
        """Finds one thing and ends."""
        yield job, 0, os.getpid()
        (marks / str(job)).touch()
        time.sleep(0.5)
        if os.getpid() != first_by:
            os._exit(9)
        yield job, 1, os.getpid()

    return work


def failing() -> Work:
    """Prepares a process that cannot do the job."""

    def work(job: int) -> Iterator[Found]:
        """Fails."""
        raise ValueError(f"job {job} cannot be done")

    return work


@pytest.mark.parametrize(("processes", "count"), [(1, 2), (3, 30)])
def test_every_job_is_done_once_and_in_its_order(processes: int, count: int) -> None:
    jobs = list(range(count))
    found = list(share_jobs(counters, (), jobs, processes, counting))
    assert sorted((job, number) for job, number, _ in found) == [
        (j, n) for j in jobs for n in (0, 1)
    ]
    for job in jobs:
        assert [number for j, number, _ in found if j == job] == [0, 1]
    workers = {process for _, _, process in found}
    assert os.getpid() in workers and (len(workers) > 1) == (processes > 1)


def test_what_a_dead_process_left_is_done_here(tmp_path: Path) -> None:
    args = (os.getpid(), tmp_path)

    def here(job: int) -> Iterator[Found]:
        """Waits until the other process has begun a job."""
        while not any(tmp_path.iterdir()):
            time.sleep(0.05)
        return dying_elsewhere(*args)(job)

    found = list(share_jobs(dying_elsewhere, args, list(range(3)), 2, here))
    assert sorted(f[:2] for f in found) == [(j, n) for j in range(3) for n in (0, 1)]
    assert {f[2] for f in found if f[1] == 1} == {os.getpid()}


def test_an_error_of_another_process_is_told_here() -> None:
    def patient(job: int) -> Iterator[Found]:
        """Works until the other one has failed."""
        for number in range(600):
            time.sleep(0.1)
            yield job, number, os.getpid()

    with pytest.raises(ValueError, match="cannot be done"):
        list(share_jobs(failing, (), [1, 2], 2, patient))
