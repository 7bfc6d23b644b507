"""Logs as MCAP: JSON messages, and those of ROS 2 where the package mcap-ros2-support is there.

A column is "/topic:field", with "a.b" for nested fields. In messages that hold a list of names
beside a list of values (sensor_msgs/JointState does), "/joint_states:position[elbow]" finds the
number by its name, message by message: several publishers on one topic may name other joints, or
the same ones in another order, and what a message does not name it does not hold. Rows are the
messages of one topic, by default the one with the most columns. A message of another topic belongs
to the row that is nearest in time, and the last one counts: a topic that is slower than the rows
leaves gaps, which are no readings. So a command that was sent a moment after the reading belongs to
its row. The clock is the time of logging.

Source: mcap.dev, MCAP specification.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.params.param import unknown
from mjx_s2r.robot.log.extras import need
from mjx_s2r.robot.log.records import LogError
from mjx_s2r.transfer.mapping import FileLayout
from mjx_s2r.transfer.readers.table import LogTable, column_of, flattened
from mjx_s2r.transfer.recording import RecordingError

LOG_TIME = "log_time"  # column of every MCAP log: ns, when the row's message was logged
NAMES = "name"  # field of a message that names the numbers of its lists


def read_mcap_log(path: Path, layout: FileLayout, columns: Sequence[str]) -> list[LogTable]:
    """Returns the table of an MCAP file.

    Args:
        path: the file.
        layout: its ``rows`` is the topic whose messages are the rows.
        columns: names of those that are wanted, "/topic:field".

    Raises:
        RecordingError: a package is missing, no such topic, or a column without a topic.
    """
    wanted = [name for name in columns if name and name != LOG_TIME]
    for name in wanted:
        if ":" not in name:
            raise RecordingError(f"{path.name}: column {name!r} must read /topic:field")
    counts = Counter(name.partition(":")[0] for name in wanted)
    base = layout.rows or (counts.most_common(1)[0][0] if counts else "")
    messages, notes = _messages(path, {*counts, base} - {""})
    times = np.array([at for at, _ in messages[base]], np.int64)
    found: dict[str, np.ndarray] = {LOG_TIME: times}
    names: dict[str, Sequence[str]] = {}
    for topic, rows in messages.items():
        called = list(dict.fromkeys(name for _, body in rows for name in _names_in(body)))
        named = [(at, _by_name(body, called)) for at, body in rows]
        picked: list[Mapping[str, Any]] = [body for _, body in named]
        if topic != base:
            picked = _beside(times, named)
        fields = dict.fromkeys(key for body in picked for key in body)
        for key in fields:
            values = [body.get(key) for body in picked]
            found[f"{topic}:{key}"] = column_of(values)
            if called and found[f"{topic}:{key}"].ndim == 2:
                names[f"{topic}:{key}"] = called
    return [LogTable(path.name, 0, found, names=names, notes=notes)]


Rows = list[tuple[int, Mapping[str, Any]]]


def _messages(path: Path, topics: set[str]) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Returns topic -> its messages in order of their time, ns, and a note about a torn file."""
    try:
        reader = need("mcap.reader", "an MCAP log")
    except LogError as error:
        raise RecordingError(str(error)) from error
    found: defaultdict[str, Rows] = defaultdict(list)
    notes: tuple[str, ...] = ()
    decoders: dict[int, Any] = {}
    with path.open("rb") as file:
        # The reader that does not seek also reads a file whose end is torn.
        messages = reader.NonSeekingReader(file).iter_messages(
            topics=sorted(topics) or None, log_time_order=False
        )
        try:
            for schema, channel, message in messages:
                if channel.id not in decoders:
                    decoders[channel.id] = _decoder(path, schema, channel)
                body = flattened(decoders[channel.id](message.data))
                found[channel.topic].append((message.log_time, body))
        except RecordingError:
            raise
        except Exception as error:  # the package raises many kinds where a file is torn
            if not found:
                raise RecordingError(f"{path.name} is no whole MCAP file: {error!r}") from error
            notes = ("the file is torn and was read up to there",)
    for topic in topics - found.keys():
        known = _topics(path)
        raise RecordingError(f"{path.name}: {unknown('topic', topic, known)}")
    return {topic: sorted(rows, key=lambda row: row[0]) for topic, rows in found.items()}, notes


def _topics(path: Path) -> list[str]:
    """Returns the topics of a file, as far as it can be read."""
    reader, found = need("mcap.reader", "an MCAP log"), set()
    with path.open("rb") as file:
        try:
            for _, channel, _ in reader.NonSeekingReader(file).iter_messages(log_time_order=False):
                found.add(channel.topic)
        except Exception:  # a torn file; what was found helps the message all the same
            return sorted(found)
    return sorted(found)


def _decoder(path: Path, schema: Any, channel: Any) -> Any:
    """Returns the function from a message's bytes to its fields."""
    if channel.message_encoding == "json":
        return json.loads
    if channel.message_encoding != "cdr" or schema is None:
        raise RecordingError(
            f"{path.name}: topic {channel.topic!r} is encoded as {channel.message_encoding!r}; "
            "JSON and ROS 2 (cdr) are read, convert it to one of them"
        )
    try:
        ros2 = need("mcap_ros2.decoder", "an MCAP log of ROS 2")
    except LogError as error:
        raise RecordingError(str(error)) from error
    decode = ros2.DecoderFactory().decoder_for(channel.message_encoding, schema)
    if decode is None:
        raise RecordingError(
            f"{path.name}: topic {channel.topic!r} has schema encoding {schema.encoding!r}; "
            "ros2msg is read"
        )
    return lambda data: _fields_of(decode(data))


def _fields_of(message: Any) -> Any:
    """Returns the fields of a decoded message of ROS 2, nested ones too."""
    slots = getattr(message, "__slots__", None)
    if slots:
        return {name: _fields_of(getattr(message, name)) for name in slots}
    if isinstance(message, list | tuple):
        return [_fields_of(x) for x in message]
    return message


def _names_in(body: Mapping[str, Any]) -> list[str]:
    """Returns the names of a message's numbers; [] for none."""
    names = body.get(NAMES)
    return list(map(str, names)) if isinstance(names, list) else []


def _by_name(body: Mapping[str, Any], order: list[str]) -> Mapping[str, Any]:
    """Returns a message whose lists have a value for each name of ``order``, perhaps None."""
    names = _names_in(body)
    if not names or names == order:
        return body
    places = [names.index(name) if name in names else -1 for name in order]
    return {
        key: [value[i] if i >= 0 else None for i in places]
        if isinstance(value, list | tuple) and len(value) == len(names)
        else value
        for key, value in body.items()
    }


def _beside(times: np.ndarray, rows: Rows) -> list[Mapping[str, Any]]:
    """Returns (T,) the last of the messages that are nearest to each row; {} for none.

    What that one does not hold (the joints of another publisher) is that of the one before.
    """
    middles = times[:-1] + np.diff(times) // 2
    found: list[Mapping[str, Any]] = [{} for _ in times]
    for at, body in rows:
        row = int(np.searchsorted(middles, at))
        found[row] = {**found[row], **{k: _filled(x, found[row].get(k)) for k, x in body.items()}}
    return found


def _filled(value: Any, before: Any) -> Any:
    """Returns a value; of a list with None in it, those of the one before where it has them."""
    both = isinstance(value, list) and isinstance(before, list) and len(value) == len(before)
    if not both or None not in value:
        return value
    return [old if new is None else new for new, old in zip(value, before, strict=True)]
