"""Demonstrations of flights and LeRobot datasets: what is read is what the robot's policy had."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mjx_s2r.contract import PolicyContract, next_command
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.camera_warp import CameraCalibration, Lens, warps_of
from mjx_s2r.robot.frames import FrameStack
from mjx_s2r.robot.log import read
from mjx_s2r.robot.log.lerobot_export import export_lerobot
from mjx_s2r.robot.log.video import write_video
from mjx_s2r.robot.phases import Phase
from mjx_s2r.transfer.demonstrations.dataset import (
    Demonstrations,
    open_demonstrations,
    split_episodes,
)
from mjx_s2r.transfer.demonstrations.frame_checks import (
    check_actions_vary,
    check_colour_order,
    check_joint_units,
)
from mjx_s2r.transfer.demonstrations.read import DemonstrationFiles, read_demonstrations
from mjx_s2r.transfer.demonstrations.recovered_actions import first_held, recover_actions
from mjx_s2r.transfer.recording import RecordingError
from tests.robot.fakes import contract_for, with_joints, write_calibration
from tests.transfer.demonstrations.flown import CAMERA, CONTRACT, fly, picture

DATA = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-001.mp4"
SCALE = np.asarray(CONTRACT.action.scale, np.float32)


def read_set(
    folder: Path, *paths: Path, contract: PolicyContract = CONTRACT, **settings: object
) -> Demonstrations:
    """Returns the set of some recordings."""
    files = DemonstrationFiles(paths, **settings)  # type: ignore[arg-type]
    return read_demonstrations(files, contract, folder)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two flights of 12 and 17 control steps."""
    folder = tmp_path_factory.mktemp("logs")
    return fly(folder / "a.log"), fly(folder / "b.log", 1.7, seed=1)


@pytest.fixture
def dataset(logs: tuple[Path, Path], tmp_path: Path) -> Path:
    """Those flights as a LeRobot dataset."""
    export_lerobot([read(path) for path in logs], tmp_path / "arm", task="wave")
    return tmp_path / "arm"


def test_a_flight_is_what_its_policy_saw_and_did(logs: tuple[Path, Path], tmp_path: Path) -> None:
    found = read_set(tmp_path / "set", *logs)
    flown = [s for path in logs for s in read(path).steps if s.phase == Phase.RUN]
    asked = np.array([s.observation is not None for s in flown])
    assert len(found) == len(flown) and asked.sum() > 20
    assert [e.name for e in found.episodes] == ["a.log", "b.log"]
    observed = np.array([s.observation for s in flown if s.observation is not None])
    np.testing.assert_allclose(found.readings[asked], observed, atol=1e-6)
    answers = np.array([s.output for s in flown if s.output is not None]) / SCALE
    assert found.actions is not None and found.clipped == 0
    np.testing.assert_allclose(found.actions[asked], answers, atol=1e-5)
    proposed = read_set(tmp_path / "proposed", *logs, labels="proposed")
    assert proposed.actions is not None
    np.testing.assert_allclose(proposed.actions[asked], answers, atol=1e-6)
    shown = np.stack([s.reading.images["front"] for s in flown if s.reading])
    np.testing.assert_array_equal(found.images[0], shown)
    assert isinstance(found.images[0], np.memmap)
    assert read_set(tmp_path / "plain", *logs, labelled=False).actions is None


def test_a_lerobot_set_of_flights_is_these_flights(
    logs: tuple[Path, Path], dataset: Path, tmp_path: Path
) -> None:
    """The set holds a row more of each: the first command, which the policy was not asked for."""
    ours, theirs = read_set(tmp_path / "ours", *logs), read_set(tmp_path / "theirs", dataset)
    assert [e.rows - 1 for e in theirs.episodes] == [e.rows for e in ours.episodes]
    both = ~np.isin(np.arange(len(theirs)), theirs.starts)
    np.testing.assert_allclose(theirs.readings[both], ours.readings, atol=2e-5)
    assert ours.actions is not None and theirs.actions is not None
    np.testing.assert_allclose(theirs.actions[both], ours.actions, atol=2e-4)
    difference = np.abs(theirs.images[0][both].astype(int) - ours.images[0])
    assert difference.mean() < 5  # of a lossy codec; the next step's picture is 10 away
    assert np.abs(difference[:, 0, 0, 0]).max() < 4


