"""The training log: one line of metrics and one of bounds per window of iterations."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from mjx_s2r.curriculum.episode_recorder import RecorderState, episodes_since
from mjx_s2r.curriculum.interface import Curriculum, closed_physics, physics_rows
from mjx_s2r.io.run import Run
from mjx_s2r.io.tracker import Tracker
from mjx_s2r.learn.evaluation import EpisodeScores
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim import nan_replay

LEAST_TOLD = 0.005  # share of the acting that is the teacher's
# Figures whose newest value counts, not the mean
LAST = ("learning_rate", "beta", "stage", "held_out_error")


@dataclass(frozen=True)
class LogWindow:
    """Metrics since the last line of the log.

    Attributes:
        done: iterations done in all.
        state: the training's state now.
        metrics: the iterations' metrics, every leaf stacked on the host, [K, ...].
        iterations: K.
        seconds: since the loop began, s.
        iterations_per_s: speed of these K.
    """

    done: int
    state: Any
    metrics: Any
    iterations: int
    seconds: float
    iterations_per_s: float


class MetricsWindow:
    """Metrics since the last line, kept on the device until then.

    The first iteration compiles; its time says nothing of the speed and is left out of it.
    """

    def __init__(self, now_s: float) -> None:
        """Starts the clock."""
        self._start_s, self._last_s = now_s, now_s
        self._kept: list[Any] = []
        self._compiled, self._untimed = False, 0

    def add(self, metrics: Any) -> None:
        """Keeps one iteration's metrics."""
        self._kept.append(metrics)
        if not self._compiled:
            self._compiled = True
            jax.block_until_ready(metrics)
            self._untimed, self._last_s = 1, time.perf_counter()

    def close(self, done: int, state: Any) -> LogWindow:
        """Returns what was kept, and begins anew."""
        metrics = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(self._kept))
        now_s, count = time.perf_counter(), len(self._kept)
        timed = count - self._untimed
        since_s = self._last_s if timed else self._start_s  # a line of the first iteration alone
        speed = (timed or count) / (now_s - since_s)
        self._kept, self._last_s, self._untimed = [], now_s, 0
        return LogWindow(done, state, metrics, count, now_s - self._start_s, speed)


@dataclass
class TrainLogger:
    """Writes the lines of one training.

    Attributes:
        space: the parameter table.
        curriculum: its report is written with every line.
        steps_per_iteration: environment steps, B T.
        iterations: how many in all.
        sees: whether every environment step is a picture, which is then counted, too.
        eval_every: iterations between two evaluations without exploration; 0 makes none.
        evaluate: (state, key) -> scores of an evaluation, begun and not waited for.
        tracker: sends the same figures elsewhere, where that was asked for.
        line: the figures written last.
    """

    space: ParamSpace
    curriculum: Curriculum
    steps_per_iteration: int
    iterations: int
    sees: bool = False
    eval_every: int = 0
    evaluate: Callable[[Any, jax.Array], EpisodeScores] | None = None
    tracker: Tracker | None = None
    line: dict[str, float] = field(default_factory=dict, init=False)
    _pending: tuple[int, EpisodeScores] | None = field(default=None, init=False)

    def write(self, run: Run, window: LogWindow) -> str:
        """Writes one line of metrics and one of bounds; returns a short note for the screen."""
        names = self.space.names
        report = self.curriculum.report(window.state.curriculum)
        line = summarize_metrics(window.metrics)
        line |= speed(window, self.steps_per_iteration)
        if self.sees:
            line |= {"images": line["env_steps"], "images_per_s": line["steps_per_s"]}
        line |= {"entropy": float(report.entropy), "bad_scores": float(report.dropped)}
        line |= self._evaluation(run, window)
        self.line = line
        run.log(window.done, line)
        nan_replay.save_snapshots(run, window.done, window.metrics.nan_snapshot, names)
        more = {"entropy": line["entropy"], "env_steps": line["env_steps"]}
        scores = list(np.asarray(report.edge_score))
        run.log_bounds(window.done, names, report.low, report.high, scores, **more)
        if self.tracker is not None:
            low = {f"low/{n}": float(x) for n, x in zip(names, report.low, strict=True)}
            high = {f"high/{n}": float(x) for n, x in zip(names, report.high, strict=True)}
            self.tracker.log(window.done, line | low | high)
        if isinstance(window.state.curriculum, RecorderState) and run.writes:
            _log_episodes(run, window.done, window.state.curriculum)
        return _note(line)

    def _evaluation(self, run: Run, window: LogWindow) -> dict[str, float]:
        """Returns the figures of the evaluation begun before, and begins one where it is due.

        One is due at the first line at or after every ``eval_every`` iterations of the training,
        however often it was resumed. It runs beside the training and is read a line later; the last
        one is waited for, and the one before gets a line of its own.
        """
        out, self._pending = _read(self._pending), None
        if self.evaluate is None or not self.eval_every:
            return out
        before, last = window.done - window.iterations, window.done == self.iterations
        if last or window.done // self.eval_every > before // self.eval_every:
            key = jax.random.key(1_000_003 + window.done)
            self._pending = (window.done, self.evaluate(window.state, key))
        if not last:
            return out
        if out:
            at = int(out["eval_at"])
            run.log(at, out | {"env_steps": float(at * self.steps_per_iteration)})
        return _read(self._pending)


