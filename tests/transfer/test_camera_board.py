"""A checkerboard drawn by the pinhole formula: the lens and the camera's place are found again."""

from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mjx_s2r.params import ParamSpace
from mjx_s2r.robot.camera_warp import undistorted
from mjx_s2r.transfer.camera.checkerboard import (
    BoardFit,
    Checkerboard,
    Mounting,
    find_corners,
    fit_board,
)
from mjx_s2r.transfer.camera.fit import to_values
from mjx_s2r.transfer.camera.pictures import CalibrationError, PosedPictures
from mjx_s2r.transfer.camera.rows import camera_space
from mjx_s2r.transfer.posterior import Posterior
from train.calibrate import CalibrateConfig, by_board

pytest.importorskip("cv2")
HEIGHT, WIDTH, K1, FOVY, NOMINAL = 240, 320, -0.12, 52.0, 50.0
OFFSET, TURN = np.array([0.01, -0.008, 0.012]), np.array([0.02, -0.015, 0.03])
BOARD = Checkerboard(7, 5, 0.03)
MODEL = f"""
<mujoco><worldbody>
  <camera name="front" pos="0 0 0" xyaxes="1 0 0 0 1 0" fovy="{NOMINAL}"/>
  <body name="hand" mocap="true"><geom type="sphere" size=".01"/></body>
</worldbody></mujoco>
"""