def test_a_calibration_undoes_the_motors_units(
    logs: tuple[Path, Path], dataset: Path, tmp_path: Path
) -> None:
    calibration = (
        JointCalibration("b", "jaw", "degrees", sign=-1, zero=0.2),
        JointCalibration("a", "pan", "range_m100_100", 1024, 3072, zero=-0.1),
    )
    flights = [read(path) for path in logs]
    export_lerobot(flights, tmp_path / "motors", calibration=calibration)
    write_calibration(tmp_path / "arm.json", calibration)
    plain = read_set(tmp_path / "plain", dataset)
    found = read_set(tmp_path / "set", tmp_path / "motors", calibration=tmp_path / "arm.json")
    np.testing.assert_allclose(found.readings, plain.readings, atol=2e-5)
    assert found.actions is not None and plain.actions is not None
    np.testing.assert_allclose(found.actions, plain.actions, atol=1e-3)
    with pytest.raises(RecordingError, match=r"another robot's.*'jaw'.*'a' is missing"):
        read_set(tmp_path / "none", tmp_path / "motors")


EFFORTS = replace(contract_for("effort"), cameras=(CAMERA,))


def test_efforts_are_not_compared_with_positions(tmp_path: Path) -> None:
    """Joints move 1/50 rad per N m, as if commands were in degrees and readings in radians."""
    strong = replace(EFFORTS.action, scale=(1.0, 1.0))
    contract = replace(EFFORTS, action=strong)
    log = fly(tmp_path / "a.log", contract=contract, gain=1 / 50)
    found = read_set(tmp_path / "set", log, contract=contract)
    sent = [s.command for s in read(log).steps if s.phase == Phase.RUN and s.command is not None]
    assert found.actions is not None and np.ptp(found.actions) > 0.5
    np.testing.assert_allclose(found.actions, np.array(sent)[-len(found) :], atol=1e-6)
    seen = tuple(
        replace(s, seen_low=(-1.0, -1.0), seen_high=(1.0, 1.0)) if s.name == "joint_pos" else s
        for s in contract.signals
    )
    turned = np.full((3, 2), 57.3 * 0.9)
    with pytest.raises(RecordingError, match=r"limits, \[-1.0, -1.0\] to \[1.0, 1.0\] rad; these"):
        check_joint_units("a", replace(contract, signals=seen), turned, np.zeros((3, 2)))


def test_a_policy_of_efforts_begins_with_none(dataset: Path, tmp_path: Path) -> None:
    """As the controller does; a policy of positions begins at the measured pose."""
    (tmp_path / "map.toml").write_text(
        '[commands]\nmode = "effort"\n'
        '[commands.joints]\na = "action[0]"\nb = "action[1]"\n'
        '[readings.joint_pos]\na = "observation.state[0]"\nb = "observation.state[1]"\n'
    )
    settings = {"mapping": tmp_path / "map.toml", "contract": EFFORTS}
    found = read_set(tmp_path / "set", dataset, **settings)  # type: ignore[arg-type]
    firsts = found.readings[found.starts[:-1]]
    assert np.abs(firsts[:, :2]).min() > 0.1
    np.testing.assert_array_equal(firsts[:, 4:6], 0)
    pose = np.array([0.3, -0.2])
    assert first_held(CONTRACT.action, pose).tolist() == [0.3, -0.2]
    assert first_held(EFFORTS.action, pose).tolist() == [0, 0]


