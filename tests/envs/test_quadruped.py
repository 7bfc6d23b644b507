"""Quadruped: readings against C MuJoCo, the reward by hand, and who stands, falls and follows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.envs.quadruped import ASKED, FOOT_M, HOME, LEGS, XML, Memory, Quadruped, keep
from mjx_s2r.envs.quadruped_rough import BUMP_M, FIELD_M, heights, quadruped_rough
from mjx_s2r.sim import physics
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.sim.task import InitialState

TASK = Quadruped()
STANDING = 0.2868  # m: 2 x 0.213 cos 0.9 + 0.022
POSE = (0.0, 0.0, STANDING, 1.0, 0.0, 0.0, 0.0, *HOME)
AHEAD = (0.5, 0.0, 0.0)
MOVING = (*[0.0] * 6, *[0.5] * 12)


def state(**changes: object) -> dict:
    """Returns a robot that stands still at home, as it is asked to, with ``changes``."""
    given = {
        "qpos": POSE,
        "qvel": np.zeros(18),
        "action": np.zeros(12),
        "time": 1.0,
        "asked": np.zeros((2, 3)),
        "last": np.zeros(12),
        "feet": feet_of(changes.get("qpos", POSE))[:, :2],
        "mean": np.zeros(3),
        "followed_s": 0.0,
    }
    return {k: np.asarray(v, np.float32) for k, v in {**given, **changes}.items()}


def feet_of(qpos: object) -> np.ndarray:
    """Returns (4, 3) the centres of the feet by C MuJoCo, m."""
    data = mujoco.MjData(TASK.mj_model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(TASK.mj_model, data)
    return np.array([data.geom(f"{leg}_foot").xpos for leg in LEGS])


@pytest.fixture(scope="module")
def look() -> Callable:
    """Returns verdict, signals, privileged and label of a `state`."""
    engine = physics.put_model(TASK.mj_model)

    @jax.jit
    def at(s: dict) -> tuple:
        core = physics.initial_state(engine, s["qpos"], s["qvel"])
        parts = (s[k] for k in ("asked", "last", "feet", "mean", "followed_s"))
        core = core.replace(time=s["time"], memory=keep(Memory(*parts)))
        data = physics.forward_positions(engine, {}, core)
        seen = TASK.signals(data), TASK.privileged(data), TASK.label(data)
        return TASK.reward(data, s["action"]), *seen

    return lambda **changes: at(state(**changes))


def anywhere() -> tuple[mujoco.MjData, np.ndarray]:
    """Returns a robot thrown in the air by C MuJoCo, and its trunk's velocity (6,) in its axes."""
    data, rng = mujoco.MjData(TASK.mj_model), np.random.default_rng(0)
    turn = rng.normal(size=4)
    data.qpos[:] = (0.3, -0.2, 0.7, *(turn / np.linalg.norm(turn)), *rng.uniform(-1, 1, 12))
    data.qvel[:] = rng.normal(size=18)
    mujoco.mj_forward(TASK.mj_model, data)
    velocity, body = np.zeros(6), mujoco.mjtObj.mjOBJ_XBODY
    trunk = TASK.mj_model.body("trunk").id
    mujoco.mj_objectVelocity(TASK.mj_model, data, body, trunk, velocity, 1)
    return data, velocity


def test_the_imu_reads_what_c_knows(look: Callable) -> None:
    data, velocity = anywhere()
    _, signals, privileged, _ = look(qpos=data.qpos, qvel=data.qvel)
    down = data.body("trunk").xmat.reshape(3, 3).T @ (0, 0, -1)
    np.testing.assert_allclose(signals["gyro"], velocity[:3], atol=1e-5)
    np.testing.assert_allclose(signals["gravity"], down, atol=1e-5)
    np.testing.assert_allclose(privileged[:3], velocity[3:], atol=1e-5)
    np.testing.assert_allclose(signals["joint_pos"], data.qpos[7:], atol=1e-6)
    np.testing.assert_allclose(signals["joint_vel"], data.qvel[6:], atol=1e-6)