def _board_poses(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns places (M, 3) and rotations (M, 3, 3) of boards before the camera, facing it."""
    rng = np.random.default_rng(0)
    places = rng.uniform((-0.12, -0.1, -0.55), (-0.05, -0.03, -0.4), (count, 3))
    turns = Rotation.from_rotvec(rng.uniform(-0.45, 0.45, (count, 3)))
    return places, turns.as_matrix() @ np.diag([1.0, -1.0, -1.0])  # y down, z away from the camera


def _drawn(place: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Returns the picture (H, W, 3) of a board with a white rim, 4 x 4 rays a pixel."""
    rows, columns = np.mgrid[0 : 4 * HEIGHT, 0 : 4 * WIDTH]
    x = ((columns + 0.5) / 4 - WIDTH / 2) / (HEIGHT / 2) * np.tan(np.deg2rad(FOVY) / 2)
    y = (HEIGHT / 2 - (rows + 0.5) / 4) / (HEIGHT / 2) * np.tan(np.deg2rad(FOVY) / 2)
    x, y = undistorted(x, y, (K1, 0.0))
    rays = np.stack((x, y, -np.ones_like(x)), -1) @ Rotation.from_rotvec(TURN).as_matrix().T
    depth = ((place - OFFSET) @ turn[:, 2]) / (rays @ turn[:, 2])
    local = (OFFSET + depth[..., None] * rays - place) @ turn / BOARD.square_m
    cell = np.floor(local[..., :2] + 1).astype(int)
    inside = (cell >= 0).all(-1) & (cell[..., 0] <= BOARD.columns) & (cell[..., 1] <= BOARD.rows)
    dark = inside & (cell.sum(-1) % 2 == 0)
    grey = np.where(dark, 20.0, 235.0).reshape(HEIGHT, 4, WIDTH, 4).mean((1, 3))
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


@pytest.fixture(scope="module")
def boards() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of 10 boards, their corners, places and rotations."""
    places, turns = _board_poses(10)
    images = np.stack([_drawn(p, t) for p, t in zip(places, turns, strict=True)])
    corners, used = find_corners(images, BOARD)
    return images, corners, places[used], turns[used]


def _space(model: mujoco.MjModel) -> ParamSpace:
    """Returns the rows that are fitted."""
    return camera_space(ParamSpace(()), model, "front", distortion=True)


def test_the_lens_is_found_from_boards_anywhere(boards: tuple[np.ndarray, ...]) -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    _, corners, *_ = boards
    qpos = np.zeros((len(corners), 0))
    found = fit_board(
        model, "front", _space(model), BOARD, corners, (HEIGHT, WIDTH), qpos=qpos, mounting="free"
    )
    values = dict(
        zip(
            found.estimate.space.names,
            to_values(found.estimate.space, found.estimate.u),
            strict=True,
        )
    )
    assert values["front_fovy"] == pytest.approx(FOVY - NOMINAL, abs=0.3)
    assert values["front_k1"] == pytest.approx(K1, abs=0.03)
    assert np.median(found.error_px) < 0.2


def test_place_turn_and_lens_are_found_from_a_board_of_known_pose(
    boards: tuple[np.ndarray, ...],
) -> None:
    """The board hangs on a body that is moved; where it sits there is known."""
    _, corners, places, turns = boards
    for mounting, pose in (("fixed", (np.zeros(3), np.eye(3))), ("held", None)):
        found = _fit_moved(corners, places, turns, mounting, pose)
        xi = to_values(found.estimate.space, found.estimate.u)
        error = xi - np.array([*OFFSET, *TURN, FOVY - NOMINAL, K1])
        assert np.median(found.error_px) < 0.2
        if mounting == "held":
            continue  # a shift of the whole world is a shift of where the board sits
        assert np.abs(error[:3]).max() < 2e-3
        assert np.abs(error[3:6]).max() < 4e-3
        assert abs(error[6]) < 0.3 and abs(error[7]) < 0.03


def _fit_moved(
    corners: np.ndarray,
    places: np.ndarray,
    turns: np.ndarray,
    mounting: Mounting,
    pose: tuple[np.ndarray, np.ndarray] | None,
) -> BoardFit:
    """Fits boards on a free body, whose positions are those of the boards."""
    xml = MODEL.replace(' mocap="true">', "><freejoint/>")
    model = mujoco.MjModel.from_xml_string(xml)
    quats = Rotation.from_matrix(turns).as_quat()[:, [3, 0, 1, 2]]
    return fit_board(
        model,
        "front",
        _space(model),
        BOARD,
        corners,
        (HEIGHT, WIDTH),
        qpos=np.concatenate((places, quats), axis=1),
        mounting=mounting,
        body="hand",
        pose=pose,
    )


def test_too_few_boards_are_refused(boards: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(CalibrationError, match="inner corners"):
        find_corners(boards[0], Checkerboard(9, 6, 0.03))


@dataclass(frozen=True)
class _Bench:
    """What a calibration reads of a task."""

    name: str
    mj_model: mujoco.MjModel
    space: ParamSpace


def test_a_board_of_known_pose_is_taken_on_the_command_line(
    boards: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    """A hand with three slides and three hinges holds it, 5 cm ahead and turned a quarter."""
    images, (places, turns) = boards[0], _board_poses(10)
    ways = [("slide", axis) for axis in "xyz"] + [("hinge", axis) for axis in "xyz"]
    axes = {"x": "1 0 0", "y": "0 1 0", "z": "0 0 1"}
    joints = "".join(f'<joint name="{k}_{a}" type="{k}" axis="{axes[a]}"/>' for k, a in ways)
    xml = MODEL.replace(' mocap="true">', f">{joints}")
    on_hand, sits = Rotation.from_rotvec([0, 0, np.pi / 2]), np.array([0.0, 0.0, 0.05])
    hand = Rotation.from_matrix(turns) * on_hand.inv()
    read = np.concatenate((places - hand.apply(sits), hand.as_euler("XYZ")), axis=1)
    names = tuple(f"{kind}_{axis}" for kind, axis in ways)
    pictures = PosedPictures(images, read, names, tuple(map(str, range(len(images)))), "shots")
    config = CalibrateConfig(
        source=tmp_path,
        task="bench",
        out=tmp_path,
        board_is="fixed",
        board_body="hand",
        board_pose=(*sits.tolist(), np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)),
    )
    task = _Bench("bench", mujoco.MjModel.from_xml_string(xml), ParamSpace(()))
    by_board(config, BOARD, task, "front", pictures)  # type: ignore[arg-type]
    found = Posterior.load(tmp_path / "posterior.json")
    assert np.abs(found.best[:3] - OFFSET).max() < 2e-3
    assert np.abs(found.best[3:6] - TURN).max() < 4e-3
    with pytest.raises(CalibrationError, match="needs its pose"):
        by_board(replace(config, board_pose=None), BOARD, task, "front", pictures)  # type: ignore[arg-type]
