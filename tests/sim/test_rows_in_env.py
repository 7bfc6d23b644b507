"""Rows of every period and from every room, through reset and step of the toy task."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace, set_to
from mjx_s2r.robot.observation import ObservationBuffer
from mjx_s2r.sim.effects import sensor
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import EpisodeParams, State, auto_reset, keep_per_env_rows
from tests.sim.toy import Toy

B, DT = 4, 0.02
SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("block",), limits=(0.25, 4), resample="world"),
        set_to("hold", "actuator.hold", (), (0, 0.9), resample="step"),
        Param("gain", "sensor.gain", ("position",), limits=(0.5, 2.0), resample="step"),
        set_to("push", "world.push", ("block",), (0, 5), unit="N"),
        set_to("rate", "world.push_rate_hz", (), (0, 100), nominal=1.0, unit="Hz"),
        set_to("adversary", "actuator.adversary", (), (0, 1)),
        set_to("count", "actuator.delay_s", (), (0, 1), law="categorical", unit="s"),
        set_to("start", "world.start_pos", ("rail",), (0, 1), unit="m"),
        set_to("late", "sensor.delay_s", (), (0, DT), unit="s"),
    )
)


@dataclass(frozen=True)
class Worlds:
    """The toy with these rows and its compiled functions; ``traces`` grows with every compile."""

    env: Env
    reset: Callable[[jax.Array, EpisodeParams], State]
    step: Callable[[State, jax.Array], State]
    traces: list[str]

    def start(self, seed: int = 0, **given: float) -> State:
        """Returns B worlds with the ``given`` rows, the others nominal."""
        return self.at(np.tile(SPACE.values(given), (B, 1)), seed)

    def at(self, xi: np.ndarray, seed: int = 0) -> State:
        """Returns B worlds with the parameters ``xi`` (B, D)."""
        draws = EpisodeParams(jnp.asarray(xi), jnp.full((B,), -1), jnp.zeros((B,), jnp.int32))
        return self.reset(jax.random.split(jax.random.key(seed), B), draws)


@pytest.fixture(scope="module")
def toy() -> Worlds:
    """Compiled once."""
    env, traces = make(Toy(space=SPACE)), []

    def reset(key: jax.Array, draw: EpisodeParams) -> State:
        traces.append("reset")
        return env.reset(key, draw)

    def step(state: State, action: jax.Array) -> State:
        traces.append("step")
        return env.step(state, action)

    return Worlds(env, jax.jit(jax.vmap(reset)), jax.jit(jax.vmap(step)), traces)


def test_a_row_per_step_is_drawn_anew_and_seen_by_the_policy(toy: Worlds) -> None:
    """What is read is the position times the gain of now; xi itself stays."""
    state, gains, place = toy.start(gain=2.0), [], SPACE.index("gain")
    for _ in range(6):
        state = toy.step(state, jnp.zeros((B, 1)))
        now = np.asarray(jax.vmap(toy.env.current_params)(state))
        sim = state.pipeline_state
        np.testing.assert_allclose(
            state.obs["state"][:, 0], sim.physics_state.qpos[:, 0] * now[:, place], rtol=1e-5
        )
        xi = np.asarray(sim.episode_params.xi)
        np.testing.assert_allclose(np.delete(now, place, 1), np.delete(xi, place, 1))
        np.testing.assert_allclose(xi[:, place], 2.0)
        gains.append(now[:, place])
    drawn = np.array(gains)
    assert (drawn >= 1).all() and (drawn <= 2).all()
    assert len(np.unique(drawn)) == drawn.size and drawn.std() > 0.1


def test_commands_are_lost_as_often_as_the_row_per_step_says(toy: Worlds) -> None:
    """The draw that loses a command is not the one that says how likely that is."""
    state, held, lost = toy.start(hold=0.9), [], []
    for index in range(60):
        held.append(jax.vmap(toy.env.current_params)(state)[:, SPACE.index("hold")])
        state = toy.step(state, jnp.full((B, 1), index / 60, jnp.float32))
        sim = state.pipeline_state
        lost.append(sim.actuator.history[:, 0, 0] != sim.command[:, 0])
    likely, found = np.mean(held), np.mean(lost)
    spread = np.sqrt(likely * (1 - likely) / np.size(lost))
    assert 0.35 < likely < 0.55
    assert abs(found - likely) < 4 * spread


def test_sensors_do_not_touch_the_command(toy: Worlds) -> None:
    """Readings come a step late; the command is the last one sent, as a robot fills it in."""
    state, filled = toy.start(late=DT), ObservationBuffer(toy.env.task.contract)
    for action in (1.0, -0.5, 0.25):
        before = state.pipeline_state.physics_state
        state = toy.step(state, jnp.full((B, 1), action, jnp.float32))
        for world in range(B):
            readings = {"position": before.qpos[world], "speed": before.qvel[world]}
            told = filled.fill(jax.tree.map(np.asarray, readings), np.array([2.0 * action]))
            np.testing.assert_allclose(state.obs["state"][world], told, rtol=1e-5, atol=1e-6)
    with pytest.raises(ParamError, match=r"'blind'.*'command'"):
        sensor.bind_sensor(
            ParamSpace((set_to("blind", "sensor.noise", ("command",), (0, 1)),)), {"speed": 1}, DT
        )


def test_a_row_per_world_survives_its_episodes(toy: Worlds) -> None:
    mass = np.eye(len(SPACE), dtype=np.float32)[SPACE.index("mass")]
    first = toy.at(SPACE.nominal + np.outer(np.arange(B, dtype=np.float32) / 4, mass))
    drawn = EpisodeParams(
        *(x + 0 for x in jax.tree.leaves(toy.start(push=1.0).pipeline_state.episode_params))
    )
    kept = keep_per_env_rows(SPACE, drawn, first.pipeline_state.episode_params)
    np.testing.assert_allclose(kept.xi[:, 0], (1, 1.25, 1.5, 1.75))
    np.testing.assert_array_equal(kept.xi[:, 1:], drawn.xi[:, 1:])
    fresh = toy.reset(jax.random.split(jax.random.key(5), B), kept)
    over = auto_reset(first.replace(done=jnp.ones(B)), fresh)
    np.testing.assert_allclose(over.pipeline_state.leaves["body_mass"][:, 1], (1, 1.25, 1.5, 1.75))
    np.testing.assert_allclose(over.pipeline_state.episode_params.xi[:, SPACE.index("push")], 1.0)
    plain = ParamSpace(tuple(r for r in SPACE.rows if r.resample != "world"))
    assert keep_per_env_rows(plain, drawn, first.pipeline_state.episode_params) is drawn


def test_a_push_is_an_impulse(toy: Worlds) -> None:
    """The rail takes the x part of 5 N for 0.02 s on 1 kg."""
    state = toy.start(push=5.0, rate=100.0)
    after = toy.step(state, jnp.zeros((B, 1)))
    along = np.asarray(after.pipeline_state.push.direction[:, 0, 0])
    assert (np.asarray(after.pipeline_state.push.left_s) > 0).all()
    np.testing.assert_allclose(
        after.pipeline_state.physics_state.qvel[:, 0], 5 * DT * along, rtol=1e-4
    )
    assert np.unique(along).size == B


def test_the_adversary_takes_its_share_of_the_action(toy: Worlds) -> None:
    """At 1 the policy has no say; at 0.5 half of its difference remains; worlds differ."""

    def speed(share: float, action: float) -> np.ndarray:
        after = toy.step(toy.start(adversary=share), jnp.full((B, 1), action, jnp.float32))
        return np.asarray(after.pipeline_state.physics_state.qvel[:, 0])

    assert np.array_equal(speed(1.0, 1.0), speed(1.0, -1.0))
    assert np.unique(speed(1.0, 0.0)).size == B
    full, half = (speed(a, 1.0) - speed(a, -1.0) for a in (0.0, 0.5))
    np.testing.assert_allclose(half, full / 2, rtol=1e-4)


def test_a_schedule_that_stops_between_whole_numbers_is_settled(toy: Worlds) -> None:
    xi = np.tile(SPACE.nominal, (B, 1))
    count = SPACE.index("count")
    xi[:, count] = (0.0, 0.4, 0.99, 1.0)
    settled = toy.at(xi).pipeline_state.episode_params.xi[:, count]
    np.testing.assert_array_equal(settled, (0, 0, 0, 1))


def test_starts_are_spread_by_the_table(toy: Worlds) -> None:
    near, far = (toy.start(start=x).pipeline_state.physics_state.qpos[:, 0] for x in (0.0, 1.0))
    assert np.abs(near).max() <= 0.1
    assert np.abs(far - near).max() > 0.2 and np.abs(far - near).max() <= 1.0


def test_other_values_compile_nothing(toy: Worlds) -> None:
    for seed, push in ((0, 0.0), (7, 3.0), (8, 5.0)):
        toy.step(toy.start(seed, push=push, gain=1.5, adversary=0.1), jnp.zeros((B, 1)))
    assert sorted(toy.traces) == ["reset", "step"]


def test_a_table_without_such_rows_carries_nothing_of_them() -> None:
    state = jax.eval_shape(make(Toy()).reset, jax.random.key(0)).pipeline_state
    assert state.push is None and state.adversary is None and state.actuator.drift is None
    assert state.sensor.bias is None and state.sensor.told is None and state.sensor.walk is None
