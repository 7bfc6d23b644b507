"""A trained policy where it was trained, and an episode of it kept step by step, to be looked at.

A policy may remember, and may see: what it carries from step to step is `Carried`. A world whose
episode is over stays as it ended.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct
from mujoco import mjx

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import from_dict
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, RunError
from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.camera_schedule import CameraSchedule, Frames
from mjx_s2r.learn.distill.learner import Distill, DistillState
from mjx_s2r.learn.ppo.learner import TrainState
from mjx_s2r.learn.rollout import reset_envs
from mjx_s2r.sim.env import Env, require_native
from mjx_s2r.sim.interface import EpisodeParams, State
from mjx_s2r.sim.task import Task
from train.common import progress
from train.export import load_student
from train.student import load_teacher
from train.teacher import TeacherConfig, seeing

WORLDS = 4
TOLD = 50  # steps between two notes on how far a recording is


@struct.dataclass
class ViewerState:
    """What a policy and its worlds carry from one control step to the next.

    Attributes:
        worlds: the B worlds.
        over: (B,) bool, the episode has ended.
        memory: (B, H) what the policy remembers.
        frames: the pictures that it keeps.
    """

    worlds: State
    over: jax.Array
    memory: jax.Array
    frames: Frames


# (memory (B, H), worlds, images) -> memory, action (B, J) in [-1, 1]
Act = Callable[[jax.Array, State, tuple[jax.Array, ...]], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True, eq=False)
class LoadedPolicy:
    """A policy of a run; load it with `load_policy`.

    Attributes:
        env: the environment of one world.
        curriculum: the schedule that it was trained under.
        schedule: the schedule's state.
        act: asks the policy for its mean action.
        units: size of its memory.
        cameras: takes its pictures; None where it reads numbers only.
    """

    env: Env
    curriculum: Curriculum
    schedule: Any
    act: Act
    units: int = 0
    cameras: CameraSchedule | None = None

    def draws(self, worlds: int, key: jax.Array) -> EpisodeParams:
        """Returns draws (B, ...) from the ranges that it was trained on; none tests a bound."""
        draws = self.curriculum.sample(self.schedule, worlds, key)
        return replace(draws, kind=jnp.full_like(draws.kind, -1))

    def begin(self, draws: EpisodeParams, key: jax.Array) -> ViewerState:
        """Returns B worlds at the start of an episode."""
        worlds = reset_envs(self.env, draws, key=key)
        frames: Frames = ()
        if self.cameras is not None:
            frames = self.cameras.initial(worlds, draws.xi, jax.random.fold_in(key, 1))
        count = draws.kind.shape[0]
        return ViewerState(worlds, jnp.zeros(count, bool), jnp.zeros((count, self.units)), frames)

    def step(self, now: ViewerState, index: int, key: jax.Array) -> ViewerState:
        """Returns everything one control step later; ``index`` counts the steps so far."""
        frames, images = now.frames, cast(tuple[jax.Array, ...], ())
        if self.cameras is not None:
            xi = self._present(now.worlds)
            frames, images = self.cameras.observe(frames, now.worlds, xi, index, key)
        return replace(self._advance(replace(now, frames=()), images), frames=frames)

    @partial(jax.jit, static_argnums=0)
    def _present(self, worlds: State) -> jax.Array:
        """Returns the parameters (B, D) that hold now."""
        return jax.vmap(self.env.current_params)(worlds)

    @partial(jax.jit, static_argnums=0)
    def view(self, worlds: State) -> mjx.Data:
        """Returns where everything is in B worlds."""
        return jax.vmap(self.env.view)(worlds)

    @partial(jax.jit, static_argnums=0)
    def _advance(self, now: ViewerState, images: tuple[jax.Array, ...]) -> ViewerState:
        """Acts and steps every world whose episode goes on."""
        memory, action = self.act(now.memory, now.worlds, images)
        after = jax.vmap(self.env.step)(now.worlds, action)

        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            """Returns ``old`` where the episode is over."""
            return jnp.where(now.over.reshape(-1, *[1] * (new.ndim - 1)), old, new)

        worlds = jax.tree.map(pick, after, now.worlds)
        return ViewerState(worlds, now.over | (worlds.done > 0), memory, ())


@dataclass(frozen=True)
class Recording:
    """What happened.

    Attributes:
        pilot: who acted.
        xi: (N, D) parameters of the worlds.
        states: the worlds at every control step.
        origin: where the policy comes from, in words.
    """

    pilot: LoadedPolicy
    xi: jax.Array
    states: list[State]
    origin: str

    @property
    def task(self) -> Task:
        """The task."""
        return self.pilot.env.task


def load_policy(run: Path, iteration: int | None = None) -> LoadedPolicy:
    """Returns the policy of a teacher's or a student's run, the newest or that of an iteration.

    Raises:
        RunError: no run there.
        ParamError: a run in another library's environment.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    if not (run / CONFIG).exists():
        raise RunError(f"{run} holds no run ({CONFIG} is missing)")
    body = json.loads((run / CONFIG).read_text())
    if isinstance(body.get("teacher"), dict):
        raise RunError(f"{run} holds several seeds; name one of them, e.g. {run / 'seed_0'}")
    if "teacher" in body:
        distill, student = load_student(run, iteration)
        act = partial(_copied, distill, student)
        curriculum, schedule = distill.curriculum, student.curriculum
        return LoadedPolicy(distill.env, curriculum, schedule, act, cameras=distill.watch)
    if body.get("ppo", {}).get("actor_obs") == "pixels":
        return _seeing(run, from_dict(TeacherConfig, body), iteration)
    _, ppo, trained = load_teacher(run, iteration)
    act = partial(_taught, ppo, trained)
    return LoadedPolicy(
        require_native(ppo.env), ppo.curriculum, trained.curriculum, act, ppo.config.rnn_hidden
    )


