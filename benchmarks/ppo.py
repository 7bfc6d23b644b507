"""PPO end to end: steps/s of an iteration, and which share of physics' own speed that is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, initial_states, physics_alone, sized
from mjx_s2r.api.teacher import recipe, teacher_trainer
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import require_native

TASKS = ("reach", "cartpole", "quadruped")


def run(settings: Settings) -> list[Row]:
    """Returns the figures of each task, with its recipe but for the number of worlds."""
    return [row for name in TASKS for row in one_task(name, settings)]


def one_task(name: str, settings: Settings) -> list[Row]:
    """Returns the figures of one task."""
    config = replace(recipe(name), physics=PhysicsConfig())
    trainer = teacher_trainer(replace(config, ppo=sized(config.ppo, settings.num_envs)))
    state = trainer.init(jax.random.key(0))
    env = require_native(trainer.env)
    alone = physics_alone(env, settings.physics_steps)
    start = initial_states(env, settings.num_envs, key=jax.random.key(1))
    rolled = rollout_alone(trainer)
    whole = Stepper(lambda state, _: trainer.iterate(state), state)
    calls: dict[str, Callable[[], Any]] = {
        "whole": whole,
        "rollout": lambda: rolled(whole.state),
        "physics": lambda: alone(*start),
    }
    timings = measure(calls, settings.repeat, settings.min_s)
    steps = trainer.config.num_envs * trainer.config.num_steps
    speed = steps / timings["whole"].median_s
    physics_speed = settings.num_envs * settings.physics_steps / timings["physics"].median_s
    share = speed * env.task.substeps / physics_speed
    rollout_share = timings["rollout"].median_s / timings["whole"].median_s
    return [
        *timed("ppo", f"{name}.steps_per_s", timings["whole"], steps, "steps/s"),
        *timed("ppo", f"{name}.rollout_steps_per_s", timings["rollout"], steps, "steps/s"),
        Row("ppo", f"{name}.physics_steps_per_s", physics_speed, "steps/s"),
        Row("ppo", f"{name}.share_of_physics", share, "1"),
        Row("ppo", f"{name}.rollout_share", rollout_share, "1"),
        Row("ppo", f"{name}.update_share", 1 - rollout_share, "1"),
        Row("ppo", f"{name}.finite_worlds", finite_share(whole.state.env_state.obs), "1"),
        Row("ppo", f"{name}.last_kl", float(whole.out.loss.kl), "nat"),
    ]


def rollout_alone(trainer: Trainer) -> Callable[[TrainState], Any]:
    """Returns the compiled rollout as `Trainer.iterate` makes it, fresh resets included."""
    return jax.jit(lambda state: trainer.collect(state, trainer.prepare(state)))
