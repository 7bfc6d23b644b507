"""A trained policy in the worlds it was trained in, and an episode of it recorded step by step.

A policy may remember, and may see: what it carries from step to step is `ViewerState`. A world
whose episode is over stays as it ended.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
from flax import struct
from mujoco import mjx

from mjx_s2r.api.policy import TrainedPolicy, load_policy
from mjx_s2r.io.run import CHECKPOINTS
from mjx_s2r.learn.camera_schedule import Frames
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.runtime.progress import progress
from mjx_s2r.runtime.random_keys import FRAMES
from mjx_s2r.sim.env import Env, require_native
from mjx_s2r.sim.interface import EpisodeParams, State
from mjx_s2r.sim.task import Task

WORLDS = 4
STEPS_PER_NOTE = 50  # steps between two notes on how far a recording is


@struct.dataclass
class ViewerState:
    """State of a policy and its worlds between control steps.

    Attributes:
        worlds: the B worlds.
        over: (B,) bool, the episode has ended.
        rnn_state: (B, H) what the policy remembers.
        frames: the pictures that it keeps.
    """

    worlds: State
    over: jax.Array
    rnn_state: jax.Array
    frames: Frames


@dataclass(frozen=True, eq=False)
class PolicyViewer:
    """A trained policy in the worlds that it was trained in; without exploration."""

    trained: TrainedPolicy

    @property
    def env(self) -> Env:
        """The environment of one world."""
        return require_native(self.trained.trainer.env)

    @property
    def num_worlds(self) -> int:
        """How many worlds are shown, B: a few that can take turns before slow cameras."""
        cameras = self.trained.trainer.cameras
        return WORLDS if cameras is None else cameras.enough_worlds(WORLDS)

    def sample_params(self, worlds: int, key: jax.Array) -> EpisodeParams:
        """Returns parameters (B, ...) from the ranges trained on; none tests a bound."""
        schedule = self.trained.state.curriculum
        params = self.trained.trainer.curriculum.sample(schedule, worlds, key)
        return replace(params, kind=jnp.full_like(params.kind, -1))

    def begin(self, params: EpisodeParams, key: jax.Array) -> ViewerState:
        """Returns B worlds at the start of an episode."""
        trainer = self.trained.trainer
        worlds = reset_envs(self.env, params, key=key)
        frames: Frames = ()
        if trainer.cameras is not None:
            frames = trainer.cameras.initial(worlds, params.xi, jax.random.fold_in(key, FRAMES))
        count = params.kind.shape[0]
        memory = trainer.algorithm.zero_rnn_state(count).actor
        return ViewerState(worlds, jnp.zeros(count, bool), memory, frames)

    def step(self, now: ViewerState, index: int, key: jax.Array) -> ViewerState:
        """Returns everything one control step later; ``index`` counts the steps so far."""
        cameras = self.trained.trainer.cameras
        frames, images = now.frames, cast(Images, ())
        if cameras is not None:
            xi = self._current_params(now.worlds)
            frames, images = cameras.observe(frames, now.worlds, xi, index, key)
        return replace(self._advance(replace(now, frames=()), images), frames=frames)

    @partial(jax.jit, static_argnums=0)
    def _current_params(self, worlds: State) -> jax.Array:
        return jax.vmap(self.env.current_params)(worlds)

    @partial(jax.jit, static_argnums=0)
    def view(self, worlds: State) -> mjx.Data:
        """Returns where everything is in B worlds."""
        return jax.vmap(self.env.positions)(worlds)

    @partial(jax.jit, static_argnums=0)
    def _advance(self, now: ViewerState, images: Images) -> ViewerState:
        """Acts and steps every world whose episode goes on."""
        trainer, state = self.trained.trainer, self.trained.state
        memory, policy = trainer.apply_policy(state, now.rnn_state, now.worlds, images)
        after = jax.vmap(self.env.step)(now.worlds, jnp.tanh(policy.mean))

        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            """Returns ``old`` where the episode is over."""
            return jnp.where(now.over.reshape(-1, *[1] * (new.ndim - 1)), old, new)

        worlds = jax.tree.map(pick, after, now.worlds)
        return ViewerState(worlds, now.over | (worlds.done > 0), memory, ())


@dataclass(frozen=True)
class Recording:
    """An episode, step by step.

    Attributes:
        viewer: who acted.
        xi: (N, D) parameters of the worlds.
        states: the worlds at every control step.
        origin: where the policy comes from, in words.
    """

    viewer: PolicyViewer
    xi: jax.Array
    states: list[State]
    origin: str

    @property
    def task(self) -> Task:
        """The task."""
        return self.viewer.env.task


def load_viewer(run: Path, iteration: int | None = None) -> PolicyViewer:
    """Returns the policy of a teacher's or a student's run, the newest or that of an iteration.

    Raises:
        RunError: no run there.
        ParamError: a run in another library's environment.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    viewer = PolicyViewer(load_policy(run, iteration))
    require_native(viewer.trained.trainer.env)
    return viewer


def record_episode(run: Path, seed: int, iteration: int | None = None) -> Recording:
    """Returns an episode of a run's policy in worlds from the ranges that it trained on.

    The policy is the newest, or that of an iteration.

    Raises:
        RunError: no run there.
    """
    viewer = load_viewer(run, iteration)
    key_params, key_reset, key_steps = jax.random.split(jax.random.key(seed), 3)
    params = viewer.sample_params(viewer.num_worlds, key_params)
    states: list[State] = []
    steps = viewer.env.episode_steps
    with progress(f"an episode of {viewer.env.task.name}", steps) as bar:
        now = viewer.begin(params, key_reset)
        states.append(now.worlds)
        for index in range(steps):
            now = viewer.step(now, index, jax.random.fold_in(key_steps, index))
            states.append(now.worlds)
            over = bool(now.over.all())
            if over or index % STEPS_PER_NOTE == 0 or index + 1 == steps:
                bar.update(index + 1, f"{int(now.over.sum())} of {viewer.num_worlds} are over")
            if over:
                break
    kept = (int(p.name) for p in (run / CHECKPOINTS).iterdir() if p.name.isdecimal())
    taken = max(kept) if iteration is None else iteration
    origin = f"The policy of {run}, iteration {taken}, acting without noise; seed {seed}."
    return Recording(viewer, params.xi, states, origin)
