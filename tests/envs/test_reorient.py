"""Reorient: angles against C MuJoCo, a cube at rest in both engines, the verdict by hand."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.reorient import (
    FACES,
    HALF,
    HOME,
    JOINTS,
    NEAREST,
    PALM,
    PLACE,
    TIPS,
    TOLERANCE,
    Reorient,
    columns,
    product,
    spin,
)
from mjx_s2r.sim import physics
from mjx_s2r.sim.physics import Physics, PhysicsState

TASK = Reorient()
MODEL = TASK.mj_model
UPRIGHT = np.array((1.0, 0.0, 0.0, 0.0))
REST = np.zeros(16)


def at(
    cube: tuple[float, ...] = PLACE, quat: np.ndarray = UPRIGHT, hand: tuple[float, ...] = HOME
) -> np.ndarray:
    """Returns a configuration (23,)."""
    return np.array((*hand, *cube, *quat))


def turned(axis: tuple[float, ...], angle: float) -> np.ndarray:
    """Returns C MuJoCo's quaternion of a turn by ``angle`` rad about ``axis``."""
    quat = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(axis, float) / np.linalg.norm(axis), angle)
    return quat


@dataclass(frozen=True)
class Engine:
    """What the tests compile once."""

    run: Callable[..., jax.Array]
    look: Callable[..., tuple]


def ride(put: Physics, start: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns qpos (T, 23) of MJX after each control step."""

    def one(core: PhysicsState, target: jax.Array) -> tuple[PhysicsState, jax.Array]:
        core = jax.lax.fori_loop(
            0, TASK.substeps, lambda _, c: physics.advance(put, {}, c, target), core
        )
        return core, core.qpos

    return jax.lax.scan(one, physics.initial_state(put, start, jnp.zeros(22)), targets)[1]


def look(put: Physics, qpos: jax.Array, target: jax.Array, action: jax.Array) -> tuple:
    """Returns verdict, angle, label, hint and gaps of one configuration."""
    core = replace(physics.initial_state(put, qpos, jnp.zeros(22)), mocap_quat=target[None])
    data = physics.forward_positions(put, {}, core)
    seen = TASK.angle(data), TASK.label(data), TASK.privileged(data), TASK.gaps(data)
    return TASK.reward(data, action), *seen


@pytest.fixture(scope="module")
def engine() -> Engine:
    """MJX, compiled once."""
    put = physics.put_model(MODEL)
    run, seen = jax.jit(partial(ride, put)), jax.jit(partial(look, put))

    def fill(qpos: np.ndarray, target: np.ndarray = UPRIGHT, action: np.ndarray = REST) -> tuple:
        return seen(jnp.asarray(qpos), jnp.asarray(target), jnp.asarray(action))

    return Engine(run, fill)


def fly(start: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns qpos (T, 23) of C MuJoCo after each control step."""
    data, path = mujoco.MjData(MODEL), []
    data.qpos[:] = start
    for target in targets:
        data.ctrl[:] = target
        mujoco.mj_step(MODEL, data, TASK.substeps)
        path.append(data.qpos.copy())
    return np.array(path)


def test_quaternions_are_those_of_c() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        axis, angle = rng.normal(size=3), rng.uniform(-3, 3)
        first, second = turned(tuple(axis), angle), turned(tuple(rng.normal(size=3)), 1.0)
        both, matrix = np.zeros(4), np.zeros(9)
        mujoco.mju_mulQuat(both, first, second)
        mujoco.mju_quat2Mat(matrix, both)
        np.testing.assert_allclose(spin(jnp.array(axis), jnp.float32(angle)), first, atol=1e-6)
        np.testing.assert_allclose(product(jnp.array(first), jnp.array(second)), both, atol=1e-6)
        expected = matrix.reshape(3, 3)[:, :2].T.reshape(-1)
        np.testing.assert_allclose(columns(jnp.array(both)), expected, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.05, 0.29, 0.31, 1.5, 3.1])
