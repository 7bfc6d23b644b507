"""A camera found from MuJoCo's own pictures of a scene in other colours and another light."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.envs.reach import camera_pose
from mjx_s2r.params import ParamError, ParamSpace, scale
from mjx_s2r.robot.camera_warp import rotation_of
from mjx_s2r.transfer.camera.calibrate import (
    CalibratedCamera,
    CameraSettings,
    calibrate_camera,
    shift_px,
)
from mjx_s2r.transfer.camera.colours import colour_space
from mjx_s2r.transfer.camera.fit import LONGEST_MOVE, CameraFitConfig, even_moves
from mjx_s2r.transfer.camera.intervals import (
    RowEstimate,
    joint_posterior,
    picture_covariance,
    with_prior,
)
from mjx_s2r.transfer.camera.pictures import CalibrationError, PosedPictures
from mjx_s2r.transfer.camera.rows import camera_space, shared_words
from tests.robot.fakes import contract_for

SCENE = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <visual><headlight ambient=".4 .4 .4" diffuse=".3 .3 .3" specular="0 0 0"/>
    <map znear=".02" zfar="20"/></visual>
  <statistic extent="1"/>
  <worldbody>
    <light directional="true" dir="-.3 -.2 -1" diffuse=".5 .5 .5" specular="0 0 0"/>
    <camera name="front" pos="0 -.8 .7" xyaxes="1 0 0 0 .66 .75" fovy="45"/>
    <geom name="floor" type="plane" size="0 0 1" rgba=".3 .35 .4 1"/>
    <geom name="table" type="box" size=".25 .2 .05" pos="0 0 .05" rgba=".75 .7 .6 1"/>
    <geom name="post" type="box" size=".03 .03 .08" pos="-.18 .12 .18" rgba=".2 .3 .8 1"/>
    <body pos="0 .05 .1">
      <joint name="pan" axis="0 0 1" range="-2 2"/>
      <geom name="base" type="box" size=".05 .05 .04" pos="0 0 .04" rgba=".15 .15 .15 1"/>
      <geom name="upper" type="capsule" fromto="0 0 .08 .02 0 .22" size=".025" rgba=".9 .5 .1 1"/>
      <body pos=".02 0 .22">
        <joint name="lift" axis="0 1 0" range="-1.5 1.5"/>
        <geom name="fore" type="capsule" fromto="0 0 0 .16 0 -.02" size=".02" rgba=".9 .5 .1 1"/>
        <geom name="hand" type="box" size=".03 .02 .02" pos=".19 0 -.02" rgba=".7 .1 .2 1"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
PX = 64
OFFSET, TURN, FOVY = np.array([0.015, -0.01, 0.012]), np.array([0.03, -0.02, 0.025]), 1.5
SETTINGS = CameraSettings(colours=False, fit=CameraFitConfig(generations=15))


@dataclass(frozen=True)
class Scene:
    """What a calibration reads of a task."""

    name: str
    mj_model: mujoco.MjModel
    space: ParamSpace
    contract: PolicyContract


@pytest.fixture(scope="module")
def task() -> Scene:
    """The scene as the model has it, with the camera rows of reach."""
    contract = replace(contract_for(), cameras=(CameraSignal("front", PX, PX, 25.0),))
    space = ParamSpace(tuple(camera_pose("camera")))
    return Scene("scene", mujoco.MjModel.from_xml_string(SCENE), space, contract)


@pytest.fixture(scope="module")
def pictures() -> Iterator[PosedPictures]:
    """Eight poses, another camera, other colours, another light with its shadows, and noise."""
    model, rng = mujoco.MjModel.from_xml_string(SCENE), np.random.default_rng(3)
    quat, turned = np.zeros(4), np.zeros(4)
    angle = float(np.linalg.norm(TURN))
    mujoco.mju_axisAngle2Quat(quat, TURN / angle, angle)
    mujoco.mju_mulQuat(turned, model.cam_quat[0], quat)
    model.cam_pos[0] += OFFSET
    model.cam_quat[0], model.cam_fovy[0] = turned, 45 + FOVY
    model.geom_rgba[:, :3] = np.clip(model.geom_rgba[:, :3] * rng.uniform(0.8, 1.15, 3), 0, 1)
    model.light_dir[0] = np.array([0.4, 0.1, -1]) / np.linalg.norm([0.4, 0.1, -1])
    data, images, poses = mujoco.MjData(model), [], rng.uniform(-0.9, 0.9, (8, 2))
    with mujoco.Renderer(model, PX, PX) as renderer:
        for data.qpos[:] in poses:
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, "front")
            noisy = renderer.render() + rng.normal(0, 2.0, (PX, PX, 3))
            images.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    names = tuple(f"{i}" for i in range(8))
    yield PosedPictures(np.stack(images), poses, ("pan", "lift"), names, "shots")


@pytest.fixture(scope="module")
def found(task: Scene, pictures: PosedPictures) -> CalibratedCamera:
    """The calibration."""
    return calibrate_camera(task, "front", pictures, SETTINGS)  # type: ignore[arg-type]


def _seen(offset: np.ndarray, turn: np.ndarray, fovy: float) -> np.ndarray:
    """Returns (N, 2) where a camera sees points of the table and the arm, px."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    axes = data.cam_xmat[0].reshape(3, 3) @ rotation_of(tuple(turn))
    points = np.array([[x, y, z] for x in (-0.2, 0, 0.2) for y in (-0.1, 0.1) for z in (0.1, 0.3)])
    local = (points - data.cam_xpos[0] - offset) @ axes
    return PX / 2 / np.tan(np.deg2rad(45 + fovy) / 2) * local[:, :2] / -local[:, 2:]


