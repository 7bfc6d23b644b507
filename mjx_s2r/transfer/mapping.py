"""The mapping file: which column of somebody's log is which command or reading of a MuJoCo model.

A TOML (or JSON) file of a few lines; docs/recordings.md lists every key. It says where the rows
lie, which column is the clock, which columns are commands and readings and in which unit, when the
actuators were off, and which recordings or times are left out or kept for judging. Numbers of a
log's head that belong to the model (the mass on the rig, a gain) are its `constants`. A column's
raw value x becomes

    sign * scale * (x in SI units) + offset

It knows no simulator, no jax and no format of files.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

from mjx_s2r.contract import ContractError
from mjx_s2r.params.param import unknown
from mjx_s2r.robot.calibration import JointCalibration, read_calibration
from mjx_s2r.transfer.log_units import dimension_of
from mjx_s2r.transfer.recording import Channel, ChannelKind, CommandMode, RecordingError

LogFormat = Literal[
    "", "csv", "tsv", "json", "jsonl", "npz", "parquet", "lerobot", "mcap", "flight"
]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
MissingCommand = Literal["holds", "off", "splits"]


@dataclass(frozen=True)
class ColumnMapping:
    """One column of numbers and what they are.

    Attributes:
        column: its name; "a.b" of nested records, "a[2]" or "a[name]" of a column of lists,
            "/topic:field" of MCAP.
        unit: of its values, see `mjx_s2r.transfer.log_units`; "" is rad, m, rad/s, m/s, N m, N
            or the sensor's own.
        scale: factor on the value.
        offset: added last, in SI units.
        sign: 1, or -1 where log and model count opposite ways.
        unwrap: whether an angle that jumps by a turn goes on instead.
        counts_per_turn: encoder counts of a turn, of unit "counts" and "counts/s".
        range: what 0 % and 100 % are in SI units, of unit "percent".
    """

    column: str
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    sign: int = 1
    unwrap: bool = False
    counts_per_turn: float = 0.0
    range: tuple[float, ...] = ()


@dataclass(frozen=True)
class ReadingMapping:
    """A channel and the column that holds it."""

    channel: Channel
    source: ColumnMapping


@dataclass(frozen=True)
class TimeMapping:
    """The clock of a log.

    Attributes:
        column: its name; "" where rows are evenly spaced.
        unit: of the column; "iso" is text such as 2026-01-15T10:28:10.25.
        rate_hz: rows per second, where there is no column.
        gap_s: a longer step splits the recording; 0 takes five usual steps, at least 0.05 s.
        synthetic: the column counts rows (LeRobot's does), so it tells nothing of jitter.
    """

    column: str = ""
    unit: TimeUnit = "s"
    rate_hz: float = 0.0
    gap_s: float = 0.0
    synthetic: bool = False


@dataclass(frozen=True)
class CameraMapping:
    """The pictures of one camera; identification does not read them, demonstrations do.

    Attributes:
        key: feature of the recording that holds them.
        order: order of the colours of a pixel in the recording.
    """

    key: str
    order: Literal["RGB", "BGR"] = "RGB"


@dataclass(frozen=True)
class LogFilter:
    """Which clips of which files a rule is about; a clip must pass every test that is given.

    Attributes:
        files: patterns of file names; () is all.
        where: field of the head or the clip -> values of which it must have one.
        clips: numbers of the clips in their file, from 0; () is all.
        every: only clips whose number is divisible by it.
    """

    files: tuple[str, ...] = ()
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    clips: tuple[int, ...] = ()
    every: int = 1

    def matches(self, file: str, clip: int, head: Mapping[str, Any]) -> bool:
        """Returns whether a rule is about this clip.

        Args:
            file: name of the file.
            clip: number of the clip in it.
            head: fields of the file's head and of the clip.

        Raises:
            RecordingError: the head has no such field.
        """
        if self.files and not any(fnmatch(file, pattern) for pattern in self.files):
            return False
        if (self.clips and clip not in self.clips) or clip % self.every:
            return False
        for name, values in self.where.items():
            if name not in head:
                raise RecordingError(f"{file}: {unknown('field', name, sorted(head))}")
            held = head[name] if isinstance(head[name], tuple) else (head[name],)
            if not any(x in values for x in held):
                return False
        return True


@dataclass(frozen=True)
class ConstantMapping:
    """A number that enters the model before the rows do.

    Attributes:
        enters: "array.element" of the model, e.g. "body_mass.bob", or with a column
            "body_pos.bob[2]".
        key: field of the head that holds it; "" takes ``value``.
        value: the number itself.
        scale: factor on it.
        applies: to which clips.
    """

    enters: str
    key: str = ""
    value: float = 0.0
    scale: float = 1.0
    applies: LogFilter = LogFilter()


@dataclass(frozen=True)
class TimeRange:
    """A range of a clip's time since its first row.

    Attributes:
        from_s: its start, s.
        to_s: its end, s.
        last_fraction: instead, the last share of the clip's duration, 0 to 1; 0: not given.
        applies: to which clips.
    """

    from_s: float = 0.0
    to_s: float = float("inf")
    last_fraction: float = 0.0
    applies: LogFilter = LogFilter()


@dataclass(frozen=True)
class DrivenMapping:
    """When the actuators were switched off.

    Attributes:
        column: its name, or a field of the clip; "" where they never were, as far as it says.
        off: values that mean off.
        missing_command: what a missing command means: the one before "holds", the actuators are
            "off", or it "splits" the recording.
    """

    column: str = ""
    off: tuple[Any, ...] = (False, 0)
    missing_command: MissingCommand = "holds"


@dataclass(frozen=True)
class FileLayout:
    """How a file holds its rows.

    Attributes:
        format: "" goes by the suffix.
        rows: JSON: key of the list of records, or of the object of lists; MCAP: topic whose
            messages are the rows.
        clips: JSON: key of a list of clips, each with rows or with lists of values.
        clip_by: column whose value changes from clip to clip.
        columns: names of the columns of a CSV file without a line of names.
        delimiter: of a CSV file; "" finds out.
        decimal: decimal mark of a CSV file.
        missing: texts and numbers that mean no value, besides empty, null and NaN.
    """

    format: LogFormat = ""
    rows: str = ""
    clips: str = ""
    clip_by: str = ""
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    decimal: str = "."
    missing: tuple[Any, ...] = ()


@dataclass(frozen=True)
class LogMapping:
    """A mapping file.

    Attributes:
        layout: how files hold their rows.
        time: their clock.
        mode: what a command is.
        commands: joint or actuator -> its column.
        readings: the channels.
        driven: when the actuators were off.
        constants: numbers that enter the model first.
        choose: only these clips; () is all.
        keep: only these times; () is all.
        held_out: clips or times that are kept for judging.
        calibration: of joints whose columns have unit "calibrated".
        cameras: camera of the policy -> its pictures.
    """

    layout: FileLayout = FileLayout()
    time: TimeMapping = TimeMapping()
    mode: CommandMode = "position"
    commands: Mapping[str, ColumnMapping] = field(default_factory=dict)
    readings: tuple[ReadingMapping, ...] = ()
    driven: DrivenMapping = DrivenMapping()
    constants: tuple[ConstantMapping, ...] = ()
    choose: tuple[LogFilter, ...] = ()
    keep: tuple[TimeRange, ...] = ()
    held_out: tuple[TimeRange, ...] = ()
    calibration: Mapping[str, JointCalibration] = field(default_factory=dict)
    cameras: Mapping[str, CameraMapping] = field(default_factory=dict)


TABLES = (
    *("file", "time", "commands", "readings", "driven"),
    *("constants", "choose", "keep", "held_out", "calibration", "cameras"),
)
KINDS: tuple[ChannelKind, ...] = get_args(ChannelKind)


def read_mapping(path: str | Path) -> LogMapping:
    """Reads a mapping file.

    Raises:
        RecordingError: no such file, not TOML or JSON, an unknown key, or a value that is none.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} is no mapping file, TOML or JSON: {error}") from error
    if not isinstance(body, dict):
        raise RecordingError(f"{path} is no mapping file: it holds no tables")
    try:
        return _mapping(body, path.parent)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error


