"""python -m train teacher --task reach: a privileged teacher by PPO, and its curriculum."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from envs.tasks import make_task
from mjx_s2r.checkpoints import Checkpoints
from mjx_s2r.curriculum.adr import AdrConfig, adr
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.ppo import Metrics, Ppo, PpoConfig, TrainState
from mjx_s2r.params import ParamSpace
from mjx_s2r.runs import Run
from mjx_s2r.sim.env import make
from train.common import interruptible, progress
from train.recipes import ITERATIONS, ppo_recipe


@dataclass(frozen=True)
class TeacherConfig:
    """Settings of a teacher run."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    run: Path = Path("runs/teacher")
    """Folder of the run."""
    seed: int = 0
    """Seed of everything."""
    iterations: int = 140
    """PPO iterations in all."""
    curriculum: Literal["adr", "uniform", "none"] = "adr"
    """adr widens ranges, uniform keeps the widest, none keeps everything nominal."""
    log_every: int = 5
    """Iterations between two lines of metrics."""
    checkpoint_every: int = 50
    """Iterations between two checkpoints."""
    resume: bool = False
    """Go on in a folder that holds this run."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
    """Settings of PPO."""
    adr: AdrConfig = field(default_factory=AdrConfig)
    """Settings of ADR."""


def recipe(task: str) -> TeacherConfig:
    """Returns the settings that fit a task."""
    iterations = ITERATIONS.get(task, TeacherConfig.iterations)
    return TeacherConfig(task=task, iterations=iterations, ppo=ppo_recipe(task))


def learner(config: TeacherConfig) -> Ppo:
    """Builds task, environment, curriculum and PPO.

    Raises:
        ParamError: an unknown task or row.
    """
    env = make(make_task(config.task))
    return Ppo(env, schedule(config, env.task.space), config.ppo)


def schedule(config: TeacherConfig, space: ParamSpace) -> Curriculum:
    """Returns the curriculum over the rows that a teacher can feel; looks stay nominal."""
    felt = ~space.in_room("visual")
    if config.curriculum == "adr":
        return adr(space, config.adr, felt)
    if config.curriculum == "none":
        return uniform(space.pinned())
    wide = {row.name: row.limits for row, use in zip(space.rows, felt, strict=True) if use}
    return uniform(space.pinned().with_ranges(wide))


def train(config: TeacherConfig) -> tuple[Ppo, TrainState]:
    """Runs or resumes the training; returns the learner and its last state."""
    ppo = learner(config)
    space = ppo.env.task.space
    run = Run.create(
        config.run,
        config,
        resume=config.resume,
        may_change=("run", "resume", "iterations", "log_every", "checkpoint_every"),
    )
    checkpoints = Checkpoints(run.checkpoints, task=config.task, rows=space.names)
    state, first = _start(ppo, config, checkpoints, run)
    with run, interruptible(), progress(f"teacher {config.task}", config.iterations, first) as bar:
        window = Window(config, time.perf_counter())
        try:
            for done in range(first + 1, config.iterations + 1):
                state, metrics = ppo.iterate(state)
                window.add(metrics)
                if done % config.log_every == 0 or done == config.iterations:
                    note = window.log(run, done, ppo.curriculum.report(state.curriculum), space)
                    bar.update(done, note)
                if done % config.checkpoint_every == 0 or done == config.iterations:
                    checkpoints.save(done, state)
        except KeyboardInterrupt:
            reached = int(state.steps)
            if reached > (checkpoints.latest_step() or 0):
                checkpoints.save(reached, state)
            raise
    checkpoints.close()
    return ppo, state


def _start(
    ppo: Ppo, config: TeacherConfig, checkpoints: Checkpoints, run: Run
) -> tuple[TrainState, int]:
    """Returns a fresh state, or the newest saved one and its iteration."""
    fresh = ppo.init(jax.random.key(config.seed))
    if not config.resume or checkpoints.latest_step() is None:
        return fresh, 0
    state, step = checkpoints.restore(fresh)
    run.rewind(step)
    return state, step


class Window:
    """Metrics since the last line, kept on the device until then."""

    def __init__(self, config: TeacherConfig, now_s: float) -> None:
        """Starts the clock."""
        self._config, self._start_s, self._last_s = config, now_s, now_s
        self._kept: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Keeps one iteration's metrics."""
        self._kept.append(metrics)

    def log(self, run: Run, done: int, report: Any, space: ParamSpace) -> str:
        """Writes one line of metrics and one of bounds; returns a short note for the screen."""
        kept = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(self._kept))
        now_s = time.perf_counter()
        per_iteration = self._config.ppo.worlds * self._config.ppo.unroll
        speed = len(self._kept) * per_iteration / (now_s - self._last_s)
        tally = jax.tree.map(np.sum, kept.tally)
        episodes = max(float(tally.episodes), 1.0)
        line = {
            "env_steps": float(done * per_iteration),
            "seconds": now_s - self._start_s,
            "steps_per_s": speed,
            "episodes": float(tally.episodes),
            "success": float(tally.success) / episodes,
            "return": float(tally.total) / episodes,
            "length": float(tally.length) / episodes,
            "nan_worlds": float(tally.nan),
            "reused_resets": float(tally.reused),
            "kl": float(kept.kl.mean()),
            "actor_loss": float(kept.actor_loss.mean()),
            "critic_loss": float(kept.critic_loss.mean()),
            "policy_entropy": float(kept.entropy.mean()),
            "learning_rate": float(kept.learning_rate[-1]),
            "entropy": float(report.entropy),
        }
        if not tally.episodes:
            line |= dict.fromkeys(("success", "return", "length"), float("nan"))
        run.log(done, line)
        more = {"entropy": line["entropy"], "env_steps": line["env_steps"]}
        run.log_bounds(done, space.names, report.low, report.high, **more)
        self._kept, self._last_s = [], now_s
        return (
            f"{speed:,.0f} steps/s  success {line['success']:.2f}  return {line['return']:.0f}  "
            f"width {np.exp(line['entropy']):.2f}"
        )


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    task = tyro.cli(_Task, args=list(argv), return_unknown_args=True)[0].task
    train(tyro.cli(TeacherConfig, args=list(argv), default=recipe(task)))


@dataclass(frozen=True)
class _Task:
    """The first look at the command line: which task's recipe to start from."""

    task: str = "reach"