@pytest.mark.slow
def test_the_camera_is_found(found: CalibratedCamera) -> None:
    xi, truth = found.posterior.best, _seen(OFFSET, TURN, FOVY)
    before = np.linalg.norm(_seen(np.zeros(3), np.zeros(3), 0.0) - truth, axis=1).mean()
    after = np.linalg.norm(_seen(xi[:3], xi[3:6], float(xi[6])) - truth, axis=1).mean()
    assert before > 2.0
    assert after < 0.5
    assert np.median(found.after_px) < 0.3 < np.median(found.before_px)


@pytest.mark.slow
def test_the_rows_are_those_of_the_table_and_their_intervals_hold_the_truth(
    found: CalibratedCamera, task: Scene
) -> None:
    posterior = found.posterior
    assert posterior.space.names == task.space.names
    inside = [
        low <= value <= high
        for value, (low, high) in zip((*OFFSET, *TURN, FOVY), posterior.interval, strict=True)
    ]
    assert sum(inside) >= 6
    # the table alone: t(0.975, 7 degrees of freedom) times 2 cm to both sides, 9.5 cm
    assert np.all(posterior.interval[:3, 1] - posterior.interval[:3, 0] < 0.085)
    assert found.calibration.measured.fov_deg == pytest.approx(45 + posterior.best[6])


@pytest.mark.slow
def test_exchanged_colours_and_exchanged_poses_are_refused(
    task: Scene, pictures: PosedPictures
) -> None:
    for changed, words in (
        (replace(pictures, images=pictures.images[..., ::-1].copy()), "BGR"),
        (replace(pictures, joint_pos=np.roll(pictures.joint_pos, 3, 0)), "fit poses|explains"),
    ):
        with pytest.raises(CalibrationError, match=words):
            calibrate_camera(task, "front", changed, SETTINGS)  # type: ignore[arg-type]


def test_a_body_that_is_not_there_is_named(task: Scene, pictures: PosedPictures) -> None:
    with pytest.raises(ParamError, match="unknown body 'cub'"):
        calibrate_camera(task, "front", pictures, replace(SETTINGS, unknown=("cub",)))  # type: ignore[arg-type]


def test_a_camera_without_rows_gets_some(task: Scene) -> None:
    space = camera_space(ParamSpace(()), task.mj_model, "front", distortion=True, centre=True)
    assert space.names[:2] == ("front_x", "front_y") and len(space) == 10
    assert set(space.names[-3:]) == {"front_centre_x", "front_centre_y", "front_k1"}


