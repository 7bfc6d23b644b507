"""A LeRobot dataset of flight logs, read back by pyarrow, PyAV and, if it is there, LeRobot."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.cli.main import main
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import Flight, FlightLog, LogError, Step, read
from mjx_s2r.robot.log.lerobot_export import export_lerobot
from mjx_s2r.robot.safety import Mode
from tests.robot.fakes import contract_for, write_calibration

CAMERA = CameraSignal("front", 16, 24, 10.0)
CONTRACT = replace(contract_for(), cameras=(CAMERA,))
GRAYS = (40, 90, 140, 190, 240)


def fly(path: Path, times: Sequence[float], shift: float = 0.0) -> Flight:
    """Returns a log of two joints and a camera whose pictures tell the step."""
    with FlightLog(path, CONTRACT, "fake arm") as log:
        for k, t in enumerate(times):
            signals = {
                "joint_pos": np.array([0.1 * k + shift, -0.2]),
                "joint_vel": np.array([k, 1.0]),
            }
            image = np.full((16, 24, 3), GRAYS[k % 5], np.uint8)
            reading = Reading(t, signals, {"front": image}, {"front": t})
            command = np.array([0.1 * k + 0.05, 0.3], np.float32)
            log.append(Step(k, t, Mode.RUN, reading, command=command))
        log.append(Step(len(times), times[-1] + 0.1, Mode.STOP))
    return read(path)


def test_read_back(tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, 12)
    first = fly(tmp_path / "a.log", [0.0, *(0.1 * np.arange(1, 12) + jitter[1:])])
    second = fly(tmp_path / "b.log", 0.1 * np.arange(5), shift=1.0)
    made = export_lerobot([first, second], tmp_path / "set", task="reach the ball")
    assert (made.episodes, made.frames, made.fps, made.left_out) == (2, 17, 10, ())
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 10, 17)
    state = info["features"]["observation.state"]
    assert (state["names"], state["unit"], state["shape"]) == (["a.pos", "b.pos"], "rad", [2])
    data = pq.read_table(tmp_path / "set" / info["data_path"].format(chunk_index=0, file_index=0))
    columns = {name: np.array(data[name].to_pylist()) for name in data.column_names}
    assert set(columns) == {k for k, ft in info["features"].items() if ft["dtype"] != "video"}
    np.testing.assert_allclose(columns["timestamp"][:12], np.arange(12) / 10, atol=1e-6)
    np.testing.assert_array_equal(columns["episode_index"], [0] * 12 + [1] * 5)
    np.testing.assert_array_equal(columns["index"], np.arange(17))
    np.testing.assert_allclose(columns["observation.state"][:12, 0], 0.1 * np.arange(12), atol=1e-6)
    np.testing.assert_allclose(columns["action"][12:, 0], 0.1 * np.arange(5) + 0.05, atol=1e-6)
    np.testing.assert_array_equal(columns["observation.joint_vel"][:, 1], np.ones(17))
    np.testing.assert_array_equal(columns["time.mono_s"][:12], [s.time_s for s in first.steps][:12])
    assert columns["time.wall_s"][0] == first.steps[0].wall_s
    episodes = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [e["dataset_to_index"] for e in episodes] == [12, 17]
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    values = columns["observation.state"]
    np.testing.assert_allclose(stats["observation.state"]["mean"], values.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["observation.state"]["std"], values.std(0), atol=1e-6)
    path = tmp_path / "set/videos/observation.images.front/chunk-000/file-000.mp4"
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 10
    assert len(frames) == 12 and frames[0].shape == (16, 24, 3)
    for k, frame in enumerate(frames):
        assert abs(frame.mean() - GRAYS[k % 5]) < 4


def test_other_rates_take_the_nearest_step(tmp_path: Path) -> None:
    flight = fly(tmp_path / "a.log", [0.0, 0.1, 0.2, 0.9, 1.0])  # with a gap
    made = export_lerobot([flight], tmp_path / "set", fps=20)
    data = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet")
    mono = np.array(data["time.mono_s"].to_pylist())
    grid = np.arange(21) / 20
    steps = np.array([0.0, 0.1, 0.2, 0.9, 1.0])
    nearest = np.abs(grid[:, None] - steps).min(1)
    np.testing.assert_allclose(np.abs(mono - grid), nearest, atol=1e-9)
    assert made.frames == 21


def test_a_calibration_gives_the_motors_units(tmp_path: Path) -> None:
    calibration = (
        JointCalibration("b", "jaw", "range_0_100", 1000, 3048),
        JointCalibration("a", "pan", "range_m100_100", 1024, 3072),
    )
    fly(tmp_path / "a.log", 0.1 * np.arange(3))
    write_calibration(tmp_path / "arm.json", calibration)
    words = ["export", str(tmp_path / "a.log"), "--lerobot", str(tmp_path / "set")]
    assert main([*words, "--calibration", str(tmp_path / "arm.json")]) == 0
    info = json.loads((tmp_path / "set/meta/info.json").read_text())["features"]
    assert info["action"]["names"] == ["jaw.pos", "pan.pos"]
    assert info["action"]["unit"] == "range_0_100, range_m100_100"
    data = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet")
    jaw, pan = np.array(data["action"].to_pylist())[2]
    assert jaw == pytest.approx(100 * 0.3 / np.pi, rel=1e-5)  # half a turn is 100
    assert pan == pytest.approx(100 * 0.25 / (np.pi / 2), rel=1e-5)  # a quarter each way


def test_refusals(tmp_path: Path) -> None:
    flight = fly(tmp_path / "a.log", [0.0])
    with pytest.raises(LogError, match="at least one"):
        export_lerobot([], tmp_path / "set")
    with pytest.raises(LogError, match="exists"):
        export_lerobot([flight], tmp_path)
    slow = replace(flight, contract=replace(CONTRACT, control_hz=12.5))
    with pytest.raises(LogError, match="differ in their control rate"):
        export_lerobot([flight, slow], tmp_path / "set")
    with pytest.raises(LogError, match=r"12\.5 Hz; give fps"):
        export_lerobot([slow], tmp_path / "set")
    with pytest.raises(LogError, match="efforts"):
        export_lerobot([replace(flight, contract=contract_for("effort"))], tmp_path / "set")
    with FlightLog(tmp_path / "b.log", CONTRACT, "fake") as log:
        log.append(Step(0, 0.0, Mode.STOP))
    with pytest.raises(LogError, match="nothing to export"):
        export_lerobot([read(tmp_path / "b.log")], tmp_path / "set")
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.unfinished").exists()


@pytest.mark.slow
def test_lerobot_reads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    flights = [fly(tmp_path / f"{n}.log", 0.1 * np.arange(8), shift=n) for n in range(2)]
    export_lerobot(flights, tmp_path / "set", task="reach the ball")
    dataset = datasets.LeRobotDataset("local/set", root=tmp_path / "set")
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (2, 16, 10)
    assert dataset.meta.get_task_index("reach the ball") == 0
    item = dataset.hf_dataset[11]
    assert int(item["frame_index"]) == 3
    np.testing.assert_allclose(item["observation.state"].numpy(), [1.3, -0.2], atol=1e-6)
    assert dataset.meta.stats["observation.images.front"]["mean"].shape == (3, 1, 1)
    path = dataset.root / dataset.meta.get_video_file_path(1, "observation.images.front")
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 8 and abs(frames[3].mean() - GRAYS[3]) < 4
