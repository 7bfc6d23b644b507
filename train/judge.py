"""python -m train judge --run runs/teacher: success rate and return of a run's checkpoints.

Every checkpoint that is kept plays the same episodes, by its mean action: in nominal worlds, in
worlds from the ranges that the newest one had opened, and in worlds from the limits of the whole
table. The best is the one with the most successes in the opened ranges; other verbs take it by
--iteration (of a student's teacher: --teacher-iteration). The run is a teacher's or a student's; an
actor that sees is judged in the simulator's pictures, and on robots by `evaluate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tyro
from rich.table import Table

from mjx_s2r.api.policy import TrainedPolicy, Worlds, open_policy_run
from mjx_s2r.eval.performance import Performance
from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.io.checkpoints import CheckpointError
from mjx_s2r.io.run import write_json
from mjx_s2r.runtime.progress import console, print_line, progress
from mjx_s2r.runtime.random_keys import evaluation_keys

JUDGED = "judged.json"
NOMINAL, OPENED, WHOLE = KINDS = get_args(Worlds)


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of a comparison of checkpoints."""

    run: Path = Path("runs/teacher")
    """Folder of a teacher's or a student's run."""
    episodes: int = 256
    """Episodes of each checkpoint in each kind of worlds."""
    seed: int = 0
    """Seed of the worlds; they are the same for every checkpoint."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: no episodes.
        """
        if self.episodes < 1:
            raise ValueError(f"episodes {self.episodes} must be at least 1")


@dataclass(frozen=True)
class CheckpointScore:
    """Scores of one checkpoint in one kind of worlds.

    Attributes:
        iteration: of the checkpoint.
        worlds: which kind.
        performance: its figures there.
    """

    iteration: int
    worlds: str
    performance: Performance

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as JSON values."""
        about = {"iteration": self.iteration, "worlds": self.worlds}
        return about | self.performance.to_json()


def score_checkpoints(config: JudgeConfig) -> list[CheckpointScore]:
    """Judges every checkpoint of a run that is whole, oldest first.

    Raises:
        RunError: no run there.
        CheckpointError: no checkpoint that is whole.
    """
    trainer, checkpoints = open_policy_run(config.run)
    like = trainer.state_shapes()
    newest = checkpoints.restore(like)[0]
    key_draw, key_play = evaluation_keys(config.seed)
    policy = TrainedPolicy(trainer, newest)
    kinds = {name: policy.evaluation_params(name, config.episodes, key=key_draw) for name in KINDS}
    found, steps = [], checkpoints.steps()
    with progress(f"judging {config.run}", len(steps) * len(kinds)) as bar:
        for count, step in enumerate(steps):
            try:
                state = checkpoints.restore(like, step=step)[0]
            except CheckpointError as error:
                print_line(f"iteration {step} is left out: {error}")
                continue
            for place, (name, draws) in enumerate(kinds.items(), 1):
                scores = judge_worlds(trainer, state, draws.xi, key=key_play).performance()
                found.append(CheckpointScore(step, name, scores))
                note = f"iteration {step}, {name}: {scores.success.value:.0%}"
                bar.update(count * len(kinds) + place, note)
    return found


def best(found: Sequence[CheckpointScore]) -> int:
    """Returns the iteration with the most successes in the opened ranges, then the most return.

    Of equals the newest counts.
    """
    opened = [v for v in found if v.worlds == OPENED]

    def rank(score: CheckpointScore) -> tuple[float, float, int]:
        """Returns what is compared."""
        figures = score.performance
        return figures.successes, figures.episode_return.value, score.iteration

    return max(opened, key=rank).iteration


def table(found: Sequence[CheckpointScore]) -> Table:
    """Returns the scores as a table, a row for every checkpoint."""
    shown = Table(title="success (95 % interval)  mean return")
    shown.add_column("iteration", justify="right")
    for name in KINDS:
        shown.add_column(name, justify="right")
    for step in sorted({v.iteration for v in found}):
        cells = [_cell(v) for v in found if v.iteration == step]
        shown.add_row(f"{step}{' *' if step == best(found) else ''}", *cells)
    return shown


def _cell(score: CheckpointScore) -> str:
    """Returns success, its interval and the mean return."""
    success, mean_return = score.performance.success, score.performance.episode_return
    interval = f"{100 * success.low:.0f}-{100 * success.high:.0f}"
    return f"{success.value:.0%} ({interval})  {mean_return.value:.4g}"


def main(argv: Sequence[str]) -> None:
    """Parses the command line, judges, prints, and writes RUN/judged.json."""
    config = tyro.cli(JudgeConfig, args=list(argv))
    found = score_checkpoints(config)
    console.print(table(found))
    lines = [score.to_json() for score in found]
    write_json(config.run / JUDGED, {"best": best(found), "seed": config.seed, "judged": lines})
    print_line(f"best within the opened ranges: --iteration {best(found)}; {config.run / JUDGED}")
