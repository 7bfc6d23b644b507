"""A table of raw columns, and what a mapping file says of it, made rows in SI units."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mjx_s2r.transfer.log_units import LOG_UNITS, SI
from mjx_s2r.transfer.mapping import ColumnMapping, LogMapping
from mjx_s2r.transfer.readers.array_tables import LEROBOT_TIME
from mjx_s2r.transfer.readers.mcap_table import LOG_TIME
from mjx_s2r.transfer.readers.segments import LogRows
from mjx_s2r.transfer.readers.table import LogTable
from mjx_s2r.transfer.recording import Channel, ChannelKind, RecordingError, held_commands
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding

_TIME_OF_DAY = re.compile(r"(\d\d?):(\d\d.*)")
SOME_DAY = "2000-01-01"  # of a clock that shows the time of day alone
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def columns_wanted(mapping: LogMapping) -> tuple[str, ...]:
    """Returns the columns that a mapping reads, so that a reader can leave out the others."""
    columns = [mapping.time.column, mapping.driven.column, mapping.layout.clip_by]
    columns += [x.column for x in mapping.commands.values()]
    columns += [x.source.column for x in mapping.readings]
    return tuple(dict.fromkeys(name for name in columns if name))


def rows_of_table(
    table: LogTable, mapping: LogMapping, slides: Mapping[str, bool]
) -> tuple[LogRows, list[TelemetryFinding]]:
    """Returns the rows of a clip, and what the reader found.

    Args:
        table: the clip.
        mapping: which of its columns is what.
        slides: joint or actuator of the model -> whether it moves along a line, in m.

    Raises:
        RecordingError: a column that is not there, values that are no numbers, no row.
    """
    found = [
        TelemetryFinding(
            "warning", "torn log", table.label, note, "fetch the whole file if you can"
        )
        for note in table.notes
    ]
    time_s, synthetic = _time(table, mapping)
    if synthetic:
        what = "its clock counts rows, so the true times of reading and sending are unknown"
        remedy = "delays come out to a row at best; log the real times beside it"
        found.append(TelemetryFinding("warning", "synthetic clock", table.label, what, remedy))
    commands = [_si(table, mapping, source, name) for name, source in mapping.commands.items()]
    sent = np.stack(commands, 1) if commands else np.empty((len(table), 0))
    driven = _driven(table, mapping)
    missing = ~np.isfinite(sent).all(1) if commands else np.zeros(len(table), bool)
    if mapping.driven.missing_command == "off":
        driven &= ~missing
    else:
        sent = sent if mapping.driven.missing_command == "splits" else held_commands(sent)
    usable = ~driven | np.isfinite(sent).all(1)
    channels = [
        _channel(x.channel, x.source.unit, slides.get(x.channel.element, False))
        for x in mapping.readings
    ]
    readings = [_si(table, mapping, x.source, x.channel.element) for x in mapping.readings]
    if not len(table):
        raise RecordingError(
            f"{table.label} holds no row; record again, or skip it with [[choose]]"
        )
    rows = LogRows(
        label=table.label,
        time_s=time_s,
        joints=tuple(mapping.commands),
        mode=mapping.mode,
        commands=sent,
        driven=driven,
        channels=tuple(channels),
        readings=np.stack(readings, 1),
        usable=usable,
        own_control=tuple(joint for joint, x in mapping.commands.items() if x.unit == "1"),
    )
    return rows, found


def head_constants(table: LogTable, mapping: LogMapping) -> dict[str, float]:
    """Returns the numbers that enter the model, "array.element" -> value.

    Raises:
        RecordingError: the head does not hold one of them as a number.
    """
    found = {}
    for one in mapping.constants:
        if not one.applies.matches(table.file, table.clip, table.head):
            continue
        value = table.head.get(one.key) if one.key else one.value
        if not isinstance(value, int | float) or isinstance(value, bool):
            known = ", ".join(repr(k) for k, x in table.head.items() if isinstance(x, int | float))
            raise RecordingError(
                f"{table.label}: constants: {one.key!r} of the head is {value!r} and must be a "
                f"number for {one.enters!r}; numbers there: {known or 'none'}"
            )
        found[one.enters] = one.scale * float(value)
    return found


def _time(table: LogTable, mapping: LogMapping) -> tuple[np.ndarray, bool]:
    """Returns (T,) s since the first row that has a time, and whether rows were only counted."""
    time = mapping.time
    if time.rate_hz:
        return np.arange(len(table)) / time.rate_hz, time.synthetic
    name, unit = time.column, time.unit
    if not name:
        if LOG_TIME in table.columns:
            name, unit = LOG_TIME, "ns"
        elif table.synthetic_time:
            name = LEROBOT_TIME
        else:
            raise RecordingError(
                f"{table.label}: the mapping has no clock; write column or rate_hz in [time]"
            )
    synthetic = time.synthetic or (table.synthetic_time and name == LEROBOT_TIME)
    raw = table.values(name)
    if unit == "iso":
        return _since_first_date([_moment(x, table, name) for x in raw]), synthetic
    if raw.dtype.kind in "iu":  # whole nanoseconds do not fit into a float
        return (raw - raw[0]) * TIME_UNITS[unit], synthetic
    whole = [x for x in map(_whole, raw) if x is not None] if raw.dtype == object else []
    if len(whole) == len(raw):
        return np.array([float(x - whole[0]) for x in whole]) * TIME_UNITS[unit], synthetic
    layout = mapping.layout
    numbers = table.numbers(name, layout.missing, layout.decimal)
    return _since_first(numbers) * TIME_UNITS[unit], synthetic


def _since_first(values: np.ndarray) -> np.ndarray:
    """Returns values less the first one that is known."""
    known = values[np.isfinite(values)]
    return values - known[0] if known.size else values


def _whole(value: Any) -> int | None:
    """Returns a whole number; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _since_first_date(moments: Sequence[datetime | None]) -> np.ndarray:
    """Returns (T,) s since the first date and time that is known, NaN for none."""
    first = next((x for x in moments if x is not None), None)
    return np.array(
        [np.nan if x is None or not first else (x - first).total_seconds() for x in moments]
    )