def _mapping(body: Mapping[str, Any], folder: Path) -> LogMapping:
    """Returns the mapping of a file's content; paths in it are relative to its folder."""
    _refuse_unknown("table", body, TABLES)
    calibrations = _calibrations(body.get("calibration"), folder)
    mode, commands = _commands(body.get("commands", {}))
    layout = _fill(FileLayout, body.get("file", {}), "file")
    mapping = LogMapping(
        layout=layout,
        time=_fill(TimeMapping, body.get("time", {}), "time"),
        mode=mode,
        commands=commands,
        readings=_readings(body.get("readings", {})),
        driven=_fill(DrivenMapping, body.get("driven", {}), "driven"),
        constants=_rules(ConstantMapping, body, "constants"),
        choose=tuple(x.applies for x in _rules(TimeRange, body, "choose", filters_only=True)),
        keep=_rules(TimeRange, body, "keep"),
        held_out=_rules(TimeRange, body, "held_out"),
        calibration=calibrations,
        cameras={
            name: CameraMapping(x)
            if isinstance(x, str)
            else _fill(CameraMapping, x, f"cameras.{name}")
            for name, x in _as_table(body.get("cameras", {}), "cameras").items()
        },
    )
    _check(mapping)
    return mapping


def _check(mapping: LogMapping) -> None:
    """Raises RecordingError for a mapping that says too little or contradicts itself."""
    time, layout = mapping.time, mapping.layout
    if bool(time.column) == bool(time.rate_hz) and layout.format != "flight":
        if layout.format not in ("", "lerobot", "mcap"):
            raise RecordingError("[time] needs either column or rate_hz, and not both")
        if time.column:
            raise RecordingError("[time] has both column and rate_hz; keep one")
    if time.rate_hz < 0 or time.gap_s < 0:
        raise RecordingError(
            f"[time] rate_hz {time.rate_hz} and gap_s {time.gap_s} cannot be below zero"
        )
    if not mapping.readings and layout.format != "flight" and mapping.commands:
        raise RecordingError(
            "[readings] names no column; identification needs what the robot measured, e.g. "
            'joint_pos.elbow = "position"'
        )
    for name, column in mapping.commands.items():
        _check_column(f"commands.joints.{name}", column, mapping.mode, name, mapping)
    for one in mapping.readings:
        where = f"readings.{one.channel.kind}.{one.channel.element}"
        kind = {"joint_pos": "position", "joint_vel": "velocity"}.get(one.channel.kind, "")
        _check_column(where, one.source, kind, one.channel.element, mapping)
    for constant in mapping.constants:
        array, dot, element = constant.enters.partition(".")
        if not (array and dot and element):
            raise RecordingError(
                f"constants: enters {constant.enters!r} must read ARRAY.ELEMENT of the MuJoCo "
                "model, e.g. body_mass.bob"
            )
    for span in (*mapping.keep, *mapping.held_out):
        if not (span.from_s < span.to_s and 0 <= span.last_fraction <= 1):
            raise RecordingError(
                f"keep and held_out: from_s {span.from_s} must be below to_s {span.to_s}, and "
                f"last_fraction {span.last_fraction} between 0 and 1"
            )


