"""A flight log as an MCAP file, which Foxglove and other viewers open.

Every message is JSON with a JSON schema. Topics:

    /joint_states      names, positions, velocities, efforts
    /command           what was sent, joint by joint; /output: what the policy answered
    /observation       what the policy read
    /signals/NAME      every other signal of the driver
    /controller        mode, time taken, e-stop
    /events            interventions of the guard, as foxglove.Log
    /cameras/NAME      foxglove.CompressedImage (PNG), or foxglove.RawImage for depth in metres

Both clocks are kept. The time of a message (``log_time``) is the controller's clock, moved so that
the first step lies at its wall time: it advances evenly, also for a flight in virtual time. Its
``publish_time`` is the wall clock, and ``mono_s`` in each message the controller's clock itself.

Sources: mcap.dev, MCAP specification; docs.foxglove.dev, schemas CompressedImage, RawImage, Log.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import to_json
from mjx_s2r.robot.log.extras import need
from mjx_s2r.robot.log.reader import Flight
from mjx_s2r.robot.log.records import LogError, Step
from mjx_s2r.robot.safety import Mode

JOINT_SIGNALS = {"joint_pos": "position", "joint_vel": "velocity", "joint_effort": "effort"}
LEVELS = {Mode.RUN: 2, Mode.HOLD: 3, Mode.STOP: 4}  # of foxglove.Log: info, warning, error
TIME = {
    "type": "object",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
NUMBER, TEXT, INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}
NUMBERS_OR_NULL = {"type": "array", "items": {"type": ["number", "null"]}}
NAMES = {"type": "array", "items": TEXT}
BYTES = {"type": "string", "contentEncoding": "base64"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "mjx_s2r.JointState": {
        "name": NAMES,
        "position": NUMBERS_OR_NULL,
        "velocity": NUMBERS_OR_NULL,
        "effort": NUMBERS_OR_NULL,
    },
    "mjx_s2r.Joints": {"name": NAMES, "value": NUMBERS_OR_NULL, "unit": TEXT},
    "mjx_s2r.Vector": {"value": NUMBERS_OR_NULL},
    "mjx_s2r.Controller": {
        "step": INTEGER,
        "mode": TEXT,
        "busy_s": NUMBER,
        "estop": {"type": "boolean"},
    },
    "foxglove.Log": {
        **{"level": INTEGER, "message": TEXT, "name": TEXT, "file": TEXT, "line": INTEGER},
        **{"code": TEXT, "value": {"type": ["number", "null"]}},
        "limit": {"type": ["number", "null"]},
    },
    "foxglove.CompressedImage": {"frame_id": TEXT, "data": BYTES, "format": TEXT},
    "foxglove.RawImage": {
        **{"frame_id": TEXT, "width": INTEGER, "height": INTEGER, "encoding": TEXT},
        **{"step": INTEGER, "data": BYTES},
    },
}


def export_mcap(flight: Flight, path: str | Path) -> dict[str, int]:
    """Writes a flight to an MCAP file; returns how many messages each topic has.

    Args:
        flight: an opened log.
        path: a file that does not exist yet.

    Raises:
        LogError: the package mcap is missing, the log is empty, or the file exists.
    """
    mcap = need("mcap.writer", "an MCAP file")
    if not len(flight.steps):
        raise LogError("the log holds no step, so there is nothing to export")
    try:
        with Path(path).open("xb") as file:
            writer = mcap.Writer(file)
            writer.start(profile="", library="mjx_s2r")
            out = _Topics(writer, *_anchor(flight))
            _put_header(writer, flight)
            for step in flight.bare():
                _put_step(out, flight, step)
            for camera in flight.contract.cameras:
                _put_pictures(out, flight, camera.name)
            writer.finish()
    except FileExistsError as error:
        raise LogError(f"{path} exists; name another file, or delete it") from error
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error.strerror or error}") from error
    return dict(out.counts)


@dataclass
class _Topics:
    """The channels of a file that is being written."""

    writer: Any
    mono_s: float  # the controller's clock at the first step
    wall_s: float  # the wall clock at the same time
    counts: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, int] = field(default_factory=dict)

    def put(
        self, topic: str, schema: str, mono_s: float, wall_s: float, body: Mapping[str, Any]
    ) -> None:
        """Writes one message."""
        at_ns = self.nanoseconds(mono_s)
        published_ns = round(wall_s * 1e9) if math.isfinite(wall_s) else at_ns
        stamp = {"sec": at_ns // 10**9, "nsec": at_ns % 10**9}
        message = {"timestamp": stamp, "mono_s": mono_s, **body}
        self.writer.add_message(
            channel_id=self._channel(topic, schema),
            log_time=at_ns,
            publish_time=published_ns,
            data=json.dumps(message, allow_nan=False).encode(),
        )
        self.counts[topic] = self.counts.get(topic, 0) + 1

    def nanoseconds(self, mono_s: float) -> int:
        """Returns a time of the controller's clock on the file's time axis, ns."""
        return max(0, round((self.wall_s + mono_s - self.mono_s) * 1e9))

    def _channel(self, topic: str, schema: str) -> int:
        """Returns the channel of a topic, registered at its first message."""
        if topic not in self.channels:
            if schema not in self.schemas:
                properties = {"timestamp": TIME, "mono_s": NUMBER, **SCHEMAS[schema]}
                text = json.dumps({"title": schema, "type": "object", "properties": properties})
                self.schemas[schema] = self.writer.register_schema(
                    schema, "jsonschema", text.encode()
                )
            self.channels[topic] = self.writer.register_channel(topic, "json", self.schemas[schema])
        return self.channels[topic]


def _anchor(flight: Flight) -> tuple[float, float]:
    """Returns the controller's clock and the wall clock, s, of the first step; wall 0: unknown."""
    first = flight.bare()[0]
    wall_s = first.wall_s if math.isfinite(first.wall_s) else flight.started_s
    return first.time_s, wall_s if math.isfinite(wall_s) else 0.0


