"""Distillation end to end: images/s of an iteration on reach, and the share of it that drawing is.

A small configuration: a quarter of the pictures asked for as worlds, four steps each. The drawing
is timed by itself, with the same draws, views and noise.
"""

from collections.abc import Callable
from typing import Any

import jax

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, untrained
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.trainer import Trainer, TrainState

UNROLL = 4


def run(settings: Settings) -> list[Row]:
    """Returns images/s, the share of drawing, and whether the losses are sound."""
    worlds = max(1, settings.images // UNROLL)
    config = DistillConfig(num_envs=worlds, num_steps=UNROLL, num_minibatches=UNROLL)
    trainer = untrained(config, key=jax.random.key(0))
    drawn = drawing_alone(trainer)
    whole = Stepper(lambda state, _: trainer.iterate(state), trainer.init(jax.random.key(1)))
    calls: dict[str, Callable[[], Any]] = {"whole": whole, "drawing": lambda: drawn(whole.state)}
    timings = measure(calls, settings.repeat, settings.min_s)
    images = worlds * UNROLL
    share = timings["drawing"].median_s / timings["whole"].median_s
    return [
        *timed("distill", "images_per_s", timings["whole"], images, "images/s"),
        *timed("distill", "drawing.images_per_s", timings["drawing"], images, "images/s"),
        Row("distill", "drawing_share", share, "1"),
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
