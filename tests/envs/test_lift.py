"""Lift: scripted grasps hold in C MuJoCo and in MJX, both engines agree, verdicts by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.lift import HALF, HEIGHT, HELD, HOME, RADIUS, SECTOR, SPACE, Lift
from mjx_s2r.envs.reach import JOINTS, Reach
from mjx_s2r.sim import physics
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.sim.physics import Physics, PhysicsState

TASK = Lift()
MODEL = TASK.mj_model
SUBSTEPS = TASK.substeps
APPROACH = np.array((-0.014, 0.0165, 0.0))  # m from the tip to the cube before the jaw closes
RISE = np.array((0.0, 0.0, 0.12))  # m
REST = np.zeros(6)


def solve(place: np.ndarray, pitch: float, first: np.ndarray) -> np.ndarray:
    """Returns joint angles (6,) with the open gripper about ``place``, its fingers ``pitch`` down.

    Gauss-Newton on the tip, a level jaw axis and the pitch; the jaw stays as it is in ``first``.
    """
    data, hand = mujoco.MjData(MODEL), MODEL.body("gripper").id

    def miss(q: np.ndarray) -> np.ndarray:
        """Returns what is left: m, and tenths of a direction."""
        data.qpos[:6] = q
        mujoco.mj_kinematics(MODEL, data)
        turn = data.xmat[hand].reshape(3, 3)
        at = data.site("tip").xpos + turn @ APPROACH
        return np.array((*(at - place), 0.1 * turn[2, 1], 0.1 * (turn[2, 0] + np.sin(pitch))))

    q = first.copy()
    for _ in range(100):
        error = miss(q)
        slope = np.stack([(miss(q + 1e-5 * e) - error) / 1e-5 for e in np.eye(6)[:5]], 1)
        step = np.linalg.solve(slope.T @ slope + 1e-6 * np.eye(5), -slope.T @ error)
        q[:5] = np.clip(q[:5] + np.clip(step, -0.2, 0.2), *MODEL.jnt_range[:5].T)
    assert np.linalg.norm(miss(q)) < 3e-3
    return q


def script(radius: float, angle: float, pitch: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    """Returns the start (13,) and open-loop joint targets (T, 6): down, close, up, hold."""
    place = np.array((0.0388 + radius * np.cos(angle), radius * np.sin(angle), HALF))
    above = solve(place + RISE / 2, pitch, np.array((0.0, -0.3, 0.6, 1.0, 0.0, 0.6)))
    down = solve(place, pitch, above)
    up = solve(place + RISE, pitch - 0.2, down)
    shut, up[5] = np.array((*down[:5], -0.1)), -0.1
    stops = (
        *((above, above, 5), (above, down, 25), (down, down, 8), (down, shut, 12)),
        *((shut, shut, 10), (shut, up, 40), (up, up, 25)),
    )
    targets = [a + (b - a) * (i + 1) / n for a, b, n in stops for i in range(n)]
    turn = (np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2))
    return np.array((*above, *place, *turn)), np.array(targets)


def fly(model: mujoco.MjModel, start: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns qpos (T, 13) of C MuJoCo after each control step."""
    data, path = mujoco.MjData(model), []
    data.qpos[:] = start
    for target in targets:
        data.ctrl[:] = target
        mujoco.mj_step(model, data, SUBSTEPS)
        path.append(data.qpos.copy())
    return np.array(path)


@dataclass(frozen=True)
class Engine:
    """What the tests compile once."""

    run: Callable[..., jax.Array]
    look: Callable[..., tuple]