def test_a_mapping_names_columns_and_cameras(
    logs: tuple[Path, Path], dataset: Path, tmp_path: Path
) -> None:
    renamed = json.loads((dataset / "meta/info.json").read_text())
    (tmp_path / "map.toml").write_text(
        "[commands.joints]\n"
        'a = {column = "action[0]", sign = -1}\nb = "action[b.pos]"\n'
        '[readings.joint_pos]\na = {column = "observation.state[0]", sign = -1}\n'
        'b = "observation.state[1]"\n'
        '[cameras]\nfront = {key = "observation.images.front", order = "BGR"}\n'
    )
    assert renamed["features"]["action"]["names"] == ["a.pos", "b.pos"]
    plain = read_set(tmp_path / "plain", dataset)
    found = read_set(tmp_path / "set", dataset, mapping=tmp_path / "map.toml")
    np.testing.assert_allclose(found.readings[:, 0], -plain.readings[:, 0], atol=1e-6)
    assert found.actions is not None and plain.actions is not None
    np.testing.assert_allclose(found.actions[:, 0], -plain.actions[:, 0], atol=1e-4)
    np.testing.assert_array_equal(found.images[0], plain.images[0][..., ::-1])
    # Velocities are not mapped: differences of positions, in units of 1 / 0.5 s.
    expected = 0.5 * np.diff(plain.readings[:12, 1]) * 10
    np.testing.assert_allclose(found.readings[1:12, 3], expected, atol=1e-4)


def test_a_mapping_or_a_calibration_that_nothing_reads_is_refused(
    logs: tuple[Path, Path], dataset: Path, tmp_path: Path
) -> None:
    mapping, arm = tmp_path / "map.toml", tmp_path / "arm.json"
    both = r'arm\.json is not read beside mapping .*map\.toml.*; write calibration = "arm\.json" at'
    with pytest.raises(RecordingError, match=both):
        read_set(tmp_path / "set", dataset, mapping=mapping, calibration=arm)
    for name, file in (("mapping", mapping), ("calibration", arm)):
        with pytest.raises(RecordingError, match=rf"{name} .*{file.name} is of LeRobot.*a\.log"):
            read_set(tmp_path / "set", logs[0], **{name: file})
    write_calibration(arm, tuple(JointCalibration(j, j, "radians") for j in ("a", "b")))
    found = read_set(tmp_path / "set", logs[0], dataset, calibration=arm)
    assert len(found.episodes) == 3
    files = DemonstrationFiles((logs[0], dataset), calibration=arm)
    assert files.part((logs[0],), labelled=False) == DemonstrationFiles((logs[0],), labelled=False)
    assert files.part((dataset,), labelled=True).calibration == arm


def test_another_rate_is_interpolated(dataset: Path, tmp_path: Path) -> None:
    plain = read_set(tmp_path / "plain", dataset)
    fast = replace(CONTRACT, control_hz=20.0)
    found = read_set(tmp_path / "set", dataset, contract=fast)
    assert found.episodes[0].rows == 2 * plain.episodes[0].rows - 1
    np.testing.assert_allclose(found.readings[:23:2, :2], plain.readings[:12, :2], atol=1e-6)
    middle = (plain.readings[:11, :2] + plain.readings[1:12, :2]) / 2
    np.testing.assert_allclose(found.readings[1:23:2, :2], middle, atol=1e-6)
    assert "10 rows per second, the policy acts at 20 Hz" in found.notes[0]


def test_pictures_of_another_size_are_refused_or_fitted(dataset: Path, tmp_path: Path) -> None:
    small = replace(CONTRACT, cameras=(replace(CAMERA, height=8, width=8),))
    with pytest.raises(RecordingError, match=r"arm episode 0 row 0: .*16x24x3 uint8.*reads 8x8x3"):
        read_set(tmp_path / "set", dataset, contract=small)
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.unfinished").exists()
    found = read_set(tmp_path / "set", dataset, contract=small, fit="crop")
    whole = read_set(tmp_path / "whole", dataset)
    halves = whole.images[0][:, :, 4:20].reshape(-1, 8, 2, 8, 2, 3).mean((2, 4))
    np.testing.assert_allclose(found.images[0], halves, atol=0.51)