DIMENSIONS = {
    "position": ("angle", "length"),
    "velocity": ("rate", "speed"),
    "effort": ("torque", "force", "1"),
}


def _check_column(
    where: str, column: ColumnMapping, kind: str, element: str, mapping: LogMapping
) -> None:
    """Raises RecordingError for a column whose unit or numbers do not fit.

    Args:
        where: of the mapping file, for the error.
        column: what it says.
        kind: "position", "velocity", "effort" or "" for a sensor.
        element: the joint.
        mapping: all of it.
    """
    if column.sign not in (1, -1) or not column.scale:
        raise RecordingError(
            f"{where}: sign {column.sign} must be 1 or -1 and scale {column.scale} not zero"
        )
    if column.unit == "calibrated":
        if element not in mapping.calibration:
            known = sorted(mapping.calibration)
            raise RecordingError(f"{where}: {unknown('joint of the calibration', element, known)}")
        return
    if column.unit == "percent":
        if len(column.range) != 2:
            raise RecordingError(
                f'{where}: unit "percent" needs range = [value at 0 %, value at 100 %] in SI units'
            )
        return
    dimension = dimension_of(column.unit, where)
    if column.unit.startswith("counts") and column.counts_per_turn <= 0:
        raise RecordingError(f"{where}: unit {column.unit!r} needs counts_per_turn, e.g. 4096")
    if kind and dimension and dimension not in DIMENSIONS[kind]:
        raise RecordingError(
            f"{where}: unit {column.unit!r} is one of {dimension}, and the column is a {kind}"
        )


def _commands(body: Any) -> tuple[CommandMode, dict[str, ColumnMapping]]:
    """Returns what commands are, and joint or actuator -> column."""
    table = _as_table(body, "commands")
    _refuse_unknown("key of [commands]", table, ("mode", "joints"))
    mode = table.get("mode", "position")
    if mode not in get_args(CommandMode):
        raise RecordingError(f"commands.mode: {unknown('mode', str(mode), get_args(CommandMode))}")
    joints = _as_table(table.get("joints", {}), "commands.joints")
    return mode, {name: _column(x, f"commands.joints.{name}") for name, x in joints.items()}


