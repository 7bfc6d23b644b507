"""What one reading shows by itself: types, shapes, finite values, ranges and ages.

A driver may deliver anything. Whatever it is, the answer is an event that names it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeGuard

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.robot.driver import COMMAND, Reading
from mjx_s2r.robot.frames import is_picture
from mjx_s2r.robot.safety.causes import Event, Mode
from mjx_s2r.robot.safety.config import SafetyConfig

LARGEST = float(np.finfo(np.float32).max)  # the policy reads float32
FEW = 64
EXTRAS = ("temperature", "voltage", "gravity", "joint_effort")


def is_numeric(value: Any) -> TypeGuard[np.ndarray]:
    """Returns whether a value is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def as_seconds(value: Any) -> float:
    """Returns a time stamp as a float; NaN for what is none."""
    if type(value) is float:
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except (OverflowError, ValueError, TypeError):
        return math.nan


def bad_containers(reading: Any) -> list[Event]:
    """Returns the parts of a reading that cannot be looked into at all."""
    if not isinstance(reading, Reading):
        return [Event("type", f"reading is {type(reading).__name__}", math.nan, 0, Mode.STOP)]
    return [
        Event("type", f"reading.{name} is {type(part).__name__}", math.nan, 0, Mode.STOP)
        for name in ("signals", "images", "image_time_s")
        if not isinstance(part := getattr(reading, name), Mapping)
    ]


def bad_signals(contract: PolicyContract, reading: Reading) -> list[Event]:
    """Returns the signals that are missing, of another type or size, not finite or out of range."""
    events: list[Event] = []
    for s in contract.signals:
        if s.name == COMMAND:
            continue
        value = reading.signals.get(s.name)
        if not is_numeric(value):
            events.append(_no_array(s.name, value, s.size))
        elif value.shape != (s.size,):
            events.append(Event("shape", s.name, value.size, s.size, Mode.STOP))
        elif s.size:
            low, high = _extremes(value)
            if not (low >= s.low and high <= s.high and low >= -LARGEST and high <= LARGEST):
                events.append(_out_of_range(s, low, high))
    return events


def _extremes(value: np.ndarray) -> tuple[float, float]:
    """Returns the least and the largest value; NaN for what is not finite."""
    if value.size > FEW:
        return float(value.min()), float(value.max())
    values = value.tolist()  # for a few values, plain Python is several times as fast
    if not math.isfinite(sum(values)):
        return math.nan, math.nan
    return min(values), max(values)


def _no_array(name: str, value: Any, size: int) -> Event:
    """Returns the finding on a value that is missing or no array of numbers."""
    if value is None:
        return Event("missing", name, 0, size, Mode.STOP)
    kind = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
    return Event("type", f"{name} is {kind}", math.nan, 0, Mode.STOP)


def _out_of_range(signal: Signal, low: float, high: float) -> Event:
    """Returns the finding on a signal whose least or largest value is not believed."""
    if not (low >= -LARGEST and high <= LARGEST):
        return Event("nan", signal.name, math.nan, 0, Mode.STOP)
    if low < signal.low:
        return Event("range", signal.name, low, signal.low, Mode.STOP)
    return Event("range", signal.name, high, signal.high, Mode.STOP)


def bad_images(contract: PolicyContract, reading: Reading) -> list[Event]:
    """Returns the images that are missing or of another type or size."""
    return [
        event
        for camera in contract.cameras
        if (event := _image(camera, reading.images.get(camera.name), reading)) is not None
    ]


def _image(camera: CameraSignal, image: Any, reading: Reading) -> Event | None:
    """Returns the finding on one camera's image."""
    if image is None or reading.image_time_s.get(camera.name) is None:
        return Event("missing", camera.name, 0, 1, Mode.STOP)
    if not isinstance(image, np.ndarray):
        return Event("type", f"{camera.name} is {type(image).__name__}", math.nan, 0, Mode.STOP)
    if is_picture(camera, image):
        return None
    size = camera.height * camera.width * camera.channels
    return Event("shape", camera.name, image.size, size, Mode.STOP)


def old_parts(
    config: SafetyConfig, contract: PolicyContract, reading: Reading, now_s: float
) -> list[Event]:
    """Returns what is too old, and what claims to come from the future (another time base)."""
    periods = config.reading_hold_periods, config.reading_stop_periods
    age_s = now_s - as_seconds(reading.time_s)
    found = [_age("reading", age_s, contract.control_hz, periods, config)]
    periods = config.image_hold_periods, config.image_stop_periods
    for c in contract.cameras:
        taken_s = reading.image_time_s.get(c.name)
        if taken_s is not None:
            found.append(_age(c.name, now_s - as_seconds(taken_s), c.rate_hz, periods, config))
    return [event for event in found if event is not None]


def _age(
    name: str, age_s: float, rate_hz: float, periods: tuple[float, float], config: SafetyConfig
) -> Event | None:
    """Returns the finding on one age, s; ``periods`` hold and stop."""
    hold_s, stop_s = periods[0] / rate_hz, periods[1] / rate_hz
    if not age_s >= -config.future_s:
        return Event("future", name, age_s, -config.future_s, Mode.STOP)
    if age_s > stop_s:
        return Event("stale", name, age_s, stop_s, Mode.STOP)
    if age_s > hold_s:
        return Event("stale", name, age_s, hold_s, Mode.HOLD)
    return None