def test_the_label_is_a_point_of_the_ground_one_metre_ahead(look: Callable) -> None:
    data, _ = anywhere()
    turn, label = data.body("trunk").xmat.reshape(3, 3), look(qpos=data.qpos)[3]
    way = turn @ np.asarray(label)
    sole = feet_of(data.qpos)[:, 2].min() - FOOT_M
    assert data.qpos[2] + way[2] == pytest.approx(sole, abs=1e-5)
    np.testing.assert_allclose(way[:2], turn[:2, 0] / np.hypot(*turn[:2, 0]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3.0),  # 1 + 0.5 + 1 + 0.5: all there is
        ({"asked": [AHEAD] * 2}, 2.0 + np.exp(-0.25 / 0.15)),  # the clock is at 0: no foot swings
        ({"asked": [(0, 0, 0.4)] * 2}, 2.5 + 0.5 * np.exp(-0.16 / 0.2)),
        # A quarter of the period later two feet should be 7 cm up.
        (
            {"asked": [AHEAD] * 2, "time": 1.125},
            1.0 + np.exp(-0.25 / 0.15) + np.exp(-2 * 0.07**2 / 0.003),
        ),
        ({"asked": [(0, 0, 0), AHEAD], "time": 6.0}, 2.0 + np.exp(-0.25 / 0.15)),
        ({"qvel": (0, 0, 0.2, *[0] * 15)}, 3.0 - 0.5 * 0.04),
        ({"qvel": (*[0] * 3, 0.3, -0.4, 0, *[0] * 12)}, 3.0 - 0.05 * 0.25),
        ({"last": [0.5] * 12}, 3.0 - 0.05 * 12 * 0.25),
        ({"feet": feet_of(POSE)[:, :2] + (0.01, 0)}, 3.0 - 0.1 * 4 * 0.5**2),  # 1 cm in 20 ms
        ({"feet": np.zeros((4, 2)), "time": 0.02}, 3.0),  # nothing is known at first
        # One calf asks for 0.05 rad more: 40 x 0.05 = 2 N m, and nothing turns.
        ({"action": [0] * 11 + [0.1], "last": [0] * 11 + [0.1]}, 3.0 - 2e-4 * 4),
        # All ask for the most: hips 12 N m, thighs and calves 20 N m.
        ({"action": [1] * 12, "last": [1] * 12}, 3.0 - 2e-4 * 4 * (144 + 2 * 400)),
        # Every joint turns by 0.5 rad/s, braked with 0.5 N m; standing robots lose more by that.
        ({"qvel": MOVING}, 3.0 - 0.02 * 3 - 2e-4 * 3 - 1e-3 * 3),
        ({"qvel": MOVING, "asked": [AHEAD] * 2}, 2 + np.exp(-0.25 / 0.15) - 2e-4 * 3 - 1e-3 * 3),
    ],
)
def test_reward_by_hand(look: Callable, changes: dict, expected: float) -> None:
    verdict = look(**changes)[0]
    assert float(verdict.reward) == pytest.approx(expected / 3, abs=1e-4)
    assert not bool(verdict.failed)


def test_no_step_costs_the_life_to_come(look: Callable) -> None:
    """The worst step is worth nothing, not less: falling never pays."""
    assert float(look(qvel=np.full(18, 9.0), last=np.full(12, -1.0))[0].reward) == 0.0


def placed(height: float, tilt: float = 0.0, pose: tuple = HOME) -> np.ndarray:
    """Returns a robot at ``height`` m that leans ``tilt`` rad to its side."""
    return np.array((0, 0, height, np.cos(tilt / 2), np.sin(tilt / 2), 0, 0, *pose))


@pytest.mark.parametrize(
    ("qpos", "expected"),
    [
        (POSE, False),
        (placed(3.0), False),  # in the air is not yet on the ground
        (placed(0.5, 1.0), False),  # cos 1.0 = 0.54
        (placed(0.5, 1.1), True),  # cos 1.1 = 0.45
        (placed(0.15, 0, (0, 1.2, -2.4) * 4), False),  # 2 x 0.213 cos 1.2 + 0.022 = 0.176
        (placed(0.1, 0, (0, 1.35, -2.7) * 4), True),  # ... cos 1.35 = 0.115
        (placed(0.3, 0, (0, 0.2, -1.9) * 4), True),  # shins level: the knees are lower than soles
    ],
)
def test_trunk_and_knees_must_not_touch(look: Callable, qpos: np.ndarray, expected: bool) -> None:
    assert bool(look(qpos=qpos)[0].failed) == expected


