"""What a process asks of the system so that nothing holds it up; each is tried, none is needed."""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable

FIFO = 10  # real-time priority, of 1 to 99; the kernel's own interrupt threads have 50
CONTROLLER = 5  # that of a controller: its watchdog must get its turn if the loop never sleeps
NICE = -10
SPARED = "-900"  # of oom_score_adj: who is ended when memory runs out, -1000 to 1000
CURRENT_AND_FUTURE = 3  # MCL_CURRENT | MCL_FUTURE of sys/mman.h
SWITCH_S = 0.0005  # how soon a thread of Python gives way to another


def hold_steady(*, realtime: bool, priority: int = FIFO) -> dict[str, str]:
    """Settles the process: no garbage collection, quick thread switches, and real time if allowed.

    Args:
        realtime: also ask for priority, to be kept in memory, and to be spared when it runs out.
        priority: of the thread that calls, `FIFO` or `CONTROLLER`.

    Returns:
        What was asked -> what was got, for the log.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    got = {"gc": "off"}
    if realtime:
        got["priority"] = hurry(priority)
        got["memory"] = _first_that_works(("locked", _lock_memory))
        got["out of memory"] = _first_that_works(("ended late", _spare))
    return got


def hurry(priority: int) -> str:
    """Asks for real-time priority for the thread that calls; threads it starts do not inherit it.

    Returns:
        What was got: "FIFO ..." in real time, "nice ..." for precedence, or "not permitted".
    """
    policy = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
    return _first_that_works(
        (
            f"FIFO {priority}",
            lambda: os.sched_setscheduler(0, policy, os.sched_param(priority)),
        ),
        (f"nice {NICE}", lambda: os.setpriority(os.PRIO_PROCESS, 0, NICE)),
    )


def _first_that_works(*ways: tuple[str, Callable[[], object]]) -> str:
    """Returns the name of the first way that the system allows."""
    for name, way in ways:
        with contextlib.suppress(OSError, AttributeError):
            way()
            return name
    return "not permitted"


def _lock_memory() -> None:
    """Keeps the process's memory from being paged out.

    Where the amount is limited, locking what comes later would make allocations fail, so nothing is
    locked then.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        raise OSError("the amount of locked memory is limited")
    if ctypes.CDLL(None, use_errno=True).mlockall(CURRENT_AND_FUTURE):
        raise OSError(ctypes.get_errno(), "mlockall")


def _spare() -> None:
    """Asks the system to end other processes first when memory runs out (Linux)."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(SPARED)
