"""The robots that reach is judged on: they compile, are not the one trained on, and keep still."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.reach import ABOVE, HOME, RADIUS, SECTOR, Reach
from mjx_s2r.envs.reach_robots import held_out, rehearsal, start_pose
from mjx_s2r.eval.robot_episodes import JudgedRobot
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.mujoco_wiring import describe, rig_for

NOMINAL = Reach().mj_model
MOVED = ("body_mass", "body_inertia", "dof_damping", "dof_frictionloss", "dof_armature")


@pytest.fixture(scope="module")
def robots() -> list[JudgedRobot]:
    """Three held-out robots and the nominal one."""
    return [*(held_out(i) for i in range(3)), rehearsal(0)]


def arm(model: mujoco.MjModel, field: str) -> np.ndarray:
    """Returns a field of the six joints or of the bodies from the shoulder on."""
    values = getattr(model, field)
    if field.startswith("dof"):
        return values[[model.joint(j).dofadr[0] for j in Reach().contract.action.joints]]
    names = [NOMINAL.body(i).name for i in range(NOMINAL.nbody)]
    return values[[model.body(n).id for n in names[names.index("shoulder") :]]]


def test_held_out_robots_are_none_of_those_seen(robots: list[JudgedRobot]) -> None:
    for field in MOVED:
        shapes = [arm(robot.model, field) for robot in robots]
        for i, mine in enumerate(shapes[:3]):
            assert np.abs(mine / arm(NOMINAL, field) - 1).max() > 1e-3, field
            assert not any(np.array_equal(mine, other) for other in shapes[i + 1 :])
        np.testing.assert_allclose(shapes[3], arm(NOMINAL, field))
    for robot in robots[:3]:
        assert not np.array_equal(robot.model.camera("front").pos, NOMINAL.camera("front").pos)
        assert not np.array_equal(robot.model.light("sun").dir, NOMINAL.light("sun").dir)
        assert robot.model.opt.timestep < NOMINAL.opt.timestep


def test_the_same_number_is_the_same_robot(robots: list[JudgedRobot]) -> None:
    again = held_out(1)
    for field in (*MOVED, "cam_pos", "cam_quat", "geom_rgba", "light_dir", "actuator_gainprm"):
        np.testing.assert_array_equal(getattr(again.model, field), getattr(robots[1].model, field))
    assert again.imperfections == robots[1].imperfections and again.name == robots[1].name
    assert len({r.name for r in robots}) == 4


def test_their_constants_are_up_to_date(robots: list[JudgedRobot]) -> None:
    for robot in robots:
        before = robot.model.dof_invweight0.copy()
        mujoco.mj_setConst(robot.model, mujoco.MjData(robot.model))
        np.testing.assert_allclose(robot.model.dof_invweight0, before, rtol=1e-9)


@pytest.mark.parametrize("which", range(4))
def test_the_goal_is_the_same_as_in_training(robots: list[JudgedRobot], which: int) -> None:
    """The tip is put above the cube by hand, then the cube is moved away."""
    robot = robots[which]
    data = mujoco.MjData(robot.model)
    for joint, angle in zip(Reach().contract.action.joints, HOME, strict=True):
        data.joint(joint).qpos[:] = angle
    mujoco.mj_forward(robot.model, data)
    cube = robot.model.body("cube").jntadr[0]
    start = robot.model.jnt_qposadr[cube]
    for distance, expected in ((0.0, True), (0.018, True), (0.022, False), (0.2, False)):
        data.qpos[start : start + 3] = data.site("tip").xpos - ABOVE + np.array((0, distance, 0))
        mujoco.mj_forward(robot.model, data)
        assert robot.on_goal(robot.model, data) is expected


def test_the_cube_is_a_body_that_can_be_pushed(robots: list[JudgedRobot]) -> None:
    for robot in robots:
        model, cube = robot.model, robot.model.body("cube")
        assert model.jnt_type[cube.jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE
        assert 0.01 < cube.mass[0] < 0.2
        data = mujoco.MjData(model)
        start = model.jnt_qposadr[cube.jntadr[0]]
        mujoco.mj_step(model, data, 250)  # half a second at rest on the table
        np.testing.assert_allclose(
            data.qpos[start : start + 3], NOMINAL.body("cube").pos, atol=2e-3
        )


def test_the_policys_contract_fits_every_robot(robots: list[JudgedRobot]) -> None:
    contract = Reach().contract
    for robot in robots:
        check(contract, describe(robot.model, rig_for(contract)))


def test_places_lie_where_the_task_trains() -> None:
    rng, action = np.random.default_rng(0), Reach().contract.action
    for _ in range(500):
        spot = start_pose(rng)
        where, turn = spot.bodies["cube"]
        x, y = np.array(where[:2]) - NOMINAL.body("shoulder").pos[:2]
        assert RADIUS[0] - 1e-6 <= np.hypot(x, y) <= RADIUS[1] + 1e-6
        assert abs(np.arctan2(y, x)) <= SECTOR + 1e-6
        assert np.linalg.norm(turn) == pytest.approx(1.0)
        assert (spot.qpos > action.low).all() and (spot.qpos < np.array(action.high)).all()
