"""What a driver must do, tried on one: `check_driver`, for whoever writes a driver.

Without ``moves`` every value that is sent is where a joint is (no effort in effort mode); where
that cannot be read, nothing is sent. With it joints move a little and back, and commands that no
driver may pass on are sent once each; do that on a robot that may be wrong: a simulated one, or one
with its motors off. One that is taken is followed at once by the pose and a stop, and no other
wrong one is sent. A position beyond an end is sent only to a joint that stands next to that end: a
driver that takes it, or clips it, moves the joint no farther than from there to its stop.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.robot.clock import Clock, RealClock
from mjx_s2r.robot.driver import CameraInfo, Driver, DriverInfo, Reading

READS = 20
FIRST_FRAME_S = 5.0
OLDEST_S, FUTURE_S = 0.5, 0.005
SHIFT = 0.02  # of a joint's range (1 where it has none), how far it is moved
BEYOND = 0.05  # of the range, how far beyond it a command is sent
NOISE = 0.002  # of the range, by which a joint that stands still may read beyond its end
MOVE_S = 1.5
POSITIONS = "joint_pos"


@dataclass(frozen=True)
class DriverFinding:
    """One rule of drivers, and what came of it.

    Attributes:
        rule: in words.
        is_kept: whether this driver keeps it; None where it could not be tried.
        seen: what was seen where it does not, or why it could not be tried.
    """

    rule: str
    is_kept: bool | None
    seen: str = ""


class _NoPoseError(Exception):
    """A robot of which nobody knows the command that leaves it where it is; says why."""


def check_driver(
    driver: Driver,
    *,
    moves: bool = False,
    clock: Clock | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> list[DriverFinding]:
    """Tries a driver that is not connected; it is closed at the end.

    Args:
        driver: what to try.
        moves: whether joints may move, and wrong values may be sent.
        clock: the time that its stamps are in; real time by default.
        wait: lets time pass, s.

    Returns:
        Every rule that was tried; those after a failure to connect are left out.
    """
    return list(_Trial(driver, clock or RealClock(), wait).run(moves=moves))


class _Trial:
    """One driver under trial."""

    def __init__(self, driver: Driver, clock: Clock, wait: Callable[[float], None]) -> None:
        """Takes the driver and its time."""
        self._driver, self._clock, self._wait = driver, clock, wait

    def run(self, *, moves: bool) -> Iterator[DriverFinding]:
        """Yields the findings; closes the driver, whatever happens."""
        driver = self._driver
        try:
            info = driver.describe()
            is_same = isinstance(info, DriverInfo) and driver.describe() == info
            yield _found("describe works before connect and says the same twice", is_same)
            if not is_same:
                return
            yield self._works("stop before connect does nothing", driver.stop)
            connected = self._works("connect opens the robot", driver.connect)
            yield connected
            if connected.is_kept:
                yield from self._readings(info)
                yield from self._commands(info, moves)
                yield self._works("stop works", driver.stop)
                yield self._works("stop works twice", driver.stop)
                yield self._works("read works after stop", driver.read)
        except Exception as error:  # a driver of somebody else may raise anything
            yield _found("the driver raises nothing unexpected", False, repr(error))
        finally:
            yield self._works("close works", driver.close)
            yield self._works("close works twice", driver.close)

    def _works(self, rule: str, function: Callable[[], Any]) -> DriverFinding:
        """Returns whether a call raises nothing."""
        try:
            function()
        except Exception as error:
            return _found(rule, False, repr(error))
        return _found(rule, True)

    def _first(self, info: DriverInfo) -> Reading:
        """Returns the first reading with every camera's picture, or the last before the limit."""
        start_s = self._clock.now_s()
        reading = self._driver.read()
        while self._clock.now_s() - start_s < FIRST_FRAME_S:
            if isinstance(reading, Reading) and all(c.name in reading.images for c in info.cameras):
                break
            self._wait(0.02)
            reading = self._driver.read()
        return reading

    def _readings(self, info: DriverInfo) -> Iterator[DriverFinding]:
        """Yields what readings are like: types, shapes, stamps, and how long they take."""
        reading = self._first(info)
        is_reading = isinstance(reading, Reading)
        yield _found("read returns a Reading", is_reading, type(reading).__name__)
        if not is_reading:
            return
        wrong = [*_wrong_signals(info, reading), *_wrong_pictures(info, reading)]
        yield _found("readings are as described", not wrong, "; ".join(wrong))
        readings, took = [reading], []
        for _ in range(READS):
            self._wait(1 / info.max_hz)
            began_s = time.perf_counter()
            readings.append(self._driver.read())
            took.append(time.perf_counter() - began_s)
        stamps = np.array([r.time_s for r in readings], float)
        is_fine = bool(np.all(np.diff(stamps) >= 0) and stamps[-1] > stamps[0])
        yield _found("time stamps advance", is_fine, f"{stamps[0]} to {stamps[-1]} s")
        age_s = self._clock.now_s() - float(readings[-1].time_s)
        yield _found(
            "time stamps are in the controller's time, and fresh",
            -FUTURE_S <= age_s <= OLDEST_S,
            f"the last reading is {age_s:.3f} s old",
        )
        usual_s = float(np.median(took))
        yield _found(
            "a reading takes no longer than max_hz says",
            usual_s <= 1 / info.max_hz,
            f"it takes {1e3 * usual_s:.2f} ms at {info.max_hz:g} Hz",
        )
        shared = [
            name
            for name in info.signals
            if np.shares_memory(readings[-1].signals[name], readings[-2].signals[name])
        ]
        yield _found(
            "every reading has arrays of its own", not shared, f"one array twice: {shared}"
        )
        for camera in info.cameras:
            yield from self._frames(camera)

    def _frames(self, camera: CameraInfo) -> Iterator[DriverFinding]:
        """Yields whether a camera's pictures are new as often as is described."""
        start_s, times = self._clock.now_s(), set()
        length_s = max(1.0, 5 / camera.rate_hz)
        while self._clock.now_s() - start_s < length_s:
            times.add(self._driver.read().image_time_s[camera.name])
            self._wait(0.25 / camera.rate_hz)
        rate_hz = (len(times) - 1) / length_s
        yield _found(
            f"camera {camera.name!r} gives new pictures at its rate",
            rate_hz >= 0.5 * camera.rate_hz,
            f"{rate_hz:.1f} Hz instead of {camera.rate_hz:g}",
        )

    def _commands(self, info: DriverInfo, moves: bool) -> Iterator[DriverFinding]:
        """Yields what `write` does."""
        joints = len(info.joints)
        try:
            here = self._here(info)
        except _NoPoseError as error:
            yield DriverFinding("write takes commands, and refuses wrong ones", None, str(error))
            return
        before, longer = here.copy(), np.append(here, here[-1:])
        sent = self._works("write takes the present command", lambda: self._driver.write(here))
        yield sent
        yield _found("write leaves its argument alone", bool(np.array_equal(here, before)))
        yield self._refuses("write refuses another number of joints", longer, here)
        if not moves or not sent.is_kept:
            return
        if info.command == "position" and info.signals.get(POSITIONS) == joints:
            yield from self._motion(info)
        yield from self._wrong(info)

    def _here(self, info: DriverInfo) -> np.ndarray:
        """Returns the command (J,) that leaves the robot where it is: its pose, or no effort.

        Raises:
            _NoPoseError: positions are commanded and the pose is not read, or is beyond the limits.
        """
        if info.command == "effort":
            return np.zeros(len(info.joints))
        pose: Any = self._driver.read().signals.get(POSITIONS)
        if np.shape(pose) != (len(info.joints),):
            raise _NoPoseError(
                f"not tried: signal {POSITIONS!r} has shape {np.shape(pose)} instead of "
                f"({len(info.joints)},), one value per commanded joint, so where the joints are is "
                "unknown; nothing was sent"
            )
        pose = np.asarray(pose, float)
        low, high = np.array(info.low, float), np.array(info.high, float)
        inside, span = np.clip(pose, low, high), _span(low, high)
        here = np.where(np.abs(inside - pose) <= NOISE * span, inside, pose)
        far = np.flatnonzero(~(np.abs(inside - pose) <= SHIFT * span))
        if len(far):
            raise _NoPoseError(
                f"not tried: joint {info.joints[far[0]]!r} reads {pose[far[0]]:g}, outside of "
                f"{low[far[0]]:g} to {high[far[0]]:g}, so staying there is no command; nothing was "
                "sent"
            )
        return here

    def _refuses(self, rule: str, command: np.ndarray, here: np.ndarray) -> DriverFinding:
        """Returns whether a command raises; if not, ``here`` and a stop follow."""
        try:
            self._driver.write(command)
        except Exception:
            return _found(rule, True)
        with contextlib.suppress(Exception):  # the rules of write and stop are tried elsewhere
            self._driver.write(here)
        with contextlib.suppress(Exception):
            self._driver.stop()
        return _found(rule, False, f"{command.tolist()} was taken")

    def _wrong(self, info: DriverInfo) -> Iterator[DriverFinding]:
        """Yields whether `write` refuses what is no number or lies beyond the limits.

        A driver that takes one of these is sent no other.
        """
        here = self._here(info)
        probes: list[tuple[str, np.ndarray | str]] = [("NaN", np.full(len(here), np.nan))]
        if info.command == "effort":
            probes.append(("infinity", np.full(len(here), np.inf)))
        else:
            probes += _beyond(info, here)
        is_safe = True
        for name, command in probes:
            rule = f"write refuses {name}"
            if isinstance(command, str):
                yield DriverFinding(rule, None, command)
            elif not is_safe:
                yield DriverFinding(rule, None, "not tried: another wrong command was taken")
            else:
                finding = self._refuses(rule, command, here)
                is_safe = bool(finding.is_kept)
                yield finding

    def _motion(self, info: DriverInfo) -> Iterator[DriverFinding]:
        """Yields whether joints go where they are told; they come back."""
        low, high, here = np.array(info.low), np.array(info.high), self._here(info)
        span = _span(low, high)
        inward = np.where(here + SHIFT * span <= high, 1.0, -1.0)
        wanted = here + inward * SHIFT * span
        seen = self._go(wanted)
        near = np.abs(seen - wanted) < np.maximum(np.abs(seen - here), 1e-9)
        wrong = [info.joints[j] for j in np.flatnonzero(~near)]
        self._go(here)
        yield _found("joints move to the command", not wrong, f"these do not: {wrong}")

    def _go(self, wanted: np.ndarray) -> np.ndarray:
        """Commands positions (J,) at the robot's speed; returns where the joints are then."""
        info = self._driver.describe()
        start = self._here(info)
        rate = np.minimum(np.array(info.max_rate, float), 1.0)
        steps = max(1, int(np.max(np.abs(wanted - start) / rate) / 0.02))
        for share in np.linspace(0, 1, steps + 1)[1:]:
            self._driver.write(start + share * (wanted - start))
            self._wait(0.02)
        end_s = self._clock.now_s() + MOVE_S
        while self._clock.now_s() < end_s:
            self._driver.write(wanted)
            self._wait(0.02)
            seen = np.asarray(self._driver.read().signals[POSITIONS], float)
            if np.all(np.abs(seen - wanted) < 0.1 * SHIFT):
                break
        return np.asarray(self._driver.read().signals[POSITIONS], float)


