"""A first look at what a robot reads, before it is trusted: units, ranges, dead sensors, latency.

Nothing is sent. `look` reads for a while, the rest are pure functions of what was read.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal, TrainedRange, units_of_each
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import COMMAND, Driver, DriverInfo, Reading, believed_positions
from mjx_s2r.robot.frames import is_picture

Verdict = Literal["ok", "note", "fault"]
DEGREES = 180 / math.pi
NOISY = 0.02  # rad or m: standard deviation of a joint at rest that is worth a word
STILL_PICTURES = 5  # pictures with one content that make a camera a frozen one
OFTEN = 4
FELT = 0.1  # of a control period: a latency below that changes nothing
LATE = ("delay", "latency")
OF_CAMERAS = ("camera", "frame", "image", "picture")


@dataclass(frozen=True)
class Remark:
    """One remark of the first look: what it is about, the verdict, and one sentence."""

    verdict: Verdict
    about: str
    text: str


@dataclass(frozen=True)
class Glance:
    """One reading with the clock before and after it was asked for, s."""

    asked_s: float
    got_s: float
    reading: Reading


def look(driver: Driver, clock: Clock, control_hz: float, seconds: float) -> list[Glance]:
    """Returns what a connected robot reads, `OFTEN` times in a control period if the bus can."""
    hz = max(control_hz, min(OFTEN * control_hz, driver.describe().max_hz))
    clock.start(1 / hz)
    glances = []
    for _ in range(max(2, math.ceil(seconds * hz))):
        asked_s = clock.now_s()
        reading = driver.read()
        glances.append(Glance(asked_s, clock.now_s(), reading))
        clock.wait()
    return glances


def remarks(contract: PolicyContract, info: DriverInfo, glances: Sequence[Glance]) -> list[Remark]:
    """Returns everything that is worth saying, signal by signal and camera by camera."""
    found: list[Remark] = []
    if any(g.reading.estop for g in glances):
        found.append(Remark("fault", "e-stop", "the robot's own emergency stop is pressed"))
    for signal in contract.signals:
        if signal.name != COMMAND:
            found += _signal(signal, info, glances)
    for camera in contract.cameras:
        found += _camera(camera, glances)
    return [*found, *_times(contract, glances)]


def _signal(signal: Signal, info: DriverInfo, glances: Sequence[Glance]) -> Iterator[Remark]:
    """Yields what is to be said of one signal."""
    rows = []
    for glance in glances:
        try:
            row = np.asarray(glance.reading.signals.get(signal.name), float)
        except (TypeError, ValueError):
            row = np.zeros(0)
        if row.shape != (signal.size,):
            yield Remark(
                "fault",
                signal.name,
                f"is {_kind(glance.reading.signals.get(signal.name))} where {signal.size} numbers "
                f"in {signal.unit} are read",
            )
            return
        rows.append(row)
    values = np.array(rows)
    if not np.all(np.isfinite(values)):
        bad = int(np.sum(~np.isfinite(values).all(axis=1)))
        yield Remark("fault", signal.name, f"is not finite in {bad} of {len(values)} readings")
        return
    problems = [*_units(signal, info, values), *_bounds(signal, values), *_life(signal, values)]
    yield from problems
    if not any(p.verdict == "fault" for p in problems):
        low, high = np.min(values), np.max(values)
        yield Remark("ok", signal.name, f"{low:.4g} to {high:.4g} {signal.unit}")


def _units(signal: Signal, info: DriverInfo, values: np.ndarray) -> Iterator[Remark]:
    """Yields the suspicion of degrees, where radians put every joint back into its range."""
    if signal.name != "joint_pos" or signal.size != len(info.joints):
        return
    turns = np.array(units_of_each(signal.unit, signal.size)) == "rad"
    (low, high), first = believed_positions(info), values[0]
    outside = (first < low) | (first > high)
    as_degrees = np.where(turns, first / DEGREES, first)
    fits = np.all((as_degrees >= low) & (as_degrees <= high))
    if outside.any():
        joints = [info.joints[j] for j in np.flatnonzero(outside)]
        what = ", ".join(f"{j} {first[i]:.4g}" for i, j in enumerate(info.joints) if j in joints)
        if fits:
            yield Remark(
                "fault",
                signal.name,
                f"looks like degrees ({what}): divided by {DEGREES:.1f} every hinge is in its "
                "range; convert in the driver",
            )
        else:
            yield Remark(
                "fault",
                signal.name,
                f"is outside the joints' ranges ({what}); check zero, sign, order and unit",
            )


def _bounds(signal: Signal, values: np.ndarray) -> Iterator[Remark]:
    """Yields what is outside what is believed, and outside what training met."""
    low, high = float(values.min()), float(values.max())
    if low < signal.low or high > signal.high:
        yield Remark(
            "fault",
            signal.name,
            f"reads {low:.4g} to {high:.4g} {signal.unit}, and only {signal.low:g} to "
            f"{signal.high:g} is believed; the guard would stop",
        )
    elif signal.seen_low and signal.seen_high:
        strange = (values.min(axis=0) < signal.seen_low) | (values.max(axis=0) > signal.seen_high)
        if strange.any():
            where = np.flatnonzero(strange).tolist()
            yield Remark(
                "note", signal.name, f"values {where} are outside what was met in training"
            )


def _life(signal: Signal, values: np.ndarray) -> Iterator[Remark]:
    """Yields components that never change, and those that change much though nothing moves."""
    spread = values.std(axis=0)
    still = np.flatnonzero(np.ptp(values, axis=0) == 0).tolist()
    if len(still) == signal.size and signal.size:
        yield Remark(
            "note",
            signal.name,
            f"is the same number in all {len(values)} readings; a real sensor has noise: move the "
            "robot by hand and look again",
        )
    if signal.name == "joint_pos":
        noisy = np.flatnonzero(spread > NOISY)
        if len(noisy):
            yield Remark(
                "note",
                signal.name,
                f"values {noisy.tolist()} have a standard deviation of {spread.max():.2g} "
                f"{signal.unit} though nothing was sent; is something moving, or a cable loose?",
            )


def _camera(camera: CameraSignal, glances: Sequence[Glance]) -> Iterator[Remark]:
    """Yields what is to be said of one camera."""
    images = [g.reading.images.get(camera.name) for g in glances]
    shown = [x for x in images if x is not None]
    if not shown:
        yield Remark("fault", camera.name, "brought no picture")
        return
    if not is_picture(camera, np.asarray(shown[0])):
        yield Remark(
            "fault",
            camera.name,
            f"brings {_kind(shown[0])}, and {camera.height}x{camera.width} {camera.kind} is read",
        )
        return
    stamps = [g.reading.image_time_s.get(camera.name, math.nan) for g in glances]
    fresh = [i for i in range(len(stamps)) if i == 0 or stamps[i] != stamps[i - 1]]
    contents = {np.asarray(images[i]).tobytes() for i in fresh if images[i] is not None}
    if len(contents) == 1 and len(fresh) >= STILL_PICTURES:
        yield Remark(
            "fault",
            camera.name,
            f"showed one picture under {len(fresh)} fresh times; the stream is frozen",
        )
        return
    picture = np.asarray(shown[-1])
    if np.ptp(picture) == 0:
        yield Remark("note", camera.name, "shows one colour; is the lens covered?")
    span_s = stamps[fresh[-1]] - stamps[fresh[0]]
    if len(fresh) < 2 or not span_s > 0:
        yield Remark("note", camera.name, "brought one picture in the time that was looked")
        return
    rate = (len(fresh) - 1) / span_s
    word: Verdict = "fault" if rate < 0.8 * camera.rate_hz else "ok"
    yield Remark(word, camera.name, f"{rate:.1f} pictures/s, {camera.rate_hz:g} are expected")


def _times(contract: PolicyContract, glances: Sequence[Glance]) -> Iterator[Remark]:
    """Yields how old readings are when they arrive, beside the delays that were trained on."""
    stamps = np.array([float(g.reading.time_s) for g in glances])
    if not np.all(np.diff(stamps) >= 0) or not np.all(np.isfinite(stamps)):
        yield Remark("fault", "time", "stamps of readings go backwards or are no numbers")
        return
    ages = np.array([g.got_s - g.reading.time_s for g in glances])
    if ages.min() < -0.005:
        yield Remark(
            "fault", "time", f"readings come {-ages.min():.3g} s from the future: another clock"
        )
        return
    blocked = np.array([g.got_s - g.asked_s for g in glances])
    late_s = float(np.percentile(np.maximum(ages, blocked), 99))
    text = (
        f"a reading is {1e3 * np.percentile(ages, 99):.2f} ms old and takes "
        f"{1e3 * np.percentile(blocked, 99):.2f} ms to get (p99)"
    )
    least_s = FELT / contract.control_hz
    delays = trained_delays(contract.ranges, cameras=False)
    yield _beside("time", text, late_s, least_s, delays)
    for camera in contract.cameras:
        old = [
            g.got_s - g.reading.image_time_s[camera.name]
            for g in glances
            if camera.name in g.reading.image_time_s
        ]
        if old:
            # between two pictures the last one holds, in training, too: its delivery counts
            delivery_s = float(np.min(old))
            text = f"a picture is {1e3 * delivery_s:.1f} ms old when it arrives"
            delays = trained_delays(contract.ranges, cameras=True)
            yield _beside(camera.name, text, delivery_s, least_s, delays)
    if blocked.max() > 1 / contract.control_hz:
        yield Remark(
            "fault",
            "time",
            f"a reading took {1e3 * blocked.max():.1f} ms, longer than the control period of "
            f"{1e3 / contract.control_hz:.1f} ms",
        )


def trained_delays(ranges: Sequence[TrainedRange], *, cameras: bool) -> list[TrainedRange]:
    """Returns the rows of delay that a policy was trained on, of its cameras or of the rest."""
    delays = [r for r in ranges if r.unit == "s" and any(word in r.name for word in LATE)]
    return [r for r in delays if any(word in r.name for word in OF_CAMERAS) == cameras]


def _beside(
    about: str, text: str, late_s: float, least_s: float, rows: Sequence[TrainedRange]
) -> Remark:
    """Returns a latency beside the sum of the trained ones; below ``least_s`` nobody feels it."""
    if not rows:
        return Remark("note", about, f"{text}; the policy names no delay that it was trained on")
    longest_s = sum(r.high for r in rows)
    names = ", ".join(r.name for r in rows)
    said = f"{text}; trained up to {1e3 * longest_s:.1f} ms ({names})"
    if late_s > max(longest_s, least_s):
        return Remark("fault", about, f"{said}: too slow, train with a longer delay")
    return Remark("ok", about, said)


def _kind(value: object) -> str:
    """Returns what a value is, for people."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return "missing" if value is None else type(value).__name__
