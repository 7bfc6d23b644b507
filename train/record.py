"""One episode of a trained policy in a few worlds, kept step by step, to be looked at."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx

from mjx_s2r.learn.distill import Distill
from mjx_s2r.learn.rollout import reset_worlds
from mjx_s2r.runs import CONFIG, RunError
from mjx_s2r.sim.env import Env, own
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.task import Task
from train.export import load_student
from train.student import load_teacher

WORLDS = 4


@dataclass(frozen=True)
class Recording:
    """What happened.

    Attributes:
        env: where.
        xi: (N, D) parameters of the worlds.
        states: the worlds at every control step.
        view: where everything is in the N worlds of a state, compiled.
    """

    env: Env
    xi: jax.Array
    states: list[State]
    view: Callable[[State], mjx.Data]

    @property
    def task(self) -> Task:
        """The task."""
        return self.env.task


def record(run: Path, seed: int) -> Recording:
    """Returns an episode of the newest policy of a run, in worlds from the ranges it trained on.

    Raises:
        RunError: no run there.
    """
    if not (run / CONFIG).exists():
        raise RunError(f"{run} holds no run ({CONFIG} is missing)")
    key_draw, key_reset = jax.random.split(jax.random.key(seed))
    if "teacher" in json.loads((run / CONFIG).read_text()):
        distill, state = load_student(run)
        draws = distill.curriculum.sample(state.curriculum, WORLDS, key_draw)
        act = _student(distill, state)
        env = distill.env
    else:
        _, ppo, trained = load_teacher(run)
        draws = ppo.curriculum.sample(trained.curriculum, WORLDS, key_draw)
        env = own(ppo.env)

        def act(worlds: State, key: jax.Array) -> jax.Array:
            """Returns the teacher's mean action."""
            return jnp.tanh(ppo.answer(trained, worlds.obs).mean)

    worlds = jax.jit(lambda d, k: reset_worlds(env, d, key=k))(draws, key_reset)
    step = jax.jit(jax.vmap(env.step))
    states = [worlds]
    for index in range(env.episode_steps):
        worlds = step(worlds, act(worlds, jax.random.fold_in(key_reset, index)))
        states.append(worlds)
        if bool((worlds.done > 0).all()):
            break
    return Recording(env, draws.xi, states, jax.jit(jax.vmap(env.view)))


def _student(distill: Distill, state: Any) -> Any:
    """Returns the function (worlds, key) -> the student's action, from pictures that it takes."""
    film: Any = None
    count = 0

    def act(worlds: State, key: jax.Array) -> jax.Array:
        """Takes pictures and asks the student."""
        nonlocal film, count
        xi = jax.vmap(distill.env.present)(worlds)
        if film is None:
            film = distill.watch.begin(worlds, xi, key)
        film, images = distill.watch.see(film, worlds, xi, count, key)
        count += 1
        return jnp.tanh(distill.act(state, worlds.obs["state"], images).mean)

    return act
