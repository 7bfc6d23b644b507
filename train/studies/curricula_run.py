"""One training of a study, from a method's index and a seed to its success on the held-out grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.learn.rollout import randomize_episode_time, reset_envs
from mjx_s2r.learn.trainer import Trainer, TrainState

TOLD_EVERY = 10  # iterations between two words of how far a training is


@partial(jax.jit, static_argnums=0)
def begin_with(trainer: Trainer, which: jax.Array, key: jax.Array) -> TrainState:
    """Returns the state before the first iteration, all worlds drawn by schedule ``which``.

    The trainer's curriculum is a choice among schedules.
    """
    key_init, key_draw, key_reset, key_stagger = jax.random.split(key, 4)
    state = trainer.init(key_init)
    schedule = replace(state.curriculum, which=which)
    draws = trainer.curriculum.sample(schedule, trainer.config.num_envs, key_draw)
    worlds = reset_envs(trainer.env, draws, key=key_reset)
    worlds = randomize_episode_time(trainer.env, worlds, key=key_stagger)
    return replace(state, curriculum=schedule, env_state=worlds)


@dataclass(frozen=True, eq=False)
class StudyRun:
    """Trainer and grid that all trainings of a task share; its functions are compiled once.

    Attributes:
        trainer: its curriculum is a choice among the methods.
        widths: the W boxes of the grid.
        grid: (W, N, D) held-out worlds.
        seed: of the starts on the grid.
        points: how many of the N are Sobol points; the rest are corners.
        engine: what takes the physics steps.
    """

    trainer: Trainer
    widths: tuple[float, ...]
    grid: np.ndarray
    seed: int
    points: int
    engine: str


def train_and_score(
    trial: StudyRun,
    which: int,
    iterations: int,
    seed: int,
    checks: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Returns what one training came to: its width and success, and a figure per box.

    Starts and worlds of the grid are the same for every training. A teacher is told the nearest
    parameters within its ranges: what is judged is how it copes, not what a network makes of a
    number that it has never been shown.

    Args:
        trial: what trainings of the task share.
        which: index of the method.
        iterations: of PPO.
        seed: of the training.
        checks: how often it is judged, evenly over the iterations; the last time is its result.
        tell: called with the number of iterations done, now and then.
    """
    trainer = trial.trainer
    state = begin_with(trainer, jnp.int32(which), jax.random.key(seed))
    episodes, nan, found = [], [], []
    steps = trainer.config.num_envs * trainer.config.num_steps
    marks = {iterations * (i + 1) // checks for i in range(checks)}
    for done in range(1, iterations + 1):
        state, metrics = trainer.iterate(state)
        episodes.append(metrics.episodes.episodes)
        nan.append(metrics.episodes.nan_envs)
        if done in marks:
            found.append({"env_steps": done * steps} | _judge(trial, state))
        if done in marks or done % TOLD_EVERY == 0:
            jax.block_until_ready(metrics)
            tell(done)
    return {
        "iterations": iterations,
        "episodes": int(sum(map(int, episodes))),
        "nan_envs": int(sum(map(int, nan))),
        **found[-1],
        "checks": found,
    }


def _judge(trial: StudyRun, state: TrainState) -> dict[str, Any]:
    """Returns how wide a training has opened its worlds, and its success in each box."""
    report = trial.trainer.curriculum.report(state.curriculum)
    width, count, rows = trial.grid.shape
    flat = jnp.asarray(trial.grid.reshape(-1, rows))
    known = jnp.clip(flat, report.low, report.high)
    scores = judge_worlds(trial.trainer, state, flat, known=known, key=jax.random.key(trial.seed))
    good = scores.success.reshape(width, count)
    return {
        "entropy": float(report.entropy),
        "train_success": float(report.plain_score),
        "widths": [
            {
                "width": at,
                "worlds": count,
                "success": float(good[i].mean()),
                "sobol": float(good[i, : trial.points].mean()),
                "corners": float(good[i, trial.points :].mean()),
            }
            for i, at in enumerate(trial.widths)
        ],
    }
