"""A camera calibrated from pictures of a checkerboard, by OpenCV's corners (an optional extra).

The corners are OpenCV's, the fit is ours: least squares of the reprojection error in the same rows
as every other calibration, so that intervals, posterior and warp are the same. The board is

    "fixed"  on a body of the robot at a known place, in known joint positions: place, turn and lens
             are found;
    "held"   on such a body at an unknown place (hand-eye): where the board sits is found, too;
    "free"   anywhere: the lens alone is found.

A point p of the board is seen at

    x = distort(perspective(R' (p_w - c))) / tan(fovy / 2) + 2 centre     [half heights]

with c and R the camera's place and rotation (Zhang 2000, "A flexible new technique for camera
calibration", in MuJoCo's convention and Brown's lens). Covariances are clustered by picture.
"""

from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mjx_s2r.params import ParamSpace, unknown
from mjx_s2r.render.looks.appearance import nominal_look
from mjx_s2r.robot.camera_warp import CameraCalibration, distorted
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.fit import PRIOR_STDS, to_units, to_values
from mjx_s2r.transfer.camera.intervals import RowEstimate, joint_posterior
from mjx_s2r.transfer.camera.pictures import CalibrationError, PosedPictures, model_positions
from mjx_s2r.transfer.camera.rows import as_calibration, camera_space, shared_words
from mjx_s2r.transfer.posterior import Posterior

Mounting = Literal["fixed", "held", "free"]
LEAST_BOARDS = 4  # pictures with the whole board
SOFT_PX = 1.0  # residuals above pull no harder
CORNER_PX = 0.1  # deviation of a corner, by which the prior is weighed
HARDLY_TURNED = 0.1  # rad: boards that are turned by less do not tell the lens


@dataclass(frozen=True)
class Checkerboard:
    """A checkerboard.

    Attributes:
        columns: inner corners in a row.
        rows: inner corners in a column.
        square_m: side of a square, m.
    """

    columns: int
    rows: int
    square_m: float

    @property
    def points(self) -> np.ndarray:
        """(N, 3) its inner corners, m, in its own frame, row by row.

        The frame is OpenCV's: x along a row of corners, y along the next ones, z away from who
        looks at the board.
        """
        right, down = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        flat = np.stack((right.ravel(), down.ravel(), np.zeros(right.size)), axis=-1)
        return flat * self.square_m


@dataclass(frozen=True, eq=False)
class BoardFit:
    """What the corners say.

    Attributes:
        estimate: the rows that were fitted.
        error_px: (M,) root mean square of the reprojection error, after the fit.
        before_px: (M,) that of the camera as the model has it, each board where it fits best.
    """

    estimate: RowEstimate
    error_px: np.ndarray
    before_px: np.ndarray


def find_corners(images: np.ndarray, board: Checkerboard) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners (M, N, 2), right and down, px, and which pictures (M,) show all.

    The centre of the first pixel is (0, 0).

    Args:
        images: (K, H, W, 3) uint8 RGB.
        board: the board.

    Raises:
        CalibrationError: OpenCV is not there, or too few pictures show the whole board.
    """
    try:
        import cv2
    except ImportError as error:
        raise CalibrationError(
            "a checkerboard is read by OpenCV, which is not installed; pip install "
            "'mjx_s2r[calibration]'"
        ) from error
    found, used = [], []
    for number, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        whole, corners = cv2.findChessboardCornersSB(grey, (board.columns, board.rows))
        if whole:
            found.append(np.asarray(corners, float).reshape(-1, 2))
            used.append(number)
    if len(found) < LEAST_BOARDS:
        raise CalibrationError(
            f"{len(found)} of {len(images)} pictures show a whole board of {board.columns} by "
            f"{board.rows} inner corners; {LEAST_BOARDS} are needed: count the inner corners, and "
            "leave a white rim around the board"
        )
    return np.stack(found), np.array(used)


@dataclass(frozen=True, eq=False)
class _Sight:
    """What the rows mean: the nominal camera of one model, and the size of its pictures.

    Attributes:
        space: the D rows.
        look: nominal arrays of the camera.
        place: (M, 3) the camera in its pictures, m; parent: (M, 3, 3) rotation of its parent.
        turn: (M, 3, 3) rotation of the camera.
        size: height and width, px.
    """

    space: ParamSpace
    look: dict[str, np.ndarray]
    place: np.ndarray
    parent: np.ndarray
    turn: np.ndarray
    size: tuple[int, int]

    def project(self, xi: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Returns (M, N, 2) right and down, px, of points (M, N, 3) in the world, m."""
        look = {name: value.copy() for name, value in self.look.items()}
        for row, value in zip(self.space.rows, xi, strict=True):
            look[row.array][... if row.column is None else row.column] += value
        eye = self.place + self.parent @ look["camera_pos"]
        axes = self.turn @ Rotation.from_rotvec(look["camera_rot"]).as_matrix()
        local = np.einsum("mni,mij->mnj", points - eye[:, None], axes)
        ahead = np.maximum(-local[..., 2], 1e-6)
        x, y = distorted(
            local[..., 0] / ahead, local[..., 1] / ahead, tuple(look["camera_distortion"])
        )
        tangent = np.tan(np.deg2rad(look["camera_fovy"]) / 2)
        right = x / tangent + 2 * look["camera_centre"][0]
        up = y / tangent + 2 * look["camera_centre"][1]
        height, width = self.size
        return np.stack(
            (right * height / 2 + width / 2 - 0.5, height / 2 - up * height / 2 - 0.5), axis=-1
        )