def _readings(body: Any) -> tuple[ReadingMapping, ...]:
    """Returns the channels; a sensor of several numbers has a list of columns."""
    table, found = _as_table(body, "readings"), []
    _refuse_unknown("kind of [readings]", table, KINDS)
    for kind in KINDS:
        for element, entry in _as_table(table.get(kind, {}), f"readings.{kind}").items():
            where = f"readings.{kind}.{element}"
            several = entry if isinstance(entry, list) else [entry]
            if len(several) > 1 and kind != "sensor":
                raise RecordingError(f"{where} has {len(several)} columns; a joint has one")
            for i, x in enumerate(several):
                found.append(ReadingMapping(Channel(kind, element, i, ""), _column(x, where)))
    return tuple(found)


def _column(entry: Any, where: str) -> ColumnMapping:
    """Returns a column: its name alone, or a table."""
    if isinstance(entry, str):
        return ColumnMapping(entry)
    return _fill(ColumnMapping, entry, where)


def _calibrations(name: Any, folder: Path) -> dict[str, JointCalibration]:
    """Returns joint -> calibration of the file that a mapping names."""
    if name is None:
        return {}
    if not isinstance(name, str):
        raise RecordingError(f"calibration is {name!r} and must be the name of a file")
    try:
        return {x.joint: x for x in read_calibration(folder / name)}
    except ContractError as error:
        raise RecordingError(f"calibration: {error}") from error


def _rules(
    cls: Any, body: Mapping[str, Any], name: str, *, filters_only: bool = False
) -> tuple[Any, ...]:
    """Returns the rules of a list of tables; fields of `LogFilter` say what each is about.

    Args:
        cls: of a rule, with a field ``applies``.
        body: the mapping file.
        name: of the list of tables.
        filters_only: whether fields of the rule itself are refused.
    """
    tables = body.get(name, [])
    tables = [tables] if isinstance(tables, dict) else tables
    if not isinstance(tables, list):
        raise RecordingError(f"{name} is {tables!r} and must be tables, [[{name}]]")
    filters = [f.name for f in fields(LogFilter)]
    own = [] if filters_only else [f.name for f in fields(cls) if f.name != "applies"]
    found = []
    for table in tables:
        where = f"[[{name}]]"
        table = _as_table(table, where)
        _refuse_unknown(f"key of {where}", table, [*own, *filters])
        listed = {k: _listed(v) if k != "where" else v for k, v in table.items() if k in filters}
        if "every" in table:
            listed["every"] = table["every"]
        listed["where"] = {
            k: _listed(v) for k, v in _as_table(table.get("where", {}), where).items()
        }
        applies = _fill(LogFilter, listed, where)
        if applies.every < 1:
            raise RecordingError(f"{where}: every {applies.every} must be at least 1")
        rest = {k: v for k, v in table.items() if k in own}
        found.append(_fill(cls, rest | {"applies": applies}, where))
    return tuple(found)


def _listed(value: Any) -> tuple[Any, ...]:
    """Returns one value or several as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _fill(cls: Any, body: Any, where: str) -> Any:
    """Returns an instance of a class of settings from a table, whose types are the defaults'."""
    table = _as_table(body, where)
    known = {f.name: f for f in fields(cls)}
    _refuse_unknown(f"key of {where}", table, list(known))
    values: dict[str, Any] = {}
    for name, f in known.items():
        if name not in table:
            if f.default is MISSING and f.default_factory is MISSING:
                raise RecordingError(f"{where} lacks {name!r}")
            continue
        values[name] = _typed(table[name], f, f"{where}.{name}")
    return cls(**values)


def _typed(value: Any, f: Any, where: str) -> Any:
    """Returns a value as the field wants it."""
    if get_args(f.type) and all(isinstance(x, str) for x in get_args(f.type)):
        if value not in get_args(f.type):
            raise RecordingError(f"{where}: {unknown('word', str(value), get_args(f.type)[:])}")
        return value
    wanted = str if f.default is MISSING else type(f.default)
    if wanted is tuple:
        return _listed(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if f.default is not MISSING and not isinstance(value, wanted):
        raise RecordingError(f"{where} is {value!r} and must be a {wanted.__name__}")
    if f.default is MISSING and f.default_factory is MISSING and not isinstance(value, str):
        raise RecordingError(f"{where} is {value!r} and must be a text")
    return value


def _as_table(body: Any, where: str) -> Mapping[str, Any]:
    """Returns a table of the file."""
    if not isinstance(body, Mapping):
        raise RecordingError(f"{where} is {body!r} and must be a table")
    return body


def _refuse_unknown(kind: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises RecordingError for a key that is not known."""
    for key in table:
        if key not in known:
            raise RecordingError(str(unknown(kind, key, known)))
