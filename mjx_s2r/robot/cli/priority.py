"""Precedence of the control loop over other programs, for the time of a flight."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mjx_s2r.robot.watchdog.privileges import CONTROLLER, hurry


@contextmanager
def precedence() -> Iterator[str]:
    """Asks for real-time priority, or a better nice value; yields what was got, and undoes it."""
    before = None
    if hasattr(os, "sched_getscheduler"):
        before = os.sched_getscheduler(0), os.sched_getparam(0)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    got = hurry(CONTROLLER)
    try:
        yield got
    finally:
        if before is not None:
            os.sched_setscheduler(0, *before)
        if os.getpriority(os.PRIO_PROCESS, 0) != nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
