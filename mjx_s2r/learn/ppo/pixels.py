"""PPO from pixels: the actor sees through its cameras, the critic may know what simulation knows.

An iteration is `Ppo`'s, with pictures taken before every control step. Physics, pictures and
learning are compiled apart, since on a CPU each is fastest with other compiler switches. Pictures
are kept as bytes; the critic needs none, so nothing has to be drawn to bootstrap from.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.learn.camera_schedule import Watch, watch
from mjx_s2r.learn.nan_guard import Bad, nothing
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.learn.ppo.config import PpoConfig
from mjx_s2r.learn.ppo.learner import Metrics, Ppo, TrainState
from mjx_s2r.learn.rollout import Result, Step, advance, tally
from mjx_s2r.render.cameras import Cameras
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State


@dataclass(frozen=True, eq=False)
class PixelPpo:
    """A learner whose actor sees; build it with `make`.

    Attributes:
        core: everything but the pictures.
        env: its environment.
        cameras: takes the pictures.
    """

    core: Ppo
    env: Env
    cameras: Watch

    @property
    def config(self) -> PpoConfig:
        """Settings of PPO."""
        return self.core.config

    @property
    def curriculum(self) -> Curriculum:
        """The schedule; its visual rows give the worlds their looks."""
        return self.core.curriculum

    def init(self, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration."""
        return self.load(self.core.init(key), key)

    def load(self, state: TrainState, key: jax.Array) -> TrainState:
        """Returns ``state`` with a film in its cameras."""
        xi = state.worlds.pipeline_state.draw.xi
        film = self.cameras.begin(state.worlds, xi, jax.random.fold_in(key, 1))
        return replace(state, film=film)

    def iterate(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration."""
        fresh, key_next, keys, key_learn = self._prepare(state)
        begun = self.cameras.begin(fresh, fresh.pipeline_state.draw.xi, key_learn)
        film, worlds, memory = state.film, state.worlds, state.memory.actor
        taken: list[tuple[Step, Images]] = []
        bad = self._nothing(worlds)
        first = int(state.steps) * self.config.unroll if self.cameras.remembers else 0
        for count, key in enumerate(keys):
            xi = self._present(worlds)
            film, images = self.cameras.see(film, worlds, xi, first + count, key)
            rolling = (memory, worlds, bad)
            (memory, worlds, bad), step = self._advance(
                state, rolling, fresh, images, key, jnp.int32(count)
            )
            film = self.cameras.restart(film, begun, worlds)
            taken.append((step, images))
        state = replace(state, film=(), key=key_next)
        state, metrics = self._learn(state, (memory, worlds, bad), taken, key_learn)
        return replace(state, film=film), metrics

    @partial(jax.jit, static_argnums=0)
    def _prepare(self, state: TrainState) -> tuple[State, jax.Array, list[jax.Array], jax.Array]:
        """Returns fresh worlds, the next state's key, T for a rollout, and one for learning."""
        fresh, (key_next, key_roll, key_learn) = self.core.prepare(state)
        return fresh, key_next, list(jax.random.split(key_roll, self.config.unroll)), key_learn

    @partial(jax.jit, static_argnums=0)
    def _present(self, worlds: State) -> jax.Array:
        """Returns the parameters (B, D) that hold now in each world."""
        return jax.vmap(self.env.present)(worlds)

    @partial(jax.jit, static_argnums=0)
    def _advance(
        self,
        state: TrainState,
        rolling: tuple[jax.Array, State, Bad],
        fresh: State,
        images: Images,
        key: jax.Array,
        count: jax.Array,
    ) -> tuple[tuple[jax.Array, State, Bad], Step]:
        """Acts on what is seen and takes one control step in every world."""
        memory, worlds, bad = rolling
        key = jax.random.fold_in(key, 1)
        memory, raw, log_prob = self.core.act(state, memory, worlds, key, images)
        worlds, step, bad = advance(self.env, worlds, fresh, (raw, log_prob), bad, count)
        return (memory, worlds, bad), step

    @partial(jax.jit, static_argnums=0)
    def _nothing(self, worlds: State) -> Bad:
        """Returns the record of a rollout in which all numbers are finite."""
        return nothing(worlds, self.env.action_size)

    @partial(jax.jit, static_argnums=0)
    def _learn(
        self,
        state: TrainState,
        rolling: tuple[jax.Array, State, Bad],
        taken: list[tuple[Step, Images]],
        key: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        """Takes the gradient steps of one iteration."""
        stacked: Any = jax.tree.map(lambda *x: jnp.stack(x), *taken)
        (steps, episodes, figures), images = cast(tuple[Step, Images], stacked)
        memory, worlds, bad = rolling
        rolled = Result(memory, worlds, steps, episodes, tally(episodes, figures), bad)
        return self.core.learn(state, rolled, images, key)


def make(env: Env, cameras: Cameras, curriculum: Curriculum, config: PpoConfig) -> PixelPpo:
    """Builds a learner that sees through the cameras of its task's contract.

    Raises:
        ContractError: a camera whose rate does not divide the control rate.
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    view = watch(env, cameras, env.task.contract)
    view.check_turns(config.worlds)
    core = Ppo(env, curriculum, config, tuple(c.shape for c in view.signals))
    return PixelPpo(core, env, view)
