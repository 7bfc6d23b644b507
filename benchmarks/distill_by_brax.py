"""Brax's side of the race of distillations: its online DAgger (agents/bc), untouched.

Its convolutions, its expected places, its loss and its epochs are ours by other names, so that its
recipe can be the same one. Its own networks for pictures cannot be asked for by its own switch
(`make_bc_networks(vision=True)` of 0.14.2 names an argument that `make_policy_network_vision` does
not have), so they are put together here from its parts. Its students come out by checkpoints alone,
and one step of every world is judged each time; its clock leaves both out.

It runs for `STRETCHES` iterations of one seed: on two cores they take longer than the twenty times
as many of another side, with or without this project's compiler switches. Most likely that is XLA's
gradient of convolutions with strides (see `mjx_s2r.learn.networks.conv`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.distill_race import (
    CHANNELS,
    EPOCHS,
    HIDDEN,
    KERNELS,
    STRIDES,
    UNROLL,
    Race,
)
from benchmarks.learning_curve import ERROR, LearningCurve
from benchmarks.picture_stock import PictureStock, error
from mjx_s2r.bridge.registry import require
from mjx_s2r.learn.networks.augment import to_float

VIEW = "pixels/view_0"
RATE = 6e-3
STRETCHES = 2  # of one iteration each


@dataclass(frozen=True, eq=False)
class Brax:
    """Brax's side."""

    race: Race

    def train(self, seed: int) -> LearningCurve:
        """Trains a little and judges every stretch; the first one contains compiling."""
        race, walls = self.race, [0.0]

        def between(step: Any, metrics: Mapping[str, Any]) -> None:
            if "walltime" in metrics:
                walls.append(float(metrics["walltime"]))

        with TemporaryDirectory() as folder:
            require("brax.training.agents.bc.train").train(
                demo_length=UNROLL,
                teacher_inference_fn=_teacher,
                epochs=EPOCHS,
                env=BraxStock(race.stock, race.worlds),
                num_envs=race.worlds,
                num_eval_envs=race.worlds,
                eval_length=1,
                batch_size=race.worlds,
                scramble_time=1,
                network_factory=networks,
                progress_fn=between,
                seed=seed,
                learning_rate=RATE,
                dagger_steps=STRETCHES,
                dagger_beta_fn=lambda step: 0.0,
                num_evals=STRETCHES + 1,
                reset=False,
                save_checkpoint_path=folder,
            )
            load = require("brax.training.agents.bc.checkpoint").load
            kept = [load(path) for path in sorted(Path(folder).iterdir())]
        seconds = tuple(np.diff(walls).tolist())
        amount = race.worlds * UNROLL
        return LearningCurve(0.0, seconds, self._judged(kept[1:]), amount, measure=ERROR)

    def _judged(self, kept: list[Any]) -> tuple[float, ...]:
        """Returns the error of each kept student."""
        held_out = self.race.held_out
        obs = seen(held_out.readings, held_out.pictures, held_out.teacher)
        sizes = {name: x.shape[1:] for name, x in obs.items()}
        normalize = require("brax.training.acme.running_statistics").normalize
        made = networks(sizes, held_out.teacher.shape[1], preprocess_observations_fn=normalize)
        make = require("brax.training.agents.bc.networks").make_inference_fn(made)

        @jax.jit
        def act(params: Any, obs: dict[str, jax.Array]) -> jax.Array:
            return make(params, tanh_squash=True)(obs, None)[0]

        return tuple(error(act(tuple(own), obs), held_out) for own in kept)


def networks(
    observation_size: Mapping[str, tuple[int, ...]],
    action_size: int,
    preprocess_observations_fn: Any = None,
) -> Any:
    """Returns Brax's networks in the sizes of the race."""
    parts = require("brax.training.networks")
    squash = require("brax.training.distribution").NormalTanhDistribution(event_size=action_size)
    policy = parts.make_policy_network_vision(
        {name: size for name, size in observation_size.items() if name != "teacher"},
        squash.param_size,
        preprocess_observations_fn=preprocess_observations_fn,
        hidden_layer_sizes=HIDDEN,
        state_obs_key="state",
        cnn_output_channels=CHANNELS,
        cnn_kernel_size=KERNELS,
        cnn_stride=STRIDES,
        cnn_global_pool="spatial_softmax",
    )
    return require("brax.training.agents.bc.networks").BCNetworks(policy, squash)


def seen(readings: Any, pictures: Any, teacher: Any) -> dict[str, jax.Array]:
    """Returns what Brax's worlds show: readings, float pictures, the teacher's raw actions."""
    return {"state": readings, VIEW: to_float(pictures), "teacher": teacher}


def _teacher(obs: Mapping[str, jax.Array], key: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the teacher's action, and its mean before the squash."""
    return jnp.tanh(obs["teacher"]), {"loc": obs["teacher"]}


class BraxStock:
    """B worlds that see the stock, as Brax's trainings want them: wrapped, all in one."""

    def __init__(self, stock: PictureStock, num_envs: int) -> None:
        """Takes the stock."""
        self.action_size = int(stock.teacher.shape[1])
        self.unwrapped = self
        host = [np.asarray(x) for x in (stock.readings, stock.pictures, stock.teacher)]

        def part(first: Any) -> tuple[np.ndarray, ...]:
            return tuple(x[int(first) : int(first) + num_envs] for x in host)

        shapes = tuple(jax.ShapeDtypeStruct((num_envs, *x.shape[1:]), x.dtype) for x in host)
        # A constant of 200 MB would be compiled into every program.
        self._part = partial(jax.pure_callback, part, shapes)
        self._count, self._num_envs = len(host[0]), num_envs

    def reset(self, rng: jax.Array) -> Any:
        """Starts at the first pictures."""
        zero, first = jnp.zeros(rng.shape[0]), jnp.int32(0)
        obs, info = seen(*self._part(first)), {"steps": zero}
        make = require("brax.envs").State
        return make(pipeline_state=first, obs=obs, reward=zero, done=zero, metrics={}, info=info)

    def step(self, state: Any, action: jax.Array) -> Any:
        """Returns the next pictures, whatever the ``action``."""
        del action
        first = (state.pipeline_state + self._num_envs) % self._count
        return state.replace(pipeline_state=first, obs=seen(*self._part(first)))