def test_two_commands_last_five_seconds_each(look: Callable) -> None:
    two = np.array(((0.5, 0.1, -0.2), (0.0, 0.0, 0.0)))
    for time, row in ((0.0, 0), (4.98, 0), (5.0, 1), (9.98, 1), (12.0, 1)):
        np.testing.assert_allclose(look(asked=two, time=time)[1]["joystick"], two[row], atol=1e-6)


def test_the_clock_turns_twice_a_second_and_rests_with_the_robot(look: Callable) -> None:
    for time in (0.0, 0.1, 0.37, 2.2):
        clock = look(asked=[AHEAD, AHEAD], time=time)[1]["clock"]
        angle = 4 * np.pi * time
        np.testing.assert_allclose(clock, (np.sin(angle), np.cos(angle)), atol=1e-4)
    assert not look(time=0.1)[1]["clock"].any()


def test_following_is_judged_by_the_mean_velocity_and_counted(look: Callable) -> None:
    """The mean moves by 0.02 / 0.3 of the way; 0.25 m/s and 0.3 rad/s are near enough."""
    ahead, turning = (0.4, 0, 0), (0, 0, 0.32)
    slow = look(asked=[ahead] * 2, qvel=(0.4, *[0] * 17), mean=(0.1, 0, 0), followed_s=1.0)[0]
    assert float(slow.memory[26]) == pytest.approx(0.1 + 0.3 / 15, abs=1e-5)
    assert float(slow.memory[29]) == 1.0  # 0.28 m/s short
    for asked, mean, gained in (
        (ahead, (0.2, 0.1, 0), 0.02),
        (ahead, (0.4, 0.27, 0), 0.0),
        (turning, (0, 0, 0), 0.0),
        (turning, (0, 0, 0.1), 0.02),
    ):
        memory = look(asked=[asked] * 2, mean=mean)[0].memory
        assert float(memory[29]) == pytest.approx(gained), (asked, mean)
    assert not bool(look(followed_s=7.46)[0].on_goal)
    assert bool(look(followed_s=7.48)[0].on_goal)


def test_the_memory_keeps_the_step(look: Callable) -> None:
    action = np.linspace(-1, 1, 12)
    memory = np.asarray(look(asked=[AHEAD, (0, 0, 1)], action=action)[0].memory)
    np.testing.assert_allclose(memory[:6], (*AHEAD, 0, 0, 1))
    np.testing.assert_allclose(memory[6:18], action, atol=1e-6)
    np.testing.assert_allclose(memory[18:26], feet_of(POSE)[:, :2].ravel(), atol=1e-6)
    assert memory.shape == (TASK.mj_model.nuserdata,)


@pytest.fixture(scope="module")
def starts() -> InitialState:
    """Returns the starts of 1,000 episodes."""
    return jax.jit(jax.vmap(lambda k: TASK.reset(key=k)))(jax.random.split(jax.random.key(0), 1000))


def test_commands_fill_their_range_and_parts_of_them_are_zero(starts: InitialState) -> None:
    """Still: 0.1 + 0.9 x 0.25^3 = 0.114; one part zero: 0.1 + 0.9 x 0.25 = 0.325."""
    drawn = np.asarray(starts.memory)[:, :6].reshape(-1, 3)
    assert (drawn == 0).all(-1).mean() == pytest.approx(0.114, abs=0.025)  # 3.5 deviations
    np.testing.assert_allclose((drawn == 0).mean(0), 0.325, atol=0.037)
    low, high = np.array(ASKED)
    assert (drawn >= low).all() and (drawn <= high).all()
    np.testing.assert_allclose(drawn.min(0), low, atol=0.015)
    np.testing.assert_allclose(drawn.max(0), high, atol=0.015)
    assert not np.asarray(starts.memory)[:, 6:].any()