def _moment(value: Any, table: LogTable, name: str) -> datetime | None:
    """Returns a date and time; None where there is none."""
    if value is None or value == "":
        return None
    try:
        text = str(value).strip().replace("/", "-")
        if found := _TIME_OF_DAY.match(text):
            text = f"{SOME_DAY} {found[1]:0>2}:{found[2]}"
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise RecordingError(
            f'{table.label}: column {name!r} holds {value!r}, which unit = "iso" cannot read; '
            "it reads 2026-01-15T10:28:10.25 and 10:28:10.25"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _driven(table: LogTable, mapping: LogMapping) -> np.ndarray:
    """Returns (T,) whether the actuators were on."""
    name = mapping.driven.column
    if not name:
        return np.ones(len(table), bool)
    off = [_comparable(x) for x in mapping.driven.off]
    if name not in table.columns and name in table.head:
        return np.full(len(table), _comparable(table.head[name]) not in off)
    return np.array([_comparable(x) not in off for x in table.values(name)], bool)


def _comparable(value: Any) -> Any:
    """Returns a value so that 0, "0", 0.0, False and "false" are one."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = value.strip().casefold()
        if text in ("true", "false"):
            return float(text == "true")
        try:
            return float(text)
        except ValueError:
            return text
    return float(value) if isinstance(value, bool | int | float) else value


def _si(table: LogTable, mapping: LogMapping, source: ColumnMapping, element: str) -> np.ndarray:
    """Returns (T,) a column in SI units; NaN where it holds no value."""
    layout = mapping.layout
    raw = table.numbers(source.column, layout.missing, layout.decimal)
    offset = source.offset
    if source.unit == "calibrated":
        one = mapping.calibration[element]
        value, offset = one.scale * raw, offset + one.zero
    elif source.unit == "percent":
        low, high = source.range
        value, offset = (high - low) / 100 * raw, offset + low
    else:
        value = LOG_UNITS[source.unit][1] * raw if source.unit else raw
    if source.unit.startswith("counts"):
        value = value / source.counts_per_turn
    value = source.sign * source.scale * value + offset
    return _unwrapped(value) if source.unwrap else value


def _unwrapped(values: np.ndarray) -> np.ndarray:
    """Returns angles that go on where they jumped by a turn; rows without a value stay so."""
    out, known = values.copy(), np.isfinite(values)
    out[known] = np.unwrap(values[known])
    return out


def _channel(channel: Channel, unit: str, slide: bool) -> Channel:
    """Returns a channel with its SI unit."""
    kind: ChannelKind = channel.kind
    if kind == "joint_pos":
        si = "m" if slide else "rad"
    elif kind == "joint_vel":
        si = "m/s" if slide else "rad/s"
    else:
        si = SI[LOG_UNITS[unit][0]] if unit in LOG_UNITS else ""
    return Channel(kind, channel.element, channel.column, si)
