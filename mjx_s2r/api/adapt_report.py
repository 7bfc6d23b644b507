"""What an adaptation did: errors and discernibility before and after, and figures of each stage."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.api.adapt import AdaptConfig, AdaptData, adapted_state, fresh_views
from mjx_s2r.api.real_frames import frames_of
from mjx_s2r.io.run import METRICS, read_jsonl
from mjx_s2r.learn.adapt.adaptation import Adaptation, RealFrames
from mjx_s2r.learn.adapt.adapted_student import AdaptedParams
from mjx_s2r.learn.adapt.discernibility import FOLDS, discernibility
from mjx_s2r.learn.distill.teachers import bounded
from mjx_s2r.learn.rollout import Images
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.sim.interface import State
from mjx_s2r.transfer.demonstrations.batches import RowSampler
from mjx_s2r.transfer.demonstrations.dataset import EpisodeSplit

PROBED = 256  # frames of either domain


@dataclass(frozen=True)
class AdaptFigures:
    """Figures of a student at one time; None where there is nothing to take them from.

    Attributes:
        held_out_error: mean squared difference of squashed actions on held-out demonstrations.
        learned_error: the same on demonstrations that were learned from.
        simulated_error: the same against the teacher, on the first pictures of simulated episodes,
            as the student acts in simulation.
        discernibility: accuracy of a linear classifier that tells features of simulated pictures
            from those of real ones; 0.5 tells nothing apart. None of fewer than `FOLDS` pictures.
    """

    held_out_error: float | None
    learned_error: float | None
    simulated_error: float
    discernibility: float | None


@dataclass(frozen=True)
class StageFigures:
    """Figures of one stage: settings, means over its iterations, and its last held-out error.

    Attributes:
        stage: its number, from 0.
        simulated: share of simulation.
        trained: what it trained.
        iterations: how many there were.
        simulated_error: squared squashed action against the teacher, on simulated frames.
        real_error: the same on demonstrations.
        held_out_error: the same on held-out ones, where it was looked at last; None without.
        success: of the simulated episodes that ended; None where none did.
        domain_accuracy: of the domain classifier; None without alignment.
    """

    stage: int
    simulated: float
    trained: str
    iterations: int
    simulated_error: float
    real_error: float | None
    held_out_error: float | None
    success: float | None
    domain_accuracy: float | None


@dataclass(frozen=True)
class AdaptReport:
    """What an adaptation did.

    Attributes:
        before: the student at the start.
        after: the student at the end.
        stages: one by one.
        demonstrations: how many were learned from and held out.
        rows: the same in rows.
        unlabelled_rows: rows of pictures without labels.
        clipped: share of demonstrated action values that had to be clipped.
        notes: what is worth a word about the recordings.
    """

    before: AdaptFigures
    after: AdaptFigures
    stages: tuple[StageFigures, ...]
    demonstrations: tuple[int, int]
    rows: tuple[int, int]
    unlabelled_rows: int
    clipped: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return asdict(self)


def adapt_report(
    config: AdaptConfig, trainer: Trainer, state: TrainState, data: AdaptData
) -> AdaptReport:
    """Returns what an adaptation did, measured on the same frames before and after.

    Args:
        config: settings of the run.
        trainer: its trainer.
        state: its last state.
        data: what it learned from.
    """
    algorithm, learner = cast(Adaptation, trainer.algorithm), adapted_state(state)
    steps = config.adapt.real_steps if algorithm.student.rnn_hidden else 1
    learned = held_out = None
    if data.labelled is not None and data.split is not None:
        learned = _spread(RowSampler(data.labelled, data.split.learned, steps))
        if len(data.split.held_out):
            held_out = _spread(RowSampler(data.labelled, data.split.held_out, steps))
    target = held_out or learned
    if data.unlabelled is not None:
        target = _spread(RowSampler(data.unlabelled, np.arange(len(data.unlabelled)), steps))
    assert target is not None, "a run has data"
    shown = (held_out, learned, target, *fresh_views(trainer, PROBED))
    first = algorithm.start[0]

    @jax.jit  # frames are no constants of the program: it would compute with them while compiling
    def figures(
        params: AdaptedParams,
        held_out: RealFrames | None,
        learned: RealFrames | None,
        target: RealFrames,
        worlds: State,
        images: Images,
    ) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
        known = {"held_out_error": held_out, "learned_error": learned}
        errors = {
            name: algorithm.action_error(learner, params, x)
            for name, x in known.items()
            if x is not None
        }
        real = algorithm.real_features(learner, params, target)
        real = real.swapaxes(0, 1).reshape(-1, real.shape[-1])  # in the order of recording
        ours = algorithm.simulated_features(learner, params, worlds.obs["state"], images)
        against_teacher = _simulated_error(algorithm, learner, params, worlds, images)
        apart = discernibility(ours, real) if len(real) >= FOLDS else jnp.float32(jnp.nan)
        return errors, against_teacher, apart

    def measured(params: AdaptedParams) -> AdaptFigures:
        errors, against_teacher, apart = figures(params, *shown)
        known = {name: float(x) for name, x in errors.items()}
        return AdaptFigures(
            held_out_error=known.get("held_out_error"),
            learned_error=known.get("learned_error"),
            simulated_error=float(against_teacher),
            discernibility=_mean([float(apart)], [1]),
        )

    start = replace(first, alignment=learner.params.alignment)
    before, after = measured(start), measured(learner.params)
    found = [x for x in (data.labelled, data.unlabelled) if x is not None]
    split = data.split
    return AdaptReport(
        before=before,
        after=after,
        stages=stage_figures(config, read_jsonl(config.run / METRICS)),
        demonstrations=_lengths(split, "learned_episodes", "held_out_episodes"),
        rows=_lengths(split, "learned", "held_out"),
        unlabelled_rows=0 if data.unlabelled is None else len(data.unlabelled),
        clipped=data.labelled.clipped if data.labelled is not None else 0.0,
        notes=tuple(note for x in found for note in x.notes),
    )


def stage_figures(
    config: AdaptConfig, lines: Sequence[Mapping[str, Any]]
) -> tuple[StageFigures, ...]:
    """Returns the figures of each stage, means over its iterations, however many a line tells of.

    A line of metrics is of one stage alone.

    Args:
        config: settings of the run.
        lines: of its metrics.
    """
    by_stage: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    counts, last = defaultdict[int, list[int]](list), 0
    for line in lines:
        by_stage[int(line["stage"])].append(line)
        counts[int(line["stage"])].append(line["step"] - last)
        last = line["step"]
    trained, shares = (config.adapt.per_stage(name) for name in ("trained", "simulated"))
    found = []
    for stage, own in sorted(by_stage.items()):
        looked = _known(_of("held_out_error", own))
        episodes = sum(x["episodes"] for x in own)
        won = sum(x["episodes"] * x["success"] for x in own if x["episodes"])
        found.append(
            StageFigures(
                stage=stage,
                simulated=shares[stage],
                trained=trained[stage],
                iterations=sum(counts[stage]),
                simulated_error=float(np.average(_of("mean_error", own), weights=counts[stage])),
                real_error=_mean(_of("real_error", own), counts[stage]),
                held_out_error=looked[-1] if looked else None,
                success=won / episodes if episodes else None,
                domain_accuracy=_mean(_of("domain_accuracy", own), counts[stage]),
            )
        )
    return tuple(found)


def _lengths(split: EpisodeSplit | None, learned: str, held_out: str) -> tuple[int, int]:
    """Returns the lengths of two parts of a split; 0 without one."""
    if split is None:
        return 0, 0
    return len(getattr(split, learned)), len(getattr(split, held_out))


def _of(name: str, lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Returns a figure of every line."""
    return [line[name] for line in lines]


