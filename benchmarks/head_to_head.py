"""Comparison with another library's PPO: task, settings, our side, the judge, the turns.

The task is MuJoCo Playground's CartpoleSwingup on MJX-JAX, without randomization: nobody here wrote
it, and users of either library train on it. All run under the compiler switches of
mjx_s2r.runtime.devices, without which an arm in MJX is up to 16 times slower on a CPU. On a task
this light Brax is faster without them: to see that, name XLA's own in XLA_FLAGS, which is never
overruled.

A training is cut into stretches of equal work. The first two contain compiling; without it they
count as much as the median of the others. Policies are judged afterwards, from copies made between
stretches, by their mean action in 64 worlds over whole episodes, so judging costs neither side. Of
a pair, the side that goes first changes with the seed.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.learning_curve import RETURN, LearningCurve, Measure, verdicts
from benchmarks.rows import Row, Settings
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.runtime.compilation import compile_all

TASK = "CartpoleSwingup"
UNROLL, STRETCHES, JUDGED = 30, 20, 64
HIDDEN = (64, 64)
Judge = Callable[[Any], jax.Array]


class Side(Protocol):
    """One library's training."""

    def train(self, seed: int) -> LearningCurve:
        """Trains once, compiling included, and judges every stretch."""
        ...


def run_all(
    case: str, sides: Mapping[str, Side], seeds: int, measure: Measure, wanted: float
) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all.

    Args:
        case: the benchmark.
        sides: libraries by name, ours first.
        seeds: trainings of each.
        measure: what they are compared by.
        wanted: score that all are timed to.
    """
    courses: dict[str, list[LearningCurve]] = {side: [] for side in sides}
    for seed in range(seeds):
        for side in list(sides)[:: -1 if seed % 2 else 1]:
            course = sides[side].train(seed)
            courses[side].append(course)
            print(f"{case} {side} seed {seed}: {course.note()}", file=sys.stderr, flush=True)
            yield from course.rows(case, f"{side}.seed{seed}", wanted)
    yield Row(case, f"{measure.score}_asked", wanted, "1")
    yield from verdicts(case, courses, wanted)


def run_both(case: str, ours: Side, theirs: Side, name: str, settings: Settings) -> Iterator[Row]:
    """Yields the figures of our PPO and another library's, which is called ``name``."""
    sides = {"ours": ours, name: theirs}
    yield from run_all(case, sides, settings.seeds, RETURN, settings.peer_return)


def shared(settings: Settings) -> PPOConfig:
    """Returns the settings that both sides train with."""
    return PPOConfig(
        num_envs=settings.num_envs,
        num_steps=UNROLL,
        num_minibatches=4,
        num_epochs=4,
        gamma=0.995,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_coef=0.5,
        entropy_coef=0.01,
        learning_rate=1e-3,
        max_grad_norm=1.0,
        reward_scale=1.0,
        init_std=1.0,
        actor_hidden=HIDDEN,
        critic_hidden=HIDDEN,
        actor_obs="state",
        critic_obs="state",
    )


def iterations(settings: Settings) -> int:
    """Returns the iterations of one stretch: the budget split evenly, rounded up."""
    return -(-settings.peer_steps // (settings.num_envs * UNROLL * STRETCHES))


def judge(env: WrappedEnv, act: Callable[[Any, dict[str, jax.Array]], jax.Array]) -> Judge:
    """Returns the compiled function parameters -> () mean return over whole episodes.

    ``act`` is (parameters, observations of B worlds) -> actions (B, J) in [-1, 1].
    """

    @jax.jit
    def go(params: Any) -> jax.Array:
        worlds = jax.vmap(env.reset)(jax.random.split(jax.random.key(1_000_003), JUDGED))
        return _whole(env, partial(act, params), worlds)

    return go


def _whole(env: WrappedEnv, act: Callable[[dict[str, jax.Array]], jax.Array], worlds: Any) -> Any:
    """Returns () the mean return of worlds until each one's first end."""

    def one(carry: tuple, _: None) -> tuple[tuple, None]:
        worlds, total, alive = carry
        worlds = jax.vmap(env.step)(worlds, act(worlds.obs))
        return (worlds, total + alive * worlds.reward, alive * (1 - worlds.done)), None

    carry = (worlds, jnp.zeros(JUDGED), jnp.ones(JUDGED))
    return jax.lax.scan(one, carry, length=env.episode_steps)[0][1].mean()


def copied(tree: Any) -> Any:
    """Returns a copy on the host that no later step can overwrite."""
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


@dataclass(frozen=True, eq=False)
class Ours:
    """This project's side."""

    env: WrappedEnv
    settings: Settings

    def train(self, seed: int) -> LearningCurve:
        """Trains once, compiling included, and judges every stretch."""
        trainer, many = self._trainer(), iterations(self.settings)
        start, key = time.perf_counter(), jax.random.key(seed)
        compile_all(trainer.programs(key))
        state = jax.block_until_ready(trainer.init(key))
        begun = time.perf_counter() - start
        seconds, kept = [], []
        for _ in range(STRETCHES):
            start = time.perf_counter()
            for _ in range(many):
                state, _ = trainer.iterate(state)
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - start)
            kept.append(copied((state.learner.actor, state.learner.actor_norm)))
        return LearningCurve(
            begun, tuple(seconds), self._judged(kept), many * trainer.config.num_envs * UNROLL
        )

    def _trainer(self) -> Trainer:
        """Returns a trainer that has compiled nothing."""
        algorithm = PPO(shared(self.settings), self.env.action_size)
        return Trainer(self.env, uniform(self.env.space), algorithm)

    def _judged(self, kept: list[Any]) -> tuple[float, ...]:
        """Returns the return of each kept policy."""
        trainer = self._trainer()
        blank = jax.eval_shape(trainer.init, jax.random.key(0))

        def act(params: Any, obs: dict[str, jax.Array]) -> jax.Array:
            learner = replace(blank.learner, actor=params[0], actor_norm=params[1])
            return jnp.tanh(trainer.policy(replace(blank, learner=learner), obs).mean)

        score = judge(self.env, act)
        return tuple(float(score(params)) for params in kept)