def _span(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the ranges of joints (J,), 1 of one without ends."""
    return np.where(np.isfinite(high - low), high - low, 1.0)


def _beyond(info: DriverInfo, here: np.ndarray) -> list[tuple[str, np.ndarray | str]]:
    """Returns the commands beyond an end, by what is to be refused, or why none can be sent.

    They are those of the joint that stands closest to an end, beyond that end.
    """
    low, high = np.array(info.low, float), np.array(info.high, float)
    away = np.stack([here - low, high - here]) / _span(low, high)
    side, joint = np.unravel_index(int(np.argmin(away)), away.shape)
    name, end = info.joints[joint], float((low, high)[side][joint])
    names = "a command beyond the limits", "infinity"
    if not away[side, joint] <= SHIFT:
        why = "not tried: no joint has an end"
        if np.isfinite(end):
            why = (
                "not tried: no joint stands next to an end, where a driver that takes this moves "
                f"it little; put {name!r}, which is at {here[joint]:.4g}, within {SHIFT:.0%} of "
                f"its range of {end:g} by hand and try again"
            )
        return [(rule, why) for rule in names]
    sign, size = (-1.0, 1.0)[side], float(_span(low, high)[joint])
    commands = here.copy(), here.copy()
    commands[0][joint], commands[1][joint] = end + sign * BEYOND * size, sign * np.inf
    return list(zip(names, commands, strict=True))


def _found(rule: str, is_kept: bool, seen: str = "") -> DriverFinding:
    """Returns a finding; what was seen is told where a rule is broken."""
    return DriverFinding(rule, is_kept, "" if is_kept else seen)


def _wrong_signals(info: DriverInfo, reading: Reading) -> Iterator[str]:
    """Yields the signals that are missing, of another shape or not finite."""
    for name, size in info.signals.items():
        value = reading.signals.get(name)
        if value is None:
            yield f"signal {name!r} is missing"
        elif not isinstance(value, np.ndarray) or value.shape != (size,):
            yield f"signal {name!r} has shape {np.shape(value)} instead of ({size},)"
        elif not np.all(np.isfinite(value)):
            yield f"signal {name!r} is not finite: {value}"


def _wrong_pictures(info: DriverInfo, reading: Reading) -> Iterator[str]:
    """Yields the cameras whose picture or time is missing or of another shape or type."""
    for camera in info.cameras:
        image, is_depth = reading.images.get(camera.name), camera.kind == "depth"
        shape = (camera.height, camera.width) if is_depth else (camera.height, camera.width, 3)
        types = ("float32", "uint16") if is_depth else ("uint8",)
        if image is None or camera.name not in reading.image_time_s:
            yield f"camera {camera.name!r} gives no picture, or no time"
        elif getattr(image, "shape", None) != shape or image.dtype.name not in types:
            yield f"camera {camera.name!r} gives {image.dtype} {image.shape} instead of {shape}"