def record_episode(run: Path, seed: int, iteration: int | None = None) -> Recording:
    """Returns an episode of a run's policy in worlds from the ranges that it trained on.

    The policy is the newest, or that of an iteration.

    Raises:
        RunError: no run there.
    """
    pilot = load_policy(run, iteration)
    key_draw, key_reset = jax.random.split(jax.random.key(seed))
    draws = pilot.draws(WORLDS, key_draw)
    states: list[State] = []
    steps = pilot.env.episode_steps
    with progress(f"an episode of {pilot.env.task.name}", steps) as bar:
        now = pilot.begin(draws, key_reset)
        states.append(now.worlds)
        for index in range(steps):
            now = pilot.step(now, index, jax.random.fold_in(key_reset, index))
            states.append(now.worlds)
            over = bool(now.over.all())
            if over or index % TOLD == 0 or index + 1 == steps:
                bar.update(index + 1, f"{int(now.over.sum())} of {WORLDS} worlds are over")
            if over:
                break
    kept = (int(p.name) for p in (run / CHECKPOINTS).iterdir() if p.name.isdecimal())
    taken = max(kept) if iteration is None else iteration
    origin = f"The policy of {run}, iteration {taken}, acting without noise; seed {seed}."
    return Recording(pilot, draws.xi, states, origin)


def _seeing(run: Path, config: TeacherConfig, iteration: int | None) -> LoadedPolicy:
    """Returns the policy of a teacher's run whose actor sees."""
    learner = seeing(config)
    core = learner.core
    like = replace(
        cast(TrainState, jax.eval_shape(core.init, jax.random.key(0))),
        frames=cast(Frames, learner.cameras.frame_shapes(config.ppo.num_envs)),
    )
    checkpoints = Checkpoints(run / "checkpoints", task=config.task, rows=learner.env.space.names)
    state = checkpoints.restore(like, step=iteration)[0]
    act = partial(_taught, core, state)
    units = core.config.rnn_hidden
    return LoadedPolicy(learner.env, core.curriculum, state.curriculum, act, units, learner.cameras)


def _taught(
    ppo: Learner, state: Any, memory: jax.Array, worlds: State, images: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """Returns memory and mean action of a policy trained by PPO."""
    memory, policy = ppo.apply_policy(state, memory, worlds, images)
    return memory, jnp.tanh(policy.mean)


def _copied(
    distill: Distill,
    state: DistillState,
    memory: jax.Array,
    worlds: State,
    images: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array]:
    """Returns the memory as it was and the mean action of a student."""
    return memory, jnp.tanh(distill.act(state, worlds.obs["state"], images).mean)
