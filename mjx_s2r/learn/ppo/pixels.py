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
from mjx_s2r.learn.camera_schedule import CameraSchedule, bind_camera_schedule
from mjx_s2r.learn.nan_guard import NanSnapshot, empty_snapshot
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.learner import Metrics, PPOLearner, TrainState
from mjx_s2r.learn.rollout import Rollout, Step, advance, episode_stats
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

    core: PPOLearner
    env: Env
    cameras: CameraSchedule

    @property
    def config(self) -> PPOConfig:
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
        """Returns ``state`` with a frames in its cameras."""
        xi = state.env_state.pipeline_state.episode_params.xi
        frames = self.cameras.initial(state.env_state, xi, jax.random.fold_in(key, 1))
        return replace(state, frames=frames)

    def iterate(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration."""
        fresh, key_next, keys, key_learn = self._prepare(state)
        begun = self.cameras.initial(fresh, fresh.pipeline_state.episode_params.xi, key_learn)
        frames, worlds, memory = state.frames, state.env_state, state.rnn_state.actor
        taken: list[tuple[Step, Images]] = []
        bad = self._nothing(worlds)
        first = int(state.iteration) * self.config.num_steps if self.cameras.keeps_frames else 0
        for count, key in enumerate(keys):
            xi = self._present(worlds)
            frames, images = self.cameras.observe(frames, worlds, xi, first + count, key)
            rolling = (memory, worlds, bad)
            (memory, worlds, bad), step = self._advance(
                state, rolling, fresh, images, key, jnp.int32(count)
            )
            frames = self.cameras.auto_reset(frames, begun, worlds)
            taken.append((step, images))
        state = replace(state, frames=(), key=key_next)
        state, metrics = self._learn(state, (memory, worlds, bad), taken, key_learn)
        return replace(state, frames=frames), metrics

    @partial(jax.jit, static_argnums=0)
    def _prepare(self, state: TrainState) -> tuple[State, jax.Array, list[jax.Array], jax.Array]:
        """Returns fresh worlds, the next state's key, T for a rollout, and one for learning."""
        fresh, (key_next, key_roll, key_learn) = self.core.prepare(state)
        return fresh, key_next, list(jax.random.split(key_roll, self.config.num_steps)), key_learn

    @partial(jax.jit, static_argnums=0)
    def _present(self, worlds: State) -> jax.Array:
        """Returns the parameters (B, D) that hold now in each world."""
        return jax.vmap(self.env.current_params)(worlds)

    @partial(jax.jit, static_argnums=0)
    def _advance(
        self,
        state: TrainState,
        rolling: tuple[jax.Array, State, NanSnapshot],
        fresh: State,
        images: Images,
        key: jax.Array,
        count: jax.Array,
    ) -> tuple[tuple[jax.Array, State, NanSnapshot], Step]:
        """Acts on what is seen and takes one control step in every world."""
        memory, worlds, bad = rolling
        key = jax.random.fold_in(key, 1)
        memory, raw, log_prob = self.core.act(state, memory, worlds, key, images)
        worlds, step, bad = advance(self.env, worlds, fresh, (raw, log_prob), bad, count)
        return (memory, worlds, bad), step

    @partial(jax.jit, static_argnums=0)
    def _nothing(self, worlds: State) -> NanSnapshot:
        """Returns the record of a rollout in which all numbers are finite."""
        return empty_snapshot(worlds, self.env.action_size)

    @partial(jax.jit, static_argnums=0)
    def _learn(
        self,
        state: TrainState,
        rolling: tuple[jax.Array, State, NanSnapshot],
        taken: list[tuple[Step, Images]],
        key: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        """Takes the gradient steps of one iteration."""
        stacked: Any = jax.tree.map(lambda *x: jnp.stack(x), *taken)
        (steps, episodes, figures), images = cast(tuple[Step, Images], stacked)
        memory, worlds, bad = rolling
        rolled = Rollout(memory, worlds, steps, episodes, episode_stats(episodes, figures), bad)
        return self.core.learn(state, rolled, images, key)


def make(env: Env, cameras: Cameras, curriculum: Curriculum, config: PPOConfig) -> PixelPpo:
    """Builds a learner that sees through the cameras of its task's contract.

    Raises:
        ContractError: a camera whose rate does not divide the control rate.
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    view = bind_camera_schedule(env, cameras, env.task.contract)
    view.check_num_envs(config.num_envs)
    core = PPOLearner(env, curriculum, config, tuple(c.shape for c in view.signals))
    return PixelPpo(core, env, view)
