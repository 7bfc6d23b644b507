"""The press test: every emergency stop of a run is pressed once, before anything moves."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mjx_s2r.robot.checklist import Finding, estop_press
from mjx_s2r.robot.cli.parser import RefusedError
from mjx_s2r.robot.cli.robots import by_watchdog
from mjx_s2r.robot.estop import FileStop, HeartbeatStop, LatchedStop, SignalStop, open_stop
from mjx_s2r.robot.watchdog.process import OWN_ESTOP
from mjx_s2r.robot.watchdog.proxy import WatchdogError, WatchedDriver

SETTLE_S = 0.1  # until the watchdog has seen a file come and go
HEARTBEAT_S = 10.0  # time in which another machine's heartbeat must be there


def press_all(
    forms: Sequence[str], stops: Mapping[str, LatchedStop], watchdog: WatchedDriver | None
) -> Finding:
    """Presses every stop: signals and files by itself, the others are a person's to press.

    Each is released again, in the watchdog, too, where that feels it. A heartbeat that only the
    watchdog can hear is a question for the person.

    Args:
        forms: of all stops of the run.
        stops: those that are open, by form; they are the ones to fly with, so they are pressed. The
            others, as the keyboard's, are opened for the test.
        watchdog: that asks some of them, too.
    """
    notes, sure = [], True
    for form in forms:
        if watchdog is not None and form.startswith("udp:"):
            notes.append(f"whether {form} stops it, only a test by hand shows")
            sure = False
            continue
        stop = stops[form] if form in stops else open_stop(form)
        try:
            found = _press(form, stop)
            if found.ok:
                found = _release(stop, found)
        finally:
            if form not in stops:
                stop.close()
        if watchdog is not None and by_watchdog(form):
            time.sleep(SETTLE_S)
            watchdog.reset()
        notes.append(found.note)
        if not found.ok:
            return Finding(False, found.note)
    return Finding(True if sure else None, "; ".join(notes))


def release_own(watchdog: WatchedDriver) -> None:
    """Releases the robot's own stop, where a person pressed it to test it.

    Raises:
        RefusedError: it is still pressed.
    """
    status = watchdog.status()
    if status.state != "tripped" or status.reason != OWN_ESTOP:
        return
    try:
        watchdog.reset()
    except WatchdogError as error:
        raise RefusedError(
            f"the robot's own e-stop was pressed and is not released ({error}); nothing was moved"
        ) from error
    _say("the robot's own e-stop was pressed and felt; it is released again")


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
        if not _is_heard(stop):
            return _unheard(stop)
        _say("now stop the heartbeat there (Ctrl-C)")
    else:
        _say("press the space bar now: the emergency stop is tested, nothing moves")
    return estop_press(stop, None)


def _release(stop: LatchedStop, found: Finding) -> Finding:
    """Releases a stop that was pressed as a test; returns the finding on it."""
    if isinstance(stop, HeartbeatStop):
        _say("it was felt; now start the heartbeat there again")
        if not _is_heard(stop):
            return _unheard(stop)
    stop.reset()
    if stop.pressed():
        return Finding(False, f"{stop.name} is still pressed after the test; release it")
    return found


def _is_heard(stop: HeartbeatStop) -> bool:
    """Returns whether a heartbeat comes in time; the stop is released then."""

    def heard() -> bool:
        stop.reset()
        return not stop.pressed()

    return _until(HEARTBEAT_S, heard)


def _unheard(stop: HeartbeatStop) -> Finding:
    """Returns the finding on a heartbeat that does not come."""
    return Finding(False, f"{stop.name}: no heartbeat within {HEARTBEAT_S:g} s")


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