def test_the_goal_is_a_third_of_a_radian_about_any_axis(engine: Engine, angle: float) -> None:
    """The target is the cube's orientation turned by a known angle, on both covers."""
    quat = turned((1, 2, -1), 0.9)
    for axis in ((1, 0, 0), (0, -1, 1), (-1, 1, 2)):
        goal = np.zeros(4)
        mujoco.mju_mulQuat(goal, turned(axis, angle), quat)
        for sign in (1, -1):
            verdict, found, *_ = engine.look(at(quat=quat), sign * goal)
            assert float(found) == pytest.approx(angle, abs=2e-3)
            assert bool(verdict.on_goal) is (angle < 0.3)
    assert TOLERANCE == 0.3


def test_reward_by_hand(engine: Engine) -> None:
    """At home, in place, half a turn away: 0.5 + 1 / (pi + 0.1) + 5 (0.2 / pi); on goal 5 + 10."""
    far = float(engine.look(at(), turned((1, 0, 0), np.pi - 1e-4))[0].reward)
    assert far == pytest.approx((0.5 + 1 / (np.pi + 0.1) + 1 / np.pi) / 20, abs=1e-4)
    near = float(engine.look(at())[0].reward)
    assert near == pytest.approx((0.5 + 10 + 5) / 20, abs=1e-4)
    strained = at(hand=tuple(np.add(HOME, 0.1)))
    cost = near - float(engine.look(strained, action=np.ones(16))[0].reward)
    assert cost == pytest.approx((0.5 * 0.16 + 0.1 * 16) / 20, abs=1e-4)
    edge = float(engine.look(at(), turned((1, 0, 0), TOLERANCE))[0].reward)
    assert edge / (1 - 0.99) < TASK.success_reward  # no use in waiting beside the goal


def test_a_cube_off_the_palm_is_lost(engine: Engine) -> None:
    middle = np.mean(PALM, 0)
    assert not bool(engine.look(at(tuple(middle)))[0].failed)
    for axis in range(3):
        for side, sign in ((0, -1), (1, 1)):
            for past, expected in ((-1e-3, False), (1e-3, True)):
                cube = middle.copy()
                cube[axis] = PALM[side][axis] + sign * past
                verdict = engine.look(at(tuple(cube)))[0]
                assert bool(verdict.failed) is expected
                if expected:
                    assert not bool(verdict.on_goal) and float(verdict.reward) < -3


@pytest.mark.slow
def test_the_cube_rests_on_the_palm_in_both_engines(engine: Engine) -> None:
    """Four seconds in the closed hand; the open hand lets it lie, too."""
    for hand in (HOME, (0.0,) * 12 + HOME[12:]):
        still = np.tile(np.array(hand), (80, 1))
        for path in (fly(at(hand=hand), still), np.asarray(engine.run(at(hand=hand), still))):
            np.testing.assert_allclose(path[:, 16:19] - PLACE, 0.0, atol=5e-4)
            np.testing.assert_allclose(path[:, 19:], np.tile(UPRIGHT, (80, 1)), atol=2e-3)


@pytest.mark.slow
def test_mjx_keeps_to_c_while_a_finger_pushes_the_cube(engine: Engine) -> None:
    """The middle finger closes on the cube and shoves it 14 mm over the palm in 50 control steps.

    The engines place the contacts of a capsule with a box differently, hence 3 mm; a finger that
    meets the cube 3 mm earlier, some 5 cm from its joint, stops 0.06 rad earlier.
    """
    targets = np.tile(np.array(HOME), (80, 1))
    targets[:, JOINTS.index("mf_mcp")] += np.minimum(0.6, 0.6 / 49 * np.arange(80))
    slow, fast = fly(at(), targets)[:50], np.asarray(engine.run(at(), targets))[:50]
    assert slow[-1, 16] - PLACE[0] < -0.012
    np.testing.assert_allclose(fast[:, 16:19], slow[:, 16:19], atol=3e-3)
    np.testing.assert_allclose(fast[:, :16], slow[:, :16], atol=6e-2)