def own_estop(reading: Reading) -> list[Event]:
    """Returns whether the robot's own emergency stop is pressed; an unclear answer is a press."""
    said: Any = reading.estop
    if said is False or (isinstance(said, np.bool_) and not said):
        return []
    name = "robot" if said is True else f"robot says {type(said).__name__}"
    return [Event("estop", name, 1, 0, Mode.STOP)]


@dataclass(frozen=True)
class SeenRange:
    """The range of one signal in training, (size,) each, and the range with room around it."""

    name: str
    low: np.ndarray
    high: np.ndarray
    least: np.ndarray
    most: np.ndarray


def seen_ranges(config: SafetyConfig, contract: PolicyContract) -> tuple[SeenRange, ...]:
    """Returns the ranges that the contract claims and the settings ask for."""
    found = []
    for s in contract.signals:
        claims = len(s.seen_low) == len(s.seen_high) == s.size > 0
        if s.name != COMMAND and claims and config.unseen != "ignore":
            low, high = np.array(s.seen_low), np.array(s.seen_high)
            room = config.unseen_margin * (high - low)
            found.append(SeenRange(s.name, low, high, low - room, high + room))
    return tuple(found)


def unlike_training(
    config: SafetyConfig, seen: tuple[SeenRange, ...], reading: Reading
) -> list[Event]:
    """Returns the signals outside of what was met in training, the worst component of each."""
    mode = Mode.HOLD if config.unseen == "hold" else Mode.RUN
    events = []
    for s in seen:
        value = reading.signals[s.name]
        beyond = np.maximum(s.least - value, value - s.most)
        worst = int(beyond.argmax())
        if beyond[worst] > 0:
            limit = s.low[worst] if value[worst] < s.low[worst] else s.high[worst]
            name = s.name if len(s.low) == 1 else f"{s.name}[{worst}]"
            events.append(Event("unseen", name, float(value[worst]), float(limit), mode))
    return events


def bad_extras(config: SafetyConfig, max_effort: np.ndarray, reading: Reading) -> list[Event]:
    """Returns findings on what a driver reports beside the policy's signals.

    Args:
        config: settings.
        max_effort: (J,) largest effort of each joint, N m or N.
        reading: the reading.
    """
    events = []
    for name in EXTRAS:
        value = reading.signals.get(name)
        if value is None:
            continue
        if not is_numeric(value) or not value.size or not np.isfinite(value).all():
            kind = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
            events.append(Event("type", f"{name} is {kind}", math.nan, 0, Mode.HOLD))
        else:
            events += _extra(config, max_effort, name, value)
    return events


def _extra(
    config: SafetyConfig, max_effort: np.ndarray, name: str, value: np.ndarray
) -> list[Event]:
    """Returns the finding on one extra signal, finite and not empty."""
    if name == "temperature":
        most = float(value.max())
        if most > config.max_temperature:
            return [Event("temperature", name, most, config.max_temperature, Mode.STOP)]
    elif name == "voltage":
        low, high = float(value.min()), float(value.max())
        if low < config.min_voltage:
            return [Event("voltage", name, low, config.min_voltage, Mode.STOP)]
        if high > config.max_voltage:
            return [Event("voltage", name, high, config.max_voltage, Mode.STOP)]
    elif name == "gravity" and value.shape == (3,):
        down = value.astype(float)
        tilt = math.atan2(math.hypot(down[0], down[1]), -down[2])
        if tilt > config.max_tilt:
            return [Event("tilt", name, tilt, config.max_tilt, Mode.STOP)]
    elif name == "joint_effort" and value.shape == max_effort.shape:
        over = np.abs(value.astype(float)) - config.overload * max_effort
        if over.max() > 0:
            worst = int(over.argmax())
            limit = float(config.overload * max_effort[worst])
            return [Event("load", f"{name}[{worst}]", float(value[worst]), limit, Mode.HOLD)]
    return []


def loggable(reading: Any) -> Reading | None:
    """Returns what of a reading a log can hold: arrays of numbers, and times."""
    if not isinstance(reading, Reading):
        return None
    try:
        return reading if _is_plain(reading) else _plain_parts(reading)
    except Exception:  # a mapping with a mind of its own
        return Reading(as_seconds(reading.time_s), {})


def _is_plain(reading: Reading) -> bool:
    """Returns whether every part of a reading has the type that it should have."""
    return (
        type(reading.time_s) is float
        and type(reading.estop) is bool
        and not bad_containers(reading)
        and all(map(is_numeric, reading.signals.values()))
        and all(map(is_numeric, reading.images.values()))
        and all(type(x) is float for x in reading.image_time_s.values())
    )


def _plain_parts(reading: Reading) -> Reading:
    """Returns a reading with what is no number left out."""
    given = reading.signals, reading.images, reading.image_time_s
    signals, images, times = (x if isinstance(x, Mapping) else {} for x in given)
    return Reading(
        time_s=as_seconds(reading.time_s),
        signals={str(name): x for name, x in signals.items() if is_numeric(x)},
        images={str(name): x for name, x in images.items() if is_numeric(x)},
        image_time_s={str(name): as_seconds(x) for name, x in times.items()},
        estop=bool(own_estop(reading)),
    )
