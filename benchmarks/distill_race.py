"""What the races of distillations share: pictures, sizes, settings, and our side."""

import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.head_to_head import STRETCHES, copied
from benchmarks.learning_curve import ERROR, LearningCurve
from benchmarks.picture_stock import (
    PictureStock,
    StockEnv,
    draw_stock,
    error,
    stock_cameras,
    teacher,
)
from benchmarks.rows import Settings
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import make_distillation
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.runtime.compilation import compile_all

UNROLL, EPOCHS = 4, 2
NOISE = 0.1  # deviation of what the student does
HIDDEN = (128, 64)
# What `ImageEncoder` does to pictures of 64x64, as convolutions with zeros around.
CHANNELS, KERNELS, STRIDES = (16, 32, 32, 32), (8, 4, 3, 1), (4, 2, 1, 1)


@dataclass(frozen=True, eq=False)
class Race:
    """What all sides share.

    Attributes:
        stock: pictures to learn from.
        held_out: pictures to be judged by.
        worlds: B, pictures of a step and of a gradient step.
        iterations: of one stretch.
    """

    stock: PictureStock
    held_out: PictureStock
    worlds: int
    iterations: int

    @property
    def amount(self) -> int:
        """Pictures of one stretch."""
        return self.iterations * self.worlds * UNROLL


def stocked(settings: Settings, count: int, held_out: int) -> Race:
    """Returns a race over about ``count`` pictures; whole steps of all worlds, one at least."""
    worlds = settings.images
    count = max(1, count // worlds) * worlds
    drawn = draw_stock(count + held_out, key=jax.random.key(0))
    many = -(-settings.peer_pictures // (worlds * UNROLL * STRETCHES))
    return Race(
        stock=jax.tree.map(lambda x: x[:count], drawn),
        held_out=jax.tree.map(lambda x: x[count : count + held_out], drawn),
        worlds=worlds,
        iterations=many,
    )


def bare(race: Race) -> DistillConfig:
    """Returns our settings with nothing but what all sides do."""
    joints = race.stock.teacher.shape[1]
    return replace(
        whole(race),
        acts="student",
        action_noise=NOISE,
        kl_weight=0.0,
        mean_weight=1.0 / joints,  # the sum over joints becomes their mean
        label_weight=0.0,
        place_weight=0.0,
        shift_pixels=0,
    )


def whole(race: Race) -> DistillConfig:
    """Returns our own settings, in the sizes of the race."""
    return DistillConfig(
        num_envs=race.worlds,
        num_steps=UNROLL,
        iterations=race.iterations * STRETCHES,
        num_minibatches=UNROLL,
        num_epochs=EPOCHS,
        hidden=HIDDEN,
        cnn_channels=CHANNELS[-1],
    )


@dataclass(frozen=True, eq=False)
class Ours:
    """This project's side: its trainer and its algorithm, with a camera that looks into a stock."""

    race: Race
    config: DistillConfig

    def train(self, seed: int) -> LearningCurve:
        """Trains once, compiling included, and judges every stretch."""
        start, key = time.perf_counter(), jax.random.key(seed)
        trainer = self.trainer()
        compile_all(trainer.programs(key))
        state = jax.block_until_ready(self.begin(trainer, key))
        begun = time.perf_counter() - start
        seconds, cpu_seconds, kept = [], [], []
        for _ in range(STRETCHES):
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in range(self.race.iterations):
                state, _ = trainer.iterate(state)
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - start_cpu)
            kept.append(copied((state.learner.params, state.learner.obs_norm)))
        return LearningCurve(
            begun,
            tuple(seconds),
            self._judged(trainer, state, kept),
            self.race.amount,
            measure=ERROR,
            cpu_seconds=tuple(cpu_seconds),
        )

    def trainer(self) -> Trainer:
        """Returns a trainer that has compiled nothing."""
        stock = self.race.stock
        env = StockEnv(stock, self.race.worlds, labelled=self.config.label_weight > 0)
        cameras = stock_cameras(stock)
        shapes = tuple(c.shape for c in cameras.signals)
        algorithm = make_distillation(env, shapes, teacher, self.config)  # type: ignore[arg-type]
        return Trainer(env, uniform(env.space), algorithm, cameras)

    def begin(self, trainer: Trainer, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration, the worlds at pictures of their own."""
        state, env = trainer.init(key), trainer.env
        assert isinstance(env, StockEnv), "a trainer of this side"
        return replace(state, env_state=env.spread(state.env_state))

    def _judged(self, trainer: Trainer, state: TrainState, kept: list[Any]) -> tuple[float, ...]:
        """Returns the error of each kept student."""
        held_out = self.race.held_out
        count = held_out.readings.shape[0]

        @jax.jit
        def act(params: Any, norm: Any, obs: jax.Array, pictures: jax.Array) -> jax.Array:
            learner = replace(state.learner, params=params, obs_norm=norm)
            memory, first = jnp.zeros((count, 0)), jnp.zeros(count, bool)
            given = (learner, memory, {"state": obs}, (pictures,), first)
            return jnp.tanh(trainer.algorithm.policy(*given)[1].mean)

        seen = held_out.readings, held_out.pictures
        return tuple(error(act(*own, *seen), held_out) for own in kept)
