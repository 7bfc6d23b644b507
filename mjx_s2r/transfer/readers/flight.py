"""Our own flight logs as recordings: the contract in the log names joints, units and signals.

A row's time is the controller's clock when it judged the reading and sent its command, the command
is the one that was really sent. A reading whose own stamp did not advance is the same reading again
and counts once. Pictures are not read.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.log import Flight, LogError, Step, read
from mjx_s2r.robot.phases import Phase
from mjx_s2r.transfer.readers.segments import LogRows
from mjx_s2r.transfer.recording import Channel, ChannelKind, RecordingError
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding

FLOWN = (Phase.RAMP_IN, Phase.RUN, Phase.HOLD)
JOINT_UNITS = {"joint_pos": ("rad", "m"), "joint_vel": ("rad/s", "m/s")}
OLD = 0.5  # of a control period; readings that are older on average are worth a word


def rows_of_flight(
    path: Path, sensors: Mapping[str, int]
) -> tuple[LogRows, list[TelemetryFinding]]:
    """Returns the rows of a flight log, and what is wrong with the file.

    Args:
        path: the log's first file.
        sensors: sensor of the model -> how many numbers it has; a signal of another name is not
            read.

    Raises:
        RecordingError: no flight log, or one without a step.
    """
    try:
        flight, steps = _opened(path)
    except LogError as error:
        raise RecordingError(str(error)) from error
    if not steps:
        raise RecordingError(f"{path.name} holds no step; record again")
    contract, action = flight.contract, flight.contract.action
    found = _wholeness(path.name, flight)
    channels, places = [], []
    for name, size in _signals(steps).items():
        named = _channels(contract, name, size, sensors)
        channels += named
        places += [(name, i) for i in range(len(named))]
    readings = _readings(steps, places)
    found += _ages(path.name, steps, 1 / contract.control_hz)
    known = {step.phase for step in steps} != {Phase.PASSIVE}
    commands = flight.commands
    in_flight = np.array([step.phase in FLOWN or not known for step in steps])
    rows = LogRows(
        label=path.name,
        time_s=np.array([step.time_s for step in steps]) - steps[0].time_s,
        joints=action.joints,
        mode="effort" if action.mode == "effort" else "position",
        commands=commands,
        driven=np.ones(len(steps), bool),
        channels=tuple(channels),
        readings=readings,
        usable=in_flight & np.isfinite(commands).all(1),
        own_control=action.joints if action.mode == "effort" and action.unit == "1" else (),
    )
    if not rows.usable.any():
        raise RecordingError(
            f"{path.name}: in none of its {len(steps)} steps was a command sent, so there is "
            "nothing to simulate; record a flight"
        )
    return rows, found


def _opened(path: Path) -> tuple[Flight, list[Step]]:
    """Returns a flight and its steps, up to where it is damaged."""
    flight = read(path, images=False)
    try:
        return flight, list(flight.bare())
    except LogError:  # an index that promises more than there is
        flight = read(path, images=False, use_index=False)
        return flight, list(flight.bare())


def _signals(steps: list[Step]) -> dict[str, int]:
    """Returns signal -> its size, of all steps."""
    found: dict[str, int] = {}
    for step in steps:
        for name, value in step.reading.signals.items() if step.reading else ():
            if value.ndim == 1 and value.dtype.kind in "biuf":
                found.setdefault(name, value.size)
    return found


def _channels(
    contract: PolicyContract, name: str, size: int, sensors: Mapping[str, int]
) -> list[Channel]:
    """Returns the channels of one signal; none for what the model does not tell."""
    joints = contract.action.joints
    if name in JOINT_UNITS:
        if size != len(joints) and size == len(contract.chain.joints):
            joints = contract.chain.joints
        if size != len(joints):
            return []
        units = (contract.action.unit.split(",") * size)[:size]
        angle, length = JOINT_UNITS[name]
        slides = [unit.strip() in ("m", "N") for unit in units]
        kind: ChannelKind = "joint_pos" if name == "joint_pos" else "joint_vel"
        return [
            Channel(kind, joint, 0, length if slide else angle)
            for joint, slide in zip(joints, slides, strict=True)
        ]
    if sensors.get(name) == size:
        unit = next((s.unit for s in contract.signals if s.name == name), "")
        return [Channel("sensor", name, i, unit) for i in range(size)]
    return []


def _readings(steps: list[Step], places: list[tuple[str, int]]) -> np.ndarray:
    """Returns (T, C) the readings; NaN where none was read or the same one again."""
    out = np.full((len(steps), len(places)), np.nan)
    last = None
    for row, step in zip(out, steps, strict=True):
        if step.reading is None or (step.reading.time_s == last and last is not None):
            continue
        last = step.reading.time_s
        for c, (name, i) in enumerate(places):
            value = step.reading.signals.get(name)
            if value is not None and value.ndim == 1 and value.dtype.kind in "biuf":
                row[c] = value[i] if i < value.size else np.nan
    return np.where(np.isfinite(out), out, np.nan)


def _ages(file: str, steps: list[Step], period_s: float) -> list[TelemetryFinding]:
    """Returns what there is to say of how old readings were when they were judged."""
    ages = np.array(
        [s.time_s - s.reading.time_s for s in steps if s.reading and _is_real(s.reading.time_s)]
    )
    if not ages.size or float(np.median(ages)) <= OLD * period_s:
        return []
    what = (
        f"readings are {1e3 * float(np.median(ages)):.3g} ms old in the median when they are used"
    )
    return [
        TelemetryFinding(
            "warning", "old readings", file, what, "a fit takes that age for delay; read faster"
        )
    ]


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and np.isfinite(value)


def _wholeness(file: str, flight: Flight) -> list[TelemetryFinding]:
    """Returns what is missing of the file."""
    found = []
    if flight.torn_bytes:
        what = f"the log is torn; its last {flight.torn_bytes} bytes are not whole"
        remedy = "they are left out; the steps before are good"
        found.append(TelemetryFinding("warning", "torn log", file, what, remedy))
    if flight.missing_parts:
        what = f"parts {', '.join(map(str, flight.missing_parts))} of the log are missing"
        remedy = "fetch them from the robot; without them, the recording is split"
        found.append(TelemetryFinding("warning", "torn log", file, what, remedy))
    return found
