"""Worlds so small that the right answer is known: they show that a learner learns.

After the probe environments of Andy Jones ("Debugging reinforcement learning systems", 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import Environment, EpisodeParams, State, nominal_params


def ppo_trainer(env: Environment, config: PPOConfig, space: ParamSpace | None = None) -> Trainer:
    """Returns a trainer by PPO over the whole of a table, by default the environment's."""
    curriculum = uniform(env.space if space is None else space)
    return Trainer(env, curriculum, PPO(config, env.action_size))


def programs(iteration: CompiledStep) -> list[int]:
    """Returns how often each half, or the whole, was compiled."""
    compiled = vars(iteration).values()
    return [part._cache_size() for part in compiled if hasattr(part, "_cache_size")]


@struct.dataclass
class ProbeSim:
    """What a probe carries: the draw, the step () and the return so far ()."""

    episode_params: EpisodeParams
    steps: jax.Array
    total: jax.Array


@dataclass(frozen=True, eq=False)
class Probe:
    """An episode of ``length`` steps that sees its clock and pays ``reward(step, action)``.

    Attributes:
        length: steps in an episode.
        reward: (step (), action (1,)) -> reward ().
        terminates: whether the last step terminates; else it truncates.
    """

    length: int
    reward: Callable[[jax.Array, jax.Array], jax.Array]
    terminates: bool = True
    action_size: int = 1

    @property
    def space(self) -> ParamSpace:
        """A table without rows."""
        return ParamSpace(())

    @property
    def episode_steps(self) -> int:
        """Steps in an episode."""
        return self.length

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts an episode."""
        del key
        draw = nominal_params(self.space) if draw is None else draw
        zero, no = jnp.float32(0), jnp.zeros((), bool)
        return State(
            pipeline_state=ProbeSim(draw, jnp.int32(0), zero),
            obs=self.see(jnp.int32(0)),
            reward=zero,
            done=zero,
            metrics={"success": zero, "return": zero, "length": zero, "nan": zero},
            info={"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Returns the state one step later."""
        sim = state.pipeline_state
        reward = jnp.asarray(self.reward(sim.steps, action), jnp.float32)
        steps = sim.steps + 1
        last = steps >= self.length
        sim = sim.replace(steps=steps, total=sim.total + reward)
        figures = {"success": last, "return": sim.total, "length": steps, "nan": False}
        return State(
            pipeline_state=sim,
            obs=self.see(steps),
            reward=reward,
            done=last.astype(jnp.float32),
            metrics={name: jnp.asarray(v, jnp.float32) for name, v in figures.items()},
            info={"terminated": last & self.terminates, "truncated": last & (not self.terminates)},
        )

    def see(self, steps: jax.Array) -> dict[str, jax.Array]:
        """Returns the observations: which step it is, one number for each."""
        clock = (jnp.arange(self.length + 1) == steps).astype(jnp.float32)
        return {"state": clock, "privileged": clock}


@struct.dataclass
class CueSim:
    """What a cue probe carries: the draw, the step (), what was shown () and the return so far."""

    episode_params: EpisodeParams
    steps: jax.Array
    cue: jax.Array
    total: jax.Array


@dataclass(frozen=True, eq=False)
class Cue:
    """Shows +1 or -1 at the first step only and pays at the last: 1 - (action - cue / 2)^2.

    Who cannot remember, or see, does best with action 0 and is paid 0.75.

    Attributes:
        length: steps in an episode.
        shown: whether the numbers tell the cue; else only a camera could.
    """

    length: int = 3
    shown: bool = True
    action_size: int = 1

    @property
    def space(self) -> ParamSpace:
        """A table without rows."""
        return ParamSpace(())

    @property
    def episode_steps(self) -> int:
        """Steps in an episode."""
        return self.length

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts an episode with a new cue."""
        draw = nominal_params(self.space) if draw is None else draw
        zero, no = jnp.float32(0), jnp.zeros((), bool)
        cue = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        sim = CueSim(draw, jnp.int32(0), cue, zero)
        return State(
            pipeline_state=sim,
            obs=self.see(sim),
            reward=zero,
            done=zero,
            metrics={"success": zero, "return": zero, "length": zero, "nan": zero},
            info={"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Returns the state one step later."""
        sim = state.pipeline_state
        last = sim.steps + 1 >= self.length
        reward = jnp.where(last, 1 - (action[0] - 0.5 * sim.cue) ** 2, 0.0)
        sim = sim.replace(steps=sim.steps + 1, total=sim.total + reward)
        figures = {"success": last, "return": sim.total, "length": sim.steps, "nan": False}
        return State(
            pipeline_state=sim,
            obs=self.see(sim),
            reward=reward,
            done=last.astype(jnp.float32),
            metrics={name: jnp.asarray(v, jnp.float32) for name, v in figures.items()},
            info={"terminated": last, "truncated": jnp.zeros((), bool)},
        )

    def current_params(self, state: State) -> jax.Array:
        """Returns (0,) the parameters."""
        return state.pipeline_state.episode_params.xi

    def see(self, sim: CueSim) -> dict[str, jax.Array]:
        """Returns the clock, and the cue at the first step; the critic is always told."""
        clock = (jnp.arange(self.length + 1) == sim.steps).astype(jnp.float32)
        cue = jnp.where((sim.steps == 0) & self.shown, sim.cue, 0.0)
        told = jnp.concatenate((clock, sim.cue[None]))
        return {"state": jnp.concatenate((clock, cue[None])), "privileged": told}