def _note(line: dict[str, float]) -> str:
    """Returns the screen's note on a line: speed, success, and what must not go unseen."""
    note = f"{line['steps_per_s']:,.0f} steps/s  success {line['success']:.2f}  "
    if "label_error_m" in line:
        note += f"finds it within {100 * line['label_error_m']:.1f} cm"
        if line.get("beta", 0.0) >= LEAST_TOLD:  # success is then not the student's alone
            note += f"  teacher acts {line['beta']:.0%}"
    else:
        note += f"return {line['return']:.0f}  width {np.exp(line['entropy']):.2f}"
    alarms = {"nan_envs": "worlds not finite", "full_contacts": "steps without room for contacts"}
    return note + "".join(f"  {line[n]:,.0f} {w}" for n, w in alarms.items() if line.get(n))


def width_told(
    space: ParamSpace, curriculum: Curriculum, *, moves: bool, copies: bool = False
) -> str:
    """Returns what to say before a training whose worlds have one physics; empty where they differ.

    Args:
        space: the table.
        curriculum: what draws the worlds.
        moves: whether it widens the ranges of physics later on.
        copies: whether a teacher chose the ranges.
    """
    start = curriculum.report(curriculum.init())
    if not closed_physics(space, np.asarray(start.low), np.asarray(start.high)):
        return ""
    if moves:
        return (
            "worlds of one physics to begin with (width 0.00; 1.00 is the whole table): the "
            "curriculum widens it as the policy succeeds"
        )
    if not physics_rows(space).any():
        why = "the table has no rows of physics; write some"
    elif copies:
        why = (
            "its teacher was trained on that one alone; train the teacher with --curriculum adr or "
            "uniform"
        )
    else:
        why = "no row has a range (width 0.00); --curriculum adr or uniform draws from the table"
    return f"all worlds have one physics, and the policy will know no other robot: {why}"


def _read(pending: tuple[int, EpisodeScores] | None) -> dict[str, float]:
    """Returns the figures of an evaluation and the iteration that it judges."""
    if pending is None:
        return {}
    done, scores = pending
    return {
        "eval_at": float(done),
        "eval_return": float(scores.episode_return.mean()),
        "eval_success": float(scores.success.mean()),
        "eval_length": float(scores.length.mean()),
    }


def summarize_metrics(kept: Any) -> dict[str, float]:
    """Returns the figures of K iterations, every leaf of the trainer's ``kept`` metrics (K,)."""
    ended = jax.tree.map(np.sum, kept.episodes)
    count = max(float(ended.episodes), 1.0)
    line = {
        "episodes": float(ended.episodes),
        "success": float(ended.successes) / count,
        "return": float(ended.return_sum) / count,
        "length": float(ended.length_sum) / count,
        "nan_envs": float(ended.nan_envs),
        "reused_resets": float(ended.reused_resets),
    }
    for name, values in vars(kept.loss).items():
        if values is None:  # a figure that these settings do not have
            continue
        line[name] = float(values[-1] if name in LAST else values.mean())
    if ended.full_contacts is not None:
        line["full_contacts"] = float(ended.full_contacts)
    if not ended.episodes:
        line |= dict.fromkeys(("success", "return", "length"), float("nan"))
    return line


def speed(window: LogWindow, per_iteration: int) -> dict[str, float]:
    """Returns how far and how fast, for so many environment steps per iteration."""
    return {
        "env_steps": float(window.done * per_iteration),
        "seconds": window.seconds,
        "steps_per_s": window.iterations_per_s * per_iteration,
    }


def _log_episodes(run: Run, done: int, state: RecorderState) -> None:
    """Writes the episodes that have ended since the last line."""
    log = episodes_since(state, run.seen_episodes())
    columns = {
        "xi": [[float(f"{x:.6g}") for x in xi] for xi in log.xi],
        "score": log.score.tolist(),
        "kind": log.kind.tolist(),
        "version": log.version.tolist(),
    }
    run.log_episodes(done, columns, count=len(log.score), lost=log.lost)
