"""What is said of a teacher while it trains: metrics, bounds, episodes, and pictures at the end."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from mjx_s2r.curriculum.episode_recorder import RecorderState, episodes_since
from mjx_s2r.eval.simulation import EpisodeScores, evaluate
from mjx_s2r.io.run import BOUNDS, METRICS, Run, read_jsonl
from mjx_s2r.io.tracker import Tracker
from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.ppo.learner import Metrics
from mjx_s2r.params import ParamSpace
from mjx_s2r.report.curriculum_plots import learning, timeline
from mjx_s2r.sim import nan_replay
from train.common import LogWindow

JUDGED = 64


@dataclass
class TrainLogger:
    """Writes the lines of one training.

    Attributes:
        ppo: the learner.
        iterations: how many in all.
        eval_every: iterations between two evaluations without exploration; 0 makes none.
        tracker: sends the same figures elsewhere, where that was asked for.
        line: the figures written last.
    """

    ppo: Learner
    iterations: int
    eval_every: int = 0
    tracker: Tracker | None = None
    line: dict[str, float] = field(default_factory=dict, init=False)
    _pending: tuple[int, EpisodeScores] | None = field(default=None, init=False)
    _judged: int = field(default=0, init=False)

    def write(self, run: Run, stretch: LogWindow) -> str:
        """Writes one line of metrics and one of bounds; returns a short note for the screen."""
        names = self.ppo.env.space.names
        report = self.ppo.curriculum.report(stretch.state.curriculum)
        line = summarize_metrics(stretch.metrics)
        line |= speed(stretch, self.ppo.config.num_envs * self.ppo.config.num_steps)
        line |= {"entropy": float(report.entropy), "bad_scores": float(report.dropped)}
        line |= self._evaluated(stretch)
        self.line = line
        run.log(stretch.done, line)
        nan_replay.save_snapshots(run, stretch.done, stretch.metrics.nan_snapshot, names)
        more = {"entropy": line["entropy"], "env_steps": line["env_steps"]}
        scores = list(np.asarray(report.edge_score))
        run.log_bounds(stretch.done, names, report.low, report.high, scores, **more)
        if self.tracker is not None:
            low = {f"low/{n}": float(x) for n, x in zip(names, report.low, strict=True)}
            high = {f"high/{n}": float(x) for n, x in zip(names, report.high, strict=True)}
            self.tracker.log(stretch.done, line | low | high)
        if isinstance(stretch.state.curriculum, RecorderState) and run.writes:
            _episodes(run, stretch.done, stretch.state.curriculum)
        if stretch.done == self.iterations and run.writes:
            draw(run, self.ppo.env.space)
        return (
            f"{line['steps_per_s']:,.0f} steps/s  success {line['success']:.2f}  "
            f"return {line['return']:.0f}  width {np.exp(line['entropy']):.2f}{_alarms(line)}"
        )

    def _evaluated(self, stretch: LogWindow) -> dict[str, float]:
        """Returns the figures of the evaluation begun before, and begins one where it is due.

        One that has been begun runs beside the training and is read a line later; the last one is
        waited for.
        """
        out = _read(self._pending)
        self._pending = None
        due = self.eval_every and stretch.done - self._judged >= self.eval_every
        last = stretch.done == self.iterations
        if due or (last and self.eval_every):
            self._judged = stretch.done
            key = jax.random.key(1_000_003 + stretch.done)
            self._pending = (stretch.done, _judge(self.ppo, stretch.state, key))
        return _read(self._pending) if last and self._pending else out


def _alarms(line: dict[str, float]) -> str:
    """Returns what must not go unseen of a line's figures, in words; empty if all is well."""
    words = {"nan_envs": "worlds not finite", "full_contacts": "steps without room for contacts"}
    return "".join(f"  {line[n]:,.0f} {what}" for n, what in words.items() if line.get(n))


def _judge(ppo: Learner, state: Any, key: jax.Array) -> EpisodeScores:
    """Begins an evaluation."""
    return evaluate(ppo, state, JUDGED, key=key)


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


def summarize_metrics(kept: Metrics) -> dict[str, float]:
    """Returns the figures of K iterations, every leaf of ``kept`` (K,)."""
    ended = jax.tree.map(np.sum, kept.episodes)
    count = max(float(ended.episodes), 1.0)
    line = {
        "episodes": float(ended.episodes),
        "success": float(ended.successes) / count,
        "return": float(ended.return_sum) / count,
        "length": float(ended.length_sum) / count,
        "nan_envs": float(ended.nan_envs),
        "reused_resets": float(ended.reused_resets),
        "kl": float(kept.loss.kl.mean()),
        "clip_fraction": float(kept.loss.clip_fraction.mean()),
        "explained_variance": float(kept.explained_variance.mean()),
        "actor_loss": float(kept.loss.actor_loss.mean()),
        "critic_loss": float(kept.loss.critic_loss.mean()),
        "policy_entropy": float(kept.loss.entropy.mean()),
        "learning_rate": float(kept.learning_rate[-1]),
    }
    if ended.full_contacts is not None:
        line["full_contacts"] = float(ended.full_contacts)
    if not ended.episodes:
        line |= dict.fromkeys(("success", "return", "length"), float("nan"))
    return line


def speed(stretch: LogWindow, per_iteration: int) -> dict[str, float]:
    """Returns how far and how fast, for so many environment steps per iteration."""
    return {
        "env_steps": float(stretch.done * per_iteration),
        "seconds": stretch.seconds,
        "steps_per_s": stretch.iterations_per_s * per_iteration,
    }


def _episodes(run: Run, done: int, state: RecorderState) -> None:
    """Writes the episodes that have ended since the last line."""
    log = episodes_since(state, run.seen_episodes())
    columns = {
        "xi": [[float(f"{x:.6g}") for x in xi] for xi in log.xi],
        "score": log.score.tolist(),
        "role": log.kind.tolist(),
        "stamp": log.version.tolist(),
    }
    run.log_episodes(done, columns, count=len(log.score), lost=log.lost)


def draw(run: Run, space: ParamSpace) -> None:
    """Draws curriculum.svg, ranges over time, and learning.svg, returns over environment steps."""
    bounds, metrics = (read_jsonl(run.path / name) for name in (BOUNDS, METRICS))
    (run.path / "curriculum.svg").write_text(timeline(space, bounds, metrics))
    (run.path / "learning.svg").write_text(learning(metrics))