def fit_board(
    mj_model: mujoco.MjModel,
    camera: str,
    space: ParamSpace,
    board: Checkerboard,
    corners: np.ndarray,
    size: tuple[int, int],
    *,
    qpos: np.ndarray,
    mounting: Mounting,
    body: str = "world",
    pose: tuple[np.ndarray, np.ndarray] | None = None,
) -> BoardFit:
    """Fits a camera's rows to the corners of a board.

    Args:
        mj_model: the model.
        camera: name of the camera.
        space: the camera's rows; of a "free" board those of the lens alone are fitted.
        board: the board.
        corners: (M, N, 2) right and down, px.
        size: height and width of the pictures, px.
        qpos: (M, nq) positions of the model in each picture.
        mounting: how the board is held.
        body: the body that holds it.
        pose: of a "fixed" board: position (3,), m, and rotation (3, 3) in the body's frame.

    Raises:
        CalibrationError: a fixed board without a pose, boards that are hardly turned, or corners
            that no camera near the model's explains.
    """
    if mounting == "fixed" and pose is None:
        raise CalibrationError("a fixed board needs its pose in the world: position and rotation")
    fitted = lens_rows(space) if mounting == "free" else space
    sight, body_place, body_turn = _sight(mj_model, camera, fitted, qpos, size, body)
    count, zero = len(corners), to_units(fitted, fitted.nominal)
    start = _boards_seen(sight, board, corners)
    _refuse_flat(start)
    corners = _oriented(sight, board, corners, start, mounting, (body_place, body_turn), pose)
    start = _boards_seen(sight, board, corners)
    extra = _start_of_boards(start, mounting, sight, body_place, body_turn)
    held = None if pose is None else (np.asarray(pose[0]), np.asarray(pose[1]))

    def where(extra: np.ndarray) -> np.ndarray:
        """Returns the board's points (M, N, 3) in the world."""
        if mounting == "free":
            local = _posed(board.points, extra.reshape(count, 6))
            return sight.place[:, None] + np.einsum("mij,mnj->mni", sight.turn, local)
        if held is not None:
            local = (held[0] + board.points @ held[1].T)[None]
        else:
            local = _posed(board.points, extra.reshape(1, 6))
        return body_place[:, None] + np.einsum(
            "mij,mnj->mni", body_turn, local + 0 * corners[:, :1, :1]
        )

    def residual(z: np.ndarray) -> np.ndarray:
        """Returns the reprojection error and the prior."""
        seen = sight.project(to_values(fitted, z[: len(fitted)]), where(z[len(fitted) :]))
        return np.concatenate(((seen - corners).ravel(), CORNER_PX * PRIOR_STDS * z[: len(fitted)]))

    done = least_squares(
        residual,
        np.concatenate((zero, extra)),
        loss="soft_l1",
        f_scale=SOFT_PX,
        x_scale="jac",
        max_nfev=200,
    )
    left = residual(done.x)[: corners.size].reshape(count, -1, 2)
    error_px = np.sqrt((left**2).sum(-1).mean(-1))
    if np.median(error_px) > 0.02 * size[0]:
        raise CalibrationError(
            f"the corners lie {np.median(error_px):.1f} px from where the best camera near the "
            "model's shows them; check the square's side, the board's pose or body, and that "
            "joints are in radians"
        )
    _, hessian, jacobian = _curvature(residual, done.x, corners.size)
    scores = np.einsum(
        "mk,mkd->md", left.reshape(count, -1), jacobian.reshape(count, -1, len(done.x))
    )
    inverse = np.linalg.pinv(hessian)
    meat = scores.T @ scores * count / (count - 1)
    meat[: len(fitted), : len(fitted)] += CORNER_PX**4 * PRIOR_STDS**2 * np.eye(len(fitted))
    covariance = (inverse @ meat @ inverse)[: len(fitted), : len(fitted)]
    before = start
    shown = (
        np.einsum("mij,mnj->mni", sight.turn, _posed(board.points, before)) + sight.place[:, None]
    )
    apart = sight.project(fitted.nominal, shown) - corners
    return BoardFit(
        RowEstimate(fitted, done.x[: len(fitted)], covariance),
        error_px,
        np.sqrt((apart**2).sum(-1).mean(-1)),
    )


