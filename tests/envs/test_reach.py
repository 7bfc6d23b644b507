"""Reach: the verdict at hand-placed states, and starts inside the area that the task names."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.reach import ABOVE, HOME, JOINTS, RADIUS, SECTOR, TOLERANCE, Reach
from mjx_s2r.params.camera_rows import FRAME_ARRAYS
from mjx_s2r.render.cameras import bind_cameras, take_pictures
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.sim import physics
from mjx_s2r.sim.task import StepResult

TASK = Reach()
REST = np.zeros(6, np.float32)


@pytest.fixture(scope="module")
def judge() -> Callable[..., tuple[StepResult, np.ndarray, np.ndarray]]:
    """Returns verdict, label and privileged reading for joint angles, a cube and an action."""
    engine = physics.put_model(TASK.mj_model)

    @jax.jit
    def at(qpos: jax.Array, cube: jax.Array, action: jax.Array = REST) -> tuple:
        core = physics.initial_state(engine, qpos, jnp.zeros(6)).replace(mocap_pos=cube[None])
        data = physics.forward_positions(engine, {}, core)
        return TASK.reward(data, action), TASK.label(data), TASK.privileged(data)

    return at


def tip_of(qpos: np.ndarray) -> np.ndarray:
    """Returns where C MuJoCo has the tip, m."""
    data = mujoco.MjData(TASK.mj_model)
    data.qpos[:] = qpos
    mujoco.mj_forward(TASK.mj_model, data)
    return data.site("tip").xpos.copy()


@pytest.mark.parametrize("qpos", [HOME, (0.6, -0.5, 0.6, 1.0, 0.4, 0.1)])
def test_the_goal_is_two_centimetres_around_the_point_above_the_cube(
    judge: Callable, qpos: tuple
) -> None:
    below = tip_of(np.array(qpos)) - ABOVE
    for direction in np.concatenate((np.eye(3), -np.eye(3))):
        for distance, expected in ((0.0, True), (0.019, True), (0.021, False)):
            cube = below + distance * direction
            assert bool(judge(np.array(qpos), cube)[0].on_goal) == expected
    assert TOLERANCE == 0.02


def test_nearer_is_better_and_effort_costs(judge: Callable) -> None:
    """On the goal 1 + 0.5 + 0.5 = 2; a full action of six joints is charged."""
    below = tip_of(np.array(HOME)) - ABOVE
    distances = (0.0, 0.01, 0.03, 0.08, 0.2, 0.4)
    rewards = [
        float(judge(np.array(HOME), below + np.array((d, 0, 0)))[0].reward) for d in distances
    ]
    assert rewards[0] == pytest.approx(2.0, abs=1e-3)
    assert (np.diff(rewards) < 0).all()
    busy = judge(np.array(HOME), below, np.ones(6, np.float32))[0]
    assert float(busy.reward) < rewards[0] - 0.05
    assert not bool(busy.failed)


def test_a_gripper_below_the_table_is_charged(judge: Callable) -> None:
    low = np.array((0.0, 0.6, 0.5, 1.0, 0.0, 0.0))
    tip = tip_of(low)
    assert tip[2] < 0.0
    assert float(judge(low, tip - ABOVE)[0].reward) < 1.5


def test_the_label_is_the_cube_and_the_hint_is_the_way_to_the_goal(judge: Callable) -> None:
    cube, tip = np.array((0.21, -0.07, 0.02)), tip_of(np.array(HOME))
    _, label, hint = judge(np.array(HOME), cube)
    np.testing.assert_allclose(label, cube, rtol=1e-6)
    expected = 10 * np.concatenate((tip, cube, cube + ABOVE - tip))
    np.testing.assert_allclose(hint, expected, atol=1e-5)


def test_what_is_read_by_position_has_the_right_name() -> None:
    model = TASK.mj_model
    assert model.site(0).name == "tip" and model.body(model.nbody - 2).name == "gripper"
    assert model.body_mocapid[model.body("cube").id] == 0
    assert tuple(model.joint(i).name for i in range(model.njnt)) == JOINTS


def test_starts_lie_where_the_task_says() -> None:
    starts = jax.jit(jax.vmap(lambda k: TASK.reset(key=k)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    cube, action = np.asarray(starts.mocap_pos[:, 0]), TASK.contract.action
    axis = TASK.mj_model.body("shoulder").pos[:2]
    x, y = (cube[:, :2] - axis).T
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    assert radius.min() >= RADIUS[0] - 1e-4 and radius.max() <= RADIUS[1] + 1e-4
    assert np.abs(angle).max() <= SECTOR + 1e-4
    assert np.mean(radius**2) == pytest.approx(
        np.mean(np.square(RADIUS)), rel=0.02
    )  # over the area
    half = TASK.mj_model.geom("cube").size[2]
    np.testing.assert_allclose(cube[:, 2], half, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(starts.mocap_quat, axis=-1), 1.0, rtol=1e-5)
    assert (starts.qpos > np.array(action.low)).all() and (
        starts.qpos < np.array(action.high)
    ).all()
    assert not starts.qvel.any()


def test_limits_of_the_contract_lie_inside_those_of_the_joints() -> None:
    action, model = TASK.contract.action, TASK.mj_model
    for i, joint in enumerate(action.joints):
        low, high = model.joint(joint).range
        assert low < action.low[i] < action.home[i] < action.high[i] < high
        assert action.kp[i] == model.actuator(joint).gainprm[0]
    step = np.array(action.scale) * TASK.contract.control_hz
    assert (step <= np.array(action.max_rate)).all()  # the guard never cuts a full action


@pytest.mark.slow
def test_every_visual_row_changes_pixels() -> None:
    """From a look in which every row has something to act on: textures laid, the window lit."""
    task = Reach()
    space, camera_signal = task.space, task.contract.cameras[0]
    lit = {"window_strength": 0.3, "table_texture": 0.5, "floor_texture": 0.5}
    base = space.values(lit)
    looks = [row.array not in FRAME_ARRAYS for row in space.rows]
    rows = np.flatnonzero(space.in_group("visual") & looks)
    xi = np.tile(base, (len(rows) + 1, 1))
    for world, row in enumerate(rows):
        low, high = space.limits[:, row]
        far_low = abs(low - base[row]) > abs(high - base[row])
        xi[world, row] = low if far_low else high
    cameras = bind_cameras(space, task.mj_model, task.contract)
    data = mujoco.MjData(task.mj_model)
    data.qpos[:] = HOME
    mujoco.mj_forward(task.mj_model, data)
    one = jax.tree.map(jnp.float32, scene_pose(cameras.scenes[0], data))
    poses = jax.tree.map(lambda x: jnp.repeat(x[None], len(xi), axis=0), one)
    draw = jax.jit(lambda xi: take_pictures(cameras, (poses,), xi, key=jax.random.key(0))[0])
    pictures = np.asarray(draw(jnp.asarray(xi)))
    assert pictures.shape[1:] == camera_signal.shape
    for world, row in enumerate(rows):
        changed = np.mean((pictures[world] != pictures[-1]).any(-1))
        assert changed > 0.001, space.names[row]
