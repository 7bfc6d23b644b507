"""Worlds for a training: the first ones, and fresh ones for those that finish.

Both come out of one compiled function, `reset_worlds`: a reset with its dependent constants takes
long to compile, ten seconds of reach's minute on two cores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.learn.rollout import resample_params, reset_envs
from mjx_s2r.sim.interface import Environment, EpisodeParams, State


@dataclass(frozen=True, eq=False)
class ResetPool:
    """Makes B worlds at a time.

    Attributes:
        env: the environment of one world.
        curriculum: draws their parameters.
        num_envs: B.
    """

    env: Environment
    curriculum: Curriculum
    num_envs: int

    def initial(self, key: jax.Array) -> tuple[Any, State, list[jax.Array]]:
        """Returns the schedule before the first iteration, B worlds, and three keys to go on."""
        schedule, draws, start, keys = self._draw(key)
        return schedule, reset_envs(self.env, draws, key=start), keys

    def resample(self, schedule: Any, old: State, key: jax.Array) -> tuple[State, list[jax.Array]]:
        """Returns B worlds to take the places of ``old`` ones, and three keys to go on.

        What a world keeps for life is kept. The first key is for the next call.
        """
        draws, start, keys = self._draw_anew(schedule, old.pipeline_state.episode_params, key)
        return reset_envs(self.env, draws, key=start), keys

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `first` and `fresh` run, traced; the longest comes first."""
        schedule, draws, start, _ = jax.eval_shape(self._draw, key)
        yield reset_envs.lower(self.env, draws, key=start)
        yield ResetPool._draw_anew.lower(self, schedule, draws, key)
        yield ResetPool._draw.lower(self, key)

    @partial(jax.jit, static_argnums=0)
    def _draw(self, key: jax.Array) -> tuple[Any, EpisodeParams, jax.Array, list[jax.Array]]:
        """Returns the schedule, what the first worlds draw, a key for their start, and three."""
        key_draw, key_start, *keys = jax.random.split(key, 5)
        schedule = self.curriculum.init()
        return schedule, self.curriculum.sample(schedule, self.num_envs, key_draw), key_start, keys

    @partial(jax.jit, static_argnums=0)
    def _draw_anew(
        self, schedule: Any, old: EpisodeParams, key: jax.Array
    ) -> tuple[EpisodeParams, jax.Array, list[jax.Array]]:
        """Returns what fresh worlds draw, a key for their start, and three."""
        key_next, key_draw, key_start, *keys = jax.random.split(key, 5)
        draws = resample_params(self.env, self.curriculum, schedule, old, key=key_draw)
        return draws, key_start, [key_next, *keys]