def ride(put: Physics, start: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns qpos (T, 13) of MJX after each control step."""

    def one(core: PhysicsState, target: jax.Array) -> tuple[PhysicsState, jax.Array]:
        core = jax.lax.fori_loop(
            0, SUBSTEPS, lambda _, c: physics.advance(put, {}, c, target), core
        )
        return core, core.qpos

    return jax.lax.scan(one, physics.initial_state(put, start, jnp.zeros(12)), targets)[1]


def look(put: Physics, qpos: jax.Array, action: jax.Array) -> tuple:
    """Returns verdict, label, hint, gaps and grasp of one configuration."""
    data = physics.forward_positions(put, {}, physics.initial_state(put, qpos, jnp.zeros(12)))
    seen = TASK.label(data), TASK.privileged(data), TASK.gaps(data), TASK.grasp(data)
    return TASK.reward(data, action), *seen


@pytest.fixture(scope="module")
def engine() -> Engine:
    """MJX, compiled once."""
    put = physics.put_model(MODEL)
    run, seen = jax.jit(partial(ride, put)), jax.jit(partial(look, put))
    return Engine(run, lambda qpos, action=REST: seen(jnp.asarray(qpos), action))


@pytest.mark.parametrize(
    ("radius", "angle", "pitch"), [(0.15, 0.0, 1.2), (0.19, 0.5, 1.5), (0.23, -0.8, 0.9)]
)
def test_a_scripted_grasp_lifts_the_cube_in_c(radius: float, angle: float, pitch: float) -> None:
    """The proof that the task can be done; nothing but joint targets is given."""
    path = fly(MODEL, *script(radius, angle, pitch))
    assert path[54, 8] == pytest.approx(HALF, abs=2e-3)  # still on the table when the jaw is shut
    assert (path[-13:, 8] - HALF > HEIGHT).all()  # held for half a second


@pytest.mark.parametrize(
    "given", [{"cube_friction": 0.7}, {"cube_mass": 2.0, "cube_size": 1.12}, {"cube_size": 0.88}]
)
def test_the_grasp_holds_at_the_ends_of_the_cubes_rows(given: dict[str, float]) -> None:
    model = Lift().mj_model
    write(model, bind_model(SPACE, model), SPACE.values(given))
    path = fly(model, *script(0.19, 0.0))
    assert path[-1, 8] - HALF > HEIGHT


@pytest.mark.slow
def test_mjx_lifts_it_too_and_keeps_to_c_on_the_way(engine: Engine) -> None:
    """The approach agrees closely; after the grasp, which is chaotic, both hold and lift."""
    start, targets = script(0.19, 0.0)
    fast, slow = np.asarray(engine.run(start, targets)), fly(MODEL, start, targets)
    np.testing.assert_allclose(fast[:40, 6:9], slow[:40, 6:9], atol=1e-4)  # nothing touches it
    np.testing.assert_allclose(fast[:50, 6:9], slow[:50, 6:9], atol=1e-3)  # the jaw pushes it
    np.testing.assert_allclose(fast[:50, :6], slow[:50, :6], atol=1e-2)
    for path in (fast, slow):
        assert (path[-13:, 8] - HALF > HEIGHT).all()
    # The cube creeps between the fingers, otherwise in each engine: by less than its width.
    assert np.linalg.norm(fast[-1, 6:9] - slow[-1, 6:9]) < 2 * HALF
    verdict, _, hint, gaps, _ = engine.look(fast[-1])
    # Nine points along a capsule know a gap to 2 mm (see below); a soft contact gives a bit more.
    assert bool(verdict.on_goal) and np.abs(gaps).max() < 4e-3
    assert np.isfinite(hint).all()


@pytest.mark.slow
def test_the_cube_rests_on_the_table(engine: Engine) -> None:
    """Two seconds: the two engines end in one place, which is the start."""
    start = np.array((*HOME, 0.2, 0.05, HALF, 1.0, 0.0, 0.0, 0.0))
    still = np.tile(np.array(HOME), (125, 1))
    for path in (fly(MODEL, start, still), np.asarray(engine.run(start, still))):
        np.testing.assert_allclose(path[-50:, 6:9] - start[6:9], 0.0, atol=2e-4)


def at(cube: np.ndarray, arm: tuple[float, ...] = HOME) -> np.ndarray:
    """Returns a configuration (13,) with the cube upright at ``cube``."""
    return np.array((*arm, *cube, 1.0, 0.0, 0.0, 0.0))


def test_the_goal_is_height_in_the_gripper(engine: Engine) -> None:
    """A cube in the air counts only in the gripper, and a gripped one only above 8 cm."""
    grasp = np.asarray(engine.look(at(np.zeros(3)))[4])
    assert grasp[2] - HALF > HEIGHT
    for away, expected in ((0.0, True), (HELD - 1e-3, True), (HELD + 1e-3, False)):
        assert bool(engine.look(at(np.add(grasp, (0, away, 0))))[0].on_goal) is expected
    low = (0.0, -0.3, 0.9, 0.9, 0.0, 0.6)
    near = np.asarray(engine.look(at(np.zeros(3), low))[4])
    assert near[2] - HALF < HEIGHT
    assert not bool(engine.look(at(near, low))[0].on_goal)


def test_reward_grows_from_far_to_near_to_lifted(engine: Engine) -> None:
    grasp = np.asarray(engine.look(at(np.zeros(3)))[4])
    far = [(0.2, 0.1), (0.2, 0.02), (0.2, 0.0)]
    rewards = [float(engine.look(at(np.add(grasp, (0, y, -0.4 * x))))[0].reward) for x, y in far]
    rewards.append(float(engine.look(at(grasp))[0].reward))
    assert (np.diff(rewards) > 0).all()
    assert 3.0 < rewards[-1] < 4.0  # 0.75 near, 2 for the height, 1 on the goal, a share of a grip
    hover, discount = rewards[-1] - 1.0, 0.97
    assert hover / (1 - discount) < TASK.success_reward  # no use in waiting below the goal
    busy = float(engine.look(at(grasp), np.ones(6))[0].reward)
    assert busy == pytest.approx(rewards[-1] - 0.02 * 6, abs=1e-5)


def test_a_cube_off_the_table_ends_the_episode(engine: Engine) -> None:
    for place, expected in (
        ((0.2, 0.0, HALF), False),
        ((0.2, 0.43, HALF), True),
        ((0.53, 0.0, HALF), True),
        ((-0.13, 0.0, HALF), True),
        ((0.2, 0.0, 0.7), True),
    ):
        assert bool(engine.look(at(np.array(place)))[0].failed) is expected


def test_gaps_are_those_of_c(engine: Engine) -> None:
    """Against mj_geomDistance, which knows capsules and boxes."""
    rng, data, buffer = np.random.default_rng(0), mujoco.MjData(MODEL), np.zeros(6)
    grasp = np.asarray(engine.look(at(np.zeros(3)))[4])
    for _ in range(10):
        data.qpos[:] = at(grasp + rng.uniform(-0.03, 0.03, 3))
        data.qpos[9:] = rng.normal(size=4)
        data.qpos[9:] /= np.linalg.norm(data.qpos[9:])
        mujoco.mj_forward(MODEL, data)
        _, label, _, gaps, _ = engine.look(data.qpos.copy())
        np.testing.assert_allclose(label, data.body("cube").xpos, atol=1e-6)
        for gap, name in zip(np.asarray(gaps), ("finger", "jaw"), strict=True):
            pair = (MODEL.geom(name).id, MODEL.geom("cube").id, 1.0)
            expected = mujoco.mj_geomDistance(MODEL, data, *pair, buffer)
            if expected > 1e-3:  # inside, C measures how far to push the two apart
                assert gap == pytest.approx(expected, abs=2e-3)  # nine points along a capsule


def test_keypoints_are_the_cube_and_where_it_is_gripped() -> None:
    data = mujoco.MjData(MODEL)
    mujoco.mj_forward(MODEL, data)
    turn = data.body("gripper").xmat.reshape(3, 3)
    held = data.site("tip").xpos + turn @ (-0.014, 0.013, 0.0)
    found = TASK.keypoints(data)  # type: ignore[arg-type]  # C's data has the same fields
    np.testing.assert_allclose(found, [data.body("cube").xpos, held], atol=1e-6)


def test_it_is_the_arm_of_reach() -> None:
    reach = Reach().mj_model
    for joint in JOINTS:
        mine, other = MODEL.joint(joint), reach.joint(joint)
        np.testing.assert_array_equal(mine.range, other.range)
        np.testing.assert_array_equal(mine.axis, other.axis)
        assert MODEL.dof_armature[mine.dofadr] == reach.dof_armature[other.dofadr]
        if joint != "gripper":
            limits = MODEL.actuator(joint).forcerange, reach.actuator(joint).forcerange
            np.testing.assert_array_equal(*limits)
    assert tuple(MODEL.joint(i).name for i in range(7)) == (*JOINTS, "cube")
    reach_bodies = [reach.body(i).name for i in range(reach.nbody)]
    for name in reach_bodies[reach_bodies.index("base") :]:
        np.testing.assert_array_equal(MODEL.body(name).pos, reach.body(name).pos)
        assert MODEL.body(name).mass == reach.body(name).mass


def test_starts_lie_where_the_task_says() -> None:
    starts = jax.jit(jax.vmap(lambda k: TASK.reset(key=k)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    qpos, action = np.asarray(starts.qpos), TASK.contract.action
    x, y = (qpos[:, 6:8] - MODEL.body("shoulder").pos[:2]).T
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    assert radius.min() >= RADIUS[0] - 1e-4 and radius.max() <= RADIUS[1] + 1e-4
    assert np.abs(angle).max() <= SECTOR + 1e-4
    assert np.mean(radius**2) == pytest.approx(np.mean(np.square(RADIUS)), rel=0.02)
    largest = HALF * SPACE.limits[1, SPACE.index("cube_size")]
    assert (qpos[:, 8] >= largest).all() and (qpos[:, 8] < HALF + 0.003).all()
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 9:], axis=-1), 1.0, rtol=1e-5)
    assert (qpos[:, :6] > action.low).all() and (qpos[:, :6] < np.array(action.high)).all()


def test_limits_of_the_contract_lie_inside_those_of_the_joints() -> None:
    action = TASK.contract.action
    for i, joint in enumerate(action.joints):
        low, high = MODEL.joint(joint).range
        assert low < action.low[i] < action.home[i] < action.high[i] < high
        assert action.max_effort[i] == MODEL.actuator(joint).forcerange[1]
    step = np.array(action.scale) * TASK.contract.control_hz
    assert (step <= np.array(action.max_rate)).all()  # the guard never cuts a full action