def test_label_and_gaps_are_those_of_c(engine: Engine) -> None:
    """Faces by their painted geoms; gaps against the distance of a ball at the tip's end."""
    rng, data = np.random.default_rng(1), mujoco.MjData(MODEL)
    for _ in range(5):
        quat = turned(tuple(rng.normal(size=3)), rng.uniform(0, 3))
        data.qpos[:] = at(tuple(np.add(PLACE, rng.uniform(-0.02, 0.02, 3))), quat)
        mujoco.mj_forward(MODEL, data)
        _, _, label, hint, gaps = engine.look(data.qpos.copy())
        faces = [data.geom(name).xpos for name in ("cube_px", "cube_py")]
        np.testing.assert_allclose(label[:3], data.body("cube").xpos, atol=1e-6)
        np.testing.assert_allclose(label[3:].reshape(2, 3), faces, atol=6e-4)
        assert np.isfinite(hint).all() and hint.shape == (41,)
        box = data.geom("cube")
        for gap, name in zip(np.asarray(gaps), TIPS, strict=True):
            inside = box.xmat.reshape(3, 3).T @ (data.site(name).xpos - box.xpos)
            over = np.abs(inside) - HALF
            radius = MODEL.geom(name).size[0]
            if (over > 0).any():
                assert gap == pytest.approx(np.linalg.norm(np.maximum(over, 0)) - radius, abs=1e-5)


def test_the_hand_has_the_reach_of_its_published_links() -> None:
    """At zero the tips lie where the public description of the LEAP hand has them."""
    data = mujoco.MjData(MODEL)
    mujoco.mj_forward(MODEL, data)
    palm = data.body("palm").xpos
    for name, expected in (
        ("if_tip", (0.1242, -0.0079, 0.0195)),
        ("mf_tip", (0.1241, 0.0375, 0.0195)),
        ("rf_tip", (0.1241, 0.0829, 0.0195)),
        ("th_tip", (-0.0823, -0.1222, 0.0214)),
    ):
        np.testing.assert_allclose(data.site(name).xpos - palm, expected, atol=6e-4)
    hand = sum(MODEL.body(i).mass[0] for i in range(MODEL.nbody)) - MODEL.body("cube").mass[0]
    assert hand == pytest.approx(0.237 + 3 * 0.129 + 0.122, abs=1e-6)  # kg, as published
    assert MODEL.body("cube").mass[0] == pytest.approx(0.08)  # paint weighs nothing


def test_what_is_read_by_position_has_the_right_name() -> None:
    assert tuple(MODEL.joint(i).name for i in range(17)) == (*JOINTS, "cube")
    assert MODEL.body_mocapid[MODEL.body("target").id] == 0
    assert MODEL.geom("cube").size[0] == HALF
    for face in FACES:  # the two cubes look alike
        np.testing.assert_array_equal(
            MODEL.geom(face).rgba, MODEL.geom(face.replace("cube", "target")).rgba
        )


def test_starts_and_targets_lie_where_the_task_says() -> None:
    starts = jax.jit(jax.vmap(lambda k: TASK.reset(key=k)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    qpos, goal = np.asarray(starts.qpos), np.asarray(starts.mocap_quat[:, 0])
    action = TASK.contract.action
    assert (qpos[:, :16] > action.low).all() and (qpos[:, :16] < np.array(action.high)).all()
    np.testing.assert_allclose(np.linalg.norm(goal, axis=-1), 1.0, rtol=1e-5)
    cosine = np.abs((goal * qpos[:, 19:]).sum(-1))  # of half the angle between the two
    angle = 2 * np.arccos(np.clip(cosine, 0, 1))
    assert angle.min() > NEAREST - 1e-2 and angle.max() <= np.pi + 1e-3
    assert np.mean(angle) == pytest.approx((NEAREST + np.pi) / 2, abs=0.06)  # uniform
    assert NEAREST > TOLERANCE  # no episode begins on its goal
    lift = qpos[:, 18] - PLACE[2]
    assert (lift > 0.002).all() and (lift < 0.015).all()
    assert TASK.contract.size == 54