def _mean(values: Sequence[float], counts: Sequence[int]) -> float | None:
    """Returns the mean of what is known, each value counted so many times."""
    known = np.isfinite(values)
    if not known.any():
        return None
    return float(np.average(np.asarray(values)[known], weights=np.asarray(counts)[known]))


def _known(values: Sequence[float]) -> list[float]:
    """Returns the values that are finite: a line of metrics holds NaN for what is not known."""
    return [x for x in values if np.isfinite(x)]


def _spread(sampler: RowSampler) -> RealFrames:
    """Returns frames evenly over those of a sampler."""
    return frames_of(sampler, sampler.spread(PROBED))


def _simulated_error(
    algorithm: Adaptation, learner: Any, params: AdaptedParams, worlds: State, images: Images
) -> jax.Array:
    """Returns () the mean squared difference of squashed actions from the teacher's."""
    distillation, count = algorithm.distillation, worlds.reward.shape[0]
    first = jnp.ones(count, bool)
    memory = jnp.zeros((count, distillation.teacher.rnn_size))
    answer = bounded(distillation.teacher.answer(memory, worlds.obs, first)[1].policy).mean
    state = algorithm.distilled(learner, params)
    own = jnp.zeros((count, algorithm.student.rnn_hidden))
    mine = distillation.student_step(state, own, worlds.obs["state"], images, first)[1].mean
    return jnp.sum((jnp.tanh(answer) - jnp.tanh(mine)) ** 2, -1).mean()
