"""Cost of a world: PPO's steps/s and memory against the number of worlds.

Memory is what the compiler reserves for one iteration: the state that goes in, taken over by the
state that comes out, and everything in between; of the larger half where there are two.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, sized
from mjx_s2r.api.teacher import recipe, teacher_trainer
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.sim.backends.physics_config import PhysicsConfig

TASK = "reach"
COUNTS = (64, 256, 1024, 4096, 8192)
MORE = (16384, 32768, 65536)  # on an accelerator


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each number of worlds; compiles once for each."""
    on_cpu = jax.default_backend() == "cpu"
    for count in COUNTS if on_cpu else COUNTS + MORE:
        config = replace(recipe(TASK), physics=PhysicsConfig())
        yield from _one(teacher_trainer(replace(config, ppo=sized(config.ppo, count))), settings)


def _one(trainer: Trainer, settings: Settings) -> Iterator[Row]:
    """Yields the figures of one number of worlds."""
    worlds = trainer.config.num_envs
    state = trainer.init(jax.random.key(0))
    own, held = trainer.compiled_step.memory(state)
    stepper = Stepper(lambda state, _: trainer.iterate(state), state)
    timing = measure({"whole": stepper}, settings.repeat, settings.min_s)["whole"]
    steps = worlds * trainer.config.num_steps
    speed, spread, _ = timed("worlds", f"{worlds}.steps_per_s", timing, steps, "steps/s")
    yield from (speed, spread)  # it was compiled already, for its memory
    yield Row("worlds", f"{worlds}.memory", held / worlds, "B/world")
    yield Row("worlds", f"{worlds}.state", own / worlds, "B/world")
    yield Row("worlds", f"{worlds}.finite_worlds", finite_share(stepper.state.env_state.obs), "1")