def calibrate_by_board(
    task: Task,
    camera: str,
    pictures: PosedPictures,
    board: Checkerboard,
    mounting: Mounting,
    *,
    body: str = "world",
    pose: tuple[np.ndarray, np.ndarray] | None = None,
    centre: bool = False,
) -> tuple[Posterior, CameraCalibration, BoardFit]:
    """Calibrates a camera of a task from pictures of a checkerboard.

    Args:
        task: whose model has the camera.
        camera: its name.
        pictures: of the board, with the joints' positions; of a "free" board they do not count.
        board: the board.
        mounting: how it is held.
        body: the body that holds it.
        pose: of a "fixed" board: position (3,), m, and rotation (3, 3) in the body's frame.
        centre: whether the optical centre is fitted.

    Returns:
        the posterior, what the robot reads, and the fit.

    Raises:
        CalibrationError: pictures that do not inform; the message says what is missing.
        ParamError: a camera, a joint or a body that the model does not have.
    """
    model, size = task.mj_model, (pictures.images.shape[1], pictures.images.shape[2])
    others = [signal.name for signal in task.contract.cameras]
    space = camera_space(task.space, model, camera, distortion=True, centre=centre, others=others)
    shared = shared_words(task.space, camera, others, element_names(model, "camera"))
    bodies = element_names(model, "body")
    if body not in bodies:
        raise unknown("body", body, bodies)
    corners, used = find_corners(pictures.images, board)
    qpos = model_positions(pictures.chosen(used), model)
    found = fit_board(
        model,
        camera,
        space,
        board,
        corners,
        size,
        qpos=qpos,
        mounting=mounting,
        body=body,
        pose=pose,
    )
    note = f"camera calibrated from {len(used)} pictures of a {mounting} checkerboard"
    notes = (note, shared) if shared else (note,)
    posterior = joint_posterior(
        (found.estimate,), len(used) - 1, logs=(pictures.source,), task=task.name, notes=notes
    )
    calibration = as_calibration(
        posterior.space, posterior.best, posterior.interval, model, camera, size
    )
    return posterior, calibration, found


def lens_rows(space: ParamSpace) -> ParamSpace:
    """Returns the rows of the lens: what a camera's pictures say without its place."""
    lens = ("camera_fovy", "camera_centre", "camera_distortion")
    return ParamSpace(tuple(row for row in space.rows if row.array in lens))


def _sight(
    mj_model: mujoco.MjModel,
    camera: str,
    space: ParamSpace,
    qpos: np.ndarray,
    size: tuple[int, int],
    body: str,
) -> tuple[_Sight, np.ndarray, np.ndarray]:
    """Returns the nominal camera in every pose, and where the body is (M, 3) and (M, 3, 3)."""
    look = {
        k: np.array(v, float)
        for k, v in nominal_look(mj_model, camera).items()
        if k[:7] == "camera_"
    }
    index, data, rows = mj_model.camera(camera).id, mujoco.MjData(mj_model), []
    parent = np.zeros(9)
    mujoco.mju_quat2Mat(parent, mj_model.cam_quat[index])
    holder = mj_model.body(body).id
    for positions in qpos:
        data.qpos[:] = positions
        mujoco.mj_kinematics(mj_model, data)
        mujoco.mj_camlight(mj_model, data)
        turn = data.cam_xmat[index].reshape(3, 3).copy()
        rows.append(
            (
                data.cam_xpos[index].copy(),
                turn @ parent.reshape(3, 3).T,
                turn,
                data.xpos[holder].copy(),
                data.xmat[holder].reshape(3, 3).copy(),
            )
        )
    place, base, turn, body_place, body_turn = (np.stack(part) for part in zip(*rows, strict=True))
    return _Sight(space, look, place, base, turn, size), body_place, body_turn


