"""T control steps in B worlds, with fresh worlds ready for those that finish.

Computing B full resets at every step costs more than the step. Each rollout prepares one fresh
reset per world, with its own draw of the table, and a world takes it when its episode ends. Only an
episode shorter than the rollout could take the same one twice; `reused` counts that.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.sim.interface import Draw, Environment, State, renew

Act = Callable[[dict[str, jax.Array], jax.Array], tuple[jax.Array, jax.Array]]


@struct.dataclass
class Transition:
    """One step in every world; fields (B, ...) or, stacked over a rollout, [T, B, ...].

    Attributes:
        obs: what was seen before the step.
        next_obs: what was seen after it, before any reset.
        raw: (J,) raw action.
        log_prob: its log density when it was taken.
        reward: reward.
        terminated: the future is worth nothing.
        done: the episode ended.
    """

    obs: dict[str, jax.Array]
    next_obs: dict[str, jax.Array]
    raw: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array


@struct.dataclass
class Tally:
    """Sums over the episodes that ended in a rollout, all ()."""

    episodes: jax.Array
    success: jax.Array
    total: jax.Array
    length: jax.Array
    nan: jax.Array
    reused: jax.Array


def reset_worlds(env: Environment, draws: Draw, *, key: jax.Array) -> State:
    """Returns B worlds at the start of an episode, for ``draws`` with leading axis B."""
    return jax.vmap(env.reset)(jax.random.split(key, draws.role.shape[0]), draws)


def stagger(env: Environment, state: State, *, key: jax.Array) -> State:
    """Returns worlds whose clocks start at random, so that later resets do not come in bursts."""
    longest = env.episode_steps
    sim = state.pipeline_state
    steps = jax.random.randint(key, sim.steps.shape, 0, longest, sim.steps.dtype)
    return replace(state, pipeline_state=replace(sim, steps=steps))


def rollout(
    env: Environment, act: Act, state: State, fresh: State, steps: int, *, key: jax.Array
) -> tuple[State, Transition, Episodes, Tally]:
    """Runs ``steps`` control steps in every world.

    Args:
        env: the environment of one world.
        act: (obs, key) -> raw action (B, J) and its log density (B,).
        state: B worlds.
        fresh: B worlds at the start of an episode, for those that finish.
        steps: T.
        key: random key.

    Returns:
        The worlds afterwards, transitions [T, B, ...], finished episodes and sums over them.
    """

    def one(state: State, key: jax.Array) -> tuple[State, tuple[Transition, Episodes, dict]]:
        raw, log_prob = act(state.obs, key)
        after = jax.vmap(env.step)(state, jnp.tanh(raw))
        draw = after.pipeline_state.draw
        done = after.done > 0
        transition = Transition(
            obs=state.obs,
            next_obs=after.obs,
            raw=raw,
            log_prob=log_prob,
            reward=after.reward,
            terminated=after.info["terminated"],
            done=done,
        )
        episodes = Episodes(done, after.metrics["success"], draw.role, draw.stamp, draw.xi)
        return renew(after, fresh), (transition, episodes, after.metrics)

    state, (transitions, episodes, metrics) = jax.lax.scan(one, state, jax.random.split(key, steps))
    return state, transitions, episodes, tally(episodes, metrics)


def tally(episodes: Episodes, metrics: dict[str, jax.Array]) -> Tally:
    """Returns sums over the finished episodes of a rollout, plain ones only for success and return.

    Worlds that test a bound are harder by design and would colour the figures.
    """
    ended = episodes.ended
    plain = ended & (episodes.role < 0)
    return Tally(
        episodes=plain.sum(),
        success=jnp.sum(plain * metrics["success"]),
        total=jnp.sum(plain * metrics["return"]),
        length=jnp.sum(plain * metrics["length"]),
        nan=jnp.sum(metrics["nan"]),
        reused=jnp.sum(jnp.maximum(ended.sum(0) - 1, 0)),
    )
