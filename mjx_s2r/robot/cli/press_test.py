"""The press test: every emergency stop of a run is pressed once, before anything moves."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mjx_s2r.robot.checklist import Finding, estop_press
from mjx_s2r.robot.cli.robots import by_watchdog
from mjx_s2r.robot.estop import FileStop, HeartbeatStop, LatchedStop, SignalStop, open_stop
from mjx_s2r.robot.watchdog.proxy import WatchedDriver

SETTLE_S = 0.1  # until the watchdog has seen a file come and go
HEARTBEAT_S = 10.0  # time in which another machine's heartbeat must be there


def press_all(forms: Sequence[str], watchdog: WatchedDriver | None) -> Finding:
    """Presses every stop: signals and files by itself, the others are a person's to press.

    A stop that the watchdog feels, too, latches it; it is released again. A heartbeat that only the
    watchdog can hear is a question for the person.
    """
    notes, sure = [], True
    for form in forms:
        if watchdog is not None and form.startswith("udp:"):
            notes.append(f"whether {form} stops it, only a test by hand shows")
            sure = False
            continue
        stop = open_stop(form)
        try:
            found = _press(form, stop)
        finally:
            stop.close()
        if watchdog is not None and by_watchdog(form):
            time.sleep(SETTLE_S)
            watchdog.reset()
        notes.append(found.note)
        if not found.ok:
            return Finding(False, found.note)
    return Finding(True if sure else None, "; ".join(notes))


def _press(form: str, stop: LatchedStop) -> Finding:
    """Presses one stop."""
    if isinstance(stop, SignalStop):
        return estop_press(stop, lambda: os.kill(os.getpid(), signal.SIGUSR1), 1.0)
    if isinstance(stop, FileStop):
        path = Path(form.partition(":")[2])
        found = estop_press(stop, path.touch, 1.0)
        if found.ok:
            path.unlink()
        return found
    if isinstance(stop, HeartbeatStop):
        _say("waiting for the other machine's heartbeat")
        if not _until(HEARTBEAT_S, lambda: not stop.pressed()):
            return Finding(False, f"{stop.name}: no heartbeat within {HEARTBEAT_S:g} s")
        _say("now stop the heartbeat there (Ctrl-C)")
    else:
        _say("press the space bar now: the emergency stop is tested, nothing moves")
    return estop_press(stop, None)


def _until(seconds: float, done: Callable[[], bool]) -> bool:
    """Returns whether ``done`` came true in time."""
    end_s = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


def _say(text: str) -> None:
    """Prints what to do."""
    print(text, file=sys.stderr, flush=True)
