"""Worlds so small that the right answer is known: they show that a learner learns.

After the probe environments of Andy Jones ("Debugging reinforcement learning systems", 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import Draw, State, nominal_draw


@struct.dataclass
class ProbeSim:
    """What a probe carries: the draw, the step () and the return so far ()."""

    draw: Draw
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

    def reset(self, key: jax.Array, draw: Draw | None = None) -> State:
        """Starts an episode."""
        del key
        draw = nominal_draw(self.space) if draw is None else draw
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
