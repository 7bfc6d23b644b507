"""An MCAP file holds what the log holds, read back by the package mcap."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from PIL import Image

from mjx_s2r.contract import CameraSignal, from_json
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog, LogError, read
from mjx_s2r.robot.log.mcap_export import export_mcap
from tests.robot.test_log import CONTRACT, SMALL, step_at


def test_read_back(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        for index in range(5):
            log.append(step_at(index))
    flight = read(tmp_path / "a.log")
    counts = export_mcap(flight, tmp_path / "a.mcap")
    with (tmp_path / "a.mcap").open("rb") as file:
        reader = make_reader(file)
        found = [
            (schema.name, channel.topic, message, json.loads(message.data))
            for schema, channel, message in reader.iter_messages()
            if schema is not None
        ]
        attached = next(reader.iter_attachments())
        settings = next(reader.iter_metadata())
    assert from_json(attached.data.decode()) == CONTRACT
    assert settings.metadata["robot"] == "fake"
    assert counts["/command"] == counts["/events"] == counts["/cameras/front"] == 5
    assert sum(counts.values()) == len(found)
    commands = [(message, body) for _, topic, message, body in found if topic == "/command"]
    steps = list(flight.steps)
    for (message, body), step in zip(commands, steps, strict=True):
        assert step.command is not None
        assert body["value"] == step.command.tolist() and body["name"] == ["a", "b"]
        assert body["mono_s"] == step.time_s  # the controller's clock
        assert message.publish_time == round(step.wall_s * 1e9)  # the wall clock
        since_ns = message.log_time - commands[0][0].log_time
        assert since_ns == pytest.approx(1e9 * step.time_s, abs=1000)
    pictures = [body for name, _, _, body in found if name == "foxglove.CompressedImage"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]["data"]))))
    assert steps[0].reading is not None
    np.testing.assert_array_equal(shown, steps[0].reading.images["front"])
    states = [body for _, topic, _, body in found if topic == "/joint_states"]
    assert states[3]["position"] == [3, -3] and states[3]["velocity"] == [0, 0]


def test_depth_and_nan(tmp_path: Path) -> None:
    camera = CameraSignal("deep", 4, 3, 10.0, kind="depth", near=0.1, far=2.0)
    contract = replace(CONTRACT, cameras=(camera,))
    metres = np.linspace(0, 2, 12, dtype=np.float32).reshape(4, 3)
    signals = {"joint_pos": np.array([np.nan, 1.0]), "lost": np.array("text")}
    with FlightLog(tmp_path / "a.log", contract, "fake") as log:
        log.append(replace(SMALL, reading=Reading(0.0, signals, {"deep": metres}, {"deep": 0.0})))
    export_mcap(read(tmp_path / "a.log"), tmp_path / "a.mcap")
    with (tmp_path / "a.mcap").open("rb") as file:
        bodies = {c.topic: json.loads(m.data) for _, c, m in make_reader(file).iter_messages()}
    assert bodies["/joint_states"]["position"] == [None, 1.0]
    picture = bodies["/cameras/deep"]
    assert (picture["width"], picture["height"], picture["encoding"]) == (3, 4, "32FC1")
    back = np.frombuffer(base64.b64decode(picture["data"]), "<f4").reshape(4, 3)
    np.testing.assert_array_equal(back, metres)


def test_refusals(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        pass
    with pytest.raises(LogError, match="no step"):
        export_mcap(read(tmp_path / "a.log"), tmp_path / "a.mcap")
    with FlightLog(tmp_path / "b.log", CONTRACT, "fake") as log:
        log.append(step_at(0))
    export_mcap(read(tmp_path / "b.log"), tmp_path / "b.mcap")
    with pytest.raises(LogError, match=r"b\.mcap exists"):
        export_mcap(read(tmp_path / "b.log"), tmp_path / "b.mcap")