def _posed(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Returns points (N, 3) at poses (M, 6), position and rotation vector: (M, N, 3)."""
    turns = Rotation.from_rotvec(poses[:, 3:]).as_matrix()
    return poses[:, None, :3] + np.einsum("mij,nj->mni", turns, points)


def _oriented(
    sight: _Sight,
    board: Checkerboard,
    corners: np.ndarray,
    start: np.ndarray,
    mounting: Mounting,
    holder: tuple[np.ndarray, np.ndarray],
    pose: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """Returns the corners (M, N, 2), those of boards that OpenCV read upside down turned round.

    A board of known pose is read as the model's camera would see it nearest; a held one as its
    first picture shows it, for a whole turn of all of them is a turn of where it sits.
    """
    if mounting == "free":
        return corners
    turned = corners[:, ::-1]
    if pose is not None:
        points = np.asarray(pose[0]) + board.points @ np.asarray(pose[1]).T
        world = holder[0][:, None] + np.einsum("mij,nj->mni", holder[1], points)
        shown = sight.project(sight.space.nominal, world)
        off = [np.linalg.norm(shown - one, axis=-1).mean(1) for one in (corners, turned)]
    else:
        back = Rotation.from_matrix(holder[1]).inv() * Rotation.from_matrix(sight.turn)
        both = (start, _boards_seen(sight, board, turned))
        local = [back * Rotation.from_rotvec(one[:, 3:]) for one in both]
        off = [(local[0][0].inv() * one).magnitude() for one in local]
    return np.where((off[0] <= off[1])[:, None, None], corners, turned)


def _boards_seen(sight: _Sight, board: Checkerboard, corners: np.ndarray) -> np.ndarray:
    """Returns (M, 6) each board's pose in the camera's frame, by the nominal camera.

    By OpenCV's planar solution, whose camera has y down and z ahead.
    """
    import cv2

    look, (height, width) = sight.look, sight.size
    focal = height / (2 * np.tan(np.deg2rad(float(look["camera_fovy"])) / 2))
    right, up = look["camera_centre"]
    middle = width / 2 - 0.5 + right * height, height / 2 - 0.5 - up * height
    matrix = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1.0]])
    flip = np.diag([1.0, -1.0, -1.0])
    poses = []
    for seen in corners:
        _, turn, place = cv2.solvePnP(board.points, seen, matrix, None, flags=cv2.SOLVEPNP_IPPE)
        rotation = flip @ Rotation.from_rotvec(turn.ravel()).as_matrix()
        poses.append(
            np.concatenate((flip @ place.ravel(), Rotation.from_matrix(rotation).as_rotvec()))
        )
    return np.stack(poses)


def _refuse_flat(poses: np.ndarray) -> None:
    """Raises CalibrationError where all boards face the same way."""
    turns = Rotation.from_rotvec(poses[:, 3:])
    apart = max(float((turns[0].inv() * one).magnitude()) for one in turns)
    if apart < HARDLY_TURNED:
        raise CalibrationError(
            f"all boards face the same way within {apart:.2f} rad, which does not tell the field "
            "of view from the distance; turn the board between pictures"
        )


def _start_of_boards(
    poses: np.ndarray,
    mounting: Mounting,
    sight: _Sight,
    body_place: np.ndarray,
    body_turn: np.ndarray,
) -> np.ndarray:
    """Returns where the search for the boards' poses begins: (6 M,), (6,) or nothing."""
    if mounting == "free":
        return poses.ravel()
    if mounting == "fixed":
        return np.zeros(0)
    turns = Rotation.from_matrix(body_turn).inv() * Rotation.from_matrix(sight.turn)
    local = turns * Rotation.from_rotvec(poses[:, 3:])
    world = sight.place + np.einsum("mij,mj->mi", sight.turn, poses[:, :3])
    places = np.einsum("mji,mj->mi", body_turn, world - body_place)
    return np.concatenate((np.median(places, axis=0), local.mean().as_rotvec()))


def _curvature(
    residual: Any, z: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns residual, J'J (Z, Z) with the prior, and J (count, Z) without, by differences."""
    middle, step = residual(z), 1e-5
    jacobian = np.stack(
        [(residual(z + d) - residual(z - d)) / (2 * step) for d in step * np.eye(len(z))], axis=-1
    )
    return middle, jacobian.T @ jacobian, jacobian[:count]
