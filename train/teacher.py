"""python -m train teacher --task reach: a privileged teacher by PPO, and its curriculum."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro

from envs.tasks import make_task
from mjx_s2r.checkpoints import Checkpoints
from mjx_s2r.curriculum.adr import AdrConfig
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.record import RecordState, record, since
from mjx_s2r.learn.ppo import Ppo, PpoConfig, TrainState
from mjx_s2r.params import ParamSpace
from mjx_s2r.runs import BOUNDS, METRICS, Run, read_jsonl
from mjx_s2r.sim.env import make
from mjx_s2r.transfer.plots_curricula import timeline
from train.common import Job, Stretch, task_of, work
from train.curricula import Kind, Schedules, build, felt, mixed
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
    curriculum: Kind = "adr"
    """Schedule of the ranges: adr widens bound by bound, uniform keeps the widest, none keeps
    everything nominal; the others are described in Schedules."""
    rows: tuple[str, ...] = ()
    """Rows that it schedules, as patterns of names or fields ("sensor.*"); empty: all but looks."""
    mix: tuple[str, ...] = ()
    """Further schedules with rows of their own, each as kind:pattern,pattern."""
    episodes: int = 0
    """Episodes kept between two lines for episodes.jsonl; 0 writes none."""
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
    schedules: Schedules = field(default_factory=Schedules)
    """Settings of the other schedules."""


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
    return Ppo(env, schedule(config, env.space), config.ppo)


def schedule(config: TeacherConfig, space: ParamSpace) -> Curriculum:
    """Returns the curriculum that the settings name, over the rows that they name."""

    def make(kind: str, space: ParamSpace, rows: np.ndarray) -> Curriculum:
        """Builds one schedule."""
        return build(kind, config.schedules, config.adr, space, rows)

    rows = felt(space, config.rows)
    whole = mixed(config.curriculum, rows, config.mix, make, space)
    return record(space, whole, config.episodes) if config.episodes else whole


def train(config: TeacherConfig) -> tuple[Ppo, TrainState]:
    """Runs or resumes the training; returns the learner and its last state."""
    ppo = learner(config)
    run = Run.create(
        config.run,
        config,
        resume=config.resume,
        may_change=("run", "resume", "iterations", "log_every", "checkpoint_every"),
    )
    run.keep_table(ppo.env.space.rows)
    checkpoints = Checkpoints(run.checkpoints, task=config.task, rows=ppo.env.space.names)
    job = Job(
        what=f"teacher {config.task}",
        iterations=config.iterations,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        resume=config.resume,
        iterate=ppo.iterate,
        log=partial(_log, ppo, config.iterations),
    )
    return ppo, work(job, run, checkpoints, ppo.init(jax.random.key(config.seed)))


def _log(ppo: Ppo, iterations: int, run: Run, stretch: Stretch) -> str:
    """Writes one line of metrics and one of bounds; returns a short note for the screen."""
    kept, names = stretch.metrics, ppo.env.space.names
    per_iteration = ppo.config.worlds * ppo.config.unroll
    report = ppo.curriculum.report(stretch.state.curriculum)
    tally = jax.tree.map(np.sum, kept.tally)
    episodes = max(float(tally.episodes), 1.0)
    line = {
        "env_steps": float(stretch.done * per_iteration),
        "seconds": stretch.seconds,
        "steps_per_s": stretch.iterations_per_s * per_iteration,
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
        "bad_scores": float(report.dropped),
    }
    if not tally.episodes:
        line |= dict.fromkeys(("success", "return", "length"), float("nan"))
    run.log(stretch.done, line)
    more = {"entropy": line["entropy"], "env_steps": line["env_steps"]}
    scores = list(np.asarray(report.edge_score))
    run.log_bounds(stretch.done, names, report.low, report.high, scores, **more)
    if isinstance(stretch.state.curriculum, RecordState):
        _log_episodes(run, stretch.done, stretch.state.curriculum)
    if stretch.done == iterations:
        _draw(run, ppo.env.space)
    return (
        f"{line['steps_per_s']:,.0f} steps/s  success {line['success']:.2f}  "
        f"return {line['return']:.0f}  width {np.exp(line['entropy']):.2f}"
    )


def _log_episodes(run: Run, done: int, state: RecordState) -> None:
    """Writes the episodes that have ended since the last line."""
    log = since(state, run.seen_episodes())
    columns = {
        "xi": [[float(f"{x:.6g}") for x in xi] for xi in log.xi],
        "score": log.score.tolist(),
        "role": log.role.tolist(),
        "stamp": log.stamp.tolist(),
    }
    run.log_episodes(done, columns, count=len(log.score), lost=log.lost)


def _draw(run: Run, space: ParamSpace) -> None:
    """Draws curriculum.svg: ranges, entropy and success over time."""
    bounds, metrics = (read_jsonl(run.path / name) for name in (BOUNDS, METRICS))
    (run.path / "curriculum.svg").write_text(timeline(space, bounds, metrics))


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    train(tyro.cli(TeacherConfig, args=list(argv), default=recipe(task_of(argv))))