def test_robots_start_on_their_feet_and_face_anywhere(starts: InitialState) -> None:
    qpos = np.asarray(starts.qpos)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=-1), 1, rtol=1e-5)
    yaw = 2 * np.arctan2(qpos[:, 6], qpos[:, 3])
    assert yaw.min() < -3 and yaw.max() > 3
    lowest = np.array([feet_of(q)[:, 2].min() for q in qpos]) - FOOT_M
    assert lowest.min() > 0.0 and lowest.max() < 0.05


def test_it_stands_on_four_feet_in_c_and_one_iteration_is_enough() -> None:
    """The home pose held for 2 s, by the shipped solver and by a converged one."""
    heights_m = []
    for iterations in (TASK.mj_model.opt.iterations, 50):
        model = Quadruped().mj_model
        model.opt.iterations = model.opt.ls_iterations = iterations
        data = mujoco.MjData(model)
        data.qpos[:], data.ctrl[:] = POSE, HOME
        mujoco.mj_step(model, data, 400)
        touching = {model.geom(int(g)).name for g in data.contact.geom.ravel()}
        assert touching == {"floor", *(f"{leg}_foot" for leg in LEGS)}
        assert data.body("trunk").xmat[8] > 0.98 and np.abs(data.qvel).max() < 0.1
        heights_m.append(data.qpos[2])
    assert heights_m[0] == pytest.approx(heights_m[1], abs=2e-3)
    assert 0.22 < heights_m[0] < STANDING


def test_uneven_ground_is_level_at_the_start_and_carries_feet_as_in_c() -> None:
    grid = heights(0)
    assert np.abs(grid).max() == 1 and not grid[79:81, 79:81].any()
    task = quadruped_rough()
    assert task.name == task.contract.task == "quadruped_rough"
    data = mujoco.MjData(task.mj_model)
    data.qpos[:] = (4.0, -3.0, STANDING - 0.01, *POSE[3:])
    mujoco.mj_forward(task.mj_model, data)
    model = mjx.put_model(task.mj_model, impl="jax")
    given = mjx.make_data(task.mj_model, impl="jax").replace(qpos=jnp.array(data.qpos))
    contact = jax.jit(lambda d: mjx.collision(model, mjx.kinematics(model, d))._impl.contact)(given)
    feet = [task.mj_model.geom(f"{leg}_foot").id for leg in LEGS]
    assert data.ncon > 0 and BUMP_M < FIELD_M
    for foot in feet:
        mine = np.asarray(contact.dist)[(np.asarray(contact.geom) == foot).any(-1)].min()
        theirs = data.contact.dist[(data.contact.geom == foot).any(-1)]
        if theirs.size:
            assert mine == pytest.approx(theirs.min(), abs=1e-3)
        else:
            assert mine > 0


def test_longer_legs_are_those_of_a_model_compiled_so() -> None:
    """The oracle: the XML with every length of thigh and calf scaled, compiled by MuJoCo."""
    task = Quadruped()
    space, model = task.space, task.mj_model
    long = {"thigh_length": 1.02, "calf_length": 0.98}
    write(model, bind_model(space, model), space.values(long))
    spec = mujoco.MjSpec.from_file(str(XML))
    for part, factor in (("thigh", 1.02), ("calf", 0.98)):
        for leg in LEGS:
            body = spec.body(f"{leg}_{part}")
            body.ipos, body.inertia = factor * body.ipos, factor**2 * body.inertia
            for child in body.bodies:
                child.pos = factor * child.pos
            for geom in body.geoms:
                geom.size, geom.pos = factor * geom.size, factor * geom.pos
                if not np.isnan(geom.fromto[0]):
                    geom.fromto = factor * geom.fromto
    other = spec.compile()
    for name in ("body_pos", "body_ipos", "body_inertia", "geom_pos", "geom_size", "geom_rbound"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), atol=1e-6)
    for name in ("dof_invweight0", "body_invweight0", "dof_M0", "body_subtreemass"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-4)
    assert np.abs(other.dof_M0 / Quadruped().mj_model.dof_M0 - 1).max() > 0.01
