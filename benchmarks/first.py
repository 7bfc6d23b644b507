"""python -m benchmarks.first TASK WORLDS: the first PPO iteration of a process, as JSON.

The compile case runs this in a process of its own, with and without compiled programs at hand.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from mjx_s2r.runtime import devices
from mjx_s2r.sim.backends.physics_config import PhysicsConfig


def main(argv: Sequence[str]) -> None:
    """Prints {"seconds": wall time of init and one iteration, "loss": a figure that it gave}."""
    devices.configure()
    import jax

    from benchmarks.workload import sized
    from mjx_s2r.api.teacher import recipe, teacher_trainer
    from mjx_s2r.runtime.compilation import compile_all

    config = replace(recipe(argv[0]), physics=PhysicsConfig())
    trainer = teacher_trainer(replace(config, ppo=sized(config.ppo, int(argv[1]))))
    jax.block_until_ready(jax.numpy.zeros(1) + 1)  # the backend's own start is not counted
    start, key = time.perf_counter(), jax.random.key(0)
    compile_all(trainer.programs(key))
    done = jax.block_until_ready(trainer.iterate(trainer.init(key)))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "loss": float(done[1].loss.critic_loss)}))


if __name__ == "__main__":
    main(sys.argv[1:])
