"""The state of a trainer before it has trained, without the seconds that its first worlds take."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from mjx_s2r.learn.trainer import Trainer, TrainState


def untrained_state(trainer: Trainer, key: jax.Array) -> TrainState:
    """Returns a state with weights drawn at random; all else is blank."""

    def blank(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        """Returns zeros, or random keys."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(0), leaf.shape)
        return jnp.zeros(leaf.shape, leaf.dtype)

    state: TrainState = jax.tree.map(blank, trainer.state_shapes())
    learner = trainer.algorithm.init(state.env_state.obs, key=key)
    return replace(state, learner=learner, curriculum=trainer.curriculum.init())
