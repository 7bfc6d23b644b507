"""Logs of any kind as recordings: flight logs as they are, all others by a mapping file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import mujoco
import numpy as np

from mjx_s2r.drives import ON_JOINT
from mjx_s2r.params.param import unknown
from mjx_s2r.robot.log.records import MAGIC, MAGIC_1
from mjx_s2r.transfer.mapping import LogFormat, LogMapping, TimeRange
from mjx_s2r.transfer.readers.array_tables import (
    is_lerobot,
    read_lerobot_log,
    read_npz_log,
    read_parquet_log,
)
from mjx_s2r.transfer.readers.flight import rows_of_flight
from mjx_s2r.transfer.readers.mapped import columns_wanted, head_constants, rows_of_table
from mjx_s2r.transfer.readers.mcap_table import read_mcap_log
from mjx_s2r.transfer.readers.repeats import without_repeats
from mjx_s2r.transfer.readers.segments import LEAST_ROWS, LogRows, cut_stretches
from mjx_s2r.transfer.readers.table import LogTable, split_by
from mjx_s2r.transfer.readers.text_tables import read_csv_log, read_json_log, read_jsonl_log
from mjx_s2r.transfer.recording import Recording, RecordingError
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding

HINGE, SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)


@dataclass(frozen=True, eq=False)
class LogBook:
    """Recordings, and what was wrong with the files that they come from.

    Attributes:
        recordings: in the order of the files and of time.
        findings: of the readers; `check_recordings` has those of the values.
    """

    recordings: tuple[Recording, ...]
    findings: tuple[TelemetryFinding, ...]


@dataclass(frozen=True)
class _Names:
    """The names of a model that a log may speak of.

    Attributes:
        joints: hinges and slides.
        slides: joint or actuator -> whether it moves along a line.
        sensors: sensor -> how many numbers it has.
    """

    joints: tuple[str, ...]
    slides: Mapping[str, bool]
    sensors: Mapping[str, int]


def read_recordings(
    paths: Sequence[str | Path], model: mujoco.MjModel, mapping: LogMapping | None = None
) -> LogBook:
    """Reads logs.

    Args:
        paths: flight logs, files that the mapping is about, LeRobot dataset folders.
        model: whose joints, actuators and sensors the logs are of.
        mapping: which column is what; None where all are flight logs.

    Raises:
        RecordingError: a file that is missing or not what it should be, a name that the model does
            not have, a column that the file does not have, or nothing left to simulate.
    """
    if not paths:
        raise RecordingError("there is no log; name at least one file")
    names = _names(model)
    if mapping is not None:
        _check_names(names, mapping)
    recordings: list[Recording] = []
    findings: list[TelemetryFinding] = []
    for path in map(Path, paths):
        if not path.exists():
            raise RecordingError(f"{path} does not exist; name a log")
        for table, rows, found in _clips(path, names, mapping):
            findings += found
            rows, found = without_repeats(rows)
            findings += found
            made, found = _recordings(table, rows, mapping)
            recordings += made
            findings += found
    if not recordings:
        raise RecordingError(
            f"nothing is left of {len(paths)} logs: every clip was skipped, or is shorter than "
            f"{LEAST_ROWS} rows; look at [[choose]] and [[keep]]"
            + "".join(f"; {found}" for found in findings[:3])
        )
    return LogBook(tuple(recordings), tuple(findings))


Clip = tuple[LogTable, LogRows, list[TelemetryFinding]]


def _clips(path: Path, names: _Names, mapping: LogMapping | None) -> list[Clip]:
    """Returns the clips of one file that the mapping chooses."""
    kind = _format(path, mapping)
    if kind == "flight":
        rows, found = rows_of_flight(path, names.sensors)
        _check_flight(path.name, rows, names)
        table = LogTable(path.name, 0, {"row": np.arange(len(rows.time_s))})
        return [(table, rows, found)] if _is_chosen(table, mapping) else []
    if mapping is None:
        raise RecordingError(
            f"{path.name} is no flight log; write a mapping file that says which column is what, "
            "see docs/recordings.md"
        )
    tables = _tables(path, kind, mapping)
    if mapping.layout.clip_by and kind != "lerobot":
        tables = [clip for table in tables for clip in split_by(table, mapping.layout.clip_by)]
    chosen = [table for table in tables if _is_chosen(table, mapping)]
    return [(table, *rows_of_table(table, mapping, names.slides)) for table in chosen]


def _tables(path: Path, kind: str, mapping: LogMapping) -> list[LogTable]:
    """Returns the tables of a file."""
    layout, wanted = mapping.layout, columns_wanted(mapping)
    if not mapping.readings:
        raise RecordingError("the mapping has no [readings]; name the columns that were measured")
    if kind == "lerobot":
        return read_lerobot_log(path, wanted)
    if path.is_dir():
        raise RecordingError(f"{path} is a folder and no LeRobot dataset; name the files in it")
    if kind in ("csv", "tsv"):
        return read_csv_log(path, layout, wanted)
    if kind == "json":
        return read_json_log(path, layout)
    if kind == "jsonl":
        return read_jsonl_log(path, layout)
    if kind == "npz":
        return read_npz_log(path)
    if kind == "parquet":
        return read_parquet_log(path, wanted)
    return read_mcap_log(path, layout, wanted)


def _format(path: Path, mapping: LogMapping | None) -> str:
    """Returns the format of a file: the one that is said, or by its first bytes or suffix."""
    if path.is_dir():
        if is_lerobot(path):
            return "lerobot"
        raise RecordingError(f"{path} is a folder and no LeRobot dataset; name the files in it")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    if start.startswith((MAGIC, MAGIC_1)):
        return "flight"
    if not start:
        raise RecordingError(f"{path.name} is empty; record again")
    if mapping is not None and mapping.layout.format:
        return mapping.layout.format
    suffix = path.suffix.removeprefix(".").lower()
    known = [name for name in get_args(LogFormat) if name]
    if suffix in ("txt", "dat"):
        return "csv"
    if suffix not in known:
        if mapping is None:
            return ""
        raise RecordingError(
            f"{path.name}: {unknown('suffix', suffix, known)}; or say format = in [file]"
        )
    return suffix


def _is_chosen(table: LogTable, mapping: LogMapping | None) -> bool:
    """Returns whether a clip is read."""
    if mapping is None or not mapping.choose:
        return True
    return any(rule.matches(table.file, table.clip, table.head) for rule in mapping.choose)


def _recordings(
    table: LogTable, rows: LogRows, mapping: LogMapping | None
) -> tuple[list[Recording], list[TelemetryFinding]]:
    """Returns the recordings of one clip: what is kept of it, in stretches, fitted and held out."""
    known = rows.time_s[np.isfinite(rows.time_s)]
    length_s = float(known[-1]) if known.size else 0.0
    constants: dict[str, float] = {}
    gap_s, kept = 0.0, np.ones(len(rows.time_s), bool)
    held_out = np.zeros(len(rows.time_s), bool)
    if mapping is not None:
        constants, gap_s = head_constants(table, mapping), mapping.time.gap_s
        spans = [x for x in mapping.keep if x.applies.matches(*_of(table))]
        if spans:
            kept = np.any([_inside(rows.time_s, length_s, x) for x in spans], 0)
        for span in mapping.held_out:
            if span.applies.matches(*_of(table)):
                held_out |= _inside(rows.time_s, length_s, span)
    if mapping is not None and not rows.usable.any():
        raise RecordingError(
            f"{rows.label}: no row has a command, so there is nothing to simulate; look at "
            '[commands], or write missing_command = "off" in [driven]'
        )
    stretches, findings = cut_stretches(replace(rows, usable=rows.usable & kept), gap_s)
    pieces = []
    for stretch in stretches:
        for piece in np.split(stretch, np.flatnonzero(np.diff(held_out[stretch])) + 1):
            if len(piece) >= LEAST_ROWS:
                pieces.append(piece)
    found = []
    for number, piece in enumerate(pieces):
        name = rows.label if len(pieces) == 1 else f"{rows.label} part {number}"
        one = rows.recording(piece, name)
        found.append(replace(one, constants=constants, held_out=bool(held_out[piece[0]])))
    return found, findings


def _of(table: LogTable) -> tuple[str, int, Mapping[str, Any]]:
    """Returns what a rule asks of a clip."""
    return table.file, table.clip, table.head


def _inside(time_s: np.ndarray, length_s: float, span: TimeRange) -> np.ndarray:
    """Returns (T,) whether each row lies in a range of time."""
    start = length_s * (1 - span.last_fraction) if span.last_fraction else span.from_s
    return (time_s >= start) & (time_s <= span.to_s)


def _names(model: mujoco.MjModel) -> _Names:
    """Returns the names of a model."""
    kinds = {model.joint(i).name: int(model.jnt_type[i]) for i in range(model.njnt)}
    moving = {name: kind == SLIDE for name, kind in kinds.items() if kind in (HINGE, SLIDE)}
    slides = dict(moving)
    for i in range(model.nu):
        on_joint = int(model.actuator_trntype[i]) in ON_JOINT
        joint = model.joint(int(model.actuator_trnid[i, 0])).name if on_joint else ""
        slides.setdefault(model.actuator(i).name, moving.get(joint, False))
    sensors = {model.sensor(i).name: int(model.sensor_dim[i]) for i in range(model.nsensor)}
    return _Names(tuple(moving), slides, sensors)


def _check_names(names: _Names, mapping: LogMapping) -> None:
    """Raises RecordingError for a name of the mapping that the model does not have."""
    for name in mapping.commands:
        if name not in names.slides:
            known = list(names.slides)
            raise RecordingError(
                f"commands.joints: {unknown('joint or actuator of the model', name, known)}"
            )
    for one in mapping.readings:
        channel, where = one.channel, f"readings.{one.channel.kind}"
        if channel.kind == "sensor":
            if channel.element not in names.sensors:
                message = unknown("sensor of the model", channel.element, list(names.sensors))
                raise RecordingError(f"{where}: {message}")
            if channel.column >= names.sensors[channel.element]:
                raise RecordingError(
                    f"{where}.{channel.element} has more columns than the sensor's "
                    f"{names.sensors[channel.element]} numbers"
                )
        elif channel.element not in names.joints:
            message = unknown("joint of the model", channel.element, list(names.joints))
            raise RecordingError(f"{where}: {message}")


def _check_flight(file: str, rows: LogRows, names: _Names) -> None:
    """Raises RecordingError for another robot's log."""
    lost = [x for x in rows.joints if x not in names.slides]
    lost += [
        c.element for c in rows.channels if c.kind != "sensor" and c.element not in names.joints
    ]
    if lost:
        raise RecordingError(
            f"{file} is another robot's log: the model lacks {', '.join(map(repr, lost[:4]))} of "
            f"its {len(rows.joints)} joints; {unknown('joint', lost[0], list(names.slides))}"
        )