def test_several_episodes_lie_in_one_video(dataset: Path, tmp_path: Path) -> None:
    """As LeRobot itself writes them: one file of both, and where each begins in it."""
    plain = read_set(tmp_path / "plain", dataset)
    meta = dataset / "meta/episodes/chunk-000/file-000.parquet"
    rows, key = pq.read_table(meta).to_pylist(), "videos/observation.images.front"
    lengths = [row["length"] for row in rows]
    rows[1] |= {f"{key}/file_index": 0, f"{key}/from_timestamp": lengths[0] / 10}
    pq.write_table(pa.Table.from_pylist(rows), meta)
    with pytest.raises(RecordingError, match=r"file-000.mp4 is shorter than its table"):
        read_set(tmp_path / "short", dataset)
    write_video(dataset / VIDEO.replace("001", "000"), iter(plain.images[0]), (16, 24, 3), 10, 100)
    found = read_set(tmp_path / "set", dataset)
    assert np.abs(found.images[0].astype(int) - plain.images[0]).mean() < 5
    grey = found.images[0][:, 0, 0, 0].astype(int) - plain.images[0][:, 0, 0, 0]
    assert np.abs(grey).max() < 5  # compressed twice; the next picture is 10 away


def rewritten(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Returns what changes the columns of a dataset's table."""

    def rewrite(folder: Path) -> None:
        """Changes them."""
        table = pq.read_table(folder / DATA)
        columns = table.to_pydict()
        change(columns)
        pq.write_table(pa.table(columns), folder / DATA)

    return rewrite


def shorten_video(folder: Path) -> None:
    """Puts the video of the shorter episode in the place of the longer one's."""
    (folder / VIDEO).write_bytes((folder / VIDEO.replace("001", "000")).read_bytes())


def put_nan(columns: dict) -> None:
    """Loses a value of row 3."""
    columns["observation.state"][3] = [0.1, float("nan")]


def swap_rows(columns: dict) -> None:
    """Exchanges rows 4 and 5."""
    for values in columns.values():
        values[4], values[5] = values[5], values[4]


def slow_down(columns: dict) -> None:
    """Stretches the clock from row 7 on."""
    columns["timestamp"] = [t + 0.05 * (i >= 7) for i, t in enumerate(columns["timestamp"])]


def to_degrees(columns: dict) -> None:
    """Records degrees."""
    for key in ("observation.state", "action"):
        columns[key] = [[57.3 * x + 90 for x in row] for row in columns[key]]


def hold_still(columns: dict) -> None:
    """Demonstrates nothing."""
    columns["action"] = [[0.3, -0.2]] * len(columns["action"])
    columns["observation.state"] = [[0.3, -0.2]] * len(columns["action"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewritten(put_nan), rf"{DATA} row 3: column 'observation.state' holds"),
        (rewritten(swap_rows), rf"{DATA} row 4: frame 5 of episode 0 follows frame 3"),
        (rewritten(slow_down), rf"{DATA} row 7: 0.1500 s after .* 10 rows per second"),
        (rewritten(lambda c: c.pop("timestamp")), rf"{DATA} has no column 'timestamp'"),
        (rewritten(lambda c: c.pop("action")), r"unknown column 'action|no column 'action"),
        (rewritten(to_degrees), r"arm episode \d row \d+: the observation .*look like degrees"),
        (rewritten(hold_still), r"actions of all 2 joints are the same in all 29 rows"),
        (shorten_video, rf"{VIDEO} is shorter than its table: it ends after 12 pictures, and row "),
        (lambda f: (f / VIDEO).unlink(), r"file-001.mp4 is no video that can be read"),
        (lambda f: (f / "meta/info.json").unlink(), r"arm is a folder and no LeRobot dataset"),
    ],
)
def test_damage_is_named_with_file_and_row(
    dataset: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(dataset)
    with pytest.raises(RecordingError, match=message):
        read_set(tmp_path / "set", dataset)


def test_flights_of_other_robots_are_refused(logs: tuple[Path, Path], tmp_path: Path) -> None:
    other = with_joints(CONTRACT, ("a", "wrist"))
    with pytest.raises(RecordingError, match=r"a\.log is another robot's.*'wrist' is missing"):
        read_set(tmp_path / "set", logs[0], contract=other)
    with pytest.raises(RecordingError, match=r"a\.log was flown at 10 Hz, the policy acts at 25"):
        read_set(tmp_path / "set", logs[0], contract=replace(CONTRACT, control_hz=25.0))
    side = replace(CONTRACT, cameras=(replace(CAMERA, name="side"),))
    with pytest.raises(RecordingError, match=r"no pictures of camera 'side'; it has \['front'\]"):
        read_set(tmp_path / "set", logs[0], contract=side)
    with pytest.raises(RecordingError, match="does not exist"):
        read_set(tmp_path / "set", tmp_path / "c.log")


def test_recordings_that_changed_are_noticed(logs: tuple[Path, Path], tmp_path: Path) -> None:
    read_set(tmp_path / "set", logs[0])
    read_set(tmp_path / "set", logs[0])
    with pytest.raises(RecordingError, match="have changed since it was made"):
        read_set(tmp_path / "set", *logs)
    with pytest.raises(RecordingError, match="was made for cameras"):
        open_demonstrations(
            tmp_path / "set", replace(CONTRACT, cameras=(replace(CAMERA, height=8),))
        )


def test_actions_are_recovered_from_the_commands_they_lead_to() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)
    command, sent = np.float32([0.3, -0.2]), []
    for action in actions:
        command = next_command(np, CONTRACT.action, command, action * SCALE)
        sent.append(command)
    found = recover_actions(CONTRACT.action, np.array(sent), np.array([0.3, -0.2]))
    inside = np.abs(np.array(sent)) < 1  # at a limit several actions lead to one command
    np.testing.assert_allclose(found.actions[inside], actions[inside], atol=1e-5)
    np.testing.assert_allclose(found.held[1:], np.array(sent)[:-1], atol=1e-6)
    assert found.clipped == 0


