"""The state of a trainer before it has trained, without the seconds that its first worlds take."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

from mjx_s2r.api.teacher import TeacherConfig
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.run import Run
from mjx_s2r.learn.trainer import Trainer, TrainState


def untrained_state(trainer: Trainer, key: jax.Array) -> TrainState:
    """Returns a state with weights drawn at random; all else is blank."""

    def blank(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        """Returns zeros, or random keys."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(0), leaf.shape)
        return jnp.zeros(leaf.shape, leaf.dtype)

    state: TrainState = jax.tree.map(blank, trainer.state_shapes())
    learner = jax.jit(trainer.algorithm.init)(state.env_state.obs, key=key)
    return replace(state, learner=learner, curriculum=trainer.curriculum.init())


def untrained_run(folder: Path, config: TeacherConfig, trainer: Trainer, state: TrainState) -> None:
    """Makes a teacher's run of a state that was not trained, its only checkpoint the first."""
    with Run.create(folder, config) as run:
        names = trainer.env.space.names
        with closing(Checkpoints(run.checkpoints, task=config.task, rows=names)) as kept:
            kept.save(1, state, wait=True)
