"""The rollout keeps the last observation, renews finished worlds and counts plain episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.rollout import (
    EpisodeStats,
    Transition,
    randomize_episode_time,
    reset_envs,
    rollout,
)
from mjx_s2r.sim.interface import EpisodeParams, State
from tests.learn.probes import Probe

B, LENGTH, STEPS = 4, 3, 7
PROBE = Probe(LENGTH, lambda step, action: step + action[0])
RAW = 0.5


def draws(value: float) -> EpisodeParams:
    """Returns B draws with one number each; the last world tests a bound."""
    role = jnp.array((-1, -1, -1, 2), jnp.int32)
    return EpisodeParams(jnp.full((B, 1), value), role, jnp.full((B,), int(value), jnp.int32))


@pytest.fixture(scope="module")
def result() -> tuple:
    """Seven steps in four worlds of three-step episodes."""

    @jax.jit
    def run(key: jax.Array) -> tuple:
        keys = jax.random.split(key, 3)
        state = reset_envs(PROBE, draws(1.0), key=keys[0])  # type: ignore[arg-type]
        fresh = reset_envs(PROBE, draws(2.0), key=keys[1])  # type: ignore[arg-type]
        act = lambda memory, worlds, images, key: (memory + 1, jnp.full((B, 1), RAW), jnp.zeros(B))  # noqa: E731
        memory, state, batch = rollout(PROBE, act, jnp.zeros(B), state, fresh, STEPS, key=keys[2])
        return state, batch.transitions, batch.episodes, batch.stats, memory

    return run(jax.random.key(0))


def clock(obs: jax.Array) -> np.ndarray:
    """Returns which step an observation shows."""
    return np.asarray(obs).argmax(-1)


def test_the_last_observation_is_kept_and_the_next_episode_starts_afresh(result: tuple) -> None:
    steps: Transition = result[1]
    expected = np.arange(STEPS) % LENGTH
    np.testing.assert_array_equal(clock(steps.obs["state"]), np.tile(expected, (B, 1)).T)
    np.testing.assert_array_equal(clock(steps.next_obs["state"]), np.tile(expected + 1, (B, 1)).T)
    np.testing.assert_array_equal(steps.done[:, 0], expected == LENGTH - 1)
    np.testing.assert_array_equal(steps.terminated, steps.done)
    np.testing.assert_array_equal(steps.is_first[:, 0], expected == 0)
    np.testing.assert_array_equal(result[4], STEPS)


def test_the_environment_gets_the_squashed_action(result: tuple) -> None:
    steps: Transition = result[1]
    np.testing.assert_allclose(steps.raw_action, RAW)
    np.testing.assert_allclose(
        steps.reward[:, 0], np.arange(STEPS) % LENGTH + np.tanh(RAW), rtol=1e-6
    )


def test_episodes_carry_the_draw_that_they_ran_with(result: tuple) -> None:
    state: State = result[0]
    episodes = result[2]
    first, later = 1.0, 2.0
    np.testing.assert_array_equal(
        episodes.xi[:, 0, 0], [first] * LENGTH + [later] * (STEPS - LENGTH)
    )
    np.testing.assert_array_equal(episodes.version[:, 0], episodes.xi[:, 0, 0])
    np.testing.assert_array_equal(episodes.kind[:, 3], np.full(STEPS, 2))
    np.testing.assert_array_equal(episodes.ended, result[1].done)
    np.testing.assert_array_equal(state.pipeline_state.episode_params.xi[:, 0], np.full(B, later))


def test_the_tally_counts_plain_worlds_only(result: tuple) -> None:
    """Two whole episodes in each of three plain worlds; rewards 0 + 1 + 2 and three tanh(0.5)."""
    tally: EpisodeStats = result[3]
    assert int(tally.episodes) == 6 and float(tally.successes) == 6
    assert float(tally.length_sum) == 18 and float(tally.nan_envs) == 0
    assert float(tally.return_sum) == pytest.approx(6 * (3 + 3 * np.tanh(RAW)), rel=1e-5)
    assert int(tally.reused_resets) == B  # the second episode of a world takes the same fresh one


def test_stagger_spreads_the_clocks(key: jax.Array) -> None:
    many = EpisodeParams(
        jnp.ones((200, 1)), jnp.full((200,), -1, jnp.int32), jnp.zeros((200,), jnp.int32)
    )
    state = reset_envs(PROBE, many, key=key)  # type: ignore[arg-type]
    steps = np.asarray(randomize_episode_time(PROBE, state, key=key).pipeline_state.steps)  # type: ignore[arg-type]
    assert set(np.unique(steps)) == {0, 1, 2} and np.bincount(steps).min() > 40