def test_a_jump_is_clipped_caught_up_with_and_counted() -> None:
    """One step is 0.1 rad: a jump of 0.25 takes 1, 1 and a half, and two values were too large."""
    targets = np.array([[0.25, 0.0], [0.25, 0.0], [0.25, 0.0], [0.25, 0.0]])
    found = recover_actions(CONTRACT.action, targets, np.zeros(2))
    np.testing.assert_allclose(found.actions[:, 0], [1, 1, 0.5, 0], atol=1e-6)
    assert found.clipped == pytest.approx(2 / 8)
    place = replace(CONTRACT.action, mode="position", home=(0.2, 0.0))
    np.testing.assert_allclose(
        recover_actions(place, targets, np.zeros(2)).actions[:, 0], 0.5, atol=1e-6
    )


def test_a_stack_is_that_of_the_robot(logs: tuple[Path, Path], tmp_path: Path) -> None:
    """The controller's own stack of a camera at half the control rate, on the same pictures."""
    slow = replace(CONTRACT, cameras=(replace(CAMERA, rate_hz=5.0, frames=3),))
    found = read_set(tmp_path / "set", *logs, contract=slow)
    stack, rows = FrameStack(slow), np.arange(found.starts[1], len(found))
    seen = found.pictures(0, rows)
    for k, row in enumerate(rows):
        if k % 2 == 0:
            given = stack.push({"front": np.asarray(found.images[0][row])}, {"front": float(k)})
        np.testing.assert_array_equal(seen[k], given["front"])
    assert seen.shape == (len(rows), *slow.cameras[0].shape)