def test_one_camera_of_two_is_calibrated_alone() -> None:
    """Rows without elements move both cameras; what is found of one must not move the other."""
    model = mujoco.MjModel.from_xml_string(
        SCENE.replace('<geom name="floor"', '<camera name="wrist" pos="0 0 1"/><geom name="floor"')
    )
    exposure = scale("exposure", "visual.exposure", (), (0.5, 2.0))
    lamp = scale("lamp", "visual.light_strength", (), (0.5, 2.0))
    common = ParamSpace((*camera_pose("camera"), *camera_pose("front", "*"), exposure, lamp))
    own = ParamSpace((*camera_pose("front", "front"), *camera_pose("wrist", "wrist")))
    known, both = ["front", "wrist"], ["front", "wrist"]
    alone = camera_space(common, model, "front", others=both)
    assert not set(alone.names) & set(common.names)
    assert {row.elements for row in alone.rows} == {("front",)}
    assert camera_space(own, model, "front", others=both).names == own.names[:7]
    assert camera_space(common, model, "front", others=["front"]).names == common.names[:7]
    assert colour_space(common, "front", known, both).names == ("front_exposure", "lamp")
    assert colour_space(common, "front", known).names == ("exposure", "lamp")
    assert "camera_x, camera_y" in shared_words(common, "front", both, known)
    assert not shared_words(own, "front", both, known)


def test_a_shift_is_measured_to_a_fraction_of_a_pixel() -> None:
    """A smooth blob that is moved by 1.3 px right and 0.6 down, 1.43 px in all."""
    y, x = np.mgrid[0:48, 0:48]

    def blob(right: float, down: float) -> np.ndarray:
        far = (x - 24 - right) ** 2 + (y - 24 - down) ** 2
        return np.repeat(np.rint(250 * np.exp(-far / 72))[..., None], 3, -1).astype(np.uint8)

    moved, still = blob(1.3, 0.6)[None], blob(0.0, 0.0)[None]
    assert shift_px(moved, still)[0] == pytest.approx(1.43, abs=0.15)


def test_differences_are_taken_along_what_pictures_say_evenly() -> None:
    """Two rows that trade with each other: moves along their sum and difference, 1 to sqrt(199)."""
    hessian, steps = np.array([[1.0, 0.99], [0.99, 1.0]]), np.array([0.02, 0.02])
    moves = even_moves(hessian, steps)
    even = 0.02**2 * np.eye(2)  # each changes the pictures as much as a step along an axis
    np.testing.assert_allclose(moves @ hessian @ moves.T, even, atol=1e-12)
    assert np.linalg.norm(moves[0]) / np.linalg.norm(moves[1]) == pytest.approx(np.sqrt(199))
    assert np.abs(even_moves(hessian, 10 * steps)).max() == pytest.approx(LONGEST_MOVE)


def test_what_pictures_cannot_tell_comes_from_the_table(task: Scene) -> None:
    """Two unit coordinates whose difference alone is seen, exactly.

    The table's deviations are 2 of 5 cm and 0.04 of 0.1 rad, 0.4 both: the sum of the two moves to
    its middle, 0, and keeps the prior's deviation, 0.4 / sqrt(2) on each.
    """
    table = ParamSpace((task.space.rows[0], task.space.rows[3]))
    space = camera_space(task.space, task.mj_model, "front")
    space = ParamSpace((space.rows[0], space.rows[3]))
    both, apart = np.ones(2) / np.sqrt(2), np.array([1, -1]) / np.sqrt(2)
    covariance = 1e4 * np.outer(both, both) + 1e-8 * np.outer(apart, apart)
    found = with_prior(RowEstimate(space, np.array([0.5, 0.3]), covariance), table)
    np.testing.assert_allclose(found.u, [0.1, -0.1], atol=1e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), 0.4 / np.sqrt(2), rtol=1e-3)


def test_what_pictures_do_not_see_keeps_its_limits(task: Scene) -> None:
    """A row without slope is unseen; the deviation of another follows from its noise."""
    rng = np.random.default_rng(0)
    jacobian = np.zeros((6, 16, 16, 3, 2))
    jacobian[..., 0] = rng.normal(size=(6, 16, 16, 3))
    residual = 0.02 * rng.normal(size=(6, 16, 16, 3))
    covariance = picture_covariance(jacobian, residual, np.ones((6, 16, 16)))
    alone = 0.02**2 / np.sum(jacobian[..., 0] ** 2)
    assert alone < covariance[0, 0] < 8 * alone
    space = ParamSpace(task.space.rows[:2])
    estimate = RowEstimate(space, np.array([0.1, 0.0]), covariance)
    posterior = joint_posterior((estimate,), 5, logs=("a",), task="t", notes=())
    assert posterior.unseen == (space.names[1],)
    assert posterior.interval[1] == pytest.approx(space.limits[:, 1])
