"""A training of a second that can be killed: python -m tests.train.tiny RUN ITERATIONS [options].

It goes through everything a real one does (the program's `main`, `run_loop`, run folder,
checkpoints, mesh, processes) with a probe for an environment, because that compiles in a moment.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train import __main__ as program


@dataclass(frozen=True)
class TinyConfig:
    """Settings that must not change when resuming."""

    worlds: int = 16


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("iterations", type=int)
    parser.add_argument("--every", type=int, default=3, help="iterations between two checkpoints")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to sleep per iteration")
    parser.add_argument("--die-at", type=int, default=0, help="iteration at which one process ...")
    parser.add_argument("--die", type=int, default=-1, help="... of this number kills itself")
    return parser.parse_args(argv)


def paced(
    iterate: Callable[[Any], tuple[Any, Any]], asked: argparse.Namespace, index: int
) -> Callable[[Any], tuple[Any, Any]]:
    """Returns ``iterate`` slowed down, or ended by SIGKILL where that was asked for."""
    count = [0]

    def step(state: Any) -> tuple[Any, Any]:
        """Runs one iteration."""
        count[0] += 1
        time.sleep(asked.pause)
        if count[0] == asked.die_at and index == asked.die:
            os.kill(os.getpid(), signal.SIGKILL)
        return iterate(state)

    return step


def main(argv: Sequence[str]) -> None:
    """Trains."""
    asked = arguments(argv)
    import jax
    import jax.numpy as jnp

    from mjx_s2r.io.checkpoints import Checkpoints
    from mjx_s2r.io.run import Run
    from mjx_s2r.learn.ppo.config import PPOConfig
    from mjx_s2r.learn.train_logger import LogWindow
    from mjx_s2r.learn.trainer import LoopConfig, run_loop
    from mjx_s2r.params.space import Param, ParamSpace
    from mjx_s2r.runtime import distributed, sharding
    from tests.learn.probes import Probe, ppo_trainer

    distributed.join()
    config = TinyConfig()
    settings = PPOConfig(
        num_envs=config.worlds,
        num_steps=4,
        num_minibatches=2,
        num_epochs=1,
        actor_hidden=(8,),
        critic_hidden=(),
    )
    space = ParamSpace((Param("nothing", "model.body_mass", ("a",)),))
    probe = Probe(2, lambda step, action: jnp.where(step == 1, action[0], 0.5))
    trainer, mesh = ppo_trainer(probe, settings, space), sharding.device_mesh()
    sharding.check_num_envs(mesh, config.worlds)

    def opened() -> Run:
        """Opens the folder, whether or not a run lies there."""
        return Run.create(asked.run, config, resume=True, writes=distributed.is_writer())

    def log(run: Run, stretch: LogWindow) -> str:
        """Writes one line."""
        rate = float(stretch.metrics.loss.learning_rate[-1])
        run.log(stretch.done, {"rate": rate, "processes": jax.process_count()})
        return "goes on"

    job = LoopConfig(
        what="tiny",
        iterations=asked.iterations,
        log_every=1,
        checkpoint_every=asked.every,
        resume=True,
        iterate=paced(trainer.sharded_iterate(mesh), asked, jax.process_index()),
        log=log,
    )
    run = distributed.run_on_all("opening the run", opened)
    checkpoints = Checkpoints(run.checkpoints, task="tiny", rows=space.names)
    fresh = sharding.init_sharded(mesh, lambda: trainer.init(jax.random.key(3)))
    run_loop(job, run, checkpoints, fresh)


if __name__ == "__main__":
    program.VERBS["tiny"] = "a training of a second"
    sys.modules["train.tiny"] = sys.modules["__main__"]
    sys.argv = ["train", "tiny", *sys.argv[1:]]
    sys.exit(program.main())