@pytest.mark.parametrize("phase", [0, 1])
def test_a_slow_cameras_pictures_are_those_of_the_flight(tmp_path: Path, phase: int) -> None:
    """At half the control rate, in either phase: what the policy saw is what is taught."""
    slow = replace(CONTRACT, cameras=(replace(CAMERA, rate_hz=5.0, frames=2),))
    log = fly(tmp_path / "slow.log", contract=slow, phase=phase)
    found = read_set(tmp_path / "set", log, contract=slow)
    stack, flown = FrameStack(slow), [s for s in read(log).steps if s.phase == Phase.RUN]
    seen = [
        stack.push(s.reading.images, s.reading.image_time_s)["front"] for s in flown if s.reading
    ]
    changes = np.flatnonzero([(a != b).any() for a, b in pairwise(seen)])
    assert len(seen) == len(found) > 8 and (np.diff(changes) == 2).all()
    np.testing.assert_array_equal(found.pictures(0, np.arange(len(found))), seen)


def test_pictures_of_a_calibrated_camera_are_those_of_the_model(tmp_path: Path) -> None:
    """By the log's own calibration, or by a file; both as the controller's stack turns them."""
    one = CameraCalibration("front", 16, 24, Lens(50.0), Lens(60.0), turn_rad=(0.1, 0.0, 0.0))
    flown = fly(tmp_path / "a.log", calibrations=(one,))
    plain = fly(tmp_path / "b.log")
    one.save(tmp_path / "camera.json")
    stack, pictures = FrameStack(CONTRACT, warps_of((one,), CONTRACT)), []
    raw = read_set(tmp_path / "raw", plain).images[0]
    for k, picture_ in enumerate(raw):
        given = stack.push({"front": np.asarray(picture_)}, {"front": float(k)})
        pictures.append(given["front"])
    assert (np.stack(pictures) != raw).any()
    for folder, path, files in (("own", flown, ()), ("file", plain, (tmp_path / "camera.json",))):
        found = read_set(tmp_path / folder, path, cameras=files)
        np.testing.assert_array_equal(found.images[0], pictures)


def test_smaller_counts_are_part_of_larger_ones(logs: tuple[Path, Path], tmp_path: Path) -> None:
    paths = [fly(tmp_path / f"{k}.log", 0.5, seed=k) for k in range(6)]
    found = read_set(tmp_path / "set", *paths)
    splits = [split_episodes(found, 0.3, count, seed=3) for count in (1, 2, 4, 0)]
    assert len({s.held_out_episodes for s in splits}) == 1
    for small, large in pairwise(splits):
        assert set(small.learned_episodes) <= set(large.learned_episodes)
    whole = splits[-1]
    assert sorted((*whole.learned, *whole.held_out)) == list(range(len(found)))
    assert set(found.episode_of[whole.held_out]) == set(whole.held_out_episodes)
    with pytest.raises(
        RecordingError, match=r"6 episodes, 2 of them held out; that leaves 4, and 5"
    ):
        split_episodes(found, 0.3, 5)


def test_exchanged_colours_are_found() -> None:
    trained = np.stack([picture(k, k) for k in range(8)])
    rng = np.random.default_rng(0)
    real = np.stack([picture(k, k + 2) for k in range(8)]).astype(float) * 0.8 + 5
    real = (real + rng.normal(0, 4, real.shape)).clip(0, 255).astype(np.uint8)
    check_colour_order("set", "front", real, trained)
    with pytest.raises(RecordingError, match=r"'front' have red and blue exchanged \(BGR\)"):
        check_colour_order("set", "front", real[..., ::-1], trained)
    grey = np.repeat(real.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    check_colour_order("set", "front", grey, trained)  # greys tell nothing


def test_one_still_joint_is_worth_a_word() -> None:
    actions = np.stack((np.linspace(-1, 1, 9), np.full(9, 0.25)), 1)
    assert check_actions_vary("set", ("a", "b"), actions) == [
        "set: the action of joint 'b' never changes"
    ]