def _put_header(writer: Any, flight: Flight) -> None:
    """Writes the contract and the settings as an attachment and as metadata."""
    contract = to_json(flight.contract).encode()
    writer.add_attachment(0, 0, "contract.json", "application/json", contract)
    known = math.isfinite(flight.started_s)
    writer.add_metadata(
        "mjx_s2r flight log",
        {
            "robot": flight.robot,
            "task": flight.contract.task,
            "config": json.dumps(flight.config),
            "wall_clock": "known" if known else "unknown: times count from zero",
            "torn_bytes": str(flight.torn_bytes),
        },
    )


def _put_step(out: _Topics, flight: Flight, step: Step) -> None:
    """Writes the messages of one step."""
    action, at = flight.contract.action, (step.time_s, step.wall_s)
    joints = list(action.joints)
    reading = step.reading
    body = {"step": step.step, "mode": step.mode.name, "busy_s": _finite(step.busy_s)}
    body["estop"] = bool(reading is not None and reading.estop)
    out.put("/controller", "mjx_s2r.Controller", *at, body)
    for topic, value in (("/command", step.command), ("/output", step.output)):
        if value is not None:
            body = {"name": joints, "value": _values(value), "unit": action.unit}
            out.put(topic, "mjx_s2r.Joints", *at, body)
    if step.observation is not None:
        out.put("/observation", "mjx_s2r.Vector", *at, {"value": _values(step.observation)})
    if reading is not None:
        time_s = reading.time_s if isinstance(reading.time_s, float) else math.nan
        read_at = (time_s if math.isfinite(time_s) else step.time_s, step.wall_s)
        state = {
            JOINT_SIGNALS[n]: _values(x) for n, x in reading.signals.items() if n in JOINT_SIGNALS
        }
        if state:
            blank: dict[str, Any] = {"position": [], "velocity": [], "effort": []}
            out.put(
                "/joint_states", "mjx_s2r.JointState", *read_at, {"name": joints, **blank, **state}
            )
        for name, value in reading.signals.items():
            if name not in JOINT_SIGNALS:
                out.put(f"/signals/{name}", "mjx_s2r.Vector", *read_at, {"value": _values(value)})
    for event in step.events:
        found = f"{event.code} {event.name}: {event.value} (limit {event.limit})"
        body = {
            **{"level": LEVELS.get(event.mode, 4), "message": f"{event.mode.name} {found}"},
            **{"name": event.code, "file": "", "line": 0, "code": event.code},
            **{"value": _finite(event.value), "limit": _finite(event.limit)},
        }
        out.put("/events", "foxglove.Log", *at, body)


def _put_pictures(out: _Topics, flight: Flight, camera: str) -> None:
    """Writes the pictures of one camera, each once, at the time it was taken."""
    topic = f"/cameras/{camera}"
    for picture in flight.steps.pictures(camera):
        at = (picture.time_s, math.nan)
        if not isinstance(picture.time_s, float) or not math.isfinite(picture.time_s):
            continue
        if picture.codec == "png":
            body = {"frame_id": camera, "data": _base64(picture.data), "format": "png"}
            out.put(topic, "foxglove.CompressedImage", *at, body)
        elif len(picture.shape) == 2:
            image = picture.array()
            body = {
                **{"frame_id": camera, "width": image.shape[1], "height": image.shape[0]},
                **{"encoding": "32FC1", "step": 4 * image.shape[1]},
                "data": _base64(image.astype("<f4").tobytes()),
            }
            out.put(topic, "foxglove.RawImage", *at, body)


def _values(value: np.ndarray) -> list[float | None]:
    """Returns an array as JSON numbers; null for what is not finite, or no number."""
    if value.dtype.kind not in "biuf":
        return []
    return [_finite(x) for x in np.ravel(value).tolist()]


def _finite(value: Any) -> float | None:
    """Returns a number; None for what is not finite, or no number."""
    number = isinstance(value, int | float) and math.isfinite(value)
    return value if number else None


def _base64(data: bytes) -> str:
    """Returns bytes as text."""
    return base64.b64encode(data).decode()
