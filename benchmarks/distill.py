"""Distillation end to end: pictures/s of an iteration on reach, and what it spends its time on.

The recipe is that of `train student`, with as many worlds as pictures are asked for. Drawing,
acting and physics are timed by themselves, turn by turn with the whole; what is left of it are
gradient steps, two over each picture, and bookkeeping.
"""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, untrained
from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.rollout import step_envs
from mjx_s2r.learn.trainer import Trainer, TrainState

UNROLL, MINIBATCH = 4, 128  # steps, pictures


def run(settings: Settings) -> list[Row]:
    """Returns pictures/s, the share of each part, bytes a world, and whether losses are sound."""
    worlds = settings.images
    parts = max(1, worlds * UNROLL // MINIBATCH)
    config = DistillConfig(num_envs=worlds, num_steps=UNROLL, num_minibatches=parts)
    trainer = untrained(config, key=jax.random.key(0))
    drawn, acted, moved = drawing_alone(trainer), acting_alone(trainer), physics_alone(trainer)
    state = trainer.init(jax.random.key(1))
    shown = drawn(state)
    whole = Stepper(lambda state, _: trainer.iterate(state), state)
    calls: dict[str, Callable[[], Any]] = {
        "whole": whole,
        "drawing": lambda: drawn(whole.state),
        "acting": lambda: acted(whole.state, shown),
        "physics": lambda: moved(whole.state),
    }
    timings = measure(calls, settings.repeat, settings.min_s)
    images = worlds * UNROLL
    rows = timed("distill", "images_per_s", timings.pop("whole"), images, "images/s")
    left = 1.0
    for name, timing in timings.items():
        share = timing.median_s * rows[0].value / images
        left -= share
        rows += timed("distill", f"{name}.images_per_s", timing, images, "images/s")
        rows.append(Row("distill", f"{name}_share", share, "1"))
    leaves = jax.tree.leaves(whole.state.env_state)
    kept = sum(leaf.nbytes for leaf in leaves if not is_key(leaf))
    pictures = sum(leaf.nbytes for leaf in jax.tree.leaves(shown))
    return [
        *rows,
        Row("distill", "rest_share", left, "1", note="gradient steps and bookkeeping"),
        Row("distill", "world_bytes", kept / worlds, "B", note="state of a world"),
        Row("distill", "pictures_bytes", pictures / worlds, "B", note="of a world in a rollout"),
        Row("distill", "finite_worlds", finite_share(whole.state.env_state.obs), "1"),
        Row("distill", "loss", float(whole.out.loss.loss), "1"),
        Row("distill", "label_error", float(whole.out.loss.label_error_m), "m"),
    ]


def drawing_alone(trainer: Trainer) -> Callable[[TrainState], Any]:
    """Returns the function that takes an iteration's pictures and does nothing else."""
    schedule, cameras = trainer.curriculum, trainer.cameras
    assert cameras is not None, "a student sees"

    @jax.jit
    def looks(state: TrainState) -> list[jax.Array]:
        worlds = trainer.config.num_envs
        keys = jax.random.split(state.key, trainer.config.num_steps)
        return [schedule.sample(state.curriculum, worlds, key).xi for key in keys]

    take = cameras.pictures
    return lambda state: [take(state.env_state, xi, state.key) for xi in looks(state)]


def acting_alone(trainer: Trainer) -> Callable[[TrainState, Any], Any]:
    """Returns the function that acts in an iteration's pictures and does nothing else."""

    @jax.jit
    def act(state: TrainState, images: Any) -> Any:
        actor = state.rnn_state.actor
        student = cast(Distillation, trainer.algorithm)
        asked = student.acting(state.learner)
        return student.act(asked, actor, state.env_state, images, state.key)

    return lambda state, shown: [act(state, images) for images in shown]


def physics_alone(trainer: Trainer) -> Callable[[TrainState], Any]:
    """Returns the function that takes an iteration's control steps, all from the same worlds."""
    still = jnp.zeros((trainer.config.num_envs, trainer.env.action_size))
    step = jax.jit(lambda worlds: step_envs(trainer.env, worlds, still))
    return lambda state: [step(state.env_state) for _ in range(trainer.config.num_steps)]
